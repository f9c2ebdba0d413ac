/* SPDX-License-Identifier: MIT
 * The queue itself and how it starts and stops; test_readahead_batch.c has receives into batches.
 */
#include <fastsock/metadata.h>
#include <fastsock/readahead.h>
#include <fastsock/receive.h>

#include <sys/wait.h>

#include "trains.h"

static const unsigned buffer_counts[] = {1, 2, 5, FSK_READAHEAD_BUFFERS};
#define BUFFER_COUNTS (sizeof buffer_counts / sizeof *buffer_counts)

static void test_readahead_of_impossible_size_is_refused(void) {
    static const unsigned wrong[] = {0, FSK_READAHEAD_BUFFERS + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct fsk_readahead *queue = NULL;
        CHECK_INT(fsk_readahead_new(&queue, wrong[i]), -EINVAL);
        CHECK(queue == NULL);
    }
    fsk_readahead_free(NULL);
}

static void test_readahead_new_is_empty(void) {
    for (size_t i = 0; i < BUFFER_COUNTS; i++) {
        struct fsk_readahead *queue = NULL;
        struct fsk_datagram datagram;
        REQUIRE(fsk_readahead_new(&queue, buffer_counts[i]) == 0);
        CHECK_INT(fsk_readahead_pending(queue), 0);
        CHECK(!fsk_readahead_first(queue, &datagram));
        fsk_readahead_clear(queue);
        CHECK_INT(fsk_readahead_pending(queue), 0);
        fsk_readahead_free(queue);
    }
}

static void test_readahead_start_wants_a_udp_socket(void) {
    struct fsk_readahead *queue;
    struct fsk_address bound;
    int ends[2];
    REQUIRE(fsk_readahead_new(&queue, 1) == 0);
    int stream = open_bound(AF_INET, SOCK_STREAM, &bound);
    CHECK_INT(fsk_readahead_start(queue, stream), -EOPNOTSUPP);
    close(stream);
    open_unix_pair(SOCK_DGRAM, ends);
    CHECK_INT(fsk_readahead_start(queue, ends[0]), -EOPNOTSUPP);
    close_pair(ends);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(fsk_readahead_start(queue, ends[0]), -EOPNOTSUPP);
    close_pair(ends);
    CHECK_INT(fsk_readahead_start(queue, -1), -EOPNOTSUPP);
    int unbound = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(unbound >= 0);
    CHECK_INT(fsk_readahead_start(queue, unbound), expects_offload(UDP_GRO));
    CHECK_INT(fsk_readahead_stop(queue, unbound), 0);
    close(unbound);
    fsk_readahead_free(queue);
}

static void check_rounds(int family, unsigned buffers) {
    struct reader reader;
    ssize_t filled;
    open_reader(&reader, family, buffers);
    for (size_t i = 0; i < ROUNDS; i++) {
        send_round(&reader.pair, i);
        while ((filled = fsk_readahead_fill(reader.queue, reader.pair.receiver, MSG_DONTWAIT)) >
               0) {
            CHECK_INT(fsk_readahead_pending(reader.queue), filled);
            take_queued(&reader, (size_t)filled);
        }
        CHECK_INT(filled, -EAGAIN);
        ledger_end();
    }
    close_reader(&reader);
}

static void test_readahead_ipv4_gives_each_datagram_of_every_train(void) {
    for (size_t i = 0; i < BUFFER_COUNTS; i++)
        check_rounds(AF_INET, buffer_counts[i]);
}

static void test_readahead_ipv6_gives_each_datagram_of_every_train(void) {
    if (!has_loopback(AF_INET6))
        return;
    for (size_t i = 0; i < BUFFER_COUNTS; i++)
        check_rounds(AF_INET6, buffer_counts[i]);
}

/* Linux 6.9 cuts up to 128; kernels before that refuse what has more than 64. */
static void test_readahead_train_of_128_is_given_one_by_one(void) {
    struct reader reader;
    open_reader(&reader, AF_INET, 2);
    if (try_train(&reader.pair, 3, 128 * 3) < 0) {
        check_skip("UDP_SEGMENT with 128 datagrams: %s", strerror(errno));
    } else {
        settle();
        while (fsk_readahead_fill(reader.queue, reader.pair.receiver, MSG_DONTWAIT) > 0)
            take_queued(&reader, fsk_readahead_pending(reader.queue));
        ledger_end();
    }
    close_reader(&reader);
}

/* What is queued must be taken first: a fill then asks the kernel for nothing. */
static void test_readahead_fill_of_a_queue_that_is_not_empty_receives_nothing(void) {
    struct reader reader;
    open_reader(&reader, AF_INET, 4);
    send_plain(&reader.pair, 10);
    settle();
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 1);
    send_plain(&reader.pair, 20);
    settle();
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 1);
    CHECK_INT(fsk_readahead_fill(reader.queue, -1, 0), 1);
    take_queued(&reader, 1);
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 1);
    take_queued(&reader, 1);
    ledger_end();
    close_reader(&reader);
}

static void test_readahead_fill_with_nothing_there_waits_as_the_mode_says(void) {
    struct reader reader;
    open_reader(&reader, AF_INET, 4);
    int fd = reader.pair.receiver;
    CHECK_INT(fsk_readahead_fill(reader.queue, fd, MSG_DONTWAIT), -EAGAIN);
    set_timeout(fd, SO_RCVTIMEO, 20);
    int64_t start = clock_ns();
    CHECK_INT(fsk_readahead_fill(reader.queue, fd, 0), -EAGAIN);
    CHECK(clock_ns() - start >= 15000000); /* kernel ticks may be early by one */
    set_timeout(fd, SO_RCVTIMEO, 0);
    start_interrupting();
    CHECK_INT(fsk_readahead_fill(reader.queue, fd, 0), -EINTR);
    stop_interrupting();
    set_nonblocking(fd);
    CHECK_INT(fsk_readahead_fill(reader.queue, fd, 0), -EAGAIN);
    CHECK_INT(fsk_readahead_fill(reader.queue, -1, 0), -EBADF);
    CHECK_INT(fsk_readahead_pending(reader.queue), 0);
    close_reader(&reader);
}

static void test_readahead_fill_after_shutdown_gives_zero(void) {
    struct reader reader;
    open_reader(&reader, AF_INET, 8);
    REQUIRE(connect(reader.pair.receiver, &reader.pair.from.name.any, reader.pair.from.length) ==
            0);
    send_train(&reader.pair, 10, 45);
    send_plain(&reader.pair, 0); /* empty, and no end: it has a sender */
    settle();
    REQUIRE(shutdown(reader.pair.receiver, SHUT_RD) == 0);
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 6);
    take_queued(&reader, 6);
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 0);
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 0);
    CHECK_INT(fsk_readahead_pending(reader.queue), 0);
    close_reader(&reader);
}

/* In the middle of a train; what comes next is not the rest of it. */
static void test_readahead_clear_drops_what_is_queued(void) {
    struct reader reader;
    struct fsk_datagram datagram;
    open_reader(&reader, AF_INET, 64);
    send_train(&reader.pair, 100, 950);
    send_train(&reader.pair, 100, 950);
    settle();
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 20);
    take_queued(&reader, 3);
    fsk_readahead_clear(reader.queue);
    CHECK_INT(fsk_readahead_pending(reader.queue), 0);
    CHECK(!fsk_readahead_first(reader.queue, &datagram));
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, MSG_DONTWAIT), -EAGAIN);
    ledger.taken = ledger.sent;
    send_train(&reader.pair, 100, 950);
    settle();
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), 10);
    take_queued(&reader, 10);
    ledger_end();
    close_reader(&reader);
}

/* Items of a queued datagram; none may be that of UDP_GRO. Returns how many. */
static int count_items(const struct fsk_datagram *datagram) {
    struct fsk_message message = {.control = (void *)datagram->control,
                                  .control_length = datagram->control_length};
    struct fsk_control item;
    size_t cursor = 0;
    int count = 0;
    int result;
    int ttl = 0;
    while ((result = fsk_control_next(&message, &cursor, &item)) == 1) {
        count++;
        CHECK(item.level != SOL_UDP);
        if (item.level == IPPROTO_IP && item.type == IP_TTL && item.length == sizeof ttl) {
            memcpy(&ttl, item.data, sizeof ttl);
            CHECK_INT(ttl, 42);
        }
    }
    CHECK_INT(result, 0);
    return count;
}

static void check_control(unsigned metadata, int items) {
    struct reader reader;
    struct fsk_datagram datagram;
    int ttl = 42;
    open_reader(&reader, AF_INET, 8);
    REQUIRE(setsockopt(reader.pair.sender, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) == 0);
    REQUIRE(fsk_metadata_enable(reader.pair.receiver, AF_INET, metadata) == 0);
    send_train(&reader.pair, 10, 55);
    send_plain(&reader.pair, 10);
    send_train(&reader.pair, 20, 40);
    settle();
    CHECK_INT(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0), reader.has_gro ? 9 : 8);
    while (fsk_readahead_first(reader.queue, &datagram)) {
        CHECK_INT(count_items(&datagram), items);
        CHECK(items > 0 || datagram.control_length == 0);
        take_queued(&reader, 1);
        fsk_readahead_fill(reader.queue, reader.pair.receiver, MSG_DONTWAIT);
    }
    ledger_end();
    close_reader(&reader);
}

static void test_readahead_keeps_control_data_without_that_of_trains(void) {
    check_control(0, 0);
    check_control(FSK_METADATA_HOP_LIMIT, 1);
    check_control(FSK_METADATA_HOP_LIMIT | FSK_METADATA_TIMESTAMP, 2);
    check_control(FSK_METADATA_HOP_LIMIT | FSK_METADATA_TIMESTAMP | FSK_METADATA_DESTINATION |
                      FSK_METADATA_TOS,
                  4);
}

/* More items than there is room for: told, and trains are cut all the same. */
static void test_readahead_control_cut_is_told_and_trains_are_not_lost(void) {
    static const struct {
        int level;
        int option;
        int value;
    } options[] = {
        {SOL_SOCKET, SO_TIMESTAMPNS, 1},
        {SOL_SOCKET, SO_TIMESTAMPING, 0x18 /* receive and report by software */},
        {IPPROTO_IP, IP_PKTINFO, 1},
        {IPPROTO_IP, IP_RECVTTL, 1},
        {IPPROTO_IP, IP_RECVTOS, 1},
        {IPPROTO_IP, IP_RECVORIGDSTADDR, 1},
        {IPPROTO_IP, IP_RECVOPTS, 1},
        {IPPROTO_IP, IP_RETOPTS, 1},
    };
    static const char ip_options[40] = {1, 1, 1}; /* nothing, and the end */
    struct reader reader;
    struct fsk_datagram datagram;
    open_reader(&reader, AF_INET, 8);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        REQUIRE(setsockopt(reader.pair.receiver, options[i].level, options[i].option,
                           &options[i].value, sizeof options[i].value) == 0);
    REQUIRE(setsockopt(reader.pair.sender, IPPROTO_IP, IP_OPTIONS, ip_options, sizeof ip_options) ==
            0);
    send_train(&reader.pair, 10, 55);
    settle();
    size_t count = 0;
    while (count < 6 && fsk_readahead_fill(reader.queue, reader.pair.receiver, 0) > 0) {
        REQUIRE(fsk_readahead_first(reader.queue, &datagram));
        CHECK_INT(datagram.flags, MSG_CTRUNC);
        CHECK_INT(datagram.is_coalesced, reader.has_gro);
        ledger_take(datagram.data, datagram.length);
        fsk_readahead_pop(reader.queue);
        count++;
    }
    ledger_end();
    close_reader(&reader);
}

/* Trains lie in the kernel, behind a queue that a train is half taken from. All come from the
 * queue, and what is sent afterwards comes plain. */
static void check_stop(unsigned buffers, bool is_begun) {
    struct reader reader;
    open_reader(&reader, AF_INET, buffers);
    for (size_t round = 0; round < 3; round++) {
        ledger_begin();
        send_train(&reader.pair, 100, 1950);
        settle();
        if (is_begun) {
            CHECK(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0) > 0);
            take_queued(&reader, 1);
        }
        for (size_t i = 0; i < 5; i++) {
            send_train(&reader.pair, 90, 850);
            send_plain(&reader.pair, i % 2 * 700);
        }
        settle();
        CHECK_INT(fsk_readahead_stop(reader.queue, reader.pair.receiver), 0);
        if (reader.has_gro)
            CHECK_INT(fsk_readahead_pending(reader.queue), ledger.sent - ledger.taken);
        send_train(&reader.pair, 100, 1950);
        settle();
        take_queued(&reader, fsk_readahead_pending(reader.queue));
        take_plain(reader.pair.receiver);
        ledger_end();
        CHECK_INT(fsk_readahead_stop(reader.queue, reader.pair.receiver), 0);
        CHECK_INT(fsk_readahead_start(reader.queue, reader.pair.receiver), reader.has_gro);
    }
    close_reader(&reader);
}

static void test_readahead_stop_gives_each_datagram_once(void) {
    for (size_t i = 0; i < BUFFER_COUNTS; i++) {
        check_stop(buffer_counts[i], false);
        check_stop(buffer_counts[i], true);
    }
}

static void check_stop_of_many(unsigned buffers, size_t count) {
    struct reader reader;
    open_reader(&reader, AF_INET, buffers);
    if (has_room_for(reader.pair.receiver, count, 8)) {
        for (size_t i = 0; i < count; i++)
            send_plain(&reader.pair, 8);
        settle();
        CHECK_INT(fsk_readahead_stop(reader.queue, reader.pair.receiver), 0);
        if (reader.has_gro)
            CHECK_INT(fsk_readahead_pending(reader.queue), count);
        take_queued(&reader, fsk_readahead_pending(reader.queue));
        take_plain(reader.pair.receiver);
        ledger_end();
    } else {
        check_skip("SO_RCVBUF for %zu datagrams: less was given", count);
    }
    close_reader(&reader);
}

/* As many as the receive buffer holds is no flood, however few one call takes. */
static void test_readahead_stop_with_a_full_receive_buffer_ends(void) {
    for (size_t i = 0; i < BUFFER_COUNTS; i++)
        check_stop_of_many(buffer_counts[i], 200);
    check_stop_of_many(FSK_READAHEAD_BUFFERS, 5000);
}

/* After it poll calls the socket readable for ever. */
static void test_readahead_stop_after_shutdown_ends(void) {
    struct reader reader;
    open_reader(&reader, AF_INET, 4);
    REQUIRE(connect(reader.pair.receiver, &reader.pair.from.name.any, reader.pair.from.length) ==
            0);
    send_train(&reader.pair, 10, 55);
    settle();
    REQUIRE(shutdown(reader.pair.receiver, SHUT_RD) == 0);
    CHECK_INT(fsk_readahead_stop(reader.queue, reader.pair.receiver), 0);
    take_queued(&reader, fsk_readahead_pending(reader.queue));
    take_plain(reader.pair.receiver);
    ledger_end();
    close_reader(&reader);
}

/* An error that waits to be told must not leave trains behind. Whether stop or a receive after it
 * tells the error is open. */
static void test_readahead_stop_with_an_error_pending_leaves_no_train(void) {
    struct reader reader;
    unsigned char bytes[2000];
    open_reader(&reader, AF_INET, 4);
    REQUIRE(connect(reader.pair.receiver, &reader.pair.from.name.any, reader.pair.from.length) ==
            0);
    send_train(&reader.pair, 100, 950);
    send_train(&reader.pair, 100, 950);
    close(reader.pair.sender);
    REQUIRE(send(reader.pair.receiver, "x", 1, 0) == 1);
    settle();
    int result = fsk_readahead_stop(reader.queue, reader.pair.receiver);
    CHECK(result == 0 || result == -ECONNREFUSED);
    if (result < 0)
        CHECK_INT(fsk_readahead_stop(reader.queue, reader.pair.receiver), 0);
    take_queued(&reader, fsk_readahead_pending(reader.queue));
    ssize_t first = recv(reader.pair.receiver, bytes, sizeof bytes, MSG_DONTWAIT);
    if (first >= 0)
        ledger_take(bytes, (size_t)first);
    else
        CHECK(errno == ECONNREFUSED || errno == EAGAIN);
    take_plain(reader.pair.receiver);
    ledger_end();
    fsk_readahead_free(reader.queue);
    close(reader.pair.receiver);
}

enum { RACE_TRAINS = 400, TRAIN = 20, SIZE = 100, WINDOW = 8 };

/* On another CPU than the reader, when there is one, and only one: the datagrams stay in order. */
static void leave_cpu(void) {
    int own = sched_getcpu();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        if (cpu != own && sched_setaffinity(0, sizeof one, &one) == 0)
            return;
    }
}

/* The child of the race: a window of trains, and for each token one more: none is dropped. */
static void send_race(const struct udp_pair *pair, int tokens) {
    unsigned char bytes[TRAIN * SIZE];
    char token;
    int size = SIZE;
    leave_cpu();
    bool is_good = setsockopt(pair->sender, SOL_UDP, UDP_SEGMENT, &size, sizeof size) == 0;
    for (size_t i = 0; is_good && i < RACE_TRAINS; i++) {
        for (size_t j = 0; j < TRAIN; j++)
            write_numbered(bytes + j * SIZE, i * TRAIN + j, SIZE);
        is_good = i < WINDOW || recv(tokens, &token, 1, 0) == 1;
        is_good = is_good && sendto(pair->sender, bytes, sizeof bytes, 0, &pair->to.name.any,
                                    pair->to.length) == sizeof bytes;
    }
    _exit(is_good ? 0 : 1);
}

static void take_of_race(const void *data, size_t length, size_t *number) {
    unsigned char expected[SIZE];
    REQUIRE(length == SIZE);
    write_numbered(expected, (*number)++, SIZE);
    CHECK_BYTES(data, expected, SIZE);
}

static void take_queue_of_race(const struct reader *reader, size_t *number) {
    struct fsk_datagram datagram;
    while (fsk_readahead_first(reader->queue, &datagram)) {
        take_of_race(datagram.data, datagram.length, number);
        fsk_readahead_pop(reader->queue);
    }
}

/* Read ahead, stop, and read some more plainly. */
static void take_turn_of_race(const struct reader *reader, size_t *number) {
    unsigned char bytes[8000];
    ssize_t received = 1;
    int result;
    int fd = reader->pair.receiver;
    CHECK_INT(fsk_readahead_start(reader->queue, fd), reader->has_gro);
    if (*number % 3 == 0)
        fsk_readahead_fill(reader->queue, fd, MSG_DONTWAIT);
    while ((result = fsk_readahead_stop(reader->queue, fd)) == -EBUSY)
        take_queue_of_race(reader, number);
    REQUIRE(result == 0);
    take_queue_of_race(reader, number);
    for (int i = 0; i < 25 && received >= 0; i++) {
        received = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (received >= 0)
            take_of_race(bytes, (size_t)received, number);
    }
}

static void test_readahead_stop_while_trains_arrive_gives_each_datagram_once(void) {
    struct reader reader;
    int tokens[2];
    size_t given = WINDOW;
    size_t number = 0;
    int status = -1;
    open_reader(&reader, AF_INET, 8);
    open_unix_pair(SOCK_STREAM, tokens);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        close(tokens[0]); /* or it would wait for ever for a reader that has failed */
        send_race(&reader.pair, tokens[1]);
    }
    while (number < RACE_TRAINS * TRAIN) {
        take_turn_of_race(&reader, &number);
        for (; given < RACE_TRAINS && given < number / TRAIN + WINDOW; given++)
            REQUIRE(send(tokens[0], "t", 1, MSG_NOSIGNAL) == 1);
        if (number < RACE_TRAINS * TRAIN)
            REQUIRE(fsk_socket_wait(reader.pair.receiver, FSK_WAIT_READABLE, 5000000000) == 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    close_pair(tokens);
    close_reader(&reader);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_readahead_of_impossible_size_is_refused);
    RUN(test_readahead_new_is_empty);
    RUN(test_readahead_start_wants_a_udp_socket);
    RUN(test_readahead_ipv4_gives_each_datagram_of_every_train);
    RUN(test_readahead_ipv6_gives_each_datagram_of_every_train);
    RUN(test_readahead_train_of_128_is_given_one_by_one);
    RUN(test_readahead_fill_of_a_queue_that_is_not_empty_receives_nothing);
    RUN(test_readahead_fill_with_nothing_there_waits_as_the_mode_says);
    RUN(test_readahead_fill_after_shutdown_gives_zero);
    RUN(test_readahead_clear_drops_what_is_queued);
    RUN(test_readahead_keeps_control_data_without_that_of_trains);
    RUN(test_readahead_control_cut_is_told_and_trains_are_not_lost);
    RUN(test_readahead_stop_gives_each_datagram_once);
    RUN(test_readahead_stop_with_a_full_receive_buffer_ends);
    RUN(test_readahead_stop_after_shutdown_ends);
    RUN(test_readahead_stop_with_an_error_pending_leaves_no_train);
    RUN(test_readahead_stop_while_trains_arrive_gives_each_datagram_once);
    return check_report();
}
