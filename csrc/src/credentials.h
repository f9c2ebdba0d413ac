/* SPDX-License-Identifier: MIT
 * Who is at the other end of a Unix socket, as each system tells it; errno as in kernel.h. */
#ifndef FASTSOCK_CREDENTIALS_H
#define FASTSOCK_CREDENTIALS_H

#include "kernel.h"

#if defined(SO_PEERCRED) && defined(__linux__)

static inline int fski_peer_credentials(int fd, struct fsk_credentials *credentials) {
    struct ucred found;
    socklen_t length = sizeof found;
    int result = fski_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &found, &length);
    if (result < 0)
        return result;
    /* Nobody: Linux makes no error of it. */
    if (found.pid == 0 && found.uid == (uid_t)-1)
        return -ENOTCONN;
    credentials->pid = found.pid;
    credentials->uid = found.uid;
    credentials->gid = found.gid;
    return 0;
}

#elif FSK_HAVE_GETPEEREID

static inline int fski_peer_credentials(int fd, struct fsk_credentials *credentials) {
    uid_t uid = 0;
    gid_t gid = 0;
    int result = (int)fski_result(getpeereid(fd, &uid, &gid));
    if (result < 0)
        return result;
    credentials->pid = 0;
    credentials->uid = uid;
    credentials->gid = gid;
    return 0;
}

#else

static inline int fski_peer_credentials(int fd, struct fsk_credentials *credentials) {
    (void)fd;
    (void)credentials;
    return -EOPNOTSUPP;
}

#endif

#endif
