/* SPDX-License-Identifier: MIT
 * A thread of the library's own: no signal is ever handled in it. */
#ifndef FASTSOCK_THREAD_H
#define FASTSOCK_THREAD_H

#include <pthread.h>

/* Where and how a thread runs. */
struct fski_schedule {
    int cpu;      /* the only CPU it runs on; below 0: any */
    int priority; /* of SCHED_FIFO, 1 and up; 0: as the thread that starts it */
};

/*
 * Start a thread.
 *
 *   thread  out
 *
 * Returns 0, -EINVAL (there is no such CPU or priority), -EPERM (real time is not allowed), -EAGAIN (too
 * many threads), or -EOPNOTSUPP (this system can't bind a thread to a CPU); then no thread runs.
 */
int fski_thread_start(pthread_t *thread, const struct fski_schedule *schedule, void *(*run)(void *),
                      void *argument);

/* Wait for its end. */
void fski_thread_join(pthread_t thread);

#endif
