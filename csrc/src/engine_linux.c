/* SPDX-License-Identifier: MIT
 * The Linux engine.
 *
 * Facts about Linux
 *   accept4 (2.6.28) sets close-on-exec and the blocking mode in the call that makes the
 *   descriptor; nothing is inherited from the listener.
 * What follows
 *   One system call where the portable engine needs three, and no moment in which a fork in another
 *   thread could leak the descriptor to an exec'ed program.
 */
#include "engine.h"
#include "kernel_linux.h"

static int accept_connection(int fd, struct sockaddr *peer, socklen_t *peer_length) {
    return fski_accept4(fd, peer, peer_length, SOCK_CLOEXEC);
}

const struct fski_engine fski_engine_linux = {
    .name = "linux",
    .accept = accept_connection,
};
