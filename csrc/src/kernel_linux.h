/* SPDX-License-Identifier: MIT
 * The system calls that only Linux has; errno as in kernel.h. */
#ifndef FASTSOCK_KERNEL_LINUX_H
#define FASTSOCK_KERNEL_LINUX_H

#include "kernel.h"

/* Linux 2.6.28. */
static inline int fski_accept4(int fd, struct sockaddr *peer, socklen_t *peer_length, int flags) {
    return (int)fski_result(accept4(fd, peer, peer_length, flags));
}

#endif
