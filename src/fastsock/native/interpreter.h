/* SPDX-License-Identifier: MIT
 * What the Cython modules need of C and Cython cannot say: thread-local storage and relaxed
 * atomics. Each module that calls one of these functions has an instance of its own. */
#ifndef FASTSOCK_INTERPRETER_H
#define FASTSOCK_INTERPRETER_H

#include <Python.h>
#include <structmember.h> /* PyMemberDef, up to CPython 3.11 */

#include <stdint.h>
#include <sys/socket.h>

/* These flags are Linux's; 0 has no bit to compare. */
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
#ifdef MSG_CMSG_CLOEXEC
#define FASTSOCK_CMSG_CLOEXEC MSG_CMSG_CLOEXEC
#else
#define FASTSOCK_CMSG_CLOEXEC 0
#endif

/* What has been done since the GIL was last given up: the GIL guards it, and where there is none it
 * is each thread's own. */
struct fastsock_streak {
    unsigned calls;   /* without a look at the clock */
    int64_t since_ns; /* of the first look; 0: none yet */
};
static inline struct fastsock_streak *fastsock_streak(void) {
#ifdef Py_GIL_DISABLED
    static _Thread_local struct fastsock_streak streak;
#else
    static struct fastsock_streak streak;
#endif
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

/* 1 where a lock of the interpreter's own keeps other threads out, so that what a module shares needs
 * none; a constant, by which the compiler drops the other branch. */
#ifdef Py_GIL_DISABLED
#define FASTSOCK_HAS_GIL 0
#else
#define FASTSOCK_HAS_GIL 1
#endif

/* Counts that several threads may read and write at once, and that a race may lose. */
static inline unsigned fastsock_load(const unsigned char *count) {
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}
static inline void fastsock_store(unsigned char *count, unsigned value) {
    __atomic_store_n(count, (unsigned char)value, __ATOMIC_RELAXED);
}

/* Counts that must be right: plain where the GIL guards them. */
static inline void fastsock_add(Py_ssize_t *count, Py_ssize_t value) {
#ifdef Py_GIL_DISABLED
    __atomic_add_fetch(count, value, __ATOMIC_ACQ_REL);
#else
    *count += value;
#endif
}
static inline Py_ssize_t fastsock_count(const Py_ssize_t *count) {
    return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

#endif
