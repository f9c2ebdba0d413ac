/* SPDX-License-Identifier: MIT
 * Groups over the loopback device, which takes IPv4's although it has no flag for it. IPv6 has no
 * route for them there: those tests take the first device on which a datagram to a group comes back.
 * Its scope is the interface alone, so none leaves the machine.
 *
 * All receivers want their own groups only, as other processes may have joined the same.
 */
#include <fastsock/multicast.h>

#include <net/if.h>

#include "datagrams.h"

#define GROUP4 "239.255.77.1"
#define GROUP6 "ff11::4d:1"

struct member {
    int fd;
    struct fsk_address group; /* with the port of fd */
};

static unsigned loopback_index(void) {
    unsigned index = if_nametoindex("lo");
    REQUIRE(index > 0);
    return index;
}

static struct fsk_address address_of(int family, const char *host, uint16_t port) {
    struct fsk_address address;
    REQUIRE(fsk_address_parse_host(&address, family, host, port) == 0);
    return address;
}

/* A receiver bound to the wildcard address; one of IPv6 takes IPv4 too. */
static void open_member(struct member *made, int family, const char *group) {
    struct fsk_address name = address_of(family, family == AF_INET ? "0.0.0.0" : "::", 0);
    int no = 0;
    made->fd = socket(family, SOCK_DGRAM, 0);
    REQUIRE(made->fd >= 0);
    if (family == AF_INET6)
        REQUIRE(setsockopt(made->fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) == 0);
    REQUIRE(bind(made->fd, &name.name.any, name.length) == 0);
    bound_name(made->fd, &name);
    made->group = address_of(strchr(group, ':') == NULL ? AF_INET : AF_INET6, group,
                             ntohs(name.name.ip4.sin_port)); /* where that of IPv6 is too */
}

static int open_sender(int family, const char *host, unsigned interface) {
    struct fsk_address from = address_of(family, host, 0);
    struct ip_mreqn outgoing = {.imr_ifindex = (int)interface};
    int index = (int)interface;
    int fd = socket(family, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    if (family == AF_INET)
        REQUIRE(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &outgoing, sizeof outgoing) == 0);
    else
        REQUIRE(setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0);
    REQUIRE(bind(fd, &from.name.any, from.length) == 0);
    return fd;
}

/* How many of the datagrams sent so far are there; each is one byte. */
static int count_received(int fd) {
    char byte;
    int count = 0;
    settle();
    while (recv(fd, &byte, 1, MSG_DONTWAIT) == 1)
        count++;
    REQUIRE(errno == EAGAIN);
    return count;
}

static int arrivals(const struct member *member, int sender) {
    REQUIRE(sendto(sender, "x", 1, 0, &member->group.name.any, member->group.length) == 1);
    return count_received(member->fd);
}

static void check_membership(int family, const char *group, unsigned interface) {
    struct member member;
    open_member(&member, family, group);
    int sender = open_sender(family, family == AF_INET ? "127.0.0.1" : "::", interface);
    REQUIRE(fsk_multicast_only_joined(member.fd, family) == 0);
    CHECK_INT(arrivals(&member, sender), 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, interface, NULL), 0);
    CHECK_INT(arrivals(&member, sender), 1);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, interface, NULL), -EADDRINUSE);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, interface, NULL), 0);
    CHECK_INT(arrivals(&member, sender), 0);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, interface, NULL), -EADDRNOTAVAIL);
    close(sender);
    close(member.fd);
}

static void test_ipv4_group_arrives_between_join_and_leave(void) {
    check_membership(AF_INET, GROUP4, loopback_index());
}

/* Whether a datagram to a group of IPv6 comes back; failing that, the error or 0 in code. */
static bool returns_groups(unsigned interface, int *code) {
    struct member member;
    open_member(&member, AF_INET6, GROUP6);
    int sender = open_sender(AF_INET6, "::", interface);
    *code = -fsk_multicast_join(member.fd, &member.group, interface, NULL);
    if (*code == 0 && sendto(sender, "x", 1, 0, &member.group.name.any, member.group.length) < 0)
        *code = errno;
    bool returned = count_received(member.fd) == 1;
    close(sender);
    close(member.fd);
    return returned;
}

/* 0, with the skip reported, on a host where IPv6 groups come back on no device. */
static unsigned find_ipv6_interface(void) {
    unsigned found = 0;
    char tried[512] = "";
    if (!has_loopback(AF_INET6))
        return 0;
    struct if_nameindex *all = if_nameindex();
    REQUIRE(all != NULL);
    for (struct if_nameindex *one = all; one->if_index != 0 && found == 0; one++) {
        int code = 0;
        if (returns_groups(one->if_index, &code))
            found = one->if_index;
        size_t used = strlen(tried);
        snprintf(tried + used, sizeof tried - used, " %s: %s;", one->if_name, strerror(code));
    }
    if_freenameindex(all);
    if (found == 0)
        check_skip("a datagram to " GROUP6 " was sent over each device:%s", tried);
    return found;
}

static void test_ipv6_group_arrives_between_join_and_leave(void) {
    unsigned interface = find_ipv6_interface();
    if (interface > 0)
        check_membership(AF_INET6, GROUP6, interface);
}

/* What needs no datagram works on every host with IPv6. */
static void test_ipv6_memberships_are_kept_for_each_interface(void) {
    struct member member;
    if (!has_loopback(AF_INET6))
        return;
    open_member(&member, AF_INET6, "ff12::4d:2");
    unsigned lo = loopback_index();
    struct fsk_address source = address_of(AF_INET6, "2001:db8::1", 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, NULL), 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, NULL), -EADDRINUSE);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, NULL), 0);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, NULL), -EADDRNOTAVAIL);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, &source), 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, &source), -EADDRNOTAVAIL);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, &source), 0);
    close(member.fd);
}

static void test_group_of_one_source_brings_no_other(void) {
    struct member member;
    unsigned lo = loopback_index();
    open_member(&member, AF_INET, "232.1.77.1");
    int wanted = open_sender(AF_INET, "127.0.0.1", lo);
    int other = open_sender(AF_INET, "127.0.0.2", lo);
    struct fsk_address one = address_of(AF_INET, "127.0.0.1", 0);
    struct fsk_address two = address_of(AF_INET, "127.0.0.2", 0);
    REQUIRE(fsk_multicast_only_joined(member.fd, AF_INET) == 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, &one), 0);
    CHECK_INT(arrivals(&member, wanted), 1);
    CHECK_INT(arrivals(&member, other), 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, &one), -EADDRNOTAVAIL);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, NULL), -EADDRINUSE);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, &two), -EADDRNOTAVAIL);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, &two), 0);
    CHECK_INT(arrivals(&member, other), 1);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, &one), 0);
    CHECK_INT(arrivals(&member, wanted), 0);
    CHECK_INT(arrivals(&member, other), 1);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, &two), 0);
    CHECK_INT(arrivals(&member, other), 0);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, &two), -EINVAL);
    close(wanted);
    close(other);
    close(member.fd);
}

static void test_group_left_without_source_is_left_for_all(void) {
    struct member member;
    unsigned lo = loopback_index();
    open_member(&member, AF_INET, "232.1.77.2");
    int sender = open_sender(AF_INET, "127.0.0.1", lo);
    struct fsk_address source = address_of(AF_INET, "127.0.0.1", 0);
    REQUIRE(fsk_multicast_only_joined(member.fd, AF_INET) == 0);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, lo, &source), 0);
    CHECK_INT(arrivals(&member, sender), 1);
    CHECK_INT(fsk_multicast_leave(member.fd, &member.group, lo, NULL), 0);
    CHECK_INT(arrivals(&member, sender), 0);
    close(sender);
    close(member.fd);
}

static void check_only_joined(int family, const char *group, unsigned interface) {
    struct member member;
    struct member listener;
    open_member(&member, family, group);
    open_member(&listener, family, group);
    int sender = open_sender(family, family == AF_INET ? "127.0.0.1" : "::", interface);
    REQUIRE(fsk_multicast_join(member.fd, &member.group, interface, NULL) == 0);
    CHECK_INT(arrivals(&listener, sender), 1);
    CHECK_INT(fsk_multicast_only_joined(listener.fd, family), 0);
    CHECK_INT(arrivals(&listener, sender), 0);
    close(sender);
    close(listener.fd);
    close(member.fd);
}

static void test_ipv4_group_of_another_is_heard_until_only_own_are_wanted(void) {
    check_only_joined(AF_INET, "239.255.77.3", loopback_index());
}

static void test_ipv4_group_of_another_is_not_heard_by_ipv6_socket_for_its_own(void) {
    struct member member;
    struct member listener;
    if (!has_loopback(AF_INET6))
        return;
    open_member(&member, AF_INET, "239.255.77.4");
    open_member(&listener, AF_INET6, "239.255.77.4");
    int sender = open_sender(AF_INET, "127.0.0.1", loopback_index());
    REQUIRE(fsk_multicast_join(member.fd, &member.group, loopback_index(), NULL) == 0);
    CHECK_INT(fsk_multicast_only_joined(listener.fd, AF_INET6), 0);
    CHECK_INT(arrivals(&listener, sender), 0);
    listener.group.name.ip4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(arrivals(&listener, sender), 1);
    close(sender);
    close(listener.fd);
    close(member.fd);
}

static void test_ipv6_group_of_another_is_heard_until_only_own_are_wanted(void) {
    unsigned interface = find_ipv6_interface();
    if (interface > 0)
        check_only_joined(AF_INET6, "ff11::4d:3", interface);
}

static void check_refused(int fd, const struct fsk_address *group, const struct fsk_address *source,
                          int expected) {
    CHECK_INT(fsk_multicast_join(fd, group, loopback_index(), source), expected);
    CHECK_INT(fsk_multicast_leave(fd, group, loopback_index(), source), expected);
}

static void test_what_does_not_belong_together_is_refused(void) {
    struct member four;
    struct member six;
    struct fsk_address host = address_of(AF_INET, "192.0.2.1", 0);
    struct fsk_address none = {.length = 0, .name.any.sa_family = AF_INET};
    struct fsk_address path;
    int pair[2];
    open_member(&four, AF_INET, GROUP4);
    check_refused(four.fd, &host, NULL, -EINVAL);
    check_refused(four.fd, &none, NULL, -EINVAL);
    check_refused(four.fd, &four.group, &none, -EINVAL);
    REQUIRE(fsk_address_set_path(&path, "/tmp", 4) == 0);
    check_refused(four.fd, &path, NULL, -EINVAL);
    check_refused(four.fd, &four.group, &path, -EINVAL);
    open_unix_pair(SOCK_DGRAM, pair);
    check_refused(pair[0], &four.group, NULL, -EINVAL);
    CHECK_INT(fsk_multicast_only_joined(pair[0], AF_UNIX), -EINVAL);
    CHECK_INT(fsk_multicast_only_joined(four.fd, AF_INET6), -EOPNOTSUPP);
    close_pair(pair);
    if (has_loopback(AF_INET6)) {
        struct fsk_address unicast = address_of(AF_INET6, "2001:db8::1", 0);
        open_member(&six, AF_INET6, GROUP6);
        check_refused(four.fd, &six.group, NULL, -EINVAL);
        check_refused(six.fd, &four.group, NULL, -EINVAL);
        check_refused(six.fd, &unicast, NULL, -EINVAL);
        check_refused(six.fd, &six.group, &host, -EINVAL);
        check_refused(four.fd, &four.group, &unicast, -EINVAL);
        close(six.fd);
    }
    close(four.fd);
}

static void test_join_on_no_interface_gives_its_error(void) {
    struct member member;
    open_member(&member, AF_INET, GROUP4);
    CHECK_INT(fsk_multicast_join(member.fd, &member.group, 0x7fffffff, NULL), -ENODEV);
    close(member.fd);
}

static void test_wrong_descriptor_gives_its_error(void) {
    struct fsk_address group = address_of(AF_INET, GROUP4, 0);
    int ends[2];
    check_refused(-1, &group, NULL, -EBADF);
    check_refused(closed_number(), &group, NULL, -EBADF);
    CHECK_INT(fsk_multicast_only_joined(-1, AF_INET), -EBADF);
    REQUIRE(pipe(ends) == 0);
    check_refused(ends[0], &group, NULL, -ENOTSOCK);
    CHECK_INT(fsk_multicast_only_joined(ends[0], AF_INET), -ENOTSOCK);
    close_pair(ends);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_ipv4_group_arrives_between_join_and_leave);
    RUN(test_ipv6_group_arrives_between_join_and_leave);
    RUN(test_ipv6_memberships_are_kept_for_each_interface);
    RUN(test_group_of_one_source_brings_no_other);
    RUN(test_group_left_without_source_is_left_for_all);
    RUN(test_ipv4_group_of_another_is_heard_until_only_own_are_wanted);
    RUN(test_ipv4_group_of_another_is_not_heard_by_ipv6_socket_for_its_own);
    RUN(test_ipv6_group_of_another_is_heard_until_only_own_are_wanted);
    RUN(test_what_does_not_belong_together_is_refused);
    RUN(test_join_on_no_interface_gives_its_error);
    RUN(test_wrong_descriptor_gives_its_error);
    return check_report();
}
