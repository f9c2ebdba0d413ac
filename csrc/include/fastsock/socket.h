/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SOCKET_H
#define FASTSOCK_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include <fastsock/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A timeout_ns that never ends. */
#define FSK_FOREVER ((int64_t)-1)

/* What fsk_socket_wait waits for: one of them. */
enum fsk_wait {
    FSK_WAIT_READABLE = 1,
    FSK_WAIT_WRITABLE = 2,
};

/*
 * Every function here may be called by any number of threads at once, on one descriptor too. A
 * descriptor closed while another thread is in a call on it may be another file's the next moment:
 * who closes has to know that the others are done, or shut the socket down first.
 */

/*
 * Open an endpoint in blocking mode, closed on exec, on every system. Where there is no
 * SOCK_CLOEXEC a program that another thread starts at that moment can still inherit it.
 *
 *   family    in  AF_INET, AF_INET6, AF_UNIX or another of the system
 *   type      in  SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, ...; with SOCK_NONBLOCK, where the
 *                 system has it, the mode is non-blocking
 *   protocol  in  0: the usual one of family and type
 *
 * Returns the descriptor, for fsk_socket_close, or
 *   -EAFNOSUPPORT, -EPROTONOSUPPORT, -ESOCKTNOSUPPORT  the system has nothing of the kind
 *   -EMFILE, -ENFILE  no descriptor is left to the process or to the system
 *   other     as socket(2)
 */
FSK_API int fsk_socket_open(int family, int type, int protocol);

/*
 * Close a descriptor. Returns 0, or -errno of close(2): -EBADF when it was not open. After any
 * other error it is closed too on Linux, so a second try could close somebody else's.
 */
FSK_API int fsk_socket_close(int fd);

/*
 * Give a socket its own address. Port 0 asks the kernel for a free one, which fsk_socket_name
 * tells.
 *
 * Returns 0, -EADDRINUSE, -EADDRNOTAVAIL when it is no address of this machine, -EACCES for a port
 * or a path that is not allowed, -EINVAL when the socket has an address, or other as bind(2).
 */
FSK_API int fsk_socket_bind(int fd, const struct fsk_address *address);

/*
 * Have the kernel take connections, for fsk_socket_accept.
 *
 *   backlog  in  connections that may wait; the system has its own limit (net.core.somaxconn)
 *
 * Returns 0, -EADDRINUSE, or other as listen(2).
 */
FSK_API int fsk_socket_listen(int fd, int backlog);

/*
 * Connect to a peer. A datagram socket then sends there and receives from there only; an address of
 * family AF_UNSPEC undoes that.
 *
 * Returns 0, or
 *   -EINTR        a signal came first
 *   -EINPROGRESS  the socket does not wait. In both cases the connection is still being made, and a
 *                 second connect is not the way to go on: fsk_socket_wait(fd, FSK_WAIT_WRITABLE,
 *                 ...), then fsk_socket_option(fd, SOL_SOCKET, SO_ERROR, ...), which gives 0 or the
 *                 errno
 *   -EAGAIN       the queue of a Unix listener is full and the socket does not wait
 *   -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, or other as connect(2)
 */
FSK_API int fsk_socket_connect(int fd, const struct fsk_address *address);

/*
 * End receiving, sending or both, for every descriptor of the socket; calls that wait return.
 *
 *   how  in  SHUT_RD, SHUT_WR or SHUT_RDWR
 *
 * A signal handler may call it; errno is kept.
 *
 * Returns 0, -ENOTCONN, or other as shutdown(2). On Linux a datagram socket without peer gives
 * -ENOTCONN too, and its waiting calls return all the same.
 */
FSK_API int fsk_socket_shutdown(int fd, int how);

/*
 * The socket's own address.
 *
 *   address  out  an unnamed Unix socket has the family alone, so no path; length is 0 after an
 *                 error
 *
 * Returns 0 or -errno. Source: getsockname(2).
 */
FSK_API int fsk_socket_name(int fd, struct fsk_address *address);

/* The address of the peer, as fsk_socket_name; -ENOTCONN without one. Source: getpeername(2). */
FSK_API int fsk_socket_peer(int fd, struct fsk_address *address);

/* Who a process is, as the kernel knows it. */
struct fsk_credentials {
    int64_t pid;  /* 0: the system does not tell it, or none of this process's namespace */
    uint32_t uid; /* effective */
    uint32_t gid; /* effective */
};

/*
 * Who is at the other end of a connected Unix socket: the process that called connect(2), listen(2)
 * or socketpair(2) there, as it was then. It may have handed its end to another since.
 *
 * Returns 0, or
 *   -EOPNOTSUPP   not a Unix socket, or the system does not tell
 *   -ENOTCONN     no connection; that of a datagram socket counts only when socketpair made it
 *   other         as getsockopt(2)
 * Source: unix(7) SO_PEERCRED, Linux 2.2; getpeereid(3) elsewhere.
 */
FSK_API int fsk_socket_peer_credentials(int fd, struct fsk_credentials *credentials);

/*
 * Set an option whose value is an int.
 *
 * Returns 0, -ENOPROTOOPT when the system or this kind of socket lacks it, or other as
 * setsockopt(2).
 */
FSK_API int fsk_socket_set_option(int fd, int level, int option, int value);

/*
 * Read an option whose value is an int, or a byte as some systems have it.
 *
 *   value  out  as it was after an error
 *
 * Returns 0, or -errno as fsk_socket_set_option. Source: getsockopt(2).
 */
FSK_API int fsk_socket_option(int fd, int level, int option, int *value);

/*
 * Have calls on a descriptor wait, or not: O_NONBLOCK, which belongs to the open file and so to
 * every descriptor of it. Returns 0 or -errno.
 */
FSK_API int fsk_socket_set_blocking(int fd, bool blocking);

/*
 * Ask for room for what has arrived and nobody has received yet.
 *
 *   bytes  in  0 or more. Linux doubles it, for its own bookkeeping, after it has cut it to
 *              net.core.rmem_max
 *   force  in  override that limit of the administrator, which takes CAP_NET_ADMIN (SO_RCVBUFFORCE,
 *              Linux 2.6.14); who may not gets what the limit allows
 *
 * Returns the bytes that the kernel has set, as SO_RCVBUF reads, or
 *   -EINVAL  bytes is below 0
 *   other    as setsockopt(2)
 * Source: socket(7).
 */
FSK_API int fsk_socket_set_receive_buffer(int fd, int bytes, bool force);

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
 *                   asks without waiting; FSK_FOREVER waits without end
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
 * Returns 0, -EOPNOTSUPP where the system does not count, or -errno. Source: SO_MEMINFO, Linux
 * 4.12.
 */
FSK_API int fsk_socket_drops(int fd, uint32_t *drops);

#ifdef __cplusplus
}
#endif

#endif
