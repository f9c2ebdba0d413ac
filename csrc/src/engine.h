/* SPDX-License-Identifier: MIT
 * The contract of an engine: what the systems do differently, behind one table.
 *
 * What POSIX gives everywhere alike (recv, sendmsg, poll and the like) is called directly through
 * kernel.h and has no entry here. An entry exists where a faster or safer call exists on some
 * system only; engine_portable.c then is the reference that every other engine is compared with,
 * and is compiled and tested on every system.
 *
 * accept(fd, peer, peer_length)
 *     Takes one connection. The new descriptor is in blocking mode (the BSDs let it inherit the
 *     listener's) and closed on exec. Waits as the listener's mode says. Nothing is left open on
 *     failure. Returns the descriptor, owned by the caller, or -errno of accept(2).
 *
 * receive(fd, packets, count, flags)
 *     Receives into at most count packets, in order. Waits for the first as the descriptor's mode and
 *     flags say, for the others never. Sets length, and in header what recvmsg sets. Returns the
 *     number received, at least 1, or -errno of the first. What ends it after the first is not told;
 *     an error is left in the socket for the next call. Fewer than count: nothing more was queued.
 *
 * send(fd, packets, count, flags)
 *     Sends at most count packets, in order, each as sendmsg does; waits as the descriptor's mode and
 *     flags say. Returns the number sent, at least 1, or -errno of the first. Fewer than count: the
 *     next one met an error, which the next call tells if it persists. An error that was pending on
 *     the socket does not: where one can be, ask for one packet a call.
 *
 * settle()
 *     Returns when every datagram whose reception had begun on any processor is in its socket's queue.
 *     Takes some milliseconds.
 *
 * open_bell(poll_fd, write_fd)
 *     Makes what a thread can wait for in poll: poll_fd becomes readable when 8 bytes are written to
 *     write_fd, and is no longer when they have been read. Both never wait and are closed on exec; they
 *     may be the same. Returns 0 or -errno, with nothing left open.
 *
 * open_poller(poller), close_poller(poller)
 *     Makes an empty set of descriptors, and lets go of one; neither touches the descriptors. Returns 0
 *     or -errno. After fork the child may only close it.
 *
 * watch(poller, fd, before, after, token)
 *     Changes what is waited for on fd from before to after, bits of FSKI_READABLE and FSKI_WRITABLE.
 *     before FSKI_UNWATCHED: fd is new; after FSKI_UNWATCHED: it leaves the set, which must come before
 *     its close, as another process may have it too. With 0 it is told of only when it is broken.
 *     Returns 0 or -errno; to leave or to change never fails for want of memory.
 *
 * poll(poller, ready, count, timeout_ms)
 *     Waits until at least one is ready, at most timeout_ms, -1 for ever. What stays ready is told
 *     again, and when more are ready than count, others come first the next time. Returns the number of
 *     ready filled, 0 when the time is over, or -errno: -EINTR.
 *
 * has(capability)
 *     Whether this engine can have it, as far as is known without a socket. Asked
 *     only of calls and offloads: up to FSK_CAPABILITY_UDP_SEGMENT.
 *
 * probe(call)
 *     Asks the kernel for FSK_CAPABILITY_RECVMMSG or _SENDMMSG, without a descriptor, and remembers
 *     nothing. Returns 0, or the refusal: -EPERM or -ENOSYS.
 */
#ifndef FASTSOCK_ENGINE_H
#define FASTSOCK_ENGINE_H

#include <stdbool.h>
#include <sys/socket.h>

#include <fastsock/capability.h>

#include "poller.h"

/* In place of events: fd is not in the set. */
#define FSKI_UNWATCHED (~0u)

/* One message of many: struct mmsghdr, which not every system has. */
struct fski_packet {
    struct msghdr header;
    unsigned length; /* out: bytes received or sent */
};

struct fski_engine {
    const char *name; /* what FASTSOCK_ENGINE is compared with */
    int (*accept)(int fd, struct sockaddr *peer, socklen_t *peer_length);
    int (*receive)(int fd, struct fski_packet *packets, unsigned count, int flags);
    int (*send)(int fd, struct fski_packet *packets, unsigned count, int flags);
    void (*settle)(void);
    int (*open_bell)(int *poll_fd, int *write_fd);
    int (*open_poller)(struct fski_poller *poller);
    void (*close_poller)(struct fski_poller *poller);
    int (*watch)(struct fski_poller *poller, int fd, unsigned before, unsigned after,
                 uint64_t token);
    int (*poll)(struct fski_poller *poller, struct fski_ready *ready, unsigned count,
                int timeout_ms);
    bool (*has)(enum fsk_capability capability);
    int (*probe)(enum fsk_capability call);
};

extern const struct fski_engine fski_engine_portable;
#if FSK_HAVE_ENGINE_LINUX
extern const struct fski_engine fski_engine_linux;
#endif

/* The engine in use. The choice is made at the first call and never changes. */
const struct fski_engine *fski_engine(void);

#endif
