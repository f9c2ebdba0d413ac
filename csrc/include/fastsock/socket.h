/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SOCKET_H
#define FASTSOCK_SOCKET_H

#include <stdint.h>

#include <fastsock/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A timeout_ns that never ends. */
#define FSK_FOREVER ((int64_t)-1)

/* What fsk_socket_wait waits for. */
enum fsk_wait {
    FSK_WAIT_READABLE = 1,
    FSK_WAIT_WRITABLE = 2,
};

/*
 * Take one connection from a listening socket.
 *
 *   peer  out  NULL: not wanted; an unnamed Unix peer has the family alone, so no path
 *
 * The new descriptor is in blocking mode and closed on exec, on every system. Waits as the
 * listener's own mode says. Returns the descriptor, or
 *   -EAGAIN   no connection is ready and the listener does not wait
 *   -EINTR    a signal came first
 *   -EMFILE   the process, or -ENFILE the system, has no descriptor left; the connection stays
 *             queued
 *   other     as accept(2)
 */
FSK_API int fsk_socket_accept(int fd, struct fsk_address *peer);

/*
 * Wait until a descriptor is ready, in error or hung up.
 *
 *   what        in  FSK_WAIT_READABLE or FSK_WAIT_WRITABLE
 *   timeout_ns  in  nanoseconds, rounded up to milliseconds, INT_MAX of them (24.8 days) at most; 0
 *                   asks without waiting; FSK_FOREVER
 *
 * Returns 1 when a call would tell more (a descriptor that is not open, or below 0, included: the
 * call then gives EBADF), 0 when the time is over, or -EINTR.
 * Source: poll(2).
 */
FSK_API int fsk_socket_wait(int fd, enum fsk_wait what, int64_t timeout_ns);

/* What fsk_socket_wait_either found; bits. */
enum fsk_readiness {
    FSK_READY = 1,   /* one of the two would tell more */
    FSK_HUNG_UP = 2, /* fd will receive nothing more: shutdown(2), where the system tells */
};

/*
 * Wait until one of two descriptors is readable, in error or hung up, as fsk_socket_wait.
 *
 *   other  in  below 0: none
 *
 * Returns bits of fsk_readiness, 0 when the time is over, or -EINTR.
 */
FSK_API int fsk_socket_wait_either(int fd, int other, int64_t timeout_ns);

/*
 * Whether calls on a descriptor wait: it lacks O_NONBLOCK. The mode belongs to the open file, so
 * another process that shares it can change it at any time.
 *
 * Returns 1 or 0, or -errno.
 */
FSK_API int fsk_socket_is_blocking(int fd);

/*
 * The number of bytes a blocking receive on a stream waits for.
 *
 * Returns SO_RCVLOWAT, 1 unless it was set, or -errno.
 */
FSK_API int fsk_socket_receive_low_water(int fd);

/*
 * Datagrams that the kernel has dropped because this socket's receive buffer was full or a filter
 * refused them, since the socket was made. With UDP_GRO a whole train counts as one.
 *
 *   drops  out  wraps at 2^32
 *
 * Returns 0, -EOPNOTSUPP where the system does not count, or -errno. Source: SO_MEMINFO, Linux 4.12.
 */
FSK_API int fsk_socket_drops(int fd, uint32_t *drops);

#ifdef __cplusplus
}
#endif

#endif
