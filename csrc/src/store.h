/* SPDX-License-Identifier: MIT
 * Bytes in a queue: appended at the end, taken off the front. Its memory comes out of a budget that
 * many share, and goes back when it is empty. */
#ifndef FASTSOCK_STORE_H
#define FASTSOCK_STORE_H

#include <stddef.h>
#include <stdint.h>

struct fski_budget {
    size_t limit; /* bytes */
    size_t used;
    size_t peak;
    struct fski_spare *spares; /* blocks of the least size, for the next store */
    unsigned spare_count;
};

/* Zero-filled when empty. */
struct fski_store {
    unsigned char *data;
    size_t start; /* of what is in it */
    size_t end;
    size_t capacity;
};

static inline size_t fski_store_size(const struct fski_store *store) {
    return store->end - store->start;
}

/* Have room for more bytes at the end. Returns 0, -ENOBUFS when that is over the budget, or -ENOMEM. */
int fski_store_reserve(struct fski_store *store, size_t more, struct fski_budget *budget);

/* Append bytes; errors as fski_store_reserve. */
int fski_store_append(struct fski_store *store, const void *bytes, size_t length,
                      struct fski_budget *budget);

/* Take bytes off the front. */
void fski_store_skip(struct fski_store *store, size_t length, struct fski_budget *budget);

/* Have memory for no more than twice what is in it, if that can be had. */
void fski_store_fit(struct fski_store *store, struct fski_budget *budget);

/* Empty it, and give the memory back. */
void fski_store_clear(struct fski_store *store, struct fski_budget *budget);

/* Free what is spare. */
void fski_budget_fini(struct fski_budget *budget);

#endif
