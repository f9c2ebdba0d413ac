/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_CAPABILITY_INTERNAL_H
#define FASTSOCK_CAPABILITY_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>

#include <fastsock/capability.h>

enum fski_capability_state { FSKI_UNKNOWN, FSKI_WORKS, FSKI_REFUSED };

/* The one mutable global of the library. Every thread that learns something stores the same. */
extern atomic_int fski_capabilities[FSK_CAPABILITY_COUNT];

/* What a sandbox answers to a call that it does not allow. */
static inline bool fski_is_refusal(int result) {
    return result == -EPERM || result == -ENOSYS;
}

static inline int fski_capability(enum fsk_capability capability) {
    return atomic_load_explicit(&fski_capabilities[capability], memory_order_relaxed);
}

static inline void fski_capability_set(enum fsk_capability capability, int state) {
    atomic_store_explicit(&fski_capabilities[capability], state, memory_order_relaxed);
}

#endif
