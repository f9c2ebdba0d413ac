/* SPDX-License-Identifier: MIT
 * What the Cython modules need of C and Cython cannot say: thread-local storage and relaxed
 * atomics. Each module that calls one of these functions has an instance of its own. */
#ifndef FASTSOCK_INTERPRETER_H
#define FASTSOCK_INTERPRETER_H

#include <Python.h>
#include <structmember.h> /* PyMember_GetOne, up to CPython 3.11 */

#include <stdatomic.h>
#include <sys/socket.h>

/* MSG_ERRQUEUE and MSG_FASTOPEN are Linux's; 0 has no bit to compare. */
#ifdef MSG_ERRQUEUE
#define FASTSOCK_ERRQUEUE MSG_ERRQUEUE
#else
#define FASTSOCK_ERRQUEUE 0
#endif
#ifdef MSG_FASTOPEN
#define FASTSOCK_FASTOPEN MSG_FASTOPEN
#else
#define FASTSOCK_FASTOPEN 0
#endif

/* What a thread has done since it last released the GIL. */
struct fastsock_streak {
    unsigned calls;   /* without a look at the clock */
    int64_t since_ns; /* of the first look; 0: none yet */
};
static inline struct fastsock_streak *fastsock_streak(void) {
    static _Thread_local struct fastsock_streak streak;
    return &streak;
}

/* A thread's memory for results whose size is not known before they arrive. The C library makes the
 * block when the thread first asks for it and frees it when the thread ends. */
#define FASTSOCK_SCRATCH_SIZE 65536
struct fastsock_scratch {
    size_t last_size; /* of the thread's last receive that had more than the stack's room */
    char bytes[FASTSOCK_SCRATCH_SIZE];
};
static inline struct fastsock_scratch *fastsock_scratch(void) {
    static _Thread_local struct fastsock_scratch scratch;
    return &scratch;
}

/* How often in a row a descriptor's first try found nothing: a guess by descriptor number, right or
 * wrong without consequence but for time, so two descriptors may share an entry and a race may lose
 * a count. */
#define FASTSOCK_HISTORY_SIZE 1024
static inline _Atomic unsigned char *fastsock_history(int writes, int fd) {
    static _Atomic unsigned char history[2][FASTSOCK_HISTORY_SIZE];
    return &history[writes != 0][(unsigned)fd % FASTSOCK_HISTORY_SIZE];
}
static inline unsigned fastsock_history_load(int writes, int fd) {
    return atomic_load_explicit(fastsock_history(writes, fd), memory_order_relaxed);
}
static inline void fastsock_history_store(int writes, int fd, unsigned count) {
    atomic_store_explicit(fastsock_history(writes, fd), (unsigned char)count, memory_order_relaxed);
}

#endif
