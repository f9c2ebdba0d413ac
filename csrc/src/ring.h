/* SPDX-License-Identifier: MIT
 * A bounded queue of numbered blocks between threads, without locks.
 *
 * One thread, the producer, takes free blocks, fills them and pushes them. Consumers pop the oldest and
 * give it back when they are done with it. The producer may pop too, to drop the oldest, and may take
 * back the block it pushed last while nobody has popped it, to add to it: so what has arrived is always
 * there to be popped, and yet blocks are filled whole when nobody pops.
 *
 * Memory order
 *   Both ends of the queue are in one word, so that every change of it is one compare-and-swap and no
 *   two threads can get the same block. What the producer wrote into a block, and its number in
 *   order[], is released by the swap that pushes it and acquired by the swap that pops it.
 *   What a consumer read of a block is released with its bit in free and acquired by the producer that
 *   takes it.
 *   The number is read before the swap, which fails when the slot may have been used anew since: that
 *   takes a pop. (The ends count to 2^32; a thread would have to stand still between load and swap
 *   while exactly so many blocks go by.)
 */
#ifndef FASTSOCK_RING_H
#define FASTSOCK_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { FSKI_RING_BLOCKS = 64 };

struct fski_ring {
    _Alignas(64) _Atomic uint64_t ends;      /* blocks ever pushed << 32 | blocks ever popped */
    _Alignas(64) _Atomic uint64_t free;      /* a bit for each block that nobody has */
    _Atomic uint8_t order[FSKI_RING_BLOCKS]; /* of the block pushed as number i, at i % 64 */
};

/* All blocks are free. count is 1..FSKI_RING_BLOCKS. */
void fski_ring_init(struct fski_ring *ring, unsigned count);

/* Producer: the number of a block to fill, or -1 when none is free. */
int fski_ring_take(struct fski_ring *ring);

/* Producer: put a block that it took, or popped, at the end of the queue. */
void fski_ring_push(struct fski_ring *ring, int block);

/* Producer: take back the block that it pushed last, which it has to push again before any other.
 * Returns false when it has been popped. */
bool fski_ring_pull(struct fski_ring *ring);

/* Any thread: the oldest block of the queue, which is the caller's then; -1 when the queue is empty. */
int fski_ring_pop(struct fski_ring *ring);

/* Any thread: a block that was popped or taken is free again. */
void fski_ring_release(struct fski_ring *ring, int block);

/* Blocks in the queue; blocks that nobody has. Both may have changed by the time they are known. */
unsigned fski_ring_length(const struct fski_ring *ring);
unsigned fski_ring_free(const struct fski_ring *ring);

#endif
