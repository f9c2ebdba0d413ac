/* SPDX-License-Identifier: MIT */
#include <fastsock/socket.h>

#include <errno.h>
#include <limits.h>

#include "credentials.h"
#include "engine.h"
#include "kernel.h"
#include "socket.h"
#include "uapi.h"

int fsk_socket_open(int family, int type, int protocol) {
    int fd = fski_socket(family, type | FSKI_SOCK_CLOEXEC, protocol);
    if (fd < 0 || FSKI_SOCK_CLOEXEC != 0)
        return fd;
    int result = fski_fcntl_set(fd, F_SETFD, FD_CLOEXEC);
    if (result >= 0)
        return fd;
    fski_close(fd);
    return result;
}

int fsk_socket_close(int fd) {
    return fski_close(fd);
}

int fsk_socket_bind(int fd, const struct fsk_address *address) {
    return fski_bind(fd, &address->name.any, address->length);
}

int fsk_socket_listen(int fd, int backlog) {
    return fski_listen(fd, backlog);
}

int fsk_socket_connect(int fd, const struct fsk_address *address) {
    return fski_connect(fd, &address->name.any, address->length);
}

int fsk_socket_shutdown(int fd, int how) {
    return fski_shutdown(fd, how);
}

/* The kernel tells the length of the whole address, which is more than it wrote if it had no room. */
static void set_length(struct fsk_address *address, socklen_t length) {
    address->length = length < sizeof address->name ? length : (socklen_t)sizeof address->name;
}

int fsk_socket_name(int fd, struct fsk_address *address) {
    socklen_t length = sizeof address->name;
    int result = fski_getsockname(fd, &address->name.any, &length);
    set_length(address, result < 0 ? 0 : length);
    return result;
}

int fsk_socket_peer(int fd, struct fsk_address *address) {
    socklen_t length = sizeof address->name;
    int result = fski_getpeername(fd, &address->name.any, &length);
    set_length(address, result < 0 ? 0 : length);
    return result;
}

int fsk_socket_peer_credentials(int fd, struct fsk_credentials *credentials) {
    int family = fski_socket_family(fd);
    if (family < 0)
        return family;
    if (family != AF_UNIX)
        return -EOPNOTSUPP; /* the kernel would tell nobody's */
    return fski_peer_credentials(fd, credentials);
}

int fsk_socket_set_option(int fd, int level, int option, int value) {
    return fski_setsockopt(fd, level, option, &value, sizeof value);
}

int fsk_socket_option(int fd, int level, int option, int *value) {
    int number = 0;
    socklen_t length = sizeof number;
    int result = fski_getsockopt(fd, level, option, &number, &length);
    if (result >= 0)
        *value = length == 1 ? *(const unsigned char *)&number : number;
    return result;
}

int fsk_socket_set_blocking(int fd, bool blocking) {
    int flags = fski_fcntl_get(fd, F_GETFL);
    if (flags < 0)
        return flags;
    return fski_fcntl_set(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

int fsk_socket_set_receive_buffer(int fd, int bytes, bool force) {
    int now = 0;
    if (bytes < 0)
        return -EINVAL; /* the kernel would read a huge number */
    int result = force ? fsk_socket_set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) : -EPERM;
    if (result < 0)
        result = fsk_socket_set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    if (result >= 0)
        result = fsk_socket_option(fd, SOL_SOCKET, SO_RCVBUF, &now);
    return result < 0 ? result : now;
}

int fsk_socket_accept(int fd, struct fsk_address *peer) {
    if (peer == NULL)
        return fski_engine()->accept(fd, NULL, NULL);
    socklen_t length = sizeof peer->name;
    int connection = fski_engine()->accept(fd, &peer->name.any, &length);
    set_length(peer, connection < 0 ? 0 : length);
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
    int result = fsk_socket_option(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes);
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

int fski_socket_family(int fd) {
    struct fsk_address own;
    int result = fsk_socket_name(fd, &own);
    return result < 0 ? result : own.name.any.sa_family;
}

bool fski_socket_is_internet(int fd) {
    int family = fski_socket_family(fd);
    return family == AF_INET || family == AF_INET6;
}

size_t fski_socket_queue_limit(int fd) {
    enum { LEAST_CHARGE = 256 }; /* bytes that any message takes of it, and more (truesize) */
    int bytes = 0;
    fsk_socket_option(fd, SOL_SOCKET, SO_RCVBUF, &bytes);
    return (size_t)bytes / LEAST_CHARGE + 4096;
}

int fski_socket_type(int fd) {
    int type = 0;
    int result = fsk_socket_option(fd, SOL_SOCKET, SO_TYPE, &type);
    return result < 0 ? result : type;
}

/* Not every system tells the protocol. */
static bool may_be_udp(int fd) {
    int protocol = 0;
    return fsk_socket_option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) < 0 || protocol == IPPROTO_UDP;
}

bool fski_socket_is_udp(int fd) {
    /* Of SOCK_DGRAM are also the sockets of ping. */
    return fski_socket_type(fd) == SOCK_DGRAM && fski_socket_is_internet(fd) && may_be_udp(fd);
}
