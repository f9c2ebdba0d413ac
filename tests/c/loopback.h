/* SPDX-License-Identifier: MIT
 * Sockets for the tests: over loopback on port 0, or in a folder of their own. All of it is made
 * with the system's calls, except that streams are accepted with fsk_socket_accept, so that every
 * test of a TCP connection runs the engine in use.
 */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <fastsock/address.h>
#include <fastsock/socket.h>

#include "check.h"

static volatile sig_atomic_t signals_caught;

static inline void bound_name(int fd, struct fsk_address *address) {
    address->length = sizeof address->name;
    REQUIRE(getsockname(fd, &address->name.any, &address->length) == 0);
}

static inline const char *loopback_host(int family) {
    return family == AF_INET6 ? "::1" : "127.0.0.1";
}

/* False, with the skip reported, on a host without the family; any other failure is one. */
static inline bool has_loopback(int family) {
    struct fsk_address address;
    int code = 0;
    REQUIRE(fsk_address_parse_host(&address, family, loopback_host(family), 0) == 0);
    int fd = socket(family, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, &address.name.any, address.length) < 0)
        code = errno;
    if (fd >= 0)
        close(fd);
    if (code == 0)
        return true;
    if (code == EAFNOSUPPORT || code == EADDRNOTAVAIL)
        check_skip("bind to %s: %s", loopback_host(family), strerror(code));
    else
        REQUIRE(code == 0);
    return false;
}

/* A socket bound to a port the kernel chose; bound is out. */
static inline int open_bound(int family, int type, struct fsk_address *bound) {
    struct fsk_address wish;
    int fd = socket(family, type, 0);
    REQUIRE(fd >= 0);
    REQUIRE(fsk_address_parse_host(&wish, family, loopback_host(family), 0) == 0);
    REQUIRE(bind(fd, &wish.name.any, wish.length) == 0);
    bound_name(fd, bound);
    return fd;
}

static inline int open_listener(int family, struct fsk_address *bound) {
    int fd = open_bound(family, SOCK_STREAM, bound);
    REQUIRE(listen(fd, 8) == 0);
    return fd;
}

/* Returns when the kernel has put the connection into the listener's queue. */
static inline int open_connected(const struct fsk_address *destination) {
    int fd = socket(destination->name.any.sa_family, SOCK_STREAM, 0);
    REQUIRE(fd >= 0);
    REQUIRE(connect(fd, &destination->name.any, destination->length) == 0);
    return fd;
}

/* pair[0] is the client. */
static inline void open_tcp_pair(int family, int pair[2]) {
    struct fsk_address bound;
    int listener = open_listener(family, &bound);
    pair[0] = open_connected(&bound);
    pair[1] = fsk_socket_accept(listener, NULL);
    REQUIRE(pair[1] >= 0);
    close(listener);
}

static inline void open_unix_pair(int type, int pair[2]) {
    REQUIRE(socketpair(AF_UNIX, type, 0, pair) == 0);
}

static inline void close_pair(int pair[2]) {
    close(pair[0]);
    close(pair[1]);
}

/* A descriptor number that is not open: dup takes the lowest free one. */
static inline int closed_number(void) {
    int fd = dup(STDERR_FILENO);
    REQUIRE(fd >= 0);
    close(fd);
    return fd;
}

/* A Unix socket bound to name in a new folder, which close_unix removes with it. */
struct unix_socket {
    int fd;
    char folder[32];
    char path[64];
};

static inline void open_unix(struct unix_socket *made, int type, struct fsk_address *bound) {
    strcpy(made->folder, "/tmp/fastsock-XXXXXX");
    REQUIRE(mkdtemp(made->folder) != NULL);
    snprintf(made->path, sizeof made->path, "%s/socket", made->folder);
    REQUIRE(fsk_address_set_path(bound, made->path, strlen(made->path)) == 0);
    made->fd = socket(AF_UNIX, type, 0);
    REQUIRE(made->fd >= 0);
    REQUIRE(bind(made->fd, &bound->name.any, bound->length) == 0);
}

static inline void close_unix(struct unix_socket *made) {
    close(made->fd);
    CHECK_INT(unlink(made->path), 0);
    CHECK_INT(rmdir(made->folder), 0);
}

static inline void set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    REQUIRE(flags >= 0);
    REQUIRE(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

static inline void set_timeout(int fd, int option, int milliseconds) {
    struct timeval timeout = {.tv_sec = 0, .tv_usec = milliseconds * 1000};
    REQUIRE(setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof timeout) == 0);
}

/* Send until the kernel has no room; returns the bytes. */
static inline size_t fill_stream(int fd) {
    static const char zeros[4096];
    size_t total = 0;
    ssize_t sent;
    while ((sent = send(fd, zeros, sizeof zeros, MSG_DONTWAIT)) > 0)
        total += (size_t)sent;
    REQUIRE(errno == EAGAIN);
    return total;
}

static inline int64_t clock_ns(void) {
    struct timespec now;
    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void count_signal(int number) {
    (void)number;
    signals_caught++;
}

/* A signal every 5 ms, without SA_RESTART: the first may come before the call that is to be
 * interrupted, a later one finds it waiting. */
static inline void start_interrupting(void) {
    struct sigaction action = {.sa_handler = count_signal};
    struct itimerval every = {.it_interval = {.tv_usec = 5000}, .it_value = {.tv_usec = 5000}};
    signals_caught = 0;
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &every, NULL) == 0);
}

static inline void stop_interrupting(void) {
    struct itimerval never = {.it_value = {.tv_usec = 0}};
    REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(signals_caught > 0);
}

#endif
