/* SPDX-License-Identifier: MIT
 * One socket of a receiver: the thread that reads it, and the memory it reads into. */
#ifndef FASTSOCK_LANE_H
#define FASTSOCK_LANE_H

#include <fastsock/receiver.h>

#include "bell.h"
#include "blocks.h"
#include "thread.h"

/* A counter with one writer, which anybody may read. */
typedef _Atomic uint64_t fski_counter;

struct fski_lane {
    struct fski_blocks blocks;
    struct fski_bell bell;      /* wakes the thread: to stop, or because a block is free */
    struct fski_bell *consumer; /* borrowed: wakes who waits for messages */
    const struct fsk_receiver_options *options;
    struct fsk_readahead *readahead;
    int fd;
    int type;
    bool is_unix;
    bool tells_drops; /* the kernel does */
    bool has_gro;
    bool has_thread;
    pthread_t thread;
    atomic_bool may_receive;
    atomic_bool is_stopping;
    atomic_int result; /* of the thread: 0 while it runs, FSKI_LANE_END, or -errno */

    /* The thread's own. */
    short events;     /* of the socket, for which poll ended the last wait */
    bool was_in_vain; /* the last receive */
    uint64_t ends;    /* empty messages that were the end of SOCK_SEQPACKET */

    /* The thread counts; stop too, once the thread has ended. */
    fski_counter received, bytes, system_calls, truncated, control_truncated, descriptors;
    fski_counter ring_drops, largest_batch, high_water, errors;
    fski_counter discarded; /* stop counts */
    fski_counter delivered; /* the consumer counts */
    fski_counter taken;     /* blocks, by the consumer */
    fski_counter returned;  /* blocks, by any thread */
    fski_counter drops;     /* the kernel's, widened; drops_before of them came before the lane */
    uint64_t drops_before;
};

enum { FSKI_LANE_END = 1 };

/*
 * Prepare a lane; memory is all that it may take. Options and consumer have to outlive it.
 *
 * Returns 0 or -errno as fsk_receiver_open, with nothing changed and fd still the caller's.
 */
int fski_lane_open(struct fski_lane *lane, int fd, size_t memory,
                   const struct fsk_receiver_options *options, struct fski_bell *consumer);

/* Start its thread, which waits for fski_lane_go. Returns 0 or -errno. */
int fski_lane_start(struct fski_lane *lane, int cpu);

/* Begin to receive. */
void fski_lane_go(struct fski_lane *lane);

/* Take the oldest block; NULL when there is none. */
struct fsk_batch *fski_lane_pop(struct fski_lane *lane);

/* Give one back; may_ring: the lane is open, and this process opened it. */
void fski_lane_release(struct fski_lane *lane, struct fsk_batch *batch, bool may_ring);

/* End the thread, and count what is left. Returns 0 or -errno of fsk_readahead_stop. */
int fski_lane_stop(struct fski_lane *lane);

/* Add its counts to stats, the kernel's as they are now when the socket is open. */
void fski_lane_count(struct fski_lane *lane, struct fsk_receiver_stats *stats, bool is_open);

/* Close all but the socket, which the receiver closes, and the memory of blocks that the consumer has.
 * In a process that was forked off too, where the thread does not exist. */
void fski_lane_close(struct fski_lane *lane);

/* Free the memory of all blocks. */
void fski_lane_free(struct fski_lane *lane);

#endif
