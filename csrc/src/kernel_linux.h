/* SPDX-License-Identifier: MIT
 * The system calls that only Linux has; errno as in kernel.h. */
#ifndef FASTSOCK_KERNEL_LINUX_H
#define FASTSOCK_KERNEL_LINUX_H

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "kernel.h"

/* Systems with 32-bit pointers made after 2038 was thought of have the call with 64-bit time only; we
 * never pass a time. */
#ifndef SYS_recvmmsg
#define SYS_recvmmsg SYS_recvmmsg_time64
#endif

#ifdef SYS_membarrier
#define FSKI_SYS_MEMBARRIER SYS_membarrier
#else
#define FSKI_SYS_MEMBARRIER (-1) /* ENOSYS */
#endif

/* Linux 2.6.28. */
static inline int fski_accept4(int fd, struct sockaddr *peer, socklen_t *peer_length, int flags) {
    return (int)fski_result(accept4(fd, peer, peer_length, flags));
}

/* Linux 2.6.27. */
static inline int fski_eventfd(unsigned count, int flags) {
    return (int)fski_result(eventfd(count, flags));
}

/* Linux 2.6.27. */
static inline int fski_epoll_create(int flags) {
    return (int)fski_result(epoll_create1(flags));
}

static inline int fski_epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
    return (int)fski_result(epoll_ctl(set, operation, fd, event));
}

static inline int fski_epoll_wait(int set, struct epoll_event *events, int count, int timeout_ms) {
    return (int)fski_result(epoll_wait(set, events, count, timeout_ms));
}

/* Both by number: an old C library has no function for them, and answers ENOSYS for the kernel. */

/* Linux 2.6.33. */
static inline int fski_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    return (int)fski_result(syscall(SYS_recvmmsg, fd, messages, count, flags, NULL));
}

/* Linux 3.0. */
static inline int fski_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    return (int)fski_result(syscall(SYS_sendmmsg, fd, messages, count, flags));
}

/* Linux 4.3; it fails in a kernel with tickless processors. MEMBARRIER_CMD_GLOBAL is 1. */
static inline int fski_membarrier_global(void) {
    return (int)fski_result(syscall(FSKI_SYS_MEMBARRIER, 1, 0, 0));
}

#endif
