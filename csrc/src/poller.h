/* SPDX-License-Identifier: MIT
 * A set of descriptors that are waited for together. Its calls are the engine's (engine.h). */
#ifndef FASTSOCK_POLLER_H
#define FASTSOCK_POLLER_H

#include <stddef.h>
#include <stdint.h>

struct pollfd;

/* What is waited for, and what was found; bits. */
enum fski_events {
    FSKI_READABLE = 1, /* or at its end */
    FSKI_WRITABLE = 2,
    FSKI_BROKEN = 4, /* found only: in error, or both directions are shut; told unasked */
};

struct fski_poller {
    int fd; /* readable while one of the set is ready; below 0: the engine has no such descriptor */

    /* The portable engine's own. */
    struct pollfd *watched;
    uint64_t *tokens; /* of watched */
    uint32_t *places; /* by descriptor: where it is in watched */
    size_t count, capacity, places_count;
    size_t turn; /* the place that is looked at first */
};

struct fski_ready {
    uint64_t token;
    unsigned events; /* of fski_events */
};

#endif
