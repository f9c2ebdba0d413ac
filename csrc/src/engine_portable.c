/* SPDX-License-Identifier: MIT
 * The portable engine: any POSIX system, and the reference for every other engine.
 *
 * Facts about POSIX
 *   accept makes a descriptor that survives exec; on the BSDs and macOS it inherits O_NONBLOCK from
 *   the listener, elsewhere it does not.
 * What follows
 *   Both are set afterwards with fcntl. Between the calls a fork and exec in another thread can
 *   inherit the descriptor; POSIX before 2024 has no way to prevent that.
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

const struct fski_engine fski_engine_portable = {
    .name = "portable",
    .accept = accept_connection,
};
