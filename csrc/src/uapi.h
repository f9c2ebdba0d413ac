/* SPDX-License-Identifier: MIT
 * Numbers of the Linux kernel's interface that the headers of an older C library lack, so that what is
 * built there has the same features. They never change; where a header has one too it is compared.
 */
#ifndef FASTSOCK_UAPI_H
#define FASTSOCK_UAPI_H

#include <sys/socket.h>

#include <netinet/in.h>
#include <netinet/udp.h>

/* linux/udp.h */
enum {
    FSKI_SOL_UDP = 17,
    FSKI_UDP_SEGMENT = 103, /* Linux 4.18 */
    FSKI_UDP_GRO = 104,     /* Linux 5.0 */
    FSKI_UDP_MAX_SEGMENTS = 64,
};

/* asm-generic/socket.h; alpha, mips, parisc and sparc have numbers and headers of their own. */
#ifndef SO_MEMINFO
#define SO_MEMINFO 55 /* Linux 4.12 */
#endif
enum { FSKI_MEMINFO_DROPS = 8, FSKI_MEMINFO_COUNT = 9 }; /* linux/sock_diag.h */

#ifndef SO_BUSY_POLL
#define SO_BUSY_POLL 46 /* Linux 3.11 */
#endif

/* With MSG_TRUNC a receive on Linux returns the length that a message really had. */
#ifdef __linux__
enum { FSKI_MSG_REAL_LENGTH = MSG_TRUNC };
#else
enum { FSKI_MSG_REAL_LENGTH = 0 };
#endif

/* A descriptor of the sender's process. Linux 6.5; elsewhere the number means something else. */
#ifdef __linux__
enum { FSKI_SCM_PIDFD = 4 };
#else
enum { FSKI_SCM_PIDFD = -1 };
#endif

#ifndef SO_PROTOCOL
#define SO_PROTOCOL 38 /* Linux 2.6.32; a system without it refuses the number */
#endif

#ifndef SO_RCVBUFFORCE
#define SO_RCVBUFFORCE 33 /* Linux 2.6.14; a system without it refuses the number */
#endif

/* linux/in.h and linux/in6.h */
enum {
    FSKI_IP_MULTICAST_ALL = 49,   /* Linux 2.6.31 */
    FSKI_IPV6_MULTICAST_ALL = 29, /* Linux 4.20 */
};

#ifndef MSG_WAITFORONE
#define MSG_WAITFORONE 0x10000 /* Linux 2.6.34 */
#endif

#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0 /* Linux, and POSIX since 2024 */
#endif

#ifdef UDP_SEGMENT
_Static_assert((int)FSKI_UDP_SEGMENT == UDP_SEGMENT, "linux/udp.h");
#endif
#ifdef UDP_GRO
_Static_assert((int)FSKI_UDP_GRO == UDP_GRO, "linux/udp.h");
#endif
#ifdef SOL_UDP
_Static_assert((int)FSKI_SOL_UDP == SOL_UDP, "linux/udp.h");
#endif
#ifdef IP_MULTICAST_ALL
_Static_assert((int)FSKI_IP_MULTICAST_ALL == IP_MULTICAST_ALL, "linux/in.h");
#endif
#ifdef IPV6_MULTICAST_ALL
_Static_assert((int)FSKI_IPV6_MULTICAST_ALL == IPV6_MULTICAST_ALL, "linux/in6.h");
#endif

#endif
