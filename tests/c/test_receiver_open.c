/* SPDX-License-Identifier: MIT
 * Opening a receiver and what it refuses, with nothing changed then; and sockets that others keep. */
#include <sys/resource.h>

#include "receivers.h"

static void expect_refused(const int *fds, unsigned count,
                           const struct fsk_receiver_options *options, int error) {
    struct fsk_receiver *receiver = (struct fsk_receiver *)&receiver;
    int before = count_descriptors();
    CHECK_INT(fsk_receiver_open(&receiver, fds, count, options), error);
    CHECK(receiver == NULL);
    CHECK_INT(count_descriptors(), before);
}

static void numbers_out_of_range_are_refused(void) {
    struct udp_pair pair;
    int fds[FSK_RECEIVER_SHARDS + 1], cpu = 100000;
    open_udp(AF_INET, &pair);
    for (int i = 0; i <= FSK_RECEIVER_SHARDS; i++)
        fds[i] = pair.receiver;
#define REFUSED(COUNT, MEMBER, VALUE)                                                              \
    do {                                                                                           \
        struct fsk_receiver_options wrong = usual();                                               \
        wrong.MEMBER = VALUE;                                                                      \
        expect_refused(fds, COUNT, &wrong, -EINVAL);                                               \
    } while (0)
    REFUSED(1, size, 0);
    REFUSED(1, size, sizeof(struct fsk_receiver_options) - 1);
    REFUSED(1, size, SIZE_MAX);
    REFUSED(0, gro, true);
    REFUSED(FSK_RECEIVER_SHARDS + 1, memory, (size_t)1 << 30);
    REFUSED(1, memory, 0);
    REFUSED(1, memory, FSK_RECEIVER_MEMORY - 1);
    REFUSED(3, memory, 3 * FSK_RECEIVER_MEMORY - 1);
    REFUSED(1, memory, SIZE_MAX);
    REFUSED(1, overflow, (enum fsk_overflow)3);
    REFUSED(1, overflow, (enum fsk_overflow) - 1);
    REFUSED(1, priority, -1);
    REFUSED(1, priority, 1000);
    REFUSED(1, cpus, &cpu);
#undef REFUSED
    cpu = 1000; /* has a number, and is not there */
    struct fsk_receiver_options options = usual();
    options.cpus = &cpu;
    expect_refused(fds, 1, &options, -EINVAL);
    options = usual();
    options.memory = PTRDIFF_MAX;
    expect_refused(fds, 1, &options, -ENOMEM);
    /* Still the caller's, and as it was. */
    send_plain(&pair, 100);
    take_plain(pair.receiver);
    ledger_end();
    close_udp(&pair);
}

static void least_memory_is_enough(void) {
    struct udp_pair pairs[3];
    int fds[3];
    struct fsk_receiver *receiver;
    struct fsk_receiver_options options = usual();
    options.memory = 3 * FSK_RECEIVER_MEMORY;
    for (int i = 0; i < 3; i++) {
        open_udp(AF_INET, &pairs[i]);
        fds[i] = pairs[i].receiver;
    }
    REQUIRE(fsk_receiver_open(&receiver, fds, 3, &options) == 0);
    for (int i = 0; i < 30; i++) {
        send_plain(&pairs[i % 3], LARGEST_DATAGRAM);
        take_ledger(receiver, false);
    }
    end_receiver(receiver);
    for (int i = 0; i < 3; i++)
        close(pairs[i].sender);
}

static void descriptors_without_messages_are_refused(void) {
    struct fsk_receiver_options options = usual();
    struct udp_pair pair;
    struct fsk_address name;
    int ends[2], stream[2];
    open_udp(AF_INET, &pair);
    REQUIRE(pipe(ends) == 0);
    open_unix_pair(SOCK_STREAM, stream);
    int listener = open_listener(AF_INET, &name);
    int netlink = socket(AF_NETLINK, SOCK_DGRAM, 0);
    const struct {
        int fd;
        int error;
    } wrong[] = {{-1, -EBADF},
                 {ends[0], -ENOTSOCK},
                 {listener, -EOPNOTSUPP},
                 {stream[0], -EOPNOTSUPP},
                 {netlink, -EOPNOTSUPP}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (wrong[i].fd < 0 && wrong[i].error != -EBADF)
            continue; /* a host without netlink */
        int fds[2] = {pair.receiver, wrong[i].fd};
        expect_refused(&wrong[i].fd, 1, &options, wrong[i].error);
        expect_refused(fds, 2, &options, wrong[i].error);
    }
    if (netlink >= 0)
        close(netlink);
    close(listener);
    close_pair(ends);
    close_pair(stream);
    close_udp(&pair);
}

/* Too few descriptors, from none on. */
static void nothing_is_left_open_without_descriptors(void) {
    struct fsk_receiver_options options = usual();
    struct udp_pair pairs[2];
    struct rlimit before;
    int fds[2], refusals = 0;
    for (int i = 0; i < 2; i++) {
        open_udp(AF_INET, &pairs[i]);
        fds[i] = pairs[i].receiver;
    }
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int next = closed_number();
    for (rlim_t more = 0;; more++) {
        struct fsk_receiver *receiver;
        struct rlimit few = before;
        few.rlim_cur = (rlim_t)next + more;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
        int result = fsk_receiver_open(&receiver, fds, 2, &options);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
        if (result == 0) {
            end_receiver(receiver);
            break;
        }
        CHECK_INT(result, -EMFILE);
        CHECK(receiver == NULL);
        CHECK_INT(closed_number(), next);
        REQUIRE(++refusals < 20);
    }
    CHECK(refusals >= 3);
    for (int i = 0; i < 2; i++)
        close(pairs[i].sender);
}

/* A thread that can't be started after another one: what has come by then is still in the sockets,
 * one by one. */
static void sockets_are_as_before_when_a_thread_fails(void) {
    const int cpus[2] = {-1, 1000};
    struct udp_pair pairs[2];
    int fds[2];
    struct fsk_receiver_options options = usual();
    options.cpus = cpus;
    for (int i = 0; i < 2; i++) {
        open_udp(AF_INET, &pairs[i]);
        fds[i] = pairs[i].receiver;
    }
    ledger_begin();
    for (int i = 0; i < 50; i++)
        send_plain(&pairs[0], 10);
    settle();
    expect_refused(fds, 2, &options, -EINVAL);
    take_plain(fds[0]);
    if (try_train(&pairs[0], 100, 1000) > 0)
        settle();
    take_plain(fds[0]);
    ledger_end();
    for (int i = 0; i < 2; i++)
        close_udp(&pairs[i]);
}

static void threads_run_where_they_are_told(void) {
    cpu_set_t allowed;
    struct udp_pair pair;
    struct fsk_receiver_options options = usual();
    int cpu = 0;
    REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    while (!CPU_ISSET((size_t)cpu, &allowed))
        cpu++;
    open_udp(AF_INET, &pair);
    options.cpus = &cpu;
    options.busy_poll_us = 200;
    struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
    for (int i = 0; i < 30; i++) {
        send_plain(&pair, 100);
        take_ledger(receiver, false);
    }
    end_receiver(receiver);
    close(pair.sender);
}

static void priority_is_used_or_refused(void) {
    struct udp_pair pair;
    struct fsk_receiver *receiver;
    struct fsk_receiver_options options = usual();
    open_udp(AF_INET, &pair);
    options.priority = 1;
    int result = fsk_receiver_open(&receiver, &pair.receiver, 1, &options);
    if (result == 0) {
        send_plain(&pair, 100);
        take_ledger(receiver, false);
        end_receiver(receiver);
    } else {
        CHECK_INT(result, -EPERM);
        close(pair.receiver);
    }
    close(pair.sender);
}

/* Sockets that others keep: with what has not been received, without UDP_GRO, and nothing comes as
 * a train. */
static void kept_socket_gives_datagrams_one_by_one(void) {
    for (size_t number = 0; number < ROUNDS; number++) {
        struct udp_pair pair;
        int on = -1;
        socklen_t size = sizeof on;
        struct fsk_receiver_options options = usual();
        options.keeps_sockets = true;
        open_udp(AF_INET, &pair);
        if (try_train(&pair, 10, 20) < 0) {
            check_skip("send with UDP_SEGMENT: %s", strerror(errno));
            close_udp(&pair);
            return;
        }
        for (int turn = 0; turn < 2; turn++) {
            struct fsk_receiver *receiver = open_receiver(dup(pair.receiver), &options);
            take_ledger(receiver, turn == 0 ? false : expects_offload(UDP_GRO));
            send_round(&pair, number);
            take_ledger(receiver, expects_offload(UDP_GRO));
            CHECK_INT(end_receiver(receiver).discarded, 0);
            if (getsockopt(pair.receiver, SOL_UDP, UDP_GRO, &on, &size) == 0)
                CHECK_INT(on, 0);
            send_round(&pair, number);
            take_plain(pair.receiver);
            ledger_end();
        }
        close_udp(&pair);
    }
}

/* An error of the network stands before what is queued when UDP_GRO is to be switched off. */
static void kept_socket_is_given_back_whatever_the_network_says(void) {
    struct fsk_receiver_options options = usual();
    struct udp_pair pair;
    struct fsk_address nobody;
    options.keeps_sockets = true;
    open_udp(AF_INET, &pair);
    close(open_bound(AF_INET, SOCK_DGRAM, &nobody));
    for (int i = 0; i < 20; i++) {
        int on = 0;
        socklen_t size = sizeof on;
        struct fsk_receiver *receiver = open_receiver(dup(pair.receiver), &options);
        REQUIRE(connect(pair.receiver, &nobody.name.any, nobody.length) == 0);
        if (send_number(pair.receiver, NULL, 0, 10) < 0)
            REQUIRE(errno == ECONNREFUSED); /* of the turn before */
        CHECK_INT(fsk_receiver_close(receiver), 0);
        end_receiver(receiver);
        if (getsockopt(pair.receiver, SOL_UDP, UDP_GRO, &on, &size) == 0)
            CHECK_INT(on, 0);
    }
    close_udp(&pair);
}

/* The messages that the receiver has not taken stay in a kept Unix socket. */
static void kept_unix_socket_keeps_its_messages(void) {
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_BLOCK);
    int pair[2];
    char bytes[2000];
    uint32_t sent = 0;
    options.keeps_sockets = true;
    open_unix_pair(SOCK_DGRAM, pair);
    struct fsk_receiver *receiver = open_receiver(dup(pair[0]), &options);
    struct pollfd room = {.fd = pair[1], .events = POLLOUT};
    while (poll(&room, 1, 30) > 0 && send_number(pair[1], NULL, sent, 2000) == 2000)
        sent++;
    uint64_t received = end_receiver(receiver).discarded;
    CHECK(received < sent);
    while (recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT) == sizeof bytes)
        received++;
    CHECK_INT(received, sent);
    close_pair(pair);
}

static void stats_of_another_size_are_refused(void) {
    struct udp_pair pair;
    struct fsk_receiver_stats stats = {.size = sizeof stats - 8};
    open_udp(AF_INET, &pair);
    struct fsk_receiver *receiver = open_usual(pair.receiver);
    CHECK_INT(fsk_receiver_stats(receiver, &stats), -EINVAL);
    stats.size = 0;
    CHECK_INT(fsk_receiver_stats(receiver, &stats), -EINVAL);
    end_receiver(receiver);
    close(pair.sender);
}

int main(void) {
    RUN(numbers_out_of_range_are_refused);
    RUN(least_memory_is_enough);
    RUN(descriptors_without_messages_are_refused);
    RUN(nothing_is_left_open_without_descriptors);
    RUN(sockets_are_as_before_when_a_thread_fails);
    RUN(threads_run_where_they_are_told);
    RUN(priority_is_used_or_refused);
    RUN(kept_socket_gives_datagrams_one_by_one);
    RUN(kept_socket_is_given_back_whatever_the_network_says);
    RUN(kept_unix_socket_keeps_its_messages);
    RUN(stats_of_another_size_are_refused);
    return check_report();
}
