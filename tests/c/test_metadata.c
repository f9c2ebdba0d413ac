/* SPDX-License-Identifier: MIT */
#include <fastsock/metadata.h>
#include <fastsock/receive.h>

#include <net/if.h>
#include <time.h>

#include "datagrams.h"

#define ALL                                                                                        \
    (FSK_METADATA_TIMESTAMP | FSK_METADATA_DESTINATION | FSK_METADATA_HOP_LIMIT | FSK_METADATA_TOS)

/* The options behind each bit; those of IPv6 exist for its sockets only. */
static const struct {
    unsigned metadata;
    bool is_ip6;
    int level;
    int option;
} options[] = {
    {FSK_METADATA_TIMESTAMP, false, SOL_SOCKET, SO_TIMESTAMPNS},
    {FSK_METADATA_DESTINATION, false, IPPROTO_IP, IP_PKTINFO},
    {FSK_METADATA_HOP_LIMIT, false, IPPROTO_IP, IP_RECVTTL},
    {FSK_METADATA_TOS, false, IPPROTO_IP, IP_RECVTOS},
    {FSK_METADATA_DESTINATION, true, IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {FSK_METADATA_HOP_LIMIT, true, IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {FSK_METADATA_TOS, true, IPPROTO_IPV6, IPV6_RECVTCLASS},
};

#define OPTIONS (sizeof options / sizeof *options)

static int option_value(int fd, int level, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    REQUIRE(getsockopt(fd, level, option, &value, &length) == 0);
    return value;
}

static void set_option(int fd, int level, int option, int value) {
    REQUIRE(setsockopt(fd, level, option, &value, sizeof value) == 0);
}

static void check_options(int fd, int family, unsigned expected) {
    for (size_t i = 0; i < OPTIONS; i++) {
        if (options[i].is_ip6 && family != AF_INET6)
            continue;
        int value = option_value(fd, options[i].level, options[i].option);
        /* An IPv6 socket may be told the destination by its own option alone. */
        if (family == AF_INET6 && options[i].option == IP_PKTINFO && !options[i].is_ip6)
            continue;
        CHECK_INT(value != 0, (expected & options[i].metadata) != 0);
    }
}

static int64_t real_time_ns(void) {
    struct timespec now;
    REQUIRE(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void check_every_choice(int family) {
    struct fsk_address bound;
    if (!has_loopback(family))
        return;
    int fd = open_bound(family, SOCK_DGRAM, &bound);
    for (unsigned metadata = 0; metadata <= ALL; metadata++) {
        CHECK_INT(fsk_metadata_enable(fd, family, metadata), 0);
        CHECK_INT(fsk_metadata_enabled(fd, family), metadata);
        check_options(fd, family, metadata);
        CHECK_INT(fsk_metadata_enable(fd, family, ALL & ~metadata), 0);
        check_options(fd, family, ALL & ~metadata);
    }
    close(fd);
}

static void test_metadata_ipv4_enables_exactly_what_is_asked_for(void) {
    check_every_choice(AF_INET);
}

static void test_metadata_ipv6_enables_exactly_what_is_asked_for(void) {
    check_every_choice(AF_INET6);
}

static void test_metadata_unknown_is_refused_and_changes_nothing(void) {
    struct fsk_address bound;
    int fd = open_bound(AF_INET, SOCK_DGRAM, &bound);
    CHECK_INT(fsk_metadata_enable(fd, AF_INET, FSK_METADATA_TOS), 0);
    CHECK_INT(fsk_metadata_enable(fd, AF_INET, (ALL & ~FSK_METADATA_TOS) | 16), -EOPNOTSUPP);
    CHECK_INT(fsk_metadata_enable(fd, AF_INET, 1u << 31), -EOPNOTSUPP);
    check_options(fd, AF_INET, FSK_METADATA_TOS);
    close(fd);
}

/* Asking an IPv4 socket for what IPv6 ones have fails after some options were set. */
static void test_metadata_that_fails_midway_restores_the_options(void) {
    struct fsk_address bound;
    int fd = open_bound(AF_INET, SOCK_DGRAM, &bound);
    for (unsigned before = 0; before <= ALL; before++) {
        CHECK_INT(fsk_metadata_enable(fd, AF_INET, before), 0);
        CHECK(fsk_metadata_enable(fd, AF_INET6, ALL & ~before) < 0);
        check_options(fd, AF_INET, before);
        CHECK_INT(option_value(fd, IPPROTO_IP, IP_PKTINFO),
                  (before & FSK_METADATA_DESTINATION) != 0);
    }
    close(fd);
}

static void test_metadata_of_another_socket_is_refused(void) {
    int pair[2];
    CHECK_INT(fsk_metadata_enable(-1, AF_INET, ALL), -EBADF);
    CHECK_INT(fsk_metadata_enabled(-1, AF_INET), -EBADF);
    CHECK_INT(fsk_metadata_enable(closed_number(), AF_INET6, ALL), -EBADF);
    open_unix_pair(SOCK_DGRAM, pair);
    for (int before = 0; before < 2; before++) {
        set_option(pair[1], SOL_SOCKET, SO_TIMESTAMPNS, before);
        CHECK_INT(
            fsk_metadata_enable(pair[1], AF_INET, before ? ALL & ~FSK_METADATA_TIMESTAMP : ALL),
            -EOPNOTSUPP);
        CHECK_INT(option_value(pair[1], SOL_SOCKET, SO_TIMESTAMPNS), before);
    }
    close_pair(pair);
    REQUIRE(pipe(pair) == 0);
    CHECK_INT(fsk_metadata_enable(pair[0], AF_INET, ALL), -ENOTSOCK);
    close_pair(pair);
}

/* A receiver of any address, so that the destination is not that of the socket; of both kinds, when
 * it is an IPv6 one. */
static void open_wildcard(int family, struct udp_pair *made) {
    struct fsk_address any;
    int fd = socket(family, SOCK_DGRAM, 0);
    open_udp(family, made);
    close(made->receiver);
    REQUIRE(fd >= 0);
    REQUIRE(fsk_address_parse_host(&any, family, family == AF_INET6 ? "::" : "0.0.0.0", 0) == 0);
    if (family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    REQUIRE(bind(fd, &any.name.any, any.length) == 0);
    bound_name(fd, &any);
    made->receiver = fd;
    if (family == AF_INET6)
        made->to.name.ip6.sin6_port = any.name.ip6.sin6_port;
    else
        made->to.name.ip4.sin_port = any.name.ip4.sin_port;
}

static void set_hops(const struct udp_pair *pair, int family, int hops, int tos) {
    if (family == AF_INET6) {
        set_option(pair->sender, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops);
        set_option(pair->sender, IPPROTO_IPV6, IPV6_TCLASS, tos);
    } else {
        set_option(pair->sender, IPPROTO_IP, IP_TTL, hops);
        set_option(pair->sender, IPPROTO_IP, IP_TOS, tos);
    }
}

/* What a row tells, of which the sender's side is known. */
struct expectation {
    const char *host;
    int family;
    int64_t earliest_ns;
    uint8_t hops;
    uint8_t tos;
};

static void check_row(const struct fsk_batch *batch, uint32_t row,
                      const struct expectation *expected) {
    struct fsk_address destination;
    struct fsk_address wanted;
    REQUIRE(fsk_address_parse_host(&wanted, expected->family, expected->host, 0) == 0);
    fsk_batch_destination(batch, batch->destination[row], &destination);
    CHECK_INT(destination.length, wanted.length);
    CHECK(fsk_address_equal(&destination, &wanted));
    CHECK_INT(batch->interface[row], if_nametoindex("lo"));
    CHECK_INT(batch->hop_limit[row], expected->hops);
    CHECK_INT(batch->tos[row], expected->tos);
    CHECK(batch->timestamps_ns[row] >= expected->earliest_ns);
    CHECK(batch->timestamps_ns[row] <= real_time_ns());
}

static void check_told(int family) {
    struct udp_pair pair;
    struct expectation expected = {.host = loopback_host(family), .family = family};
    if (!has_loopback(family))
        return;
    struct fsk_batch *batch = new_batch(30, 20);
    open_wildcard(family, &pair);
    CHECK_INT(fsk_metadata_enable(pair.receiver, family, ALL), 0);
    batch->metadata = ALL;
    for (int i = 1; i <= 10; i++) {
        int hops = i == 1 ? 255 : i;
        int tos = i == 1 ? 0xb8 : 8 * i; /* DSCP; ECN is not the sender's to set here */
        expected.earliest_ns = real_time_ns();
        set_hops(&pair, family, hops, tos);
        expected.hops = (uint8_t)hops;
        expected.tos = (uint8_t)tos;
        send_plain(&pair, 8);
        send_plain(&pair, 8);
        settle();
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 2);
        check_row(batch, batch->count - 2, &expected);
        check_row(batch, batch->count - 1, &expected);
    }
    ledger_take_rows(batch, 0, false);
    CHECK_INT(batch->destination_count, 1);
    fsk_batch_free(batch);
    close_udp(&pair);
}

static void test_metadata_ipv4_tells_all_of_each_datagram(void) {
    check_told(AF_INET);
}

static void test_metadata_ipv6_tells_all_of_each_datagram(void) {
    check_told(AF_INET6);
}

/* Many local addresses: each has one number, its port is 0. */
static void test_metadata_destinations_are_numbered_as_they_come(void) {
    struct udp_pair pair;
    struct fsk_address destination;
    struct fsk_batch *batch = new_batch(100, 20);
    open_wildcard(AF_INET, &pair);
    CHECK_INT(fsk_metadata_enable(pair.receiver, AF_INET, FSK_METADATA_DESTINATION), 0);
    batch->metadata = FSK_METADATA_DESTINATION;
    for (uint32_t i = 0; i < 100; i++) {
        pair.to.name.ip4.sin_addr.s_addr = htonl(0x7f000101 + i % 25);
        send_plain(&pair, 8);
    }
    settle();
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 100);
    ledger_take_rows(batch, 0, false);
    CHECK_INT(batch->destination_count, 25);
    pair.to.name.ip4.sin_port = 0;
    for (uint32_t row = 0; row < batch->count; row++) {
        CHECK_INT(batch->destination[row], row % 25);
        fsk_batch_destination(batch, row % 25, &destination);
        pair.to.name.ip4.sin_addr.s_addr = htonl(0x7f000101 + row % 25);
        CHECK(fsk_address_equal(&destination, &pair.to));
    }
    fsk_batch_destination(batch, 25, &destination);
    CHECK_INT(destination.length, 0);
    fsk_batch_clear(batch);
    CHECK_INT(batch->destination_count, 0);
    fsk_batch_destination(batch, 0, &destination);
    CHECK_INT(destination.length, 0);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* Both kinds of datagram on one socket; addresses of the other are mapped, as its senders' are. */
static void test_metadata_dual_stack_tells_of_both_kinds(void) {
    struct udp_pair ip6;
    struct udp_pair ip4;
    struct fsk_address source;
    struct expectation expected6 = {.host = "::1", .family = AF_INET6, .hops = 77, .tos = 0x20};
    struct expectation expected4 = {
        .host = "::ffff:127.0.0.9", .family = AF_INET6, .hops = 33, .tos = 0x48};
    if (!has_loopback(AF_INET6))
        return;
    struct fsk_batch *batch = new_batch(20, 20);
    open_udp(AF_INET, &ip4);
    open_wildcard(AF_INET6, &ip6);
    ip4.to.name.ip4.sin_port = ip6.to.name.ip6.sin6_port;
    ip4.to.name.ip4.sin_addr.s_addr = htonl(0x7f000009);
    set_hops(&ip6, AF_INET6, expected6.hops, expected6.tos);
    set_hops(&ip4, AF_INET, expected4.hops, expected4.tos);
    CHECK_INT(fsk_metadata_enable(ip6.receiver, AF_INET6, ALL), 0);
    batch->metadata = ALL;
    expected4.earliest_ns = expected6.earliest_ns = real_time_ns();
    for (int i = 0; i < 10; i++) {
        send_plain(&ip6, 8);
        send_plain(&ip4, 9);
    }
    settle();
    CHECK_INT(fsk_receive_batch(ip6.receiver, SOCK_DGRAM, 0, batch), 20);
    ledger_take_rows(batch, 0, false);
    for (uint32_t row = 0; row < batch->count; row++) {
        check_row(batch, row, row % 2 == 0 ? &expected6 : &expected4);
        fsk_batch_source(batch, batch->source[row], &source);
        CHECK_INT(source.name.any.sa_family, AF_INET6);
    }
    CHECK_INT(batch->destination_count, 2);
    CHECK_INT(batch->source_count, 2);
    fsk_batch_free(batch);
    close_udp(&ip4);
    close_udp(&ip6);
}

/* The columns are asked for, the socket tells nothing; and the other way round. */
static void test_metadata_not_told_is_zero_and_not_asked_for_is_no_error(void) {
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(4, 20);
    open_udp(AF_INET, &pair);
    memset(batch->hop_limit, 0xa5, 4);
    memset(batch->tos, 0xa5, 4);
    memset(batch->timestamps_ns, 0xa5, 4 * sizeof *batch->timestamps_ns);
    memset(batch->destination, 0xa5, 4 * sizeof *batch->destination);
    memset(batch->interface, 0xa5, 4 * sizeof *batch->interface);
    batch->metadata = ALL;
    send_plain(&pair, 8);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 1);
    CHECK_INT(batch->flags[0], 0);
    CHECK_INT(batch->hop_limit[0], 0);
    CHECK_INT(batch->tos[0], 0);
    CHECK_INT(batch->timestamps_ns[0], 0);
    CHECK_INT(batch->destination[0], FSK_NO_ADDRESS);
    CHECK_INT(batch->interface[0], 0);
    CHECK_INT(batch->destination_count, 0);
    CHECK_INT(fsk_metadata_enable(pair.receiver, AF_INET, ALL), 0);
    batch->metadata = 0;
    send_plain(&pair, 8);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 1);
    CHECK_INT(batch->lengths[1], 8);
    CHECK_INT(batch->flags[1] & FSK_BATCH_TRUNCATED, 0);
    CHECK_INT(batch->destination_count, 0);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* Also that recvmsg gives the items, as the header says: another descriptor of the socket too. */
static void test_metadata_is_control_data_of_every_descriptor(void) {
    struct udp_pair pair;
    char text[8];
    _Alignas(struct cmsghdr) char control[256];
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {.buffers = &buffer,
                                  .buffer_count = 1,
                                  .control = control,
                                  .control_length = sizeof control};
    struct fsk_control item;
    size_t cursor = 0;
    int items = 0;
    open_udp(AF_INET, &pair);
    CHECK_INT(fsk_metadata_enable(pair.receiver, AF_INET, ALL), 0);
    int other = dup(pair.receiver);
    REQUIRE(other >= 0);
    send_plain(&pair, 8);
    CHECK_INT(fsk_receive_message(other, &message, 0), 8);
    ledger_take(text, 8);
    while (fsk_control_next(&message, &cursor, &item) == 1)
        items++;
    CHECK_INT(items, 4);
    close(other);
    close_udp(&pair);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_metadata_ipv4_enables_exactly_what_is_asked_for);
    RUN(test_metadata_ipv6_enables_exactly_what_is_asked_for);
    RUN(test_metadata_unknown_is_refused_and_changes_nothing);
    RUN(test_metadata_that_fails_midway_restores_the_options);
    RUN(test_metadata_of_another_socket_is_refused);
    RUN(test_metadata_ipv4_tells_all_of_each_datagram);
    RUN(test_metadata_ipv6_tells_all_of_each_datagram);
    RUN(test_metadata_destinations_are_numbered_as_they_come);
    RUN(test_metadata_dual_stack_tells_of_both_kinds);
    RUN(test_metadata_not_told_is_zero_and_not_asked_for_is_no_error);
    RUN(test_metadata_is_control_data_of_every_descriptor);
    return check_report();
}
