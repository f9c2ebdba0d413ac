/* SPDX-License-Identifier: MIT
 * Messages as they come from the kernel, before they are rows of a batch or trains of a queue. */
#ifndef FASTSOCK_ARRIVALS_H
#define FASTSOCK_ARRIVALS_H

#include <sys/uio.h>

#include <fastsock/batch.h>

#include "engine.h"

enum {
    /* Messages of one system call, which is little beside so many. */
    FSKI_ARRIVALS = 64,
    /* UDP_GRO, a timestamp and both kinds of destination, hop limit and TOS take 224. */
    FSKI_CONTROL_SIZE = 256,
};

/* About 30 KiB, for the stack of one call. Nothing of it is set before it is received into. */
struct fski_arrivals {
    struct fski_packet packets[FSKI_ARRIVALS];
    struct iovec parts[FSKI_ARRIVALS];
    struct fsk_address sources[FSKI_ARRIVALS];
    _Alignas(struct cmsghdr) unsigned char control[FSKI_ARRIVALS][FSKI_CONTROL_SIZE];
};

/* Where messages are received to: message i gets size bytes from memory + i * size on. */
struct fski_slots {
    unsigned char *memory;
    size_t size;
    unsigned count; /* 1..FSKI_ARRIVALS */
    bool has_control;
};

/*
 * Receive with one call of the engine, for which flags are.
 *
 * Returns the number received; each packet's length is the real one where the system tells, and its
 * header and source are filled. -errno as the engine's receive.
 */
int fski_arrivals_receive(struct fski_arrivals *arrivals, int fd, const struct fski_slots *slots,
                          int flags);

/* Whether arrival i is what a UDP socket gives for ever after shutdown(2): no datagram at all. */
bool fski_arrival_is_end(const struct fski_arrivals *arrivals, int i, int fd);

/* Bits of fsk_batch_flag that the kernel's flags give. */
static inline uint32_t fski_flags_of(int kernel_flags) {
    return (kernel_flags & MSG_CTRUNC) != 0 ? FSK_BATCH_CONTROL_TRUNCATED : 0;
}

/* Whether a call that has some messages goes on: rows are left, and the next receive would not take
 * an error from the socket that belongs to the next call. */
bool fski_may_go_on(const struct fsk_batch *batch, int fd);

#endif
