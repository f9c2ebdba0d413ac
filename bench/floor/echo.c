/* SPDX-License-Identifier: MIT */
/*
 * The floor of a server of framed streams: echo [once], which writes its port to standard output.
 *
 * One thread with epoll. A connection that is ready gets one recv, its frames are cut, each one's reply
 * is framed anew as a server's whose reply is not its request would be, and all of them leave with one
 * send. With "once" a connection is closed after its first reply. Frames have a length of 4 bytes, big
 * endian, and at most 64 KiB; a connection that breaks this, or does not read its replies, is closed.
 *
 * Ends with the process that has started it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, HEADER = 4, PIECE = 256 * 1024, MOST_FRAME = 64 * 1024 };

/* Small: what a connection costs beyond it is the rest of a frame, as long as there is one. */
struct connection {
    int fd;
    uint32_t held; /* bytes of rest */
    unsigned char *rest;
};

struct server {
    int epoll;
    int listener;
    int is_once;
    unsigned char input[MOST_FRAME + PIECE];
    unsigned char output[MOST_FRAME + PIECE];
};

static void close_connection(struct connection *connection) {
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

static void accept_all(struct server *server) {
    for (;;) {
        int yes = 1;
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL) {
            close(fd);
            return;
        }
        connection->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Cut length bytes of input into frames and put their replies into output. Returns the bytes cut. */
static size_t answer(struct server *server, size_t length, size_t *replied) {
    size_t start = 0;
    while (length - start >= HEADER) {
        uint32_t header;
        memcpy(&header, server->input + start, sizeof header);
        size_t size = ntohl(header);
        if (length - start - HEADER < size)
            break;
        header = htonl((uint32_t)size);
        memcpy(server->output + start, &header, sizeof header);
        memcpy(server->output + start + HEADER, server->input + start + HEADER, size);
        start += HEADER + size;
    }
    *replied = start;
    return start;
}

/* Returns 0 when the connection has to be closed. */
static int keep_rest(struct connection *connection, const unsigned char *rest, size_t length) {
    if (length > HEADER + MOST_FRAME)
        return 0;
    if (length > connection->held) {
        unsigned char *grown = realloc(connection->rest, length);
        if (grown == NULL)
            return 0;
        connection->rest = grown;
    }
    if (length > 0)
        memcpy(connection->rest, rest, length);
    connection->held = (uint32_t)length;
    return 1;
}

/* Returns 0 when the connection has to be closed. */
static int serve(struct server *server, struct connection *connection) {
    size_t held = connection->held;
    if (held > 0)
        memcpy(server->input, connection->rest, held);
    ssize_t received = recv(connection->fd, server->input + held, PIECE, 0);
    if (received < 0)
        return errno == EAGAIN;
    if (received == 0)
        return 0;
    size_t replied;
    size_t length = held + (size_t)received;
    size_t cut = answer(server, length, &replied);
    if (replied > 0) {
        if (send(connection->fd, server->output, replied, MSG_NOSIGNAL) != (ssize_t)replied)
            return 0;
        if (server->is_once)
            return 0;
    }
    return keep_rest(connection, server->input + cut, length - cut);
}

static int start(struct server *server) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    struct epoll_event event = {.events = EPOLLIN};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server->epoll < 0 || server->listener < 0 ||
        bind(server->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(server->listener, SOMAXCONN) < 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &length) < 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &event) < 0)
        return -1;
    printf("%d\n", ntohs(address.sin_port));
    return fflush(stdout);
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    struct server *server = calloc(1, sizeof *server);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (server == NULL || start(server) < 0) {
        perror("echo");
        return 1;
    }
    server->is_once = argc > 1 && strcmp(argv[1], "once") == 0;
    for (;;) {
        int ready = epoll_wait(server->epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL)
                accept_all(server);
            else if (!serve(server, connection))
                close_connection(connection);
        }
    }
}
