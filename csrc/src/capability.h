/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_CAPABILITY_INTERNAL_H
#define FASTSOCK_CAPABILITY_INTERNAL_H

#include <stdatomic.h>

#include <fastsock/capability.h>

enum fski_capability_state { FSKI_UNKNOWN, FSKI_WORKS, FSKI_REFUSED };

/* The one mutable global of the library. Every thread that learns something stores the same. */
extern atomic_int fski_capabilities[FSK_CAPABILITY_COUNT];

static inline int fski_capability(enum fsk_capability capability) {
    return atomic_load_explicit(&fski_capabilities[capability], memory_order_relaxed);
}

static inline void fski_capability_set(enum fsk_capability capability, int state) {
    atomic_store_explicit(&fski_capabilities[capability], state, memory_order_relaxed);
}

#endif
