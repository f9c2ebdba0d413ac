/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_BATCH_INTERNAL_H
#define FASTSOCK_BATCH_INTERNAL_H

#include <string.h>

#include <fastsock/batch.h>

#include "addresses.h"
#include "metadata.h"

/* A batch with what users don't see; batch is first, so that one is the other. */
struct fski_batch {
    struct fsk_batch batch;
    size_t mapped; /* bytes of its own mapping, whose start is batch.arena; 0: it has none */
    size_t arena_size;
    uint32_t rows; /* that the columns have; capacity may be less */
    bool has_metadata;
    struct fski_addresses sources;
    struct fski_addresses destinations;
};

static inline struct fski_batch *fski_batch_of(struct fsk_batch *batch) {
    return (struct fski_batch *)batch;
}

static inline size_t fski_batch_room(const struct fsk_batch *batch) {
    return (size_t)batch->capacity * batch->max_message - batch->used;
}

/* Whether the arena has room for so many bytes after the last message. */
static inline bool fski_batch_has_room(const struct fsk_batch *batch, size_t bytes) {
    return bytes <= ((const struct fski_batch *)batch)->arena_size - batch->used;
}

/* Whether it has room for what is kept of a message of length bytes. */
static inline bool fski_batch_fits(const struct fsk_batch *batch, size_t length) {
    return fski_batch_has_room(batch, length < batch->max_message ? length : batch->max_message);
}

/* How the memory of a batch is cut. */
struct fski_layout {
    size_t arena_size;
    uint32_t rows;
    bool has_metadata;   /* there are columns for it */
    bool has_long_names; /* there is room for senders' names longer than an IP address */
};

/* Bytes that a row takes beside its message. */
size_t fski_layout_row_size(const struct fski_layout *layout);

/* Bytes that all of a batch takes: the arena, the columns, and what aligning them takes. */
size_t fski_layout_size(const struct fski_layout *layout);

/* Make a batch of memory that the caller keeps, fski_layout_size bytes at a cache line; it is not to
 * be freed. whole is out but for sources.key and destinations.key, which stay. */
void fski_batch_lay_out(struct fski_batch *whole, unsigned char *memory,
                        const struct fski_layout *layout, uint32_t max_message);

/* The number of a sender for fski_batch_add. */
uint32_t fski_batch_add_source(struct fsk_batch *batch, const struct fsk_address *source);

/*
 * Append a row for a message whose bytes are in the arena.
 *
 *   offset  in  of its first byte
 *   length  in  bytes it has; at most max_message of them count as stored
 */
static inline uint32_t fski_batch_add(struct fsk_batch *batch, size_t offset, size_t length,
                                      uint32_t flags, uint32_t source) {
    uint32_t row = batch->count++;
    uint32_t stored = length < batch->max_message ? (uint32_t)length : batch->max_message;
    batch->offsets[row] = offset;
    batch->lengths[row] = stored;
    batch->wire_lengths[row] = (uint32_t)length;
    batch->flags[row] = length > stored ? flags | FSK_BATCH_TRUNCATED : flags;
    batch->source[row] = source;
    batch->used = offset + stored;
    return row;
}

/* Append a row with a copy of the message at the end of the arena, which has room for it. */
static inline uint32_t fski_batch_add_copy(struct fsk_batch *batch, const void *data, size_t length,
                                           uint32_t flags, uint32_t source) {
    size_t offset = batch->used;
    uint32_t row = fski_batch_add(batch, offset, length, flags, source);
    memcpy(batch->arena + offset, data, batch->lengths[row]);
    return row;
}

/* Fill the metadata columns that batch->metadata asks for. */
void fski_batch_set_metadata(struct fsk_batch *batch, uint32_t row,
                             const struct fski_metadata *metadata);

/* Close the gaps between the messages, so that the room left is in one piece. */
void fski_batch_compact(struct fsk_batch *batch);

/* Have room for every row that is left. Only what read-ahead received leaves gaps. */
static inline void fski_batch_make_room(struct fsk_batch *batch) {
    if (fski_batch_room(batch) < (size_t)(batch->capacity - batch->count) * batch->max_message)
        fski_batch_compact(batch);
}

#endif
