/* SPDX-License-Identifier: MIT
 * The Linux engine.
 *
 * Facts about Linux
 *   accept4 (2.6.28) sets close-on-exec and the blocking mode in the call that makes the
 *   descriptor; nothing is inherited from the listener.
 *   recvmmsg puts an error that it meets after a message back into the socket; with MSG_WAITFORONE it
 *   waits for the first message only. Its timeout is looked at after each message alone, so a call
 *   with one can wait for ever.
 *   A datagram is received in an RCU read-side section; membarrier's global command (4.3) waits for
 *   all that have begun: synchronize_rcu.
 *   epoll keeps a descriptor for as long as any process has the file, so closing ours may not take it
 *   out of the set. Ready ones that have been told go to the end of its list.
 *   Sandboxes (seccomp) refuse system calls that they don't know with EPERM or ENOSYS. netfilter too
 *   answers a send with EPERM.
 * What follows
 *   One system call where the portable engine needs three, and no moment in which a fork in another
 *   thread could leak the descriptor to an exec'ed program.
 *   recvmmsg and sendmmsg are tried once on no descriptor: EBADF means that they are there. Should one
 *   be refused later (a filter may come at any time), the plain call is made; only if that passes was
 *   it the filter's refusal, and no other call is tried again.
 */
#include <stddef.h>

#include "capability.h"
#include "engine.h"
#include "kernel_linux.h"

_Static_assert(sizeof(struct fski_packet) == sizeof(struct mmsghdr), "one is cast to the other");
_Static_assert(offsetof(struct fski_packet, length) == offsetof(struct mmsghdr, msg_len),
               "one is cast to the other");

static int accept_connection(int fd, struct sockaddr *peer, socklen_t *peer_length) {
    return fski_accept4(fd, peer, peer_length, SOCK_CLOEXEC);
}

static int probe(enum fsk_capability call) {
    int result = call == FSK_CAPABILITY_RECVMMSG ? fski_recvmmsg(-1, NULL, 0, MSG_DONTWAIT)
                                                 : fski_sendmmsg(-1, NULL, 0, MSG_DONTWAIT);
    return fski_is_refusal(result) ? result : 0;
}

static bool has_call(enum fsk_capability capability) {
    int state = fski_capability(capability);
    if (state == FSKI_UNKNOWN) {
        state = probe(capability) < 0 ? FSKI_REFUSED : FSKI_WORKS;
        fski_capability_set(capability, state);
    }
    return state == FSKI_WORKS;
}

static int receive_packets(int fd, struct fski_packet *packets, unsigned count, int flags) {
    if (count == 1 || !has_call(FSK_CAPABILITY_RECVMMSG))
        return fski_engine_portable.receive(fd, packets, count, flags);
    int result = fski_recvmmsg(fd, (struct mmsghdr *)packets, count, flags | MSG_WAITFORONE);
    if (!fski_is_refusal(result))
        return result;
    result = fski_engine_portable.receive(fd, packets, count, flags);
    if (result > 0)
        fski_capability_set(FSK_CAPABILITY_RECVMMSG, FSKI_REFUSED);
    return result;
}

static int send_packets(int fd, struct fski_packet *packets, unsigned count, int flags) {
    if (count == 1 || !has_call(FSK_CAPABILITY_SENDMMSG))
        return fski_engine_portable.send(fd, packets, count, flags);
    int result = fski_sendmmsg(fd, (struct mmsghdr *)packets, count, flags);
    if (!fski_is_refusal(result))
        return result;
    result = fski_engine_portable.send(fd, packets, count, flags);
    if (result > 0)
        fski_capability_set(FSK_CAPABILITY_SENDMMSG, FSKI_REFUSED);
    return result;
}

static void settle(void) {
    const struct timespec some_ms = {.tv_nsec = 10000000};
    if (fski_membarrier_global() < 0)
        fski_sleep(&some_ms);
}

static int open_bell(int *poll_fd, int *write_fd) {
    *poll_fd = *write_fd = fski_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return *poll_fd < 0 ? *poll_fd : 0;
}

static int open_poller(struct fski_poller *poller) {
    memset(poller, 0, sizeof *poller);
    poller->fd = fski_epoll_create(EPOLL_CLOEXEC);
    return poller->fd < 0 ? poller->fd : 0;
}

static void close_poller(struct fski_poller *poller) {
    fski_close(poller->fd);
}

static int watch(struct fski_poller *poller, int fd, unsigned before, unsigned after,
                 uint64_t token) {
    struct epoll_event event = {.data.u64 = token};
    int operation = before == FSKI_UNWATCHED  ? EPOLL_CTL_ADD
                    : after == FSKI_UNWATCHED ? EPOLL_CTL_DEL
                                              : EPOLL_CTL_MOD;
    event.events = (after & FSKI_READABLE ? EPOLLIN : 0) | (after & FSKI_WRITABLE ? EPOLLOUT : 0);
    return fski_epoll_ctl(poller->fd, operation, fd, &event);
}

static int poll_set(struct fski_poller *poller, struct fski_ready *ready, unsigned count,
                    int timeout_ms) {
    struct epoll_event events[256];
    unsigned most = sizeof events / sizeof events[0];
    int found = fski_epoll_wait(poller->fd, events, (int)(count < most ? count : most), timeout_ms);
    for (int i = 0; i < found; i++) {
        uint32_t what = events[i].events;
        ready[i].token = events[i].data.u64;
        ready[i].events = (what & EPOLLIN ? FSKI_READABLE : 0) |
                          (what & EPOLLOUT ? FSKI_WRITABLE : 0) |
                          (what & (EPOLLERR | EPOLLHUP) ? FSKI_BROKEN : 0);
    }
    return found;
}

static bool has(enum fsk_capability capability) {
    if (capability == FSK_CAPABILITY_RECVMMSG || capability == FSK_CAPABILITY_SENDMMSG)
        return has_call(capability);
    return true;
}

const struct fski_engine fski_engine_linux = {
    .name = "linux",
    .accept = accept_connection,
    .receive = receive_packets,
    .send = send_packets,
    .settle = settle,
    .open_bell = open_bell,
    .open_poller = open_poller,
    .close_poller = close_poller,
    .watch = watch,
    .poll = poll_set,
    .has = has,
    .probe = probe,
};
