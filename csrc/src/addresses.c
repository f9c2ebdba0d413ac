/* SPDX-License-Identifier: MIT
 * A table of distinct addresses.
 *
 * Facts
 *   Most fills of a batch have one sender or a few, and a run of messages mostly has the same.
 *   Clearing an index of two slots a row is work for every fill, however few messages it has.
 *   The kernel clears the padding of the addresses it gives, so equal ones have equal bytes.
 * What we do
 *   The last address is compared first, then all while there are few. Only more than that are
 *   indexed, by open addressing with a keyed hash.
 */
#include "addresses.h"

#include <string.h>

enum { FEW = 8 };

static unsigned char *entry_of(const struct fski_addresses *table, uint32_t number) {
    return table->is_long ? table->long_entries + (size_t)number * FSKI_LONG_ENTRY
                          : table->entries + (size_t)number * FSKI_SHORT_ENTRY;
}

static bool entry_equals(const struct fski_addresses *table, uint32_t number,
                         const struct fsk_address *address) {
    const unsigned char *entry = entry_of(table, number);
    uint32_t length;
    memcpy(&length, entry, sizeof length);
    return length == address->length && memcmp(entry + sizeof length, &address->name, length) == 0;
}

/* The slot that holds address, or the free one where it belongs: slots hold numbers plus one. */
static uint32_t *slot_of(const struct fski_addresses *table, const struct fsk_address *address) {
    uint32_t size = 2 * table->capacity;
    uint32_t i = (uint32_t)(fsk_address_hash(address, table->key) % size);
    while (table->index[i] != 0 && !entry_equals(table, table->index[i] - 1, address))
        i = i + 1 < size ? i + 1 : 0;
    return &table->index[i];
}

static void make_long(struct fski_addresses *table) {
    for (uint32_t i = 0; i < table->count; i++)
        memcpy(table->long_entries + (size_t)i * FSKI_LONG_ENTRY,
               table->entries + (size_t)i * FSKI_SHORT_ENTRY, FSKI_SHORT_ENTRY);
    table->is_long = true;
}

static uint32_t append(struct fski_addresses *table, const struct fsk_address *address) {
    uint32_t length = address->length;
    if (!table->is_long && length > FSKI_SHORT_ENTRY - sizeof length)
        make_long(table);
    unsigned char *entry = entry_of(table, table->count);
    memcpy(entry, &length, sizeof length);
    memcpy(entry + sizeof length, &address->name, length);
    return table->count++;
}

static void make_index(struct fski_addresses *table) {
    struct fsk_address address;
    memset(table->index, 0, 2 * (size_t)table->capacity * sizeof *table->index);
    for (uint32_t i = 0; i < table->count; i++) {
        fski_addresses_get(table, i, &address);
        *slot_of(table, &address) = i + 1;
    }
    table->is_indexed = true;
}

static uint32_t find_among_few(struct fski_addresses *table, const struct fsk_address *address) {
    for (uint32_t i = table->count; i > 0; i--)
        if (entry_equals(table, i - 1, address))
            return i - 1;
    return append(table, address);
}

uint32_t fski_addresses_add(struct fski_addresses *table, const struct fsk_address *address) {
    if (table->count > 0 && entry_equals(table, table->count - 1, address))
        return table->count - 1;
    if (table->count < FEW)
        return find_among_few(table, address);
    if (!table->is_indexed)
        make_index(table);
    uint32_t *slot = slot_of(table, address);
    if (*slot == 0)
        *slot = append(table, address) + 1;
    return *slot - 1;
}

void fski_addresses_get(const struct fski_addresses *table, uint32_t number,
                        struct fsk_address *address) {
    uint32_t length = 0;
    if (number < table->count) {
        const unsigned char *entry = entry_of(table, number);
        memcpy(&length, entry, sizeof length);
        memcpy(&address->name, entry + sizeof length, length);
    }
    address->length = (socklen_t)length;
}

void fski_addresses_clear(struct fski_addresses *table) {
    table->count = 0;
    table->is_indexed = false;
}
