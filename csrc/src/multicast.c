/* SPDX-License-Identifier: MIT
 * Facts about Linux
 *   A group of IPv4 can be joined on an IPv6 socket, at the level of IPv4; no other system does that.
 *   A group of IPv6 on an IPv4 socket gives ENOPROTOOPT, other mixtures EADDRNOTAVAIL or EINVAL.
 *   An IPv6 socket that takes IPv4 gets no group of IPv4 that it has not joined, whatever its options.
 * What follows
 *   The families are compared here, for one answer on every system.
 */
#include <fastsock/multicast.h>

#include <errno.h>
#include <string.h>

#include "kernel.h"
#include "socket.h"
#include "uapi.h"

static bool is_of(const struct fsk_address *address, int family) {
    return address->length > 0 && address->name.any.sa_family == family;
}

/* 0 for a socket, a group and a source that belong together. */
static int check(int fd, const struct fsk_address *group, const struct fsk_address *source) {
    int family = fski_socket_family(fd);
    if (family < 0)
        return family;
    if (!is_of(group, family) || !fsk_address_is_multicast(group))
        return -EINVAL;
    return source == NULL || is_of(source, family) ? 0 : -EINVAL;
}

#ifdef MCAST_JOIN_SOURCE_GROUP

static int level_of(const struct fsk_address *group) {
    return group->name.any.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

static int change_group(int fd, int option, const struct fsk_address *group, unsigned interface) {
    struct group_req request;
    memset(&request, 0, sizeof request);
    request.gr_interface = interface;
    memcpy(&request.gr_group, &group->name, group->length);
    return fski_setsockopt(fd, level_of(group), option, &request, sizeof request);
}

static int change_source(int fd, int option, const struct fsk_address *group, unsigned interface,
                         const struct fsk_address *source) {
    struct group_source_req request;
    memset(&request, 0, sizeof request);
    request.gsr_interface = interface;
    memcpy(&request.gsr_group, &group->name, group->length);
    memcpy(&request.gsr_source, &source->name, source->length);
    return fski_setsockopt(fd, level_of(group), option, &request, sizeof request);
}

int fsk_multicast_join(int fd, const struct fsk_address *group, unsigned interface,
                       const struct fsk_address *source) {
    int result = check(fd, group, source);
    if (result < 0)
        return result;
    return source == NULL ? change_group(fd, MCAST_JOIN_GROUP, group, interface)
                          : change_source(fd, MCAST_JOIN_SOURCE_GROUP, group, interface, source);
}

int fsk_multicast_leave(int fd, const struct fsk_address *group, unsigned interface,
                        const struct fsk_address *source) {
    int result = check(fd, group, source);
    if (result < 0)
        return result;
    return source == NULL ? change_group(fd, MCAST_LEAVE_GROUP, group, interface)
                          : change_source(fd, MCAST_LEAVE_SOURCE_GROUP, group, interface, source);
}

#else

int fsk_multicast_join(int fd, const struct fsk_address *group, unsigned interface,
                       const struct fsk_address *source) {
    (void)interface;
    int result = check(fd, group, source);
    return result < 0 ? result : -EOPNOTSUPP;
}

int fsk_multicast_leave(int fd, const struct fsk_address *group, unsigned interface,
                        const struct fsk_address *source) {
    return fsk_multicast_join(fd, group, interface, source);
}

#endif

/* Numbers of Linux, which elsewhere are other options' or none. */
#if FSK_HAVE_ENGINE_LINUX

int fsk_multicast_only_joined(int fd, int family) {
    if (family != AF_INET && family != AF_INET6)
        return -EINVAL;
    int no = 0;
    int result = family == AF_INET
                     ? fski_setsockopt(fd, IPPROTO_IP, FSKI_IP_MULTICAST_ALL, &no, sizeof no)
                     : fski_setsockopt(fd, IPPROTO_IPV6, FSKI_IPV6_MULTICAST_ALL, &no, sizeof no);
    return result == -ENOPROTOOPT ? -EOPNOTSUPP : result;
}

#else

int fsk_multicast_only_joined(int fd, int family) {
    (void)fd;
    return family == AF_INET || family == AF_INET6 ? -EOPNOTSUPP : -EINVAL;
}

#endif
