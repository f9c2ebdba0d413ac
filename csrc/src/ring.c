/* SPDX-License-Identifier: MIT */
#include "ring.h"

static uint32_t pushed_of(uint64_t ends) {
    return (uint32_t)(ends >> 32);
}

static uint32_t popped_of(uint64_t ends) {
    return (uint32_t)ends;
}

static uint64_t ends_of(uint32_t pushed, uint32_t popped) {
    return (uint64_t)pushed << 32 | popped;
}

static uint64_t bit_of(int block) {
    return UINT64_C(1) << block;
}

void fski_ring_init(struct fski_ring *ring, unsigned count) {
    atomic_init(&ring->ends, 0);
    atomic_init(&ring->free, count < FSKI_RING_BLOCKS ? bit_of((int)count) - 1 : UINT64_MAX);
}

int fski_ring_take(struct fski_ring *ring) {
    uint64_t free = atomic_load_explicit(&ring->free, memory_order_acquire);
    if (free == 0)
        return -1;
    /* The lowest: it was used a short while ago, and its memory is in the cache. */
    int block = __builtin_ctzll(free);
    atomic_fetch_and_explicit(&ring->free, ~bit_of(block), memory_order_acquire);
    return block;
}

void fski_ring_push(struct fski_ring *ring, int block) {
    uint64_t ends = atomic_load_explicit(&ring->ends, memory_order_relaxed);
    atomic_store_explicit(&ring->order[pushed_of(ends) % FSKI_RING_BLOCKS], (uint8_t)block,
                          memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&ring->ends, &ends,
                                                  ends_of(pushed_of(ends) + 1, popped_of(ends)),
                                                  memory_order_acq_rel, memory_order_relaxed)) {
    }
}

bool fski_ring_pull(struct fski_ring *ring) {
    uint64_t ends = atomic_load_explicit(&ring->ends, memory_order_relaxed);
    while (pushed_of(ends) != popped_of(ends)) {
        if (atomic_compare_exchange_weak_explicit(&ring->ends, &ends,
                                                  ends_of(pushed_of(ends) - 1, popped_of(ends)),
                                                  memory_order_acq_rel, memory_order_relaxed))
            return true;
    }
    return false;
}

int fski_ring_pop(struct fski_ring *ring) {
    uint64_t ends = atomic_load_explicit(&ring->ends, memory_order_acquire);
    while (pushed_of(ends) != popped_of(ends)) {
        int block = atomic_load_explicit(&ring->order[popped_of(ends) % FSKI_RING_BLOCKS],
                                         memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&ring->ends, &ends,
                                                  ends_of(pushed_of(ends), popped_of(ends) + 1),
                                                  memory_order_acq_rel, memory_order_acquire))
            return block;
    }
    return -1;
}

void fski_ring_release(struct fski_ring *ring, int block) {
    atomic_fetch_or_explicit(&ring->free, bit_of(block), memory_order_release);
}

unsigned fski_ring_length(const struct fski_ring *ring) {
    uint64_t ends = atomic_load_explicit(&ring->ends, memory_order_relaxed);
    return pushed_of(ends) - popped_of(ends);
}

unsigned fski_ring_free(const struct fski_ring *ring) {
    return (unsigned)__builtin_popcountll(atomic_load_explicit(&ring->free, memory_order_relaxed));
}
