/* SPDX-License-Identifier: MIT
 * Which datagrams leave as one segmented send, seen by a receiver with UDP_GRO, which loopback
 * gives trains as they were sent; and what happens when the kernel refuses one. That every datagram
 * arrives is checked in test_send_batch.c too.
 */
#include <fastsock/capability.h>
#include <fastsock/segmentation.h>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "outbox.h"

/* linux/udp.h, for the headers of an older C library. */
#ifndef UDP_NO_CHECK6_TX
#define UDP_NO_CHECK6_TX 101
#define UDP_NO_CHECK6_RX 102
#endif

static void set_option(int fd, int level, int option, int value) {
    REQUIRE(setsockopt(fd, level, option, &value, sizeof value) == 0);
}

/* Whether trains can be seen: the engine sends them, and the kernel has both offloads. */
static bool sees_trains(void) {
    return expects_offload(UDP_SEGMENT) && expects_offload(UDP_GRO);
}

static void open_watched(int family, struct udp_pair *made) {
    int on = 1;
    open_udp(family, made);
    if (expects_offload(UDP_GRO))
        REQUIRE(setsockopt(made->receiver, SOL_UDP, UDP_GRO, &on, sizeof on) == 0);
    outbox_begin();
}

static void close_watched(struct udp_pair *made) {
    outbox_begin();
    close_udp(made);
}

/* The size that UDP_GRO tells; 0: it tells none. */
static size_t segment_size(struct msghdr *message) {
    int size = 0;
    struct cmsghdr *item = CMSG_FIRSTHDR(message); /* nothing else was asked for */
    if (item != NULL && item->cmsg_level == SOL_UDP && item->cmsg_type == UDP_GRO)
        memcpy(&size, CMSG_DATA(item), sizeof size);
    return (size_t)size;
}

/* The next buffer of the receiver holds count messages from first on, as a train when there are
 * two. */
static void check_buffer(int receiver, size_t first, size_t count) {
    static unsigned char data[1 << 16];
    union {
        struct cmsghdr header;
        unsigned char room[128];
    } control;
    struct iovec part = {.iov_base = data, .iov_len = sizeof data};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t received = recvmsg(receiver, &message, MSG_DONTWAIT);
    size_t start = 0;
    REQUIRE(received >= 0);
    size_t size = segment_size(&message);
    CHECK_INT(size, count > 1 ? outbox.messages[first].length : 0);
    for (size_t i = first; i < first + count; i++) {
        size_t length = outbox.messages[i].length;
        REQUIRE(start + length <= (size_t)received);
        outbox_check(i, data + start, length);
        start += length;
    }
    CHECK_INT(start, received);
}

/* Messages from first on arrived in trains of counts messages; a 0 ends counts. Without trains to
 * be seen each comes by itself. */
static void check_trains(int receiver, size_t first, const size_t *counts) {
    settle();
    for (; *counts > 0; counts++) {
        size_t step = sees_trains() ? *counts : 1;
        for (size_t i = 0; i < *counts; i += step)
            check_buffer(receiver, first + i, step);
        first += *counts;
    }
    outbox_nothing_more(receiver);
}

static void test_segmentation_free_of_null_does_nothing(void) {
    struct fsk_segmentation *segmentation = new_segmentation();
    CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
    fsk_segmentation_forget(segmentation);
    CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
    fsk_segmentation_free(segmentation);
    fsk_segmentation_free(NULL);
}

static const struct {
    size_t lengths[12][2]; /* a size and how often, */
    size_t trains[12];     /* and how many leave together */
} plans[] = {
    {{{10, 1}}, {1}},
    {{{0, 3}}, {1, 1, 1}},
    {{{10, 64}}, {64}},
    {{{10, 100}}, {64, 36}},
    {{{10, 65}}, {64, 1}},
    {{{10, 10}, {3, 1}}, {11}},
    {{{10, 2}, {20, 2}}, {2, 2}},
    {{{10, 2}, {5, 1}, {10, 2}}, {3, 2}},
    {{{10, 2}, {5, 2}, {4, 1}}, {3, 2}},
    {{{10, 2}, {0, 1}, {10, 2}}, {2, 1, 2}},
    {{{10, 63}, {9, 2}}, {64, 1}},
    {{{10, 64}, {9, 2}}, {64, 2}},
    {{{32500, 2}}, {2}}, /* 65,000 bytes */
    {{{32501, 2}}, {1, 1}},
    {{{32501, 1}, {32499, 1}}, {2}},
    {{{1400, 47}}, {46, 1}},
    {{{65000, 1}, {1, 1}, {65507, 1}}, {1, 1, 1}},
    {{{1, 130}}, {64, 64, 2}},
};

static void check_plans(int family) {
    struct udp_pair pair;
    if (!has_loopback(family))
        return;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_watched(family, &pair);
    has_room_for(pair.receiver, 130, 1400);
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        outbox_begin();
        for (size_t j = 0; plans[i].lengths[j][1] > 0; j++)
            outbox_add_run(plans[i].lengths[j][1],
                           family == AF_INET || plans[i].lengths[j][0] < 65507
                               ? plans[i].lengths[j][0]
                               : 65500,
                           &pair.to);
        CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), (intmax_t)outbox.count);
        check_trains(pair.receiver, 0, plans[i].trains);
    }
    CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
}

static void test_segmentation_ipv4_runs_of_equal_size_leave_together(void) {
    check_plans(AF_INET);
}

static void test_segmentation_ipv6_runs_of_equal_size_leave_together(void) {
    check_plans(AF_INET6);
}

static void test_segmentation_not_given_is_not_done(void) {
    static const size_t alone[] = {1, 1, 1, 1, 0};
    struct udp_pair pair;
    open_watched(AF_INET, &pair);
    outbox_add_run(4, 10, &pair.to);
    CHECK_INT(outbox_send(pair.sender, 0, 0, NULL), 4);
    check_trains(pair.receiver, 0, alone);
    close_watched(&pair);
}

/* Destinations are compared by what they name: two copies of one are the same, none is another. */
static void test_segmentation_runs_end_with_the_destination(void) {
    static const size_t trains[] = {5, 1, 2, 0};
    struct udp_pair pair;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_watched(AF_INET, &pair);
    struct fsk_address copy = pair.to;
    REQUIRE(connect(pair.sender, &pair.to.name.any, pair.to.length) == 0);
    outbox_add_run(3, 10, &pair.to);
    outbox_add_run(2, 10, &copy);
    outbox_add_run(1, 10, NULL);
    outbox_add_run(2, 10, &copy);
    CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), 8);
    check_trains(pair.receiver, 0, trains);
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
}

/* The kernel refuses segmented sends without a checksum (EINVAL), and takes plain ones. */
static void refuse_segments(const struct udp_pair *pair, int family, int value) {
    if (family == AF_INET6) {
        set_option(pair->sender, SOL_UDP, UDP_NO_CHECK6_TX, value);
        set_option(pair->receiver, SOL_UDP, UDP_NO_CHECK6_RX, value);
    } else {
        set_option(pair->sender, SOL_SOCKET, SO_NO_CHECK, value);
    }
}

static void send_run(const struct udp_pair *pair, const struct fsk_address *destination,
                     bool is_plain, struct fsk_segmentation *segmentation) {
    static const size_t alone[] = {1, 1, 1, 1, 1, 1, 0};
    static const size_t together[] = {6, 0};
    outbox_begin();
    outbox_add_run(5, 100, destination);
    outbox_add(7, destination);
    CHECK_INT(outbox_send(pair->sender, 0, 0, segmentation), 6);
    check_trains(pair->receiver, 0, is_plain ? alone : together);
}

static void check_refusal(int family) {
    struct udp_pair pair;
    struct udp_pair other;
    if (!has_loopback(family))
        return;
    struct fsk_segmentation *segmentation = new_segmentation();
    bool is_seen = expects_offload(UDP_SEGMENT);
    open_watched(family, &other);
    open_watched(family, &pair);
    int own = other.sender;
    other.sender = pair.sender;
    send_run(&pair, &pair.to, false, segmentation);
    refuse_segments(&pair, family, 1);
    send_run(&pair, &pair.to, true, segmentation);
    CHECK_INT(fsk_segmentation_refusals(segmentation), is_seen);
    send_run(&pair, &pair.to, true, segmentation);
    CHECK_INT(fsk_segmentation_refusals(segmentation), is_seen);
    /* The socket could again, but the destination is remembered: that one, and no other. */
    refuse_segments(&pair, family, 0);
    send_run(&pair, &pair.to, true, segmentation);
    send_run(&other, &other.to, false, segmentation);
    fsk_segmentation_forget(segmentation);
    send_run(&pair, &pair.to, false, segmentation);
    CHECK_INT(fsk_segmentation_refusals(segmentation), is_seen);
    CHECK_INT(fsk_capability_works(FSK_CAPABILITY_UDP_SEGMENT), is_seen);
    other.sender = own;
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
    close_watched(&other);
}

static void test_segmentation_refused_ipv4_is_off_for_that_destination(void) {
    check_refusal(AF_INET);
}

static void test_segmentation_refused_ipv6_is_off_for_that_destination(void) {
    check_refusal(AF_INET6);
}

/* The peer of a connected socket is a destination of its own, which connect changes. */
static void test_segmentation_refused_to_the_peer_is_off_for_it(void) {
    struct udp_pair pair;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_watched(AF_INET, &pair);
    REQUIRE(connect(pair.sender, &pair.to.name.any, pair.to.length) == 0);
    refuse_segments(&pair, AF_INET, 1);
    send_run(&pair, NULL, true, segmentation);
    send_run(&pair, NULL, true, segmentation);
    CHECK_INT(fsk_segmentation_refusals(segmentation), expects_offload(UDP_SEGMENT));
    refuse_segments(&pair, AF_INET, 0);
    send_run(&pair, NULL, true, segmentation);
    fsk_segmentation_forget(segmentation);
    send_run(&pair, NULL, false, segmentation);
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
}

/* In one call: good trains, refused ones of two destinations, and single messages between them. */
static void test_segmentation_refused_amid_a_batch_loses_nothing(void) {
    struct udp_pair pair;
    struct udp_pair other;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_watched(AF_INET, &other);
    open_watched(AF_INET, &pair);
    refuse_segments(&pair, AF_INET, 1);
    outbox_add(50, &pair.to);
    for (size_t i = 0; i < 12; i++) {
        outbox_add_run(i, 60 + i, i % 3 == 0 ? &pair.to : &other.to);
        outbox_add(0, &pair.to);
    }
    CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), (intmax_t)outbox.count);
    CHECK_INT(fsk_segmentation_refusals(segmentation), expects_offload(UDP_SEGMENT) ? 2 : 0);
    outbox_all_arrived(pair.receiver, &pair.to, 0, outbox.count);
    outbox_all_arrived(other.receiver, &other.to, 0, outbox.count);
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
    close_watched(&other);
}

/* More destinations than are remembered: the oldest are tried again, all arrives. */
static void test_segmentation_refused_to_many_destinations_loses_nothing(void) {
    enum { DESTINATIONS = 300 };
    static struct fsk_address destinations[DESTINATIONS];
    struct udp_pair pair;
    struct fsk_address any;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_watched(AF_INET, &pair);
    close(pair.receiver);
    REQUIRE(fsk_address_parse_host(&any, AF_INET, "0.0.0.0", 0) == 0);
    pair.receiver = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(pair.receiver >= 0);
    REQUIRE(bind(pair.receiver, &any.name.any, any.length) == 0);
    bound_name(pair.receiver, &any);
    refuse_segments(&pair, AF_INET, 1);
    for (uint32_t i = 0; i < DESTINATIONS; i++) {
        destinations[i] = any;
        destinations[i].name.ip4.sin_addr.s_addr = htonl(0x7f000201 + i);
    }
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < DESTINATIONS; i++) {
            outbox_begin();
            outbox_add_run(3, 20, &destinations[i]);
            CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), 3);
            outbox_all_arrived(pair.receiver, &destinations[i], 0, 3);
        }
    }
    uint64_t refusals = fsk_segmentation_refusals(segmentation);
    CHECK(expects_offload(UDP_SEGMENT) ? refusals >= DESTINATIONS && refusals <= 2 * DESTINATIONS
                                       : refusals == 0);
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
}

/* Loopback of a network of its own, with the MTU that Ethernet has. Returns false when this process
 * may not make one. */
static bool enter_small_network(void) {
    struct ifreq request = {.ifr_name = "lo"};
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    request.ifr_mtu = 1500;
    REQUIRE(ioctl(fd, SIOCSIFMTU, &request) == 0);
    request.ifr_flags = IFF_UP;
    REQUIRE(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
    return true;
}

/* Datagrams above the MTU pass as fragments, but not segmented. Those below do both. */
static void check_small_network(void) {
    static const size_t together[] = {10, 0};
    static const size_t alone[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0};
    struct udp_pair pair;
    struct fsk_segmentation *segmentation = new_segmentation();
    open_watched(AF_INET, &pair);
    outbox_add_run(10, 1472, &pair.to);
    CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), 10);
    check_trains(pair.receiver, 0, together);
    CHECK_INT(fsk_segmentation_refusals(segmentation), 0);
    outbox_add_run(10, 2000, &pair.to);
    outbox_add_run(10, 100, &pair.to);
    CHECK_INT(outbox_send(pair.sender, 10, 0, segmentation), 20);
    CHECK_INT(fsk_segmentation_refusals(segmentation), expects_offload(UDP_SEGMENT));
    outbox_all_arrived(pair.receiver, &pair.to, 10, 30);
    CHECK_INT(outbox_send(pair.sender, 20, 0, segmentation), 10);
    check_trains(pair.receiver, 20, alone);
    /* Where fragments are not allowed either it is the caller's error, and nothing is remembered.
     * */
    fsk_segmentation_forget(segmentation);
    set_option(pair.sender, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    CHECK_INT(outbox_send(pair.sender, 0, 0, segmentation), 10);
    CHECK_INT(outbox_send(pair.sender, 10, 0, segmentation), -EMSGSIZE);
    check_trains(pair.receiver, 0, together);
    CHECK_INT(outbox_send(pair.sender, 20, 0, segmentation), 10);
    check_trains(pair.receiver, 20, together);
    CHECK_INT(fsk_segmentation_refusals(segmentation), expects_offload(UDP_SEGMENT));
    fsk_segmentation_free(segmentation);
    close_watched(&pair);
}

/* In a child: a process can't go back to the network it left. */
static void test_segmentation_above_the_mtu_goes_one_by_one(void) {
    int status = -1;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (!enter_small_network())
            _exit(77);
        check_small_network();
        _exit(check_failures == 0 ? 0 : 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        check_skip("unshare(CLONE_NEWUSER | CLONE_NEWNET): refused");
    else
        CHECK_INT(status, 0);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_segmentation_free_of_null_does_nothing);
    RUN(test_segmentation_ipv4_runs_of_equal_size_leave_together);
    RUN(test_segmentation_ipv6_runs_of_equal_size_leave_together);
    RUN(test_segmentation_not_given_is_not_done);
    RUN(test_segmentation_runs_end_with_the_destination);
    RUN(test_segmentation_refused_ipv4_is_off_for_that_destination);
    RUN(test_segmentation_refused_ipv6_is_off_for_that_destination);
    RUN(test_segmentation_refused_to_the_peer_is_off_for_it);
    RUN(test_segmentation_refused_amid_a_batch_loses_nothing);
    RUN(test_segmentation_refused_to_many_destinations_loses_nothing);
    RUN(test_segmentation_above_the_mtu_goes_one_by_one);
    return check_report();
}
