/* SPDX-License-Identifier: MIT
 * Every system call of the library, and the only file that reads errno: -1 with errno set becomes
 * -errno here, and is never translated again. EWOULDBLOCK is folded into EAGAIN where they differ.
 */
#ifndef FASTSOCK_KERNEL_H
#define FASTSOCK_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#include <fastsock/socket.h>

#include "config.h"

static inline ssize_t fski_result(ssize_t returned) {
    if (returned >= 0)
        return returned;
#if EWOULDBLOCK != EAGAIN
    if (errno == EWOULDBLOCK)
        return -EAGAIN;
#endif
    return -errno;
}

/* Linux 2.6.27, and POSIX since 2024; a system without it is told by fcntl afterwards. */
#ifdef SOCK_CLOEXEC
#define FSKI_SOCK_CLOEXEC SOCK_CLOEXEC
#else
#define FSKI_SOCK_CLOEXEC 0
#endif

static inline int fski_socket(int family, int type, int protocol) {
    return (int)fski_result(socket(family, type, protocol));
}

static inline int fski_bind(int fd, const struct sockaddr *name, socklen_t length) {
    return (int)fski_result(bind(fd, name, length));
}

static inline int fski_listen(int fd, int backlog) {
    return (int)fski_result(listen(fd, backlog));
}

static inline int fski_connect(int fd, const struct sockaddr *name, socklen_t length) {
    return (int)fski_result(connect(fd, name, length));
}

static inline int fski_shutdown(int fd, int how) {
    int before = errno; /* a signal handler must leave it as it was */
    int result = (int)fski_result(shutdown(fd, how));
    errno = before;
    return result;
}

static inline ssize_t fski_recv(int fd, void *buffer, size_t length, int flags) {
    return fski_result(recv(fd, buffer, length, flags));
}

static inline ssize_t fski_recvfrom(int fd, void *buffer, size_t length, int flags,
                                    struct sockaddr *source, socklen_t *source_length) {
    return fski_result(recvfrom(fd, buffer, length, flags, source, source_length));
}

static inline ssize_t fski_recvmsg(int fd, struct msghdr *header, int flags) {
    return fski_result(recvmsg(fd, header, flags));
}

static inline ssize_t fski_send(int fd, const void *data, size_t length, int flags) {
    return fski_result(send(fd, data, length, flags));
}

static inline ssize_t fski_sendto(int fd, const void *data, size_t length, int flags,
                                  const struct sockaddr *destination, socklen_t size) {
    return fski_result(sendto(fd, data, length, flags, destination, size));
}

/* musl's copies control data, to clear what its struct cmsghdr calls padding, into room for 1024 bytes:
 * too little for 253 descriptors (ENOMEM). What fsk_control_put makes has it cleared. */
static inline ssize_t fski_sendmsg(int fd, const struct msghdr *header, int flags) {
#if defined(__linux__) && !defined(__GLIBC__) && defined(SYS_sendmsg)
    if (header->msg_controllen > 1024)
        return fski_result(syscall(SYS_sendmsg, fd, header, flags));
#endif
    return fski_result(sendmsg(fd, header, flags));
}

/* Where it is missing a process that does not ignore SIGPIPE gets it. */
#ifdef MSG_NOSIGNAL
#define FSKI_MSG_NOSIGNAL MSG_NOSIGNAL
#else
#define FSKI_MSG_NOSIGNAL 0
#endif

static inline int fski_accept(int fd, struct sockaddr *peer, socklen_t *peer_length) {
    return (int)fski_result(accept(fd, peer, peer_length));
}

/* Linux 2.6.17. */
#ifdef POLLRDHUP
#define FSKI_POLLRDHUP POLLRDHUP
#else
#define FSKI_POLLRDHUP 0
#endif

static inline int fski_poll(struct pollfd *watched, nfds_t count, int timeout_ms) {
    return (int)fski_result(poll(watched, count, timeout_ms));
}

/* Whether the next call would report an error of the socket. */
static inline bool fski_has_error(int fd) {
    struct pollfd watched = {.fd = fd};
    return fski_poll(&watched, 1, 0) > 0 && (watched.revents & (POLLERR | POLLNVAL)) != 0;
}

static inline int fski_fcntl_get(int fd, int command) {
    return (int)fski_result(fcntl(fd, command));
}

static inline int fski_fcntl_set(int fd, int command, int value) {
    return (int)fski_result(fcntl(fd, command, value));
}

static inline int fski_getsockopt(int fd, int level, int option, void *value, socklen_t *length) {
    return (int)fski_result(getsockopt(fd, level, option, value, length));
}

static inline int fski_setsockopt(int fd, int level, int option, const void *value,
                                  socklen_t length) {
    return (int)fski_result(setsockopt(fd, level, option, value, length));
}

static inline int fski_getsockname(int fd, struct sockaddr *name, socklen_t *length) {
    return (int)fski_result(getsockname(fd, name, length));
}

static inline int fski_getpeername(int fd, struct sockaddr *name, socklen_t *length) {
    return (int)fski_result(getpeername(fd, name, length));
}

/* Bytes of all the messages that wait in a Unix socket, or -errno. */
static inline int fski_queued_bytes(int fd) {
    int bytes = 0;
    int result = (int)fski_result(ioctl(fd, FIONREAD, &bytes));
    return result < 0 ? result : bytes;
}

/* Zero-filled memory that takes up room only where it is touched; NULL when there is none. */
static inline void *fski_map(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static inline void fski_unmap(void *memory, size_t size) {
    munmap(memory, size);
}

#ifdef MADV_DONTNEED
#define FSKI_MADV_DONTNEED MADV_DONTNEED
#else
#define FSKI_MADV_DONTNEED POSIX_MADV_DONTNEED
#endif

/* Give memory of fski_map back to the system; it is zero-filled when it is next touched, or as it was
 * where the system can't take it. */
static inline void fski_discard(void *memory, size_t size) {
    madvise(memory, size, FSKI_MADV_DONTNEED);
}

static inline int64_t fski_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Less when a signal comes. */
static inline void fski_sleep(const struct timespec *duration) {
    nanosleep(duration, NULL);
}

static inline ssize_t fski_read(int fd, void *buffer, size_t length) {
    return fski_result(read(fd, buffer, length));
}

static inline ssize_t fski_write(int fd, const void *data, size_t length) {
    int before = errno; /* as in fski_shutdown */
    ssize_t result = fski_result(write(fd, data, length));
    errno = before;
    return result;
}

static inline int fski_pipe(int fds[2]) {
    return (int)fski_result(pipe(fds));
}

/* Never repeated on EINTR: Linux has released the descriptor by then, and another thread may
 * already own the number. */
static inline int fski_close(int fd) {
    return (int)fski_result(close(fd));
}

#endif
