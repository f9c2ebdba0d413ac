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
    PIECES = 15,
};

size_t fski_layout_row_size(const struct fski_layout *layout) {
    return ROW_SIZE + (layout->has_metadata ? METADATA_ROW_SIZE : 0) +
           (layout->has_long_names ? FSKI_LONG_ENTRY : 0);
}

size_t fski_layout_size(const struct fski_layout *layout) {
    return layout->arena_size + layout->rows * fski_layout_row_size(layout) + PIECES * ALIGNMENT;
}

/* Cuts the memory; every piece starts at a cache line. */
static void *cut(unsigned char **next, size_t size) {
    unsigned char *piece = *next;
    *next += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return piece;
}

static void cut_addresses(struct fski_addresses *table, unsigned char **next, uint32_t rows) {
    table->capacity = rows;
    table->index = cut(next, 2 * (size_t)rows * sizeof *table->index);
    table->entries = cut(next, (size_t)rows * FSKI_SHORT_ENTRY);
    table->long_entries = NULL;
    table->is_long = false;
}

void fski_batch_lay_out(struct fski_batch *whole, unsigned char *memory,
                        const struct fski_layout *layout, uint32_t max_message) {
    struct fsk_batch *batch = &whole->batch;
    size_t rows = layout->rows;
    unsigned char *next = memory;
    whole->arena_size = layout->arena_size;
    whole->rows = layout->rows;
    whole->has_metadata = false;
    batch->capacity = layout->rows;
    batch->max_message = max_message;
    batch->arena = cut(&next, layout->arena_size);
    batch->offsets = cut(&next, rows * sizeof *batch->offsets);
    batch->lengths = cut(&next, rows * sizeof *batch->lengths);
    batch->wire_lengths = cut(&next, rows * sizeof *batch->wire_lengths);
    batch->flags = cut(&next, rows * sizeof *batch->flags);
    batch->source = cut(&next, rows * sizeof *batch->source);
    cut_addresses(&whole->sources, &next, layout->rows);
    if (layout->has_metadata) {
        batch->timestamps_ns = cut(&next, rows * sizeof *batch->timestamps_ns);
        batch->destination = cut(&next, rows * sizeof *batch->destination);
        batch->interface = cut(&next, rows * sizeof *batch->interface);
        batch->hop_limit = cut(&next, rows);
        batch->tos = cut(&next, rows);
        cut_addresses(&whole->destinations, &next, layout->rows);
    }
    if (layout->has_long_names)
        whole->sources.long_entries = cut(&next, rows * FSKI_LONG_ENTRY);
    fsk_batch_clear(batch);
}

int fsk_batch_new(struct fsk_batch **batch, uint32_t capacity, uint32_t max_message, uint64_t key) {
    struct fski_layout layout = {.rows = capacity, .has_metadata = true, .has_long_names = true};
    *batch = NULL;
    if (capacity == 0 || max_message == 0 || capacity > UINT32_MAX / 2)
        return -EINVAL;
    /* Below 2^31 * 2^33. */
    if (capacity * ((uint64_t)max_message + fski_layout_row_size(&layout)) >
        PTRDIFF_MAX - PIECES * ALIGNMENT)
        return -EINVAL;
    layout.arena_size = (size_t)capacity * max_message;
    size_t size = fski_layout_size(&layout);
    struct fski_batch *whole = calloc(1, sizeof *whole);
    unsigned char *memory = fski_map(size);
    if (whole == NULL || memory == NULL) {
        free(whole);
        if (memory != NULL)
            fski_unmap(memory, size);
        return -ENOMEM;
    }
    whole->mapped = size;
    whole->sources.key = whole->destinations.key = key;
    fski_batch_lay_out(whole, memory, &layout, max_message);
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
    const struct fski_layout used = {
        .has_metadata = whole->has_metadata,
        .has_long_names = whole->sources.is_long,
    };
    return whole->arena_size + whole->rows * fski_layout_row_size(&used);
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
