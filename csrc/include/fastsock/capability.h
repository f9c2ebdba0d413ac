/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_CAPABILITY_H
#define FASTSOCK_CAPABILITY_H

#include <stdbool.h>

#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What may be missing: in the kernel, in the engine, or because a container refuses the call. The
 * first four make calls on many messages faster; without them every function gives the same results
 * by plain calls. The others are options of a socket, which a function either sets or says that it
 * can't. One table for the process; any thread may ask.
 */
enum fsk_capability {
    FSK_CAPABILITY_RECVMMSG,      /* many messages with one receiving call */
    FSK_CAPABILITY_SENDMMSG,      /* many messages with one sending call */
    FSK_CAPABILITY_UDP_GRO,       /* the kernel hands over a train of datagrams as one buffer */
    FSK_CAPABILITY_UDP_SEGMENT,   /* the kernel cuts one buffer into datagrams (GSO) */
    FSK_CAPABILITY_RECEIVE_DROPS, /* a socket counts what it dropped: fsk_socket_drops */
    FSK_CAPABILITY_TIMESTAMPS,    /* when the kernel took a message: FSK_METADATA_TIMESTAMP */
    FSK_CAPABILITY_BUSY_POLL,     /* SO_BUSY_POLL; takes CAP_NET_ADMIN */
    FSK_CAPABILITY_FORCE_BUFFER,  /* SO_RCVBUFFORCE: past the system's limit; takes CAP_NET_ADMIN */
    FSK_CAPABILITY_COUNT          /* how many these headers know; a later library may have more */
};

/* What there is to know about a capability, as of the call that filled it. */
struct fsk_capability_report {
    bool is_built;      /* the library has it for this system, in the engine in use */
    bool is_probed;     /* the kernel, asked just now, has it and lets this process use it */
    bool works;         /* in use: both of these, and never refused to this process */
    int error;          /* 0, or what kept is_probed from being true, as -errno */
    const char *reason; /* why it does not work and what helps; English, static; NULL if it does */
};

/*
 * Whether a capability is in use: the engine has it and the kernel has not refused it so far. Asks
 * the kernel where that takes no socket; the two offloads (UDP_GRO, UDP_SEGMENT) are found out by
 * the first socket that wants them. False when there is no such capability.
 */
FSK_API bool fsk_capability_works(enum fsk_capability capability);

/* The name that users know it by, "recvmmsg"; static; NULL: there is no such capability. */
FSK_API const char *fsk_capability_name(enum fsk_capability capability);

/*
 * Find out about a capability anew, on a socket of the call's own that is closed again.
 *
 *   report  out  what fsk_capability_works tells may differ: it asks less and remembers. As it was
 *                after an error
 *
 * The answer changes nothing for other calls: a refusal may come of this thread's sandbox alone.
 * Where no socket can be had the kernel is not asked: the report's error says why, and works is
 * true only of what has worked in this process before. Returns 0, or -EINVAL: there is no such
 * capability.
 */
FSK_API int fsk_capability_probe(enum fsk_capability capability,
                                 struct fsk_capability_report *report);

#ifdef __cplusplus
}
#endif

#endif
