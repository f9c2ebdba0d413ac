/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_METADATA_H
#define FASTSOCK_METADATA_H

#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the kernel can tell of each datagram. Bits of struct fsk_batch's metadata. */
enum fsk_metadata {
    FSK_METADATA_TIMESTAMP = 1,   /* when the kernel took it, in nanoseconds */
    FSK_METADATA_DESTINATION = 2, /* the local address it was sent to, and the interface */
    FSK_METADATA_HOP_LIMIT = 4,   /* IPv4 TTL, IPv6 hop limit */
    FSK_METADATA_TOS = 8,         /* IPv4 TOS, IPv6 traffic class */
};

/*
 * Make the kernel tell, for a UDP socket and all its receives, exactly what is asked for.
 *
 *   family    in  AF_INET or AF_INET6; an IPv6 socket is also told about IPv4 datagrams
 *   metadata  in  bits of fsk_metadata; the others are switched off
 *
 * The options belong to the socket in the kernel: every descriptor of it is told, and recvmsg gives
 * them as control data. Returns 0, -EOPNOTSUPP when this system can't tell one of them, or the
 * error of setsockopt(2); options are then as before. Source: socket(7) SO_TIMESTAMPNS, ip(7),
 * ipv6(7).
 */
FSK_API int fsk_metadata_enable(int fd, int family, unsigned metadata);

/* What the kernel tells now, for a socket of family: bits of fsk_metadata, or -errno of
 * getsockopt(2). */
FSK_API int fsk_metadata_enabled(int fd, int family);

#ifdef __cplusplus
}
#endif

#endif
