/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_MULTICAST_H
#define FASTSOCK_MULTICAST_H

#include <fastsock/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Multicast groups of a UDP socket (RFC 3678, the protocol-independent form). Memberships belong to
 * the socket in the kernel: every descriptor of it has them, and the last one closed ends them.
 *
 * A membership tells the interface to take the group's packets. Which of them a socket then gets is
 * told by its address and port as for any other: it is bound to the port, and to the wildcard
 * address or the group's. On Linux a socket also gets what other sockets of the machine have
 * joined, unless fsk_multicast_only_joined was called.
 */

/*
 * Join a group on one interface.
 *
 *   group      in  a multicast address of the socket's family; its port and scope do not count
 *   interface  in  index (if_nametoindex(3)); 0: the system chooses, by its routes
 *   source     in  take what this sender sends; once for each sender. NULL: any sender. Of the
 *                  group's family
 *
 * Returns 0, or
 *   -EINVAL         group is no multicast address, or socket, group and source are not of one
 *                   family; or as setsockopt(2)
 *   -EADDRINUSE     the group is already joined on this interface; a source beside any source
 *   -EADDRNOTAVAIL  the source is already joined
 *   -ENODEV         there is no such interface, or no route tells one
 *   -ENOBUFS        as many as the system allows are joined (net.ipv4.igmp_max_memberships and
 *                   igmp_max_msf, net.ipv6.mld_max_msf)
 *   -EOPNOTSUPP     the system lacks the calls
 *   other           as setsockopt(2)
 */
FSK_API int fsk_multicast_join(int fd, const struct fsk_address *group, unsigned interface,
                               const struct fsk_address *source);

/*
 * Leave what was joined with the same arguments. With source NULL the group is left for all of its
 * sources; with interface 0 Linux leaves the group where it was joined first.
 *
 * Returns 0, or
 *   -EADDRNOTAVAIL  the group was not joined there; on Linux -EINVAL when a source is given
 *   other           as fsk_multicast_join
 */
FSK_API int fsk_multicast_leave(int fd, const struct fsk_address *group, unsigned interface,
                                const struct fsk_address *source);

/*
 * Give a socket only the groups that it has joined itself, not those of the whole machine.
 *
 *   family  in  AF_INET or AF_INET6, the socket's
 *
 * Returns 0, -EINVAL for other families, -EOPNOTSUPP where the system lacks the option, or other as
 * setsockopt(2). Source: IP_MULTICAST_ALL, Linux 2.6.31; IPV6_MULTICAST_ALL, Linux 4.20.
 */
FSK_API int fsk_multicast_only_joined(int fd, int family);

#ifdef __cplusplus
}
#endif

#endif
