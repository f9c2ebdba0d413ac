/* SPDX-License-Identifier: MIT */
/*
 * The floor of the benchmark: loops in C that make the system calls which the Python sockets make,
 * with the same msg_name and msg_control, and nothing else. Python can't be faster than this.
 *
 * Loaded by ctypes, which releases the GIL once around a whole loop. The helpers below the loops fill
 * and empty queues outside the timed region, so that a round costs little more than what it measures.
 *
 * Every function returns how many messages it handled, or -errno when it handled none. Buffers are
 * the caller's, for the time of the call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55 /* Linux 4.12 */
#endif

enum { MEMINFO_DROPS = 8, MEMINFO_COUNT = 9 }; /* SK_MEMINFO_DROPS, linux/sock_diag.h */

static int64_t outcome(int64_t done, ssize_t last) {
    return done > 0 || last >= 0 ? done : -errno;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t floor_recv(int fd, void *buffer, size_t room, int64_t count) {
    ssize_t received = 0;
    int64_t done = 0;
    for (; done < count; done++)
        if ((received = recv(fd, buffer, room, 0)) < 0)
            break;
    return outcome(done, received);
}

int64_t floor_recvfrom(int fd, void *buffer, size_t room, int64_t count) {
    struct sockaddr_storage source;
    ssize_t received = 0;
    int64_t done = 0;
    for (; done < count; done++) {
        socklen_t length = sizeof source;
        if ((received = recvfrom(fd, buffer, room, 0, (struct sockaddr *)&source, &length)) < 0)
            break;
    }
    return outcome(done, received);
}

int64_t floor_recvmsg(int fd, void *buffer, size_t room, int64_t count) {
    struct sockaddr_storage source;
    struct iovec part = {.iov_base = buffer, .iov_len = room};
    ssize_t received = 0;
    int64_t done = 0;
    for (; done < count; done++) {
        /* recvmsg(room) of Python asks for the sender and for no ancillary data. */
        struct msghdr header = {
            .msg_name = &source, .msg_namelen = sizeof source, .msg_iov = &part, .msg_iovlen = 1};
        if ((received = recvmsg(fd, &header, 0)) < 0)
            break;
    }
    return outcome(done, received);
}

/* One receive on each of count descriptors. */
int64_t floor_recv_each(const int *fds, void *buffer, size_t room, int64_t count) {
    ssize_t received = 0;
    int64_t done = 0;
    for (; done < count; done++)
        if ((received = recv(fds[done], buffer, room, 0)) < 0)
            break;
    return outcome(done, received);
}

/*
 * Receive datagrams that begin with the time they were sent at (pacer.c); delays gets nanoseconds from
 * there until they are here.
 */
int64_t floor_recv_stamped(int fd, void *buffer, size_t room, int64_t *delays, int64_t count) {
    ssize_t received = 0;
    int64_t done = 0;
    for (; done < count; done++) {
        int64_t sent_at;
        if ((received = recv(fd, buffer, room, 0)) < (ssize_t)sizeof sent_at)
            break;
        int64_t here_at = now();
        memcpy(&sent_at, buffer, sizeof sent_at);
        delays[done] = here_at - sent_at;
    }
    return outcome(done, received);
}

/* Compute for some nanoseconds. Who calls it without giving up the GIL keeps that for as long. */
int64_t floor_hold(int64_t nanoseconds) {
    int64_t end = now() + nanoseconds;
    while (now() < end)
        ;
    return 0;
}

/* A short send is a message that did not leave whole: the loop ends before it. */
int64_t floor_send(int fd, const void *data, size_t size, int64_t count) {
    ssize_t sent = 0;
    int64_t done = 0;
    for (; done < count; done++)
        if ((sent = send(fd, data, size, 0)) != (ssize_t)size)
            break;
    return outcome(done, sent);
}

int64_t floor_sendto(int fd, const void *data, size_t size, const void *address, uint32_t length,
                     int64_t count) {
    ssize_t sent = 0;
    int64_t done = 0;
    for (; done < count; done++)
        if ((sent = sendto(fd, data, size, 0, address, length)) != (ssize_t)size)
            break;
    return outcome(done, sent);
}

int64_t floor_sendmsg(int fd, void *data, size_t size, int64_t count) {
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent = 0;
    int64_t done = 0;
    for (; done < count; done++)
        if ((sent = sendmsg(fd, &header, 0)) != (ssize_t)size)
            break;
    return outcome(done, sent);
}

int64_t floor_accept(int fd, int *fds, int64_t count) {
    struct sockaddr_storage peer;
    int64_t done = 0;
    for (; done < count; done++) {
        socklen_t length = sizeof peer;
        int accepted = accept4(fd, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
        if (accepted < 0)
            return outcome(done, -1);
        fds[done] = accepted;
    }
    return done;
}

/* Request and reply, both sides waiting in poll when the descriptor does not wait itself. */
static ssize_t receive_waiting(int fd, void *buffer, size_t room) {
    for (;;) {
        ssize_t received = recv(fd, buffer, room, 0);
        if (received >= 0 || errno != EAGAIN)
            return received;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, 5000) <= 0)
            return -1;
    }
}

int64_t floor_ask(int fd, void *buffer, size_t size, int64_t count) {
    ssize_t moved = 0;
    int64_t done = 0;
    for (; done < count; done++) {
        if ((moved = send(fd, buffer, size, 0)) < 0)
            break;
        if ((moved = receive_waiting(fd, buffer, size)) <= 0)
            break;
    }
    return outcome(done, moved);
}

int64_t floor_answer(int fd, void *buffer, size_t size, int64_t count) {
    ssize_t moved = 0;
    int64_t done = 0;
    for (; done < count; done++) {
        if ((moved = receive_waiting(fd, buffer, size)) <= 0)
            break;
        if ((moved = send(fd, buffer, (size_t)moved, 0)) < 0)
            break;
    }
    return outcome(done, moved);
}

/* Fill a queue: send count messages of size bytes without waiting, as many as fit. */
int64_t floor_fill(int fd, const void *data, size_t size, int64_t count) {
    ssize_t sent = 0;
    int64_t done = 0;
    for (; done < count; done++)
        if ((sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)) != (ssize_t)size)
            break;
    return outcome(done, sent);
}

int64_t floor_fill_each(const int *fds, const void *data, size_t size, int64_t count) {
    for (int64_t done = 0; done < count; done++)
        if (send(fds[done], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
            return done;
    return count;
}

/*
 * Empty a queue. Waits up to timeout_ms for each next piece until expected came, then takes what is
 * left without waiting. Returns bytes on a stream, messages otherwise.
 */
int64_t floor_empty(int fd, void *buffer, size_t room, int is_stream, int64_t expected,
                    int timeout_ms) {
    int64_t taken = 0;
    for (;;) {
        ssize_t received = recv(fd, buffer, room, MSG_DONTWAIT);
        if (received > 0 || (received == 0 && !is_stream)) {
            taken += is_stream ? received : 1;
            continue;
        }
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (received == 0 || errno != EAGAIN || taken >= expected ||
            poll(&ready, 1, timeout_ms) <= 0)
            return taken;
    }
}

/* Bytes that wait on a stream; on a datagram socket the size of the next message. */
int64_t floor_queued(int fd) {
    int queued = 0;
    return ioctl(fd, FIONREAD, &queued) < 0 ? -errno : queued;
}

/* Datagrams this socket dropped since it was made (sk_drops). */
int64_t floor_dropped(int fd) {
    uint32_t numbers[MEMINFO_COUNT] = {0};
    socklen_t length = sizeof numbers;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &length) < 0)
        return -errno;
    return numbers[MEMINFO_DROPS];
}

/*
 * Connect count clients to a listener with room in its backlog. They are closed with a reset (linger
 * 0): tens of thousands of connections in TIME_WAIT would use the ephemeral ports up.
 */
int64_t floor_connect(int family, const void *address, uint32_t length, int *fds, int64_t count) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    for (int64_t done = 0; done < count; done++) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return outcome(done, -1);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        if (connect(fd, address, length) < 0) {
            int64_t result = outcome(done, -1);
            close(fd);
            return result;
        }
        fds[done] = fd;
    }
    return count;
}

void floor_close(const int *fds, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        close(fds[i]);
}
