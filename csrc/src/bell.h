/* SPDX-License-Identifier: MIT
 * A descriptor that wakes a thread which waits in poll.
 *
 * The thread that is to be woken arms the bell, looks once more for what it waits for, and polls. Who
 * brings it rings: an armed bell makes the descriptor readable, another one costs no system call.
 *
 * Memory order
 *   Both exchange is_armed. When the ringer's exchange comes second, it finds the bell armed and
 *   writes. When it comes first, the waiter's exchange acquires what the ringer did before, and the
 *   look after it finds that.
 */
#ifndef FASTSOCK_BELL_H
#define FASTSOCK_BELL_H

#include <stdatomic.h>
#include <stdbool.h>

struct fski_bell {
    int poll_fd;  /* to wait for */
    int write_fd; /* the same, where one descriptor does both */
    atomic_bool is_armed;
};

/* Returns 0 or -errno of eventfd(2) or pipe(2). */
int fski_bell_open(struct fski_bell *bell);

void fski_bell_close(struct fski_bell *bell);

void fski_bell_arm(struct fski_bell *bell);

/* Any thread. Whether armed or not with is_forced. */
void fski_bell_ring(struct fski_bell *bell, bool is_forced);

/* The waiting thread: wait until the bell is rung, or a signal comes, and silence it. */
void fski_bell_wait(struct fski_bell *bell);

/* The waiting thread: the descriptor is no longer readable, until the bell is rung again. */
void fski_bell_silence(struct fski_bell *bell);

#endif
