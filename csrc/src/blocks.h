/* SPDX-License-Identifier: MIT
 * Bounded memory for messages on their way from the thread that receives to the consumer: blocks, each
 * of them a batch.
 *
 * The thread appends to the open block, which is in the queue too but while it is being appended to.
 * So the consumer can have at any time what has arrived; when it takes the open block, the next message
 * opens another one.
 */
#ifndef FASTSOCK_BLOCKS_H
#define FASTSOCK_BLOCKS_H

#include "batch.h"
#include "readahead.h"
#include "ring.h"

struct fski_lane;

struct fski_block {
    struct fski_batch whole; /* first, so that a batch is its block */
    struct fski_lane *lane;  /* whose it is */
};

struct fski_blocks {
    struct fski_ring ring;
    struct fski_block all[FSKI_RING_BLOCKS];
    unsigned char *memory; /* count blocks of size bytes */
    size_t size;
    unsigned count;
    unsigned metadata; /* bits of fsk_metadata that the batches have columns for */
    bool has_long_names;

    /* The thread's own. */
    int open;                              /* the number of the open block, or -1 */
    bool is_pushed;                        /* it is in the queue too */
    uint64_t mean_bytes;                   /* of late messages, for the next block's layout */
    struct fski_readahead_counts laid_out; /* the counts when a block was last laid out */
};

/* Map memory for blocks, at most bytes in all; metadata and has_long_names are set before. Returns 0 or
 * -ENOMEM. */
int fski_blocks_map(struct fski_blocks *blocks, size_t bytes, struct fski_lane *lane, uint64_t key);

/*
 * The thread: the open block, in nobody else's hands.
 *
 *   now  in  counts of what was received so far, by which a new block is laid out
 *
 * NULL when none is open and none is free.
 */
struct fsk_batch *fski_blocks_open(struct fski_blocks *blocks,
                                   const struct fski_readahead_counts *now);

/* The thread: open a block that it took or popped from the ring. */
struct fsk_batch *fski_blocks_open_this(struct fski_blocks *blocks, int number,
                                        const struct fski_readahead_counts *now);

/* The thread: let the consumer have the open block. */
void fski_blocks_push(struct fski_blocks *blocks);

/* The thread: the open block, which has been pushed, is full. */
static inline void fski_blocks_seal(struct fski_blocks *blocks) {
    blocks->open = -1;
}

static inline struct fsk_batch *fski_blocks_batch(struct fski_blocks *blocks, int number) {
    return &blocks->all[number].whole.batch;
}

/* Any thread: a batch that was popped is free again. */
static inline void fski_blocks_release(struct fski_blocks *blocks, const struct fsk_batch *batch) {
    fski_ring_release(&blocks->ring, (int)((const struct fski_block *)batch - blocks->all));
}

/* Give the memory of free blocks back to the system; no block is opened any more. */
void fski_blocks_discard(struct fski_blocks *blocks);

void fski_blocks_unmap(struct fski_blocks *blocks);

#endif
