/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_CAPABILITY_H
#define FASTSOCK_CAPABILITY_H

#include <stdbool.h>

#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What makes calls on many messages faster and may be missing: in the kernel, in the engine, or
 * because a container refuses the call. Without it every function gives the same results by plain
 * calls. One table for the process; any thread may ask.
 */
enum fsk_capability {
    FSK_CAPABILITY_RECVMMSG,    /* many messages with one receiving call */
    FSK_CAPABILITY_SENDMMSG,    /* many messages with one sending call */
    FSK_CAPABILITY_UDP_GRO,     /* the kernel hands over a train of datagrams as one buffer */
    FSK_CAPABILITY_UDP_SEGMENT, /* the kernel cuts one buffer into datagrams (GSO) */
    FSK_CAPABILITY_COUNT
};

/*
 * Whether a capability is in use: the engine has it and the kernel has not refused it so far. Asks
 * the kernel where that takes no socket; the two offloads are found out by the first socket that
 * wants them.
 */
FSK_API bool fsk_capability_works(enum fsk_capability capability);

#ifdef __cplusplus
}
#endif

#endif
