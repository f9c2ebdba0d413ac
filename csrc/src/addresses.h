/* SPDX-License-Identifier: MIT
 * A table of distinct addresses, numbered as they come. */
#ifndef FASTSOCK_ADDRESSES_H
#define FASTSOCK_ADDRESSES_H

#include <fastsock/address.h>

enum {
    FSKI_SHORT_ENTRY = 32, /* bytes of an entry: its length, and an IPv4 or IPv6 address */
    FSKI_LONG_ENTRY = 132, /* any address */
};

/* Memory is the caller's, zero-filled or not. */
struct fski_addresses {
    unsigned char *entries;      /* capacity * FSKI_SHORT_ENTRY bytes */
    unsigned char *long_entries; /* capacity * FSKI_LONG_ENTRY, used once an address is long; NULL:
                                    none will be */
    uint32_t *index;             /* 2 * capacity */
    uint32_t capacity;
    uint32_t count;
    uint64_t key;
    bool is_long;    /* long_entries are in use */
    bool is_indexed; /* index is */
};

/* The number of an address, which is added when it is new. The caller adds at most capacity. */
uint32_t fski_addresses_add(struct fski_addresses *table, const struct fsk_address *address);

/* address is out; its length is 0 when there is no such number. */
void fski_addresses_get(const struct fski_addresses *table, uint32_t number,
                        struct fsk_address *address);

void fski_addresses_clear(struct fski_addresses *table);

#endif
