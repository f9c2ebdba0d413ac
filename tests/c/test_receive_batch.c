/* SPDX-License-Identifier: MIT
 * Run once per engine: everything its receive promises in engine.h is checked here.
 */
#include <fastsock/receive.h>

#include <sys/wait.h>

#include "datagrams.h"

#define NOTHING 0xa5a5a5a5u

/* What a receive must not touch. */
static void mark_row(struct fsk_batch *batch, uint32_t row) {
    batch->lengths[row] = batch->wire_lengths[row] = batch->flags[row] = batch->source[row] =
        NOTHING;
}

static void check_row_marked(const struct fsk_batch *batch, uint32_t row) {
    CHECK_INT(batch->lengths[row], NOTHING);
    CHECK_INT(batch->wire_lengths[row], NOTHING);
    CHECK_INT(batch->flags[row], NOTHING);
    CHECK_INT(batch->source[row], NOTHING);
}

/* All rows name the one sender, or none for NULL. */
static void check_one_source(const struct fsk_batch *batch, const struct fsk_address *from) {
    struct fsk_address source;
    CHECK_INT(batch->source_count, from != NULL);
    for (uint32_t row = 0; row < batch->count; row++)
        CHECK_INT(batch->source[row], from != NULL ? 0 : FSK_NO_ADDRESS);
    fsk_batch_source(batch, 0, &source);
    if (from != NULL)
        CHECK(fsk_address_equal(&source, from));
    else
        CHECK_INT(source.length, 0);
}

static void check_udp(int family) {
    static const size_t lengths[] = {5, 0, 100, 1, 0, 99, 64, 100};
    struct udp_pair pair;
    if (!has_loopback(family))
        return;
    struct fsk_batch *batch = new_batch(20, 100);
    open_udp(family, &pair);
    for (size_t i = 0; i < 8; i++)
        send_plain(&pair, lengths[i]);
    settle();
    mark_row(batch, 8);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 8);
    CHECK_INT(batch->count, 8);
    ledger_take_rows(batch, 0, false);
    ledger_end();
    check_one_source(batch, &pair.from);
    check_row_marked(batch, 8);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, MSG_DONTWAIT, batch), -EAGAIN);
    CHECK_INT(batch->count, 8);
    fsk_batch_free(batch);
    close_udp(&pair);
}

static void test_receive_batch_udp_ipv4_keeps_order_and_empty_datagrams(void) {
    check_udp(AF_INET);
}

static void test_receive_batch_udp_ipv6_keeps_order_and_empty_datagrams(void) {
    check_udp(AF_INET6);
}

/* The bytes kept fill their slot and go no further: the next begins with its own. */
static void test_receive_batch_larger_than_max_message_is_cut_and_told(void) {
    static const size_t lengths[] = {10, 11, 9, 65507, 0, 1000, 10};
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(7, 10);
    open_udp(AF_INET, &pair);
    for (size_t i = 0; i < 7; i++)
        send_plain(&pair, lengths[i]);
    settle();
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, MSG_TRUNC, batch), 7);
    for (uint32_t row = 0; row < 7; row++)
        CHECK_INT(batch->flags[row], lengths[row] > 10 ? FSK_BATCH_TRUNCATED : 0);
    ledger_take_rows(batch, 0, false);
    ledger_end();
    CHECK_INT(batch->offsets[0], 0);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* What has no row stays in the kernel, and the next receive appends it behind. */
static void test_receive_batch_takes_no_more_than_its_rows(void) {
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(100, 30);
    struct fsk_batch *small = new_batch(30, 30);
    open_udp(AF_INET, &pair);
    for (size_t i = 0; i < 100; i++)
        send_plain(&pair, i % 40);
    settle();
    for (int i = 0; i < 2; i++) {
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, small), 30);
        ledger_take_rows(small, 0, false);
        fsk_batch_clear(small);
    }
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 40);
    ledger_take_rows(batch, 0, false);
    for (size_t i = 0; i < 80; i++)
        send_plain(&pair, (i + 20) % 40);
    settle();
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 60);
    ledger_take_rows(batch, 40, false);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), -EINVAL);
    CHECK_INT(batch->count, 100);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, small), 20);
    ledger_take_rows(small, 0, false);
    ledger_end();
    fsk_batch_free(small);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* Rows of several sockets, one after the other. */
static void test_receive_batch_appends_from_another_socket(void) {
    struct udp_pair one;
    struct udp_pair other;
    struct fsk_address source;
    if (!has_loopback(AF_INET6))
        return;
    struct fsk_batch *batch = new_batch(6, 20);
    open_udp(AF_INET, &one);
    open_udp(AF_INET6, &other);
    for (size_t i = 0; i < 6; i++) {
        const struct udp_pair *pair = i % 2 == 0 ? &one : &other;
        send_plain(pair, 10 + i);
        CHECK_INT(fsk_receive_batch(pair->receiver, SOCK_DGRAM, 0, batch), 1);
        CHECK_INT(batch->source[i], i % 2);
    }
    ledger_take_rows(batch, 0, false);
    CHECK_INT(batch->source_count, 2);
    fsk_batch_source(batch, 0, &source);
    CHECK(fsk_address_equal(&source, &one.from));
    fsk_batch_source(batch, 1, &source);
    CHECK(fsk_address_equal(&source, &other.from));
    close_udp(&one);
    close_udp(&other);
    fsk_batch_free(batch);
}

/* Beyond one system call's worth; 1024 is as many as recvmmsg takes. */
static void check_many(size_t count) {
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(2000, 8);
    open_udp(AF_INET, &pair);
    if (!has_room_for(pair.receiver, count, 8)) {
        check_skip("SO_RCVBUF for %zu datagrams: less was given", count);
    } else {
        for (size_t i = 0; i < count; i++)
            send_plain(&pair, i % 9);
        settle();
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), (intmax_t)count);
        ledger_take_rows(batch, 0, false);
        ledger_end();
    }
    fsk_batch_free(batch);
    close_udp(&pair);
}

static void test_receive_batch_of_more_than_one_call_takes(void) {
    static const size_t counts[] = {63, 64, 65, 127, 128, 129, 200};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        check_many(counts[i]);
}

static void test_receive_batch_of_more_than_the_kernel_takes(void) {
    check_many(1500);
}

static void send_numbered(int fd, size_t length) {
    unsigned char bytes[1000];
    ledger_add(bytes, length, false);
    REQUIRE(send(fd, bytes, length, 0) == (ssize_t)length);
}

static void test_receive_batch_unix_datagrams_of_unnamed_sender(void) {
    int pair[2];
    struct fsk_batch *batch = new_batch(200, 50);
    open_unix_pair(SOCK_DGRAM, pair);
    ledger_begin();
    for (size_t i = 0; i < 100; i++)
        send_numbered(pair[0], i); /* the first is empty, and no end */
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_DGRAM, 0, batch), 100);
    ledger_take_rows(batch, 0, false);
    ledger_end();
    check_one_source(batch, NULL);
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_DGRAM, MSG_DONTWAIT, batch), -EAGAIN);
    close_pair(pair);
    fsk_batch_free(batch);
}

static void test_receive_batch_unix_datagrams_name_the_bound_sender(void) {
    struct unix_socket receiver;
    struct unix_socket sender;
    struct fsk_address to;
    struct fsk_address from;
    struct fsk_batch *batch = new_batch(8, 50);
    open_unix(&receiver, SOCK_DGRAM, &to);
    open_unix(&sender, SOCK_DGRAM, &from);
    REQUIRE(connect(sender.fd, &to.name.any, to.length) == 0);
    ledger_begin();
    for (size_t i = 0; i < 8; i++)
        send_numbered(sender.fd, 10 * i);
    CHECK_INT(fsk_receive_batch(receiver.fd, SOCK_DGRAM, 0, batch), 8);
    ledger_take_rows(batch, 0, false);
    check_one_source(batch, &from);
    close_unix(&sender);
    close_unix(&receiver);
    fsk_batch_free(batch);
}

static void test_receive_batch_seqpacket_ends_at_the_empty_message(void) {
    static const size_t lengths[] = {3, 70, 0, 0, 5};
    int pair[2];
    struct fsk_batch *batch = new_batch(5, 50);
    open_unix_pair(SOCK_SEQPACKET, pair);
    ledger_begin();
    for (size_t i = 0; i < 5; i++)
        send_numbered(pair[0], lengths[i]);
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_SEQPACKET, 0, batch), 3);
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_SEQPACKET, 0, batch), 1);
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_SEQPACKET, 0, batch), 1);
    ledger_take_rows(batch, 0, false);
    ledger_end();
    close_pair(pair);
    fsk_batch_free(batch);
}

static void test_receive_batch_seqpacket_end_is_one_empty_message(void) {
    int pair[2];
    struct fsk_batch *batch = new_batch(300, 50);
    open_unix_pair(SOCK_SEQPACKET, pair);
    ledger_begin();
    for (size_t i = 1; i <= 150; i++)
        send_numbered(pair[0], i);
    close(pair[0]);
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_SEQPACKET, 0, batch), 151);
    CHECK_INT(batch->lengths[150], 0);
    CHECK_INT(batch->flags[150], 0);
    batch->count = 150;
    ledger_take_rows(batch, 0, false);
    ledger_end();
    fsk_batch_clear(batch);
    for (uint32_t i = 1; i <= 2; i++) {
        CHECK_INT(fsk_receive_batch(pair[1], SOCK_SEQPACKET, 0, batch), 1);
        CHECK_INT(batch->count, i);
        CHECK_INT(batch->wire_lengths[i - 1], 0);
    }
    close(pair[1]);
    fsk_batch_free(batch);
}

/* Of a connected UDP socket, as of any: the datagrams first, then 0 as often as asked. */
static void test_receive_batch_udp_after_shutdown_gives_zero(void) {
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(100, 50);
    open_udp(AF_INET, &pair);
    REQUIRE(connect(pair.receiver, &pair.from.name.any, pair.from.length) == 0);
    for (size_t i = 0; i < 3; i++)
        send_plain(&pair, 20 * (2 - i)); /* the last is empty, and no end: it has a sender */
    settle();
    REQUIRE(shutdown(pair.receiver, SHUT_RD) == 0);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 3);
    ledger_take_rows(batch, 0, false);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 0);
        CHECK_INT(batch->count, 3);
    }
    check_one_source(batch, &pair.from);
    fsk_batch_free(batch);
    close_udp(&pair);
}

static void test_receive_batch_flags_for_one_message_are_refused(void) {
    static const int wrong[] = {MSG_PEEK, MSG_WAITALL, MSG_ERRQUEUE, MSG_OOB};
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(4, 50);
    open_udp(AF_INET, &pair);
    send_plain(&pair, 7);
    settle();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int flags = wrong[i] | MSG_DONTWAIT;
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, wrong[i], batch), -EINVAL);
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, flags, batch), -EINVAL);
    }
    CHECK_INT(batch->count, 0);
    int flags = MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC;
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, flags, batch), 1);
    ledger_take_rows(batch, 0, false);
    fsk_batch_free(batch);
    close_udp(&pair);
}

static void test_receive_batch_of_a_stream_is_refused(void) {
    int pair[2];
    char byte = 0;
    struct fsk_batch *batch = new_batch(4, 50);
    open_tcp_pair(AF_INET, pair);
    REQUIRE(send(pair[0], "x", 1, 0) == 1);
    CHECK_INT(fsk_receive_batch(pair[1], SOCK_STREAM, 0, batch), -EOPNOTSUPP);
    CHECK_INT(batch->count, 0);
    CHECK_INT(recv(pair[1], &byte, 1, 0), 1);
    close_pair(pair);
    fsk_batch_free(batch);
}

static void test_receive_batch_on_wrong_descriptor_gives_its_error(void) {
    struct fsk_batch *batch = new_batch(4, 50);
    int ends[2];
    CHECK_INT(fsk_receive_batch(-1, SOCK_DGRAM, 0, batch), -EBADF);
    CHECK_INT(fsk_receive_batch(closed_number(), SOCK_SEQPACKET, 0, batch), -EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(fsk_receive_batch(ends[0], SOCK_DGRAM, 0, batch), -ENOTSOCK);
    CHECK_INT(batch->count, 0);
    close_pair(ends);
    fsk_batch_free(batch);
}

static void check_nothing_there(int fd, int type) {
    struct fsk_batch *batch = new_batch(4, 50);
    mark_row(batch, 0);
    CHECK_INT(fsk_receive_batch(fd, type, MSG_DONTWAIT, batch), -EAGAIN);
    set_timeout(fd, SO_RCVTIMEO, 20);
    int64_t start = clock_ns();
    CHECK_INT(fsk_receive_batch(fd, type, 0, batch), -EAGAIN);
    CHECK(clock_ns() - start >= 15000000); /* kernel ticks may be early by one */
    set_timeout(fd, SO_RCVTIMEO, 0);
    start_interrupting();
    CHECK_INT(fsk_receive_batch(fd, type, 0, batch), -EINTR);
    stop_interrupting();
    set_nonblocking(fd);
    CHECK_INT(fsk_receive_batch(fd, type, 0, batch), -EAGAIN);
    CHECK_INT(batch->count, 0);
    CHECK_INT(batch->used, 0);
    check_row_marked(batch, 0);
    fsk_batch_free(batch);
}

static void test_receive_batch_with_nothing_there_waits_as_the_mode_says(void) {
    static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    struct udp_pair udp;
    int pair[2];
    open_udp(AF_INET, &udp);
    check_nothing_there(udp.receiver, SOCK_DGRAM);
    close_udp(&udp);
    for (size_t i = 0; i < 2; i++) {
        open_unix_pair(types[i], pair);
        check_nothing_there(pair[1], types[i]);
        close_pair(pair);
    }
}

/* Each message of the child answers a receive that has been waiting, or is about to. */
static void test_receive_batch_waits_for_the_first_only(void) {
    int pair[2];
    int status = -1;
    struct fsk_batch *batch = new_batch(64, 50);
    open_unix_pair(SOCK_DGRAM, pair);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        char answer;
        close(pair[1]); /* or it would wait for ever for a parent that has failed */
        for (int i = 0; i < 20; i++)
            if (send(pair[0], "x", 1, 0) != 1 || recv(pair[0], &answer, 1, 0) != 1)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < 20; i++) {
        CHECK_INT(fsk_receive_batch(pair[1], SOCK_DGRAM, 0, batch), 1);
        REQUIRE(send(pair[1], "y", 1, 0) == 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    close_pair(pair);
    fsk_batch_free(batch);
}

/* An error that the network has reported: before the datagrams it is the call's; behind them it is
 * left for the next call, or the same one gave the datagrams and it is gone with none. */
static void test_receive_batch_error_is_told_once_and_costs_no_datagram(void) {
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(10, 50);
    open_udp(AF_INET, &pair);
    REQUIRE(connect(pair.receiver, &pair.from.name.any, pair.from.length) == 0);
    for (size_t i = 0; i < 5; i++)
        send_plain(&pair, 10);
    settle();
    close(pair.sender);
    REQUIRE(send(pair.receiver, "x", 1, 0) == 1);
    settle();
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), -ECONNREFUSED);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 5);
    ledger_take_rows(batch, 0, false);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, MSG_DONTWAIT, batch), -EAGAIN);
    close(pair.receiver);
    fsk_batch_free(batch);
}

static void send_descriptor(int fd, int passed) {
    union {
        struct cmsghdr header;
        unsigned char room[CMSG_SPACE(sizeof passed)];
    } control = {.room = {0}};
    struct iovec part = {.iov_base = "fd", .iov_len = 2};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof passed);
    memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
    REQUIRE(sendmsg(fd, &message, 0) == 2);
}

/* With metadata there is room for control data, into which the kernel would put descriptors. */
static void check_descriptors_refused(int type, unsigned metadata) {
    int pair[2];
    struct fsk_batch *batch = new_batch(40, 50);
    open_unix_pair(type, pair);
    int lowest = closed_number();
    batch->metadata = metadata;
    for (int i = 0; i < 10; i++) {
        send_descriptor(pair[0], pair[i % 2]);
        REQUIRE(send(pair[0], "none", 4, 0) == 4);
    }
    CHECK_INT(fsk_receive_batch(pair[1], type, 0, batch), 20);
    for (uint32_t row = 0; row < 20; row++) {
        CHECK_INT(batch->flags[row], row % 2 == 0 ? FSK_BATCH_CONTROL_TRUNCATED : 0);
        CHECK_INT(batch->lengths[row], row % 2 == 0 ? 2 : 4);
    }
    CHECK_INT(closed_number(), lowest);
    close_pair(pair);
    fsk_batch_free(batch);
}

static void test_receive_batch_descriptors_are_refused_and_told(void) {
    check_descriptors_refused(SOCK_DGRAM, 0);
    check_descriptors_refused(SOCK_SEQPACKET, 0);
    check_descriptors_refused(SOCK_DGRAM, FSK_METADATA_TIMESTAMP);
    check_descriptors_refused(SOCK_SEQPACKET, FSK_METADATA_TIMESTAMP);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_receive_batch_udp_ipv4_keeps_order_and_empty_datagrams);
    RUN(test_receive_batch_udp_ipv6_keeps_order_and_empty_datagrams);
    RUN(test_receive_batch_larger_than_max_message_is_cut_and_told);
    RUN(test_receive_batch_takes_no_more_than_its_rows);
    RUN(test_receive_batch_appends_from_another_socket);
    RUN(test_receive_batch_of_more_than_one_call_takes);
    RUN(test_receive_batch_of_more_than_the_kernel_takes);
    RUN(test_receive_batch_unix_datagrams_of_unnamed_sender);
    RUN(test_receive_batch_unix_datagrams_name_the_bound_sender);
    RUN(test_receive_batch_seqpacket_ends_at_the_empty_message);
    RUN(test_receive_batch_seqpacket_end_is_one_empty_message);
    RUN(test_receive_batch_udp_after_shutdown_gives_zero);
    RUN(test_receive_batch_flags_for_one_message_are_refused);
    RUN(test_receive_batch_of_a_stream_is_refused);
    RUN(test_receive_batch_on_wrong_descriptor_gives_its_error);
    RUN(test_receive_batch_with_nothing_there_waits_as_the_mode_says);
    RUN(test_receive_batch_waits_for_the_first_only);
    RUN(test_receive_batch_error_is_told_once_and_costs_no_datagram);
    RUN(test_receive_batch_descriptors_are_refused_and_told);
    return check_report();
}
