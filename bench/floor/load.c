/* SPDX-License-Identifier: MIT */
/*
 * Clients of an echo server, in one thread: load PORT CONNECTIONS DEPTH SIZE CPU.
 *
 * Connects to 127.0.0.1, sends one request on each connection and waits for its reply, then writes
 * "ready". Reads numbers of nanoseconds from its standard input: for so long it keeps DEPTH requests of
 * SIZE bytes, each behind its length in 4 bytes, outstanding on every connection, then waits for what
 * is outstanding. With DEPTH 0 it keeps CONNECTIONS connections on their way instead: connect, one
 * request, its reply, and the end that the server has to make of it. Answers "DONE ELAPSED CPU": how
 * many replies or connections, how long it took and the CPU time of this program, in nanoseconds.
 *
 * Every reply is compared with its request. What can't be done, or takes five seconds, ends the program
 * with a line on standard error. Ends at the end of its input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512, HEADER = 4, GIVE_UP_MS = 5000, ROOM = 65536 };

struct client {
    int fd;
    int outstanding; /* requests */
    size_t partial;  /* bytes of a reply that has not come whole */
};

struct load {
    struct sockaddr_in server;
    int epoll;
    int count;
    int depth;
    size_t frame;            /* bytes, header included */
    unsigned char *requests; /* two more than depth: replies are compared at any offset */
    struct client *clients;
    int64_t done;
    int64_t outstanding;
    int is_over; /* nothing new is begun */
};

static int64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
    exit(1);
}

static void request(struct load *load, struct client *client, int count) {
    size_t length = (size_t)count * load->frame;
    if (send(client->fd, load->requests, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("send");
    client->outstanding += count;
    load->outstanding += count;
}

/* Returns the whole replies that came, -1 at the end of the stream. */
static int take_replies(struct load *load, struct client *client, int flags) {
    unsigned char buffer[ROOM];
    ssize_t result = recv(client->fd, buffer, sizeof buffer, flags);
    if (result < 0)
        fail("recv");
    if (result == 0)
        return -1;
    size_t received = (size_t)result;
    size_t owed = (size_t)client->outstanding * load->frame - client->partial;
    errno = 0;
    if (received > owed || memcmp(buffer, load->requests + client->partial, received) != 0)
        fail("a reply");
    int whole = (int)((client->partial + received) / load->frame);
    client->partial = (client->partial + received) % load->frame;
    client->outstanding -= whole;
    load->outstanding -= whole;
    return whole;
}

static void connect_client(struct load *load, struct client *client) {
    /* Closed with a reset: tens of thousands in TIME_WAIT would use the ephemeral ports up. */
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int yes = 1;
    *client = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (client->fd < 0)
        fail("socket");
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    /* Over loopback the handshake is done before connect looks whether it has to wait. */
    if (connect(client->fd, (struct sockaddr *)&load->server, sizeof load->server) < 0)
        fail("connect");
}

static void watch(struct load *load, struct client *client) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        fail("epoll_ctl");
}

/* One after another, each with its reply: no backlog can overflow, and the server has accepted all. */
static void connect_all(struct load *load) {
    struct timeval limit = {.tv_sec = GIVE_UP_MS / 1000};
    for (int i = 0; i < load->count; i++) {
        struct client *client = &load->clients[i];
        connect_client(load, client);
        setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        request(load, client, 1);
        while (client->outstanding > 0)
            if (take_replies(load, client, 0) < 0)
                fail("a connection has ended");
        watch(load, client);
    }
}

static void begin(struct load *load, struct client *client) {
    connect_client(load, client);
    request(load, client, 1);
    watch(load, client);
}

static void handle(struct load *load, struct client *client) {
    int replies = take_replies(load, client, MSG_DONTWAIT);
    if (load->depth > 0) {
        errno = 0;
        if (replies < 0)
            fail("a connection has ended");
        load->done += replies;
        if (replies > 0 && !load->is_over)
            request(load, client, replies);
        return;
    }
    if (replies >= 0)
        return;
    errno = 0;
    if (client->outstanding > 0)
        fail("a connection has ended");
    close(client->fd);
    client->fd = -1;
    load->done++;
    if (!load->is_over)
        begin(load, client);
}

static int is_busy(const struct load *load) {
    if (load->depth > 0)
        return load->outstanding > 0;
    for (int i = 0; i < load->count; i++)
        if (load->clients[i].fd >= 0)
            return 1;
    return 0;
}

static void run(struct load *load, int64_t duration) {
    struct epoll_event events[EVENTS];
    int64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    int64_t start = now(CLOCK_MONOTONIC);
    load->done = 0;
    load->is_over = 0;
    for (int i = 0; i < load->count; i++) {
        if (load->depth > 0)
            request(load, &load->clients[i], load->depth);
        else
            begin(load, &load->clients[i]);
    }
    while (!load->is_over || is_busy(load)) {
        int ready = epoll_wait(load->epoll, events, EVENTS, GIVE_UP_MS);
        errno = ready == 0 ? ETIMEDOUT : errno;
        if (ready <= 0)
            fail("epoll_wait");
        load->is_over = now(CLOCK_MONOTONIC) - start >= duration;
        for (int i = 0; i < ready; i++)
            handle(load, events[i].data.ptr);
    }
    int64_t elapsed = now(CLOCK_MONOTONIC) - start;
    printf("%" PRId64 " %" PRId64 " %" PRId64 "\n", load->done, elapsed,
           now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 6)
        return 2;
    size_t size = (size_t)atoi(argv[4]);
    struct load load = {.count = atoi(argv[2]), .depth = atoi(argv[3]), .frame = HEADER + size};
    load.server.sin_family = AF_INET;
    load.server.sin_port = htons((uint16_t)atoi(argv[1]));
    load.server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)atoi(argv[5]), &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.clients = calloc((size_t)load.count, sizeof *load.clients);
    load.requests = calloc((size_t)load.depth + 2, load.frame);
    if (load.epoll < 0 || load.clients == NULL || load.requests == NULL)
        fail("start");
    for (int i = 0; i < load.depth + 2; i++) {
        unsigned char *frame = load.requests + (size_t)i * load.frame;
        uint32_t length = htonl((uint32_t)size);
        memcpy(frame, &length, sizeof length);
        for (size_t at = 0; at < size; at++)
            frame[HEADER + at] = (unsigned char)('a' + at % 26);
    }
    if (load.depth > 0)
        connect_all(&load);
    puts("ready");
    fflush(stdout);
    int64_t duration;
    while (scanf("%" SCNd64, &duration) == 1)
        run(&load, duration);
    return 0;
}
