/* SPDX-License-Identifier: MIT
 * Run once per engine: everything its send promises in engine.h is checked here. Each UDP test is
 * done without and with segmentation, which must make no difference to who receives.
 */
#include <fastsock/send.h>

#include "outbox.h"

/* Runs of messages, as sizes and how many; a count of 0 ends them. */
static const struct {
    size_t length;
    size_t count;
} cases[][9] = {
    {{10, 1}},
    {{0, 1}},
    {{0, 70}},
    {{1, 64}},
    {{1, 65}},
    {{10, 130}},
    {{10, 20}, {9, 1}, {10, 20}, {3, 1}, {3, 1}, {10, 1}, {9, 30}},
    {{10, 5}, {0, 1}, {10, 5}, {0, 2}, {7, 1}, {0, 1}, {10, 63}, {1, 1}},
    {{1, 1}, {2, 1}, {3, 2}, {4, 3}, {5, 1}, {6, 64}, {7, 2}},
    {{1400, 46}, {1300, 1}},
    {{1400, 100}},
    {{1000, 65}, {1, 1}},
    {{1000, 64}, {1000, 1}, {999, 1}},
    {{20000, 4}},
    {{32500, 2}},
    {{32501, 2}},
    {{65000, 2}},
    {{60000, 1}, {5000, 1}, {5001, 1}},
    {{65000, 1}, {1, 1}, {0, 1}, {65000, 1}},
    {{65507, 1}, {10, 3}, {65507, 1}},
};
#define CASES (sizeof cases / sizeof *cases)

static void fill_case(size_t number, const struct fsk_address *destination) {
    outbox_begin();
    for (size_t i = 0; i < 9 && cases[number][i].count > 0; i++)
        outbox_add_run(cases[number][i].count, cases[number][i].length, destination);
}

static void check_cases(int family, bool is_connected, struct fsk_segmentation *segmentation) {
    struct udp_pair pair;
    struct fsk_address source = {.length = sizeof source.name};
    char byte;
    if (!has_loopback(family))
        return;
    open_udp(family, &pair);
    const struct fsk_address *destination = is_connected ? NULL : &pair.to;
    if (is_connected)
        REQUIRE(connect(pair.sender, &pair.to.name.any, pair.to.length) == 0);
    has_room_for(pair.receiver, 130, 1400); /* what was asked for fits the default limit */
    for (size_t i = 0; i < CASES; i++) {
        fill_case(i, destination);
        CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), (intmax_t)outbox.count);
        settle();
        CHECK_INT(recvfrom(pair.receiver, &byte, 1, MSG_PEEK | MSG_DONTWAIT, &source.name.any,
                           &source.length) >= 0,
                  1);
        CHECK(fsk_address_equal(&source, &pair.from));
        outbox_all_arrived(pair.receiver, destination, 0, outbox.count);
    }
    outbox_begin();
    close_udp(&pair);
}

static void check_family(int family) {
    for (int i = 0; i < 2; i++) {
        struct fsk_segmentation *segmentation = new_segmentation();
        check_cases(family, i != 0, NULL);
        check_cases(family, i != 0, segmentation);
        CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
        fsk_segmentation_free(segmentation);
    }
}

static void test_send_batch_udp_ipv4_arrives_one_by_one(void) {
    check_family(AF_INET);
}

static void test_send_batch_udp_ipv6_arrives_one_by_one(void) {
    check_family(AF_INET6);
}

static void test_send_batch_of_nothing_gives_zero(void) {
    struct udp_pair pair;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_udp(AF_INET, &pair);
    CHECK_INT(fsk_send_batch(pair.sender, NULL, 0, 0, NULL, &(int){0}), 0);
    CHECK_INT(fsk_send_batch(pair.sender, NULL, 0, 0, segmentation, &(int){0}), 0);
    CHECK_INT(fsk_send_batch(-1, NULL, 0, 0, NULL, &(int){0}), 0);
    outbox_nothing_more(pair.receiver);
    fsk_segmentation_free(segmentation);
    close_udp(&pair);
}

static void check_destinations(struct fsk_segmentation *segmentation) {
    struct udp_pair one;
    struct udp_pair other;
    open_udp(AF_INET, &one);
    open_udp(AF_INET, &other);
    REQUIRE(connect(one.sender, &other.from.name.any, other.from.length) == 0);
    outbox_begin();
    for (size_t i = 0; i < 150; i++) {
        bool is_run = i / 20 % 2 == 0;
        const struct fsk_address *destination = is_run ? &one.to : i % 2 ? &other.to : &one.to;
        outbox_add(is_run ? 30 : 20 + i % 3, i % 20 == 19 ? NULL : destination);
    }
    CHECK_INT(outbox_send(one.sender, 0, 0, segmentation), (intmax_t)outbox.count);
    outbox_all_arrived(one.receiver, &one.to, 0, outbox.count);
    outbox_all_arrived(other.receiver, &other.to, 0, outbox.count);
    outbox_all_arrived(other.sender, NULL, 0, outbox.count); /* the peer of one */
    outbox_begin();
    close_udp(&one);
    close_udp(&other);
}

static void test_send_batch_to_many_destinations_keeps_each_order(void) {
    struct fsk_segmentation *segmentation = new_segmentation();
    check_destinations(NULL);
    check_destinations(segmentation);
    fsk_segmentation_free(segmentation);
}

/* More than one system call takes, and more than the receiver has room for: what did not arrive was
 * dropped by it, and is at the end. */
static void check_many(struct fsk_segmentation *segmentation) {
    struct udp_pair pair;
    uint32_t drops = 0;
    static unsigned char data[16];
    size_t arrived = 0;
    size_t number = 0;
    ssize_t length;
    open_udp(AF_INET, &pair);
    outbox_begin();
    for (size_t i = 0; i < OUTBOX_ROOM; i++)
        outbox_add(i % 70 == 69 ? 7 : 8, &pair.to);
    CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), OUTBOX_ROOM);
    settle();
    while ((length = recv(pair.receiver, data, sizeof data, MSG_DONTWAIT)) >= 0) {
        size_t found = data[0] | (size_t)data[1] << 8;
        CHECK(arrived == 0 || found > number);
        number = found;
        outbox_check(number, data, (size_t)length);
        arrived++;
    }
    CHECK(arrived > 100);
    CHECK_INT(fsk_socket_drops(pair.receiver, &drops), 0);
    CHECK_INT(arrived + drops, OUTBOX_ROOM);
    outbox_begin();
    close_udp(&pair);
}

static void test_send_batch_of_more_than_the_kernel_takes_sends_all(void) {
    struct fsk_segmentation *segmentation = new_segmentation();
    check_many(NULL);
    check_many(segmentation);
    fsk_segmentation_free(segmentation);
}

/* Good messages up to bad, then count_bad of length to destination, then good ones: the count is
 * exact, the error comes when the bad one is first, and behind it all goes on. */
static void check_bad(size_t bad, size_t count_bad, size_t length,
                      const struct fsk_address *destination, int expected,
                      struct fsk_segmentation *segmentation) {
    struct udp_pair pair;
    open_udp(AF_INET, &pair);
    outbox_begin();
    outbox_add_run(bad, 12, &pair.to);
    outbox_add_run(count_bad, length, destination != NULL ? destination : &pair.to);
    outbox_add_run(10, 12, &pair.to);
    if (bad > 0)
        CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), (intmax_t)bad);
    outbox_all_arrived(pair.receiver, &pair.to, 0, bad);
    for (size_t i = 0; i < count_bad; i++)
        CHECK_INT(outbox_send(pair.sender, bad + i, 0, segmentation), expected);
    outbox_nothing_more(pair.receiver);
    CHECK_INT(outbox_send(pair.sender, bad + count_bad, 0, segmentation), 10);
    outbox_all_arrived(pair.receiver, &pair.to, bad + count_bad, outbox.count);
    outbox_begin();
    close_udp(&pair);
}

static void check_bad_everywhere(size_t length, const struct fsk_address *destination,
                                 int expected) {
    static const size_t places[] = {0, 1, 5, 63, 64, 65, 100};
    struct fsk_segmentation *segmentation = new_segmentation();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (size_t count = 1; count <= 3; count += 2) {
            check_bad(places[i], count, length, destination, expected, NULL);
            check_bad(places[i], count, length, destination, expected, segmentation);
        }
    }
    CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
    fsk_segmentation_free(segmentation);
}

static void test_send_batch_too_large_message_ends_it_exactly_there(void) {
    check_bad_everywhere(70000, NULL, -EMSGSIZE);
    check_bad_everywhere(65508, NULL, -EMSGSIZE);
}

/* Errors that are also those of a refused segmented send, and others. */
static void test_send_batch_wrong_destination_ends_it_exactly_there(void) {
    struct fsk_address wrong;
    REQUIRE(fsk_address_parse_host(&wrong, AF_INET, "127.0.0.1", 0) == 0);
    check_bad_everywhere(12, &wrong, -EINVAL);
    check_bad_everywhere(20, &wrong, -EINVAL);
    REQUIRE(fsk_address_parse_host(&wrong, AF_INET, "127.255.255.255", 9) == 0);
    check_bad_everywhere(12, &wrong, -EACCES); /* broadcast without SO_BROADCAST */
    REQUIRE(fsk_address_parse_host(&wrong, AF_INET6, "::1", 9) == 0);
    check_bad_everywhere(12, &wrong, -EAFNOSUPPORT);
}

static void test_send_batch_without_destination_is_refused(void) {
    struct udp_pair pair;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_udp(AF_INET, &pair);
    outbox_begin();
    outbox_add_run(3, 10, NULL);
    CHECK_INT(outbox_send(pair.sender, 0, 0, NULL), -EDESTADDRREQ);
    CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), -EDESTADDRREQ);
    CHECK_INT(outbox_send(pair.sender, 2, 0, NULL), -EDESTADDRREQ);
    outbox_begin();
    fsk_segmentation_free(segmentation);
    close_udp(&pair);
}

static void test_send_batch_on_wrong_descriptor_gives_its_error(void) {
    int ends[2];
    outbox_begin();
    outbox_add_run(3, 10, NULL);
    CHECK_INT(outbox_send(-1, 0, 0, NULL), -EBADF);
    CHECK_INT(outbox_send(-1, 2, 0, NULL), -EBADF);
    CHECK_INT(outbox_send(closed_number(), 0, 0, NULL), -EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(outbox_send(ends[1], 0, 0, NULL), -ENOTSOCK);
    close_pair(ends);
    outbox_begin();
}

/* A named receiver takes as many as its queue may hold, whoever sends. */
static void test_send_batch_to_a_full_unix_queue_gives_what_went(void) {
    struct unix_socket receiver;
    struct fsk_address to;
    open_unix(&receiver, SOCK_DGRAM, &to);
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(sender >= 0);
    outbox_begin();
    for (size_t i = 0; i < 700; i++)
        outbox_add(i % 30, &to);
    ssize_t first = outbox_send(sender, 0, MSG_DONTWAIT, NULL);
    REQUIRE(first > 0 && first < 700);
    CHECK_INT(outbox_send(sender, (size_t)first, MSG_DONTWAIT, NULL), -EAGAIN);
    outbox_arrived(receiver.fd, 0);
    outbox_arrived(receiver.fd, 1);
    set_nonblocking(sender);
    CHECK_INT(outbox_send(sender, (size_t)first, 0, NULL), 2);
    CHECK_INT(outbox_send(sender, (size_t)first + 2, 0, NULL), -EAGAIN);
    outbox_all_arrived(receiver.fd, &to, 2, (size_t)first + 2);
    outbox_begin();
    close(sender);
    close_unix(&receiver);
}

/* Waiting ends with the count when something went, and with the error when nothing did. */
static void test_send_batch_waiting_for_room_ends_as_the_mode_says(void) {
    struct unix_socket receiver;
    struct fsk_address to;
    open_unix(&receiver, SOCK_DGRAM, &to);
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(sender >= 0);
    outbox_begin();
    outbox_add_run(700, 20, &to);
    set_timeout(sender, SO_SNDTIMEO, 20);
    ssize_t first = outbox_send(sender, 0, 0, NULL);
    REQUIRE(first > 0 && first < 700);
    int64_t start = clock_ns();
    CHECK_INT(outbox_send(sender, (size_t)first, 0, NULL), -EAGAIN);
    CHECK(clock_ns() - start >= 15000000); /* kernel ticks may be early by one */
    set_timeout(sender, SO_SNDTIMEO, 0);
    start_interrupting();
    CHECK_INT(outbox_send(sender, (size_t)first, 0, NULL), -EINTR);
    stop_interrupting();
    outbox_all_arrived(receiver.fd, &to, 0, (size_t)first);
    start_interrupting();
    CHECK_INT(outbox_send(sender, 0, 0, NULL), first);
    stop_interrupting();
    outbox_all_arrived(receiver.fd, &to, 0, (size_t)first);
    outbox_begin();
    close(sender);
    close_unix(&receiver);
}

static void test_send_batch_unix_destination_that_is_gone_ends_it_there(void) {
    struct unix_socket receiver;
    struct fsk_address to;
    struct fsk_address gone;
    open_unix(&receiver, SOCK_DGRAM, &to);
    REQUIRE(fsk_address_set_path(&gone, "/tmp/fastsock-none/none", 23) == 0);
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(sender >= 0);
    outbox_begin();
    outbox_add_run(3, 20, &to);
    outbox_add(20, &gone);
    outbox_add_run(3, 20, &to);
    CHECK_INT(outbox_send(sender, 0, 0, NULL), 3);
    CHECK_INT(outbox_send(sender, 3, 0, NULL), -ENOENT);
    CHECK_INT(outbox_send(sender, 4, 0, NULL), 3);
    outbox_all_arrived(receiver.fd, &to, 0, outbox.count);
    outbox_begin();
    close(sender);
    close_unix(&receiver);
}

static void check_pair(int type) {
    int pair[2];
    open_unix_pair(type, pair);
    outbox_begin();
    for (size_t i = 0; i < 150; i++)
        outbox_add(i % 50, NULL);
    CHECK_INT(outbox_send(pair[0], 0, 0, NULL), 150);
    outbox_all_arrived(pair[1], NULL, 0, 150);
    close(pair[1]);
    CHECK_INT(outbox_send(pair[0], 0, MSG_NOSIGNAL, NULL),
              type == SOCK_SEQPACKET ? -EPIPE : -ECONNREFUSED);
    outbox_begin();
    close(pair[0]);
}

static void test_send_batch_unix_pairs_keep_bounds_and_order(void) {
    check_pair(SOCK_DGRAM);
    check_pair(SOCK_SEQPACKET);
}

/* Larger than any send buffer. */
static void test_send_batch_seqpacket_too_large_message_ends_it_exactly_there(void) {
    int pair[2];
    open_unix_pair(SOCK_SEQPACKET, pair);
    outbox_begin();
    outbox_add_run(5, 30, NULL);
    outbox_add(32 << 20, NULL);
    outbox_add_run(5, 30, NULL);
    CHECK_INT(outbox_send(pair[0], 0, 0, NULL), 5);
    CHECK_INT(outbox_send(pair[0], 5, 0, NULL), -EMSGSIZE);
    CHECK_INT(outbox_send(pair[0], 6, 0, NULL), 5);
    for (size_t i = 0; i < outbox.count; i++)
        if (i != 5)
            outbox_arrived(pair[1], i);
    outbox_nothing_more(pair[1]);
    outbox_begin();
    close_pair(pair);
}

/* A refusal of the first datagram comes back while the others are sent; sendmmsg would swallow it. */
static void test_send_batch_tells_an_error_pending_on_the_socket(void) {
    struct fsk_address gone;
    struct fsk_outgoing messages[6];
    int error = 0;
    int other = open_bound(AF_INET, SOCK_DGRAM, &gone);
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(connect(sender, &gone.name.any, gone.length) == 0);
    close(other);
    for (size_t i = 0; i < 6; i++)
        messages[i] = (struct fsk_outgoing){.data = "123456", .length = i + 1};
    CHECK_INT(fsk_send_batch(sender, messages, 6, 0, NULL, &error), 1);
    CHECK_INT(error, -ECONNREFUSED);
    for (size_t i = 0; i < 6; i++)
        messages[i].destination = &gone;
    CHECK_INT(fsk_send_batch(sender, messages + 1, 5, 0, NULL, &error), 1);
    CHECK_INT(error, -ECONNREFUSED);
    close(sender);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_send_batch_udp_ipv4_arrives_one_by_one);
    RUN(test_send_batch_udp_ipv6_arrives_one_by_one);
    RUN(test_send_batch_of_nothing_gives_zero);
    RUN(test_send_batch_to_many_destinations_keeps_each_order);
    RUN(test_send_batch_of_more_than_the_kernel_takes_sends_all);
    RUN(test_send_batch_too_large_message_ends_it_exactly_there);
    RUN(test_send_batch_wrong_destination_ends_it_exactly_there);
    RUN(test_send_batch_without_destination_is_refused);
    RUN(test_send_batch_on_wrong_descriptor_gives_its_error);
    RUN(test_send_batch_to_a_full_unix_queue_gives_what_went);
    RUN(test_send_batch_waiting_for_room_ends_as_the_mode_says);
    RUN(test_send_batch_unix_destination_that_is_gone_ends_it_there);
    RUN(test_send_batch_unix_pairs_keep_bounds_and_order);
    RUN(test_send_batch_seqpacket_too_large_message_ends_it_exactly_there);
    RUN(test_send_batch_tells_an_error_pending_on_the_socket);
    return check_report();
}
