/* SPDX-License-Identifier: MIT
 * The memory of a batch: one mapping, cut into the arena and the columns.
 *
 * What every batch uses comes first and takes 64 bytes a row beside the arena; the columns of the
 * metadata and the room for long addresses follow, and are no memory until they are touched.
 */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

#include "kernel.h"

enum {
    ROW_SIZE = 64,          /* columns 24, index 8, entry 32 */
    METADATA_ROW_SIZE = 64, /* columns 18, index 8, entry 32, and what aligning them takes */
    ALIGNMENT = 64,
};

/* Cuts the mapping; every piece starts at a cache line. */
static void *cut(unsigned char **next, size_t size) {
    unsigned char *piece = *next;
    *next += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return piece;
}

static void cut_all(struct fski_batch *whole, uint64_t key) {
    struct fsk_batch *batch = &whole->batch;
    size_t rows = batch->capacity;
    unsigned char *next = batch->arena;
    cut(&next, rows * batch->max_message);
    batch->offsets = cut(&next, rows * sizeof *batch->offsets);
    batch->lengths = cut(&next, rows * sizeof *batch->lengths);
    batch->wire_lengths = cut(&next, rows * sizeof *batch->wire_lengths);
    batch->flags = cut(&next, rows * sizeof *batch->flags);
    batch->source = cut(&next, rows * sizeof *batch->source);
    whole->sources.capacity = batch->capacity;
    whole->sources.key = key;
    whole->sources.index = cut(&next, 2 * rows * sizeof *whole->sources.index);
    whole->sources.entries = cut(&next, rows * FSKI_SHORT_ENTRY);
    batch->timestamps_ns = cut(&next, rows * sizeof *batch->timestamps_ns);
    batch->destination = cut(&next, rows * sizeof *batch->destination);
    batch->interface = cut(&next, rows * sizeof *batch->interface);
    batch->hop_limit = cut(&next, rows);
    batch->tos = cut(&next, rows);
    whole->destinations.capacity = batch->capacity;
    whole->destinations.key = key;
    whole->destinations.index = cut(&next, 2 * rows * sizeof *whole->destinations.index);
    whole->destinations.entries = cut(&next, rows * FSKI_SHORT_ENTRY);
    whole->sources.long_entries = cut(&next, rows * FSKI_LONG_ENTRY);
}

int fsk_batch_new(struct fsk_batch **batch, uint32_t capacity, uint32_t max_message, uint64_t key) {
    enum { PIECES = 15 };
    *batch = NULL;
    if (capacity == 0 || max_message == 0 || capacity > UINT32_MAX / 2)
        return -EINVAL;
    uint64_t per_row = (uint64_t)max_message + ROW_SIZE + METADATA_ROW_SIZE + FSKI_LONG_ENTRY;
    uint64_t size = capacity * per_row + PIECES * ALIGNMENT; /* below 2^31 * 2^33 */
    if (size > PTRDIFF_MAX)
        return -EINVAL;
    struct fski_batch *whole = calloc(1, sizeof *whole);
    if (whole == NULL)
        return -ENOMEM;
    whole->mapped = (size_t)size;
    whole->arena_size = (size_t)capacity * max_message;
    whole->rows = capacity;
    whole->batch.capacity = capacity;
    whole->batch.max_message = max_message;
    whole->batch.arena = fski_map(whole->mapped);
    if (whole->batch.arena == NULL) {
        free(whole);
        return -ENOMEM;
    }
    cut_all(whole, key);
    *batch = &whole->batch;
    return 0;
}

void fsk_batch_free(struct fsk_batch *batch) {
    if (batch == NULL)
        return;
    struct fski_batch *whole = fski_batch_of(batch);
    fski_unmap(batch->arena, whole->mapped);
    free(whole);
}

int fsk_batch_reshape(struct fsk_batch *batch, uint32_t capacity, uint32_t max_message) {
    const struct fski_batch *whole = fski_batch_of(batch);
    if (capacity == 0 || max_message == 0)
        return -EINVAL;
    if (capacity > whole->rows || max_message > whole->arena_size / capacity)
        return -ENOSPC;
    batch->capacity = capacity;
    batch->max_message = max_message;
    fsk_batch_clear(batch);
    return 0;
}

void fsk_batch_clear(struct fsk_batch *batch) {
    struct fski_batch *whole = fski_batch_of(batch);
    batch->count = 0;
    batch->used = 0;
    batch->source_count = 0;
    batch->destination_count = 0;
    fski_addresses_clear(&whole->sources);
    fski_addresses_clear(&whole->destinations);
}

size_t fsk_batch_size(const struct fsk_batch *batch) {
    const struct fski_batch *whole = (const struct fski_batch *)batch;
    size_t per_row = ROW_SIZE;
    if (whole->has_metadata)
        per_row += METADATA_ROW_SIZE;
    if (whole->sources.is_long)
        per_row += FSKI_LONG_ENTRY;
    return whole->arena_size + whole->rows * per_row;
}

void fsk_batch_source(const struct fsk_batch *batch, uint32_t index, struct fsk_address *address) {
    fski_addresses_get(&((const struct fski_batch *)batch)->sources, index, address);
}

void fsk_batch_destination(const struct fsk_batch *batch, uint32_t index,
                           struct fsk_address *address) {
    fski_addresses_get(&((const struct fski_batch *)batch)->destinations, index, address);
}

uint32_t fski_batch_add_source(struct fsk_batch *batch, const struct fsk_address *source) {
    struct fski_batch *whole = fski_batch_of(batch);
    if (source->length == 0)
        return FSK_NO_ADDRESS;
    uint32_t number = fski_addresses_add(&whole->sources, source);
    batch->source_count = whole->sources.count;
    return number;
}

void fski_batch_set_metadata(struct fsk_batch *batch, uint32_t row,
                             const struct fski_metadata *metadata) {
    struct fski_batch *whole = fski_batch_of(batch);
    whole->has_metadata = true;
    batch->timestamps_ns[row] = metadata->timestamp_ns;
    batch->destination[row] = FSK_NO_ADDRESS;
    if (metadata->destination.length > 0) {
        batch->destination[row] = fski_addresses_add(&whole->destinations, &metadata->destination);
        batch->destination_count = whole->destinations.count;
    }
    batch->interface[row] = metadata->interface;
    batch->hop_limit[row] = metadata->hop_limit;
    batch->tos[row] = metadata->tos;
}

void fski_batch_compact(struct fsk_batch *batch) {
    size_t end = 0;
    for (uint32_t row = 0; row < batch->count; row++) {
        if (batch->offsets[row] != end) {
            memmove(batch->arena + end, batch->arena + batch->offsets[row], batch->lengths[row]);
            batch->offsets[row] = end;
        }
        end += batch->lengths[row];
    }
    batch->used = end;
}
