/* SPDX-License-Identifier: MIT */
#include <fastsock/address.h>

#include <arpa/inet.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)
#define PATH_ROOM sizeof(((struct sockaddr_un *)0)->sun_path)

/* What the caller's memory held before must not show through. */
static struct fsk_address dirty(void) {
    struct fsk_address address;
    memset(&address, 0xa5, sizeof address);
    return address;
}

static struct fsk_address ip_address(int family, const char *host, uint16_t port) {
    struct fsk_address address = dirty();
    REQUIRE(fsk_address_parse_host(&address, family, host, port) == 0);
    return address;
}

static struct fsk_address path_address(const void *path, size_t length) {
    struct fsk_address address = dirty();
    REQUIRE(fsk_address_set_path(&address, path, length) == 0);
    return address;
}

static void check_round_trip(int family, const char *host, const char *written) {
    struct fsk_address address = ip_address(family, host, 4660);
    char text[FSK_HOST_SIZE];
    CHECK_INT(address.name.any.sa_family, family);
    CHECK_INT(fsk_address_port(&address), 4660);
    CHECK_INT(fsk_address_format_host(&address, text), strlen(written));
    CHECK_TEXT(text, written);
}

static void test_host_ipv4_round_trips(void) {
    check_round_trip(AF_INET, "127.0.0.1", "127.0.0.1");
    check_round_trip(AF_INET, "0.0.0.0", "0.0.0.0");
    check_round_trip(AF_INET, "255.255.255.255", "255.255.255.255");
    check_round_trip(AF_INET, "192.0.2.1", "192.0.2.1");
}

static void test_host_ipv6_round_trips_in_short_form(void) {
    check_round_trip(AF_INET6, "::", "::");
    check_round_trip(AF_INET6, "::1", "::1");
    check_round_trip(AF_INET6, "2001:DB8:0:0:0:0:0:1", "2001:db8::1");
    check_round_trip(AF_INET6, "::ffff:192.0.2.1", "::ffff:192.0.2.1");
    check_round_trip(AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void test_host_parsed_fills_every_member(void) {
    struct fsk_address ip4 = ip_address(AF_INET, "192.0.2.1", 4660);
    CHECK_INT(ip4.length, sizeof(struct sockaddr_in));
    CHECK_INT(ip4.name.ip4.sin_port, htons(4660));
    CHECK_INT(ip4.name.ip4.sin_addr.s_addr, htonl(0xc0000201));
    static const char zeros[sizeof ip4.name.ip4.sin_zero];
    CHECK_BYTES(ip4.name.ip4.sin_zero, zeros, sizeof zeros);

    struct fsk_address ip6 = ip_address(AF_INET6, "2001:db8::1", 65535);
    CHECK_INT(ip6.length, sizeof(struct sockaddr_in6));
    CHECK_INT(ip6.name.ip6.sin6_port, 0xffff);
    CHECK_INT(ip6.name.ip6.sin6_flowinfo, 0);
    CHECK_INT(ip6.name.ip6.sin6_scope_id, 0);
    CHECK_INT(ip6.name.ip6.sin6_addr.s6_addr[0], 0x20);
    CHECK_INT(ip6.name.ip6.sin6_addr.s6_addr[15], 1);
}

static void test_host_not_numeric_is_refused(void) {
    static const char *const wrong[] = {"",           "localhost", "127.1",  "127.0.0.1.1",
                                        "256.0.0.1",  "127.0.0.",  "0x7f.1", "127.0.0.1 ",
                                        " 127.0.0.1", "::1",       "1",      "-1.0.0.0"};
    struct fsk_address address;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_INT(fsk_address_parse_host(&address, AF_INET, wrong[i], 1), -EINVAL);
}

static void test_host_not_numeric_ipv6_is_refused(void) {
    static const char *const wrong[] = {"",      "localhost", "127.0.0.1", "::1%lo",  "::1%1",
                                        "[::1]", ":::",       "1::2::3",   "::12345", "fe80:"};
    struct fsk_address address;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_INT(fsk_address_parse_host(&address, AF_INET6, wrong[i], 1), -EINVAL);
}

static void test_host_of_other_family_is_refused(void) {
    struct fsk_address address;
    CHECK_INT(fsk_address_parse_host(&address, AF_UNIX, "127.0.0.1", 1), -EAFNOSUPPORT);
    CHECK_INT(fsk_address_parse_host(&address, AF_UNSPEC, "127.0.0.1", 1), -EAFNOSUPPORT);
    CHECK_INT(fsk_address_parse_host(&address, -1, "127.0.0.1", 1), -EAFNOSUPPORT);
}

static void test_format_ipv4_equals_inet_ntop_for_every_octet(void) {
    for (int octet = 0; octet < 256; octet++) {
        struct fsk_address address;
        char written[FSK_HOST_SIZE];
        char text[FSK_HOST_SIZE];
        snprintf(written, sizeof written, "%d.%d.%d.%d", octet, 255 - octet, octet / 2, octet % 10);
        REQUIRE(fsk_address_parse_host(&address, AF_INET, written, 0) == 0);
        CHECK_INT(fsk_address_format_host(&address, text), strlen(written));
        CHECK_TEXT(text, written);
    }
}

static void test_format_of_other_family_is_refused(void) {
    struct fsk_address path = path_address("/tmp/x", 6);
    struct fsk_address none = ip_address(AF_INET, "127.0.0.1", 1);
    char text[FSK_HOST_SIZE];
    none.length = 0;
    CHECK_INT(fsk_address_format_host(&path, text), -EAFNOSUPPORT);
    CHECK_INT(fsk_address_format_host(&none, text), -EAFNOSUPPORT);
    CHECK_INT(fsk_address_port(&path), -EAFNOSUPPORT);
    CHECK_INT(fsk_address_port(&none), -EAFNOSUPPORT);
}

static void test_format_writes_within_the_stated_room(void) {
    struct fsk_address address = ip_address(AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0);
    char *text = malloc(FSK_HOST_SIZE);
    REQUIRE(text != NULL);
    int length = fsk_address_format_host(&address, text);
    CHECK(length > 0 && length < FSK_HOST_SIZE);
    free(text);
}

static void test_path_is_given_back(void) {
    struct fsk_address address = path_address("/tmp/socket and more", 11);
    size_t length = 0;
    const char *path = fsk_address_path(&address, &length);
    CHECK_INT(address.name.any.sa_family, AF_UNIX);
    CHECK_INT(address.length, PATH_OFFSET + 12);
    CHECK_INT(length, 11);
    CHECK_BYTES(path, "/tmp/socket", 12);
    CHECK(path == address.name.path.sun_path);
    CHECK(!fsk_address_is_abstract(&address));
}

static void test_path_at_its_limit_is_taken_and_one_more_refused(void) {
    char text[200];
    size_t length = 0;
    memset(text, 'p', sizeof text);
    struct fsk_address address = path_address(text, PATH_ROOM - 1);
    fsk_address_path(&address, &length);
    CHECK_INT(length, PATH_ROOM - 1);
    CHECK_INT(address.length, sizeof(struct sockaddr_un));
    CHECK_INT(fsk_address_set_path(&address, text, PATH_ROOM), -ENAMETOOLONG);
    CHECK_INT(fsk_address_set_path(&address, text, sizeof text), -ENAMETOOLONG);
    CHECK_INT(fsk_address_set_path(&address, text, SIZE_MAX), -ENAMETOOLONG);
}

static void test_path_is_read_no_further_than_its_length(void) {
    struct fsk_address address = dirty();
    size_t length = 0;
    char *text = malloc(3);
    REQUIRE(text != NULL);
    memcpy(text, "abc", 3);
    CHECK_INT(fsk_address_set_path(&address, text, 3), 0);
    free(text);
    CHECK_BYTES(fsk_address_path(&address, &length), "abc", 4);
    CHECK_INT(length, 3);
}

static void test_path_abstract_counts_every_byte(void) {
    struct fsk_address address = path_address("\0a\0b\0", 5);
    size_t length = 0;
    CHECK_INT(address.length, PATH_OFFSET + 5);
    CHECK(fsk_address_is_abstract(&address));
    CHECK_BYTES(fsk_address_path(&address, &length), "\0a\0b\0", 5);
    CHECK_INT(length, 5);
}

static void test_path_abstract_at_its_limit_is_taken_and_one_more_refused(void) {
    char name[200] = {0};
    size_t length = 0;
    memset(name + 1, 'n', sizeof name - 1);
    struct fsk_address address = path_address(name, PATH_ROOM);
    fsk_address_path(&address, &length);
    CHECK_INT(length, PATH_ROOM);
    CHECK_INT(address.length, sizeof(struct sockaddr_un));
    CHECK_INT(fsk_address_set_path(&address, name, PATH_ROOM + 1), -ENAMETOOLONG);
}

static void test_path_empty_is_unnamed(void) {
    struct fsk_address address = path_address(NULL, 0);
    size_t length = 1;
    CHECK_INT(address.length, PATH_OFFSET);
    CHECK(!fsk_address_is_abstract(&address));
    fsk_address_path(&address, &length);
    CHECK_INT(length, 0);
}

static void test_path_of_no_address_is_empty(void) {
    struct fsk_address address = dirty();
    size_t length = 1;
    address.length = 0;
    fsk_address_path(&address, &length);
    CHECK_INT(length, 0);
    CHECK(!fsk_address_is_abstract(&address));
}

static void test_multicast_is_what_belongs_to_a_group(void) {
    static const struct {
        const char *host;
        int family;
        bool expected;
    } cases[] = {
        {"224.0.0.0", AF_INET, true},        {"239.255.255.255", AF_INET, true},
        {"223.255.255.255", AF_INET, false}, {"240.0.0.0", AF_INET, false},
        {"ff02::1", AF_INET6, true},         {"ff::1", AF_INET6, false},
        {"fe80::1", AF_INET6, false},        {"::ffff:224.0.0.1", AF_INET6, false},
    };
    struct fsk_address address;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(fsk_address_parse_host(&address, cases[i].family, cases[i].host, 9) == 0);
        CHECK_INT(fsk_address_is_multicast(&address), cases[i].expected);
        address.length = 0;
        CHECK(!fsk_address_is_multicast(&address));
    }
    REQUIRE(fsk_address_set_path(&address, "\xff\xff", 2) == 0);
    CHECK(!fsk_address_is_multicast(&address));
}

/* sun_path may be full without a NUL; the bytes behind the length are garbage. */
static void test_path_unterminated_ends_at_the_length(void) {
    struct fsk_address address = dirty();
    size_t length = 0;
    address.name.path.sun_family = AF_UNIX;
    memset(address.name.path.sun_path, 'u', PATH_ROOM);
    address.length = sizeof address.name.path;
    fsk_address_path(&address, &length);
    CHECK_INT(length, PATH_ROOM);
    address.length = (socklen_t)(PATH_OFFSET + 4);
    fsk_address_path(&address, &length);
    CHECK_INT(length, 4);
}

static void test_path_abstract_of_other_family_is_not(void) {
    struct fsk_address address = ip_address(AF_INET, "127.0.0.1", 0);
    CHECK_INT(address.name.path.sun_path[0], 0);
    CHECK(!fsk_address_is_abstract(&address));
}

/* The kernel gives back what was bound, by name and by length. */
static void test_path_abstract_bound_is_equal_to_what_the_kernel_gives(void) {
#if defined(__linux__)
    char name[40] = {0};
    int length = snprintf(name + 1, sizeof name - 1, "fastsock-%ld", (long)getpid());
    struct fsk_address wish = path_address(name, (size_t)length + 1);
    struct fsk_address bound = dirty();
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, &wish.name.any, wish.length) == 0);
    bound.length = sizeof bound.name;
    REQUIRE(getsockname(fd, &bound.name.any, &bound.length) == 0);
    CHECK(fsk_address_equal(&wish, &bound));
    CHECK_INT(fsk_address_hash(&wish, 7), fsk_address_hash(&bound, 7));
    close(fd);
#else
    check_skip("abstract names: this system is not Linux");
#endif
}

/* An address the kernel chose is abstract. */
static void test_path_empty_bound_is_chosen_by_the_kernel(void) {
#if defined(__linux__)
    struct fsk_address address = path_address(NULL, 0);
    size_t length = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, &address.name.any, address.length) == 0);
    address.length = sizeof address.name;
    REQUIRE(getsockname(fd, &address.name.any, &address.length) == 0);
    CHECK(fsk_address_is_abstract(&address));
    fsk_address_path(&address, &length);
    CHECK(length > 1);
    close(fd);
#else
    check_skip("autobind: this system is not Linux");
#endif
}

/* Equality is symmetric, and equal addresses hash alike under every key. */
static void check_equal(const struct fsk_address *one, const struct fsk_address *other) {
    CHECK(fsk_address_equal(one, other));
    CHECK(fsk_address_equal(other, one));
    for (uint64_t key = 0; key < 8; key++)
        CHECK_INT(fsk_address_hash(one, key << 60), fsk_address_hash(other, key << 60));
}

static void check_different(const struct fsk_address *one, const struct fsk_address *other) {
    CHECK(!fsk_address_equal(one, other));
    CHECK(!fsk_address_equal(other, one));
    CHECK(fsk_address_hash(one, 42) != fsk_address_hash(other, 42));
}

static void test_equal_ipv4_ignores_padding(void) {
    struct fsk_address one = ip_address(AF_INET, "192.0.2.1", 80);
    struct fsk_address other = one;
    memset(other.name.ip4.sin_zero, 0x5a, sizeof other.name.ip4.sin_zero);
    check_equal(&one, &other);
}

static void test_equal_ignores_bytes_past_the_length(void) {
    struct fsk_address one = path_address("/tmp/x", 6);
    struct fsk_address other = one;
    char *past = (char *)&other.name + other.length;
    memset(past, 0x5a, sizeof other.name - other.length);
    check_equal(&one, &other);
    one = ip_address(AF_INET6, "::1", 80);
    other = one;
    past = (char *)&other.name + other.length;
    memset(past, 0x5a, sizeof other.name - other.length);
    check_equal(&one, &other);
}

static void test_equal_none_is_none_alone(void) {
    struct fsk_address bound = ip_address(AF_INET, "127.0.0.1", 80);
    struct fsk_address one = dirty();
    struct fsk_address other = bound;
    one.length = 0;
    other.length = 0;
    check_equal(&one, &other);
    check_different(&one, &bound);
    check_different(&other, &bound);
}

static void test_equal_ipv4_tells_host_and_port_apart(void) {
    struct fsk_address one = ip_address(AF_INET, "192.0.2.1", 80);
    struct fsk_address host = ip_address(AF_INET, "192.0.2.2", 80);
    struct fsk_address port = ip_address(AF_INET, "192.0.2.1", 81);
    check_different(&one, &host);
    check_different(&one, &port);
    check_different(&host, &port);
}

static void test_equal_ipv6_tells_host_port_and_scope_apart(void) {
    struct fsk_address one = ip_address(AF_INET6, "fe80::1", 80);
    struct fsk_address low = ip_address(AF_INET6, "fe80::2", 80);
    struct fsk_address high = ip_address(AF_INET6, "fe81::1", 80);
    struct fsk_address port = ip_address(AF_INET6, "fe80::1", 81);
    struct fsk_address scope = one;
    scope.name.ip6.sin6_scope_id = 3;
    check_different(&one, &low);
    check_different(&one, &high);
    check_different(&one, &port);
    check_different(&one, &scope);
}

/* The hash may leave flow information out; equality must not. */
static void test_equal_ipv6_tells_flow_information_apart(void) {
    struct fsk_address one = ip_address(AF_INET6, "fe80::1", 80);
    struct fsk_address flow = one;
    flow.name.ip6.sin6_flowinfo = htonl(1);
    CHECK(!fsk_address_equal(&one, &flow));
}

static void test_equal_tells_families_apart(void) {
    struct fsk_address ip4 = ip_address(AF_INET, "0.0.0.0", 80);
    struct fsk_address ip6 = ip_address(AF_INET6, "::", 80);
    struct fsk_address path = path_address("/23456789abcd", 13); /* as long as a sockaddr_in */
    CHECK_INT(path.length, ip4.length);
    check_different(&ip4, &ip6);
    check_different(&ip4, &path);
}

static void test_equal_tells_names_apart(void) {
    struct fsk_address one = path_address("/tmp/a", 6);
    struct fsk_address other = path_address("/tmp/b", 6);
    struct fsk_address longer = path_address("/tmp/ab", 7);
    struct fsk_address abstract = path_address("\0abc", 4);
    struct fsk_address padded = path_address("\0abc\0", 5);
    check_different(&one, &other);
    check_different(&one, &longer);
    check_different(&abstract, &padded);
}

static void test_hash_under_other_key_differs(void) {
    struct fsk_address ip4 = ip_address(AF_INET, "192.0.2.1", 80);
    struct fsk_address ip6 = ip_address(AF_INET6, "2001:db8::1", 80);
    struct fsk_address path = path_address("/tmp/a", 6);
    CHECK(fsk_address_hash(&ip4, 1) != fsk_address_hash(&ip4, 2));
    CHECK(fsk_address_hash(&ip6, 1) != fsk_address_hash(&ip6, 2));
    CHECK(fsk_address_hash(&path, 1) != fsk_address_hash(&path, 2));
}

/* Addresses that differ in one place only must not meet in the slots of a small table, which takes
 * some bits of the hash. Random numbers would leave about 162 of 256 slots filled. */
static void check_spread(const uint64_t *hashes) {
    for (int shift = 0; shift <= 56; shift += 8) {
        bool is_filled[256] = {false};
        int filled = 0;
        for (int i = 0; i < 256; i++) {
            bool *slot = &is_filled[hashes[i] >> shift & 255];
            filled += !*slot;
            *slot = true;
        }
        CHECK(filled >= 128);
    }
}

static void test_hash_of_neighbours_spreads_over_a_table(void) {
    struct fsk_address ip4 = ip_address(AF_INET, "10.0.0.0", 5000);
    struct fsk_address ip6 = ip_address(AF_INET6, "2001:db8::", 5000);
    struct fsk_address path = path_address("/tmp/socket-0", 13);
    uint64_t hashes[256];
    for (int byte = 0; byte < 4; byte++) {
        struct fsk_address one = ip4;
        for (int i = 0; i < 256; i++) {
            ((unsigned char *)&one.name.ip4.sin_addr)[byte] = (unsigned char)i;
            hashes[i] = fsk_address_hash(&one, 42);
        }
        check_spread(hashes);
    }
    for (int byte = 0; byte < 16; byte++) {
        struct fsk_address one = ip6;
        for (int i = 0; i < 256; i++) {
            one.name.ip6.sin6_addr.s6_addr[byte] = (unsigned char)i;
            hashes[i] = fsk_address_hash(&one, 42);
        }
        check_spread(hashes);
    }
    for (int i = 0; i < 256; i++) {
        ip4.name.ip4.sin_port = htons((uint16_t)(5000 + i));
        hashes[i] = fsk_address_hash(&ip4, 42);
    }
    check_spread(hashes);
    for (int i = 0; i < 256; i++) {
        path.name.path.sun_path[12] = (char)i;
        hashes[i] = fsk_address_hash(&path, 42);
    }
    check_spread(hashes);
}

static void run_path_tests(void) {
    RUN(test_path_is_given_back);
    RUN(test_path_at_its_limit_is_taken_and_one_more_refused);
    RUN(test_path_is_read_no_further_than_its_length);
    RUN(test_path_abstract_counts_every_byte);
    RUN(test_path_abstract_at_its_limit_is_taken_and_one_more_refused);
    RUN(test_path_empty_is_unnamed);
    RUN(test_path_of_no_address_is_empty);
    RUN(test_path_unterminated_ends_at_the_length);
    RUN(test_path_abstract_of_other_family_is_not);
    RUN(test_path_abstract_bound_is_equal_to_what_the_kernel_gives);
    RUN(test_path_empty_bound_is_chosen_by_the_kernel);
}

int main(void) {
    RUN(test_multicast_is_what_belongs_to_a_group);
    RUN(test_host_ipv4_round_trips);
    RUN(test_host_ipv6_round_trips_in_short_form);
    RUN(test_host_parsed_fills_every_member);
    RUN(test_host_not_numeric_is_refused);
    RUN(test_host_not_numeric_ipv6_is_refused);
    RUN(test_host_of_other_family_is_refused);
    RUN(test_format_ipv4_equals_inet_ntop_for_every_octet);
    RUN(test_format_of_other_family_is_refused);
    RUN(test_format_writes_within_the_stated_room);
    run_path_tests();
    RUN(test_equal_ipv4_ignores_padding);
    RUN(test_equal_ignores_bytes_past_the_length);
    RUN(test_equal_none_is_none_alone);
    RUN(test_equal_ipv4_tells_host_and_port_apart);
    RUN(test_equal_ipv6_tells_host_port_and_scope_apart);
    RUN(test_equal_ipv6_tells_flow_information_apart);
    RUN(test_equal_tells_families_apart);
    RUN(test_equal_tells_names_apart);
    RUN(test_hash_under_other_key_differs);
    RUN(test_hash_of_neighbours_spreads_over_a_table);
    return check_report();
}
