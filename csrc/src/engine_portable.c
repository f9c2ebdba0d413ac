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
    .has = has,
    .probe = probe,
};
