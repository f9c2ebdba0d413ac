/* SPDX-License-Identifier: MIT
 * The portable engine: any POSIX system, and the reference for every other engine.
 *
 * Facts about POSIX
 *   accept makes a descriptor that survives exec; on the BSDs and macOS it inherits O_NONBLOCK from
 *   the listener, elsewhere it does not.
 *   recvmsg gives a pending error of the socket before its messages, and clears it.
 * What follows
 *   Both are set afterwards with fcntl. Between the calls a fork and exec in another thread can
 *   inherit the descriptor; POSIX before 2024 has no way to prevent that.
 *   After the first message each receive asks poll whether an error is pending, and leaves that to
 *   the caller's next call.
 */
#include <stdlib.h>

#include "engine.h"
#include "kernel.h"

static int accept_connection(int fd, struct sockaddr *peer, socklen_t *peer_length) {
    int connection = fski_accept(fd, peer, peer_length);
    if (connection < 0)
        return connection;
    int result = fski_fcntl_set(connection, F_SETFD, FD_CLOEXEC);
    if (result >= 0)
        result = fski_fcntl_get(connection, F_GETFL);
    if (result >= 0 && (result & O_NONBLOCK) != 0)
        result = fski_fcntl_set(connection, F_SETFL, result & ~O_NONBLOCK);
    if (result >= 0)
        return connection;
    fski_close(connection);
    return result;
}

static int receive_packets(int fd, struct fski_packet *packets, unsigned count, int flags) {
    for (unsigned i = 0; i < count; i++) {
        if (i > 0 && fski_has_error(fd))
            return (int)i;
        ssize_t received = fski_recvmsg(fd, &packets[i].header, flags);
        if (received < 0)
            return i > 0 ? (int)i : (int)received;
        packets[i].length = (unsigned)received;
        flags |= MSG_DONTWAIT;
    }
    return (int)count;
}

static int send_packets(int fd, struct fski_packet *packets, unsigned count, int flags) {
    for (unsigned i = 0; i < count; i++) {
        ssize_t sent = fski_sendmsg(fd, &packets[i].header, flags);
        if (sent < 0)
            return i > 0 ? (int)i : (int)sent;
        packets[i].length = (unsigned)sent;
    }
    return (int)count;
}

/* Only who has switched UDP_GRO off needs to know. */
static void settle(void) {
}

static int open_bell(int *poll_fd, int *write_fd) {
    int fds[2];
    int result = fski_pipe(fds);
    if (result < 0)
        return result;
    for (int i = 0; i < 2 && result >= 0; i++) {
        result = fski_fcntl_set(fds[i], F_SETFD, FD_CLOEXEC);
        if (result >= 0)
            result = fski_fcntl_set(fds[i], F_SETFL, O_NONBLOCK);
    }
    if (result < 0) {
        fski_close(fds[0]);
        fski_close(fds[1]);
        return result;
    }
    *poll_fd = fds[0];
    *write_fd = fds[1];
    return 0;
}

static int open_poller(struct fski_poller *poller) {
    memset(poller, 0, sizeof *poller);
    poller->fd = -1;
    return 0;
}

static void close_poller(struct fski_poller *poller) {
    free(poller->watched);
    free(poller->tokens);
    free(poller->places);
}

/* Have an array of at least needed items of size bytes. */
static int grow(void **array, size_t *capacity, size_t needed, size_t size) {
    size_t more = needed > 2 * *capacity ? needed : 2 * *capacity;
    if (needed <= *capacity)
        return 0;
    void *grown = realloc(*array, more * size);
    if (grown == NULL)
        return -ENOMEM;
    *array = grown;
    *capacity = more;
    return 0;
}

static int add(struct fski_poller *poller, int fd) {
    size_t tokens = poller->capacity;
    int result = grow((void **)&poller->tokens, &tokens, poller->count + 1, sizeof(uint64_t));
    if (result == 0)
        result = grow((void **)&poller->watched, &poller->capacity, poller->count + 1,
                      sizeof *poller->watched);
    if (result == 0)
        result = grow((void **)&poller->places, &poller->places_count, (size_t)fd + 1,
                      sizeof *poller->places);
    if (result < 0)
        return result;
    poller->places[fd] = (uint32_t)poller->count;
    poller->watched[poller->count++].fd = fd;
    return 0;
}

/* The last one takes the place of the one that leaves. */
static void leave(struct fski_poller *poller, uint32_t place) {
    uint32_t last = (uint32_t)--poller->count;
    poller->watched[place] = poller->watched[last];
    poller->tokens[place] = poller->tokens[last];
    poller->places[poller->watched[place].fd] = place;
}

static int watch(struct fski_poller *poller, int fd, unsigned before, unsigned after,
                 uint64_t token) {
    int result = before == FSKI_UNWATCHED ? add(poller, fd) : 0;
    if (result < 0)
        return result;
    uint32_t place = poller->places[fd];
    if (after == FSKI_UNWATCHED) {
        leave(poller, place);
        return 0;
    }
    poller->tokens[place] = token;
    poller->watched[place].events =
        (short)((after & FSKI_READABLE ? POLLIN : 0) | (after & FSKI_WRITABLE ? POLLOUT : 0));
    return 0;
}

static int poll_set(struct fski_poller *poller, struct fski_ready *ready, unsigned count,
                    int timeout_ms) {
    unsigned found = 0;
    int result = fski_poll(poller->watched, (nfds_t)poller->count, timeout_ms);
    if (result <= 0)
        return result;
    size_t start = poller->turn;
    for (size_t i = 0; i < poller->count && found < count; i++) {
        size_t place = (start + i) % poller->count;
        short what = poller->watched[place].revents;
        if (what == 0)
            continue;
        ready[found].token = poller->tokens[place];
        ready[found++].events = (what & POLLIN ? FSKI_READABLE : 0) |
                                (what & POLLOUT ? FSKI_WRITABLE : 0) |
                                (what & (POLLERR | POLLHUP | POLLNVAL) ? FSKI_BROKEN : 0);
        poller->turn = place + 1;
    }
    return (int)found;
}

static bool has(enum fsk_capability capability) {
    (void)capability;
    return false;
}

static int probe(enum fsk_capability call) {
    (void)call;
    return -ENOSYS;
}

const struct fski_engine fski_engine_portable = {
    .name = "portable",
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
