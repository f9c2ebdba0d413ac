/* SPDX-License-Identifier: MIT */
#include <fastsock/socket.h>

#include <errno.h>
#include <limits.h>

#include "engine.h"
#include "kernel.h"
#include "uapi.h"

int fsk_socket_accept(int fd, struct fsk_address *peer) {
    if (peer == NULL)
        return fski_engine()->accept(fd, NULL, NULL);
    socklen_t room = sizeof peer->name;
    socklen_t length = room;
    int connection = fski_engine()->accept(fd, &peer->name.any, &length);
    if (connection < 0)
        length = 0;
    peer->length = length < room ? length : room;
    return connection;
}

int fsk_socket_wait(int fd, enum fsk_wait what, int64_t timeout_ns) {
    struct pollfd watched = {
        .fd = fd,
        .events = what == FSK_WAIT_READABLE ? POLLIN : POLLOUT,
    };
    int timeout_ms = -1;
    if (fd < 0)
        return 1; /* poll would leave the entry out and wait for nothing */
    if (timeout_ns >= 0) {
        /* Up, so that no deadline is missed early; a longer wait than INT_MAX ms is cut, and the
         * caller comes back with what remains. */
        int64_t milliseconds = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
        timeout_ms = milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
    }
    int ready = fski_poll(&watched, 1, timeout_ms);
    return ready > 0 ? 1 : ready;
}

int fsk_socket_is_blocking(int fd) {
    int flags = fski_fcntl_get(fd, F_GETFL);
    return flags < 0 ? flags : (flags & O_NONBLOCK) == 0;
}

int fsk_socket_receive_low_water(int fd) {
    int bytes = 0;
    socklen_t length = sizeof bytes;
    int result = fski_getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, &length);
    return result < 0 ? result : bytes;
}

int fsk_socket_drops(int fd, uint32_t *drops) {
    uint32_t information[FSKI_MEMINFO_COUNT];
    socklen_t length = sizeof information;
    int result = fski_getsockopt(fd, SOL_SOCKET, SO_MEMINFO, information, &length);
    if (result == -ENOPROTOOPT || (result >= 0 && length < sizeof information))
        return -EOPNOTSUPP;
    if (result >= 0)
        *drops = information[FSKI_MEMINFO_DROPS];
    return result;
}
