/* SPDX-License-Identifier: MIT */
#include <fastsock/socket.h>

#include <errno.h>
#include <limits.h>

#include "engine.h"
#include "kernel.h"
#include "socket.h"
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

/* Up, so that no deadline is missed early; a longer wait than INT_MAX ms is cut, and the caller comes
 * back with what remains. */
static int milliseconds_of(int64_t timeout_ns) {
    if (timeout_ns < 0)
        return -1;
    int64_t milliseconds = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
}

int fsk_socket_wait(int fd, enum fsk_wait what, int64_t timeout_ns) {
    struct pollfd watched = {
        .fd = fd,
        .events = what == FSK_WAIT_READABLE ? POLLIN : POLLOUT,
    };
    if (fd < 0)
        return 1; /* poll would leave the entry out and wait for nothing */
    int ready = fski_poll(&watched, 1, milliseconds_of(timeout_ns));
    return ready > 0 ? 1 : ready;
}

int fsk_socket_wait_either(int fd, int other, int64_t timeout_ns) {
    struct pollfd watched[2] = {
        {.fd = fd, .events = POLLIN | FSKI_POLLRDHUP},
        {.fd = other, .events = POLLIN},
    };
    if (fd < 0)
        return FSK_READY;
    int ready = fski_poll(watched, 2, milliseconds_of(timeout_ns));
    if (ready <= 0)
        return ready;
    return FSK_READY | ((watched[0].revents & FSKI_POLLRDHUP) != 0 ? FSK_HUNG_UP : 0);
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

bool fski_socket_is_internet(int fd) {
    struct fsk_address own;
    own.length = sizeof own.name;
    return fski_getsockname(fd, &own.name.any, &own.length) >= 0 &&
           (own.name.any.sa_family == AF_INET || own.name.any.sa_family == AF_INET6);
}

int fski_socket_type(int fd) {
    int type = 0;
    socklen_t length = sizeof type;
    int result = fski_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
    return result < 0 ? result : type;
}

/* Not every system tells the protocol. */
static bool may_be_udp(int fd) {
    int protocol = 0;
    socklen_t length = sizeof protocol;
    return fski_getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0 ||
           protocol == IPPROTO_UDP;
}

bool fski_socket_is_udp(int fd) {
    /* Of SOCK_DGRAM are also the sockets of ping. */
    return fski_socket_type(fd) == SOCK_DGRAM && fski_socket_is_internet(fd) && may_be_udp(fd);
}
