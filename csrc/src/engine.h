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
 */
#ifndef FASTSOCK_ENGINE_H
#define FASTSOCK_ENGINE_H

#include <sys/socket.h>

struct fski_engine {
    const char *name; /* what FASTSOCK_ENGINE is compared with */
    int (*accept)(int fd, struct sockaddr *peer, socklen_t *peer_length);
};

extern const struct fski_engine fski_engine_portable;
#if FSK_HAVE_ENGINE_LINUX
extern const struct fski_engine fski_engine_linux;
#endif

/* The engine in use. The choice is made at the first call and never changes. */
const struct fski_engine *fski_engine(void);

#endif
