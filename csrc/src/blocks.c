/* SPDX-License-Identifier: MIT
 * The memory between the receive thread and the consumer.
 *
 * How many rows a block has is decided when it is opened, by the mean length of late messages: the
 * memory is then full of bytes when the rows are used up.
 */
#include "blocks.h"

#include <errno.h>

#include "kernel.h"

enum {
    ALIGNMENT = 64,
    PAGE = 4096,
    LEAST_SIZE = 128 * 1024, /* room for the longest message, and rows for many short ones */
    LEAST_ROWS = 64,
    FIRST_MEAN = 512, /* bytes of a message, as long as nothing is known */
};

int fski_blocks_map(struct fski_blocks *blocks, size_t bytes, struct fski_lane *lane,
                    uint64_t key) {
    blocks->open = -1;
    blocks->mean_bytes = FIRST_MEAN;
    blocks->size = bytes / FSKI_RING_BLOCKS / PAGE * PAGE;
    if (blocks->size < LEAST_SIZE)
        blocks->size = LEAST_SIZE;
    blocks->count = (unsigned)(bytes / blocks->size);
    if (blocks->count > FSKI_RING_BLOCKS)
        blocks->count = FSKI_RING_BLOCKS;
    blocks->memory = fski_map(blocks->count * blocks->size);
    if (blocks->memory == NULL)
        return -ENOMEM;
    fski_ring_init(&blocks->ring, blocks->count);
    for (unsigned i = 0; i < blocks->count; i++) {
        struct fski_block *block = &blocks->all[i];
        block->lane = lane;
        block->whole.sources.key = block->whole.destinations.key = key;
    }
    return 0;
}

/* Takes account of what was received since a block was last laid out. */
static void update_mean(struct fski_blocks *blocks, const struct fski_readahead_counts *now) {
    uint64_t datagrams = now->datagrams - blocks->laid_out.datagrams;
    uint64_t bytes = now->bytes - blocks->laid_out.bytes;
    if (datagrams > 0)
        blocks->mean_bytes = (blocks->mean_bytes + bytes / datagrams) / 2;
    blocks->laid_out = *now;
}

static struct fski_layout layout_of(const struct fski_blocks *blocks) {
    struct fski_layout layout = {
        .has_metadata = blocks->metadata != 0,
        .has_long_names = blocks->has_long_names,
    };
    size_t row_size = fski_layout_row_size(&layout);
    size_t most = (blocks->size - fski_layout_size(&layout) - FSKI_READAHEAD_BUFFER) / row_size;
    size_t rows = blocks->size / (blocks->mean_bytes + row_size);
    layout.rows = (uint32_t)(rows < LEAST_ROWS ? LEAST_ROWS : rows > most ? most : rows);
    layout.arena_size = (blocks->size - fski_layout_size(&layout)) / ALIGNMENT * ALIGNMENT;
    return layout;
}

struct fsk_batch *fski_blocks_open_this(struct fski_blocks *blocks, int number,
                                        const struct fski_readahead_counts *now) {
    update_mean(blocks, now);
    struct fski_batch *whole = &blocks->all[number].whole;
    const struct fski_layout layout = layout_of(blocks);
    fski_batch_lay_out(whole, blocks->memory + (size_t)number * blocks->size, &layout,
                       FSKI_READAHEAD_BUFFER);
    whole->batch.metadata = blocks->metadata;
    blocks->open = number;
    blocks->is_pushed = false;
    return &whole->batch;
}

struct fsk_batch *fski_blocks_open(struct fski_blocks *blocks,
                                   const struct fski_readahead_counts *now) {
    if (blocks->open >= 0 && blocks->is_pushed && !fski_ring_pull(&blocks->ring))
        blocks->open = -1; /* the consumer has it */
    blocks->is_pushed = false;
    if (blocks->open >= 0)
        return fski_blocks_batch(blocks, blocks->open);
    int number = fski_ring_take(&blocks->ring);
    return number < 0 ? NULL : fski_blocks_open_this(blocks, number, now);
}

void fski_blocks_push(struct fski_blocks *blocks) {
    fski_ring_push(&blocks->ring, blocks->open);
    blocks->is_pushed = true;
}

void fski_blocks_discard(struct fski_blocks *blocks) {
    int number;
    while ((number = fski_ring_take(&blocks->ring)) >= 0)
        fski_discard(blocks->memory + (size_t)number * blocks->size, blocks->size);
}

void fski_blocks_unmap(struct fski_blocks *blocks) {
    fski_unmap(blocks->memory, blocks->count * blocks->size);
}
