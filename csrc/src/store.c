/* SPDX-License-Identifier: MIT */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A server fills and empties a store for each connection that has a short frame, in turns of hundreds:
 * more blocks than the C library's allocator keeps at hand. */
struct fski_spare {
    struct fski_spare *next;
};

enum {
    LEAST = 256, /* bytes allocated */
    MOST_SPARES = 1024,
};

static unsigned char *allocate(size_t capacity, struct fski_budget *budget) {
    struct fski_spare *spare = budget->spares;
    if (capacity != LEAST || spare == NULL)
        return malloc(capacity);
    budget->spares = spare->next;
    budget->spare_count--;
    return (unsigned char *)spare;
}

static void release(unsigned char *data, size_t capacity, struct fski_budget *budget) {
    if (capacity != LEAST || budget->spare_count == MOST_SPARES) {
        free(data);
        return;
    }
    struct fski_spare *spare = (struct fski_spare *)data;
    spare->next = budget->spares;
    budget->spares = spare;
    budget->spare_count++;
}

void fski_budget_fini(struct fski_budget *budget) {
    while (budget->spares != NULL) {
        struct fski_spare *spare = budget->spares;
        budget->spares = spare->next;
        free(spare);
    }
}

int fski_store_reserve(struct fski_store *store, size_t more, struct fski_budget *budget) {
    size_t size = fski_store_size(store);
    if (more <= store->capacity - store->end)
        return 0;
    if (more > SIZE_MAX / 4 - size)
        return -ENOBUFS;
    /* Twice as much, so that growing costs no more than the bytes themselves do; but of a budget that
     * is nearly used up only what is needed. */
    size_t left = budget->limit - budget->used + store->capacity;
    size_t capacity = 2 * (size + more) > LEAST ? 2 * (size + more) : LEAST;
    if (size + more <= store->capacity && store->start >= size)
        capacity = store->capacity; /* it is enough to move what is there to the front */
    if (capacity > left)
        capacity = size + more;
    if (capacity > left)
        return -ENOBUFS;
    if (capacity != store->capacity) {
        unsigned char *grown = allocate(capacity, budget);
        if (grown == NULL)
            return -ENOMEM;
        if (size > 0)
            memcpy(grown, store->data + store->start, size);
        release(store->data, store->capacity, budget);
        budget->used += capacity - store->capacity;
        if (budget->used > budget->peak)
            budget->peak = budget->used;
        store->data = grown;
        store->capacity = capacity;
    } else {
        memmove(store->data, store->data + store->start, size);
    }
    store->start = 0;
    store->end = size;
    return 0;
}

int fski_store_append(struct fski_store *store, const void *bytes, size_t length,
                      struct fski_budget *budget) {
    int result = fski_store_reserve(store, length, budget);
    if (result < 0)
        return result;
    if (length > 0)
        memcpy(store->data + store->end, bytes, length);
    store->end += length;
    return 0;
}

void fski_store_skip(struct fski_store *store, size_t length, struct fski_budget *budget) {
    store->start += length;
    if (store->start == store->end)
        fski_store_clear(store, budget);
}

void fski_store_fit(struct fski_store *store, struct fski_budget *budget) {
    size_t size = fski_store_size(store);
    size_t capacity = 2 * size > LEAST ? 2 * size : LEAST;
    unsigned char *fitting = store->capacity > capacity ? allocate(capacity, budget) : NULL;
    if (fitting == NULL)
        return;
    memcpy(fitting, store->data + store->start, size);
    release(store->data, store->capacity, budget);
    budget->used -= store->capacity - capacity;
    *store = (struct fski_store){.data = fitting, .end = size, .capacity = capacity};
}

void fski_store_clear(struct fski_store *store, struct fski_budget *budget) {
    if (store->capacity == 0)
        return;
    release(store->data, store->capacity, budget);
    budget->used -= store->capacity;
    *store = (struct fski_store){0};
}
