/* SPDX-License-Identifier: MIT
 * Send back each frame of every TCP client, until Ctrl+C or SIGTERM. Before a frame comes its length,
 * 4 bytes in network order.
 *
 *   cc -Wall -Wextra -o frame_server frame_server.c $(python -m fastsock.config --cflags --libs)
 *   ./frame_server 127.0.0.1 8888     # or an IPv6 host; port 0 takes a free one
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <fastsock/fastsock.h>

enum { MAX_FRAME = 1 << 20, FRAMES = 1024 };

static struct fsk_server *server;

/* Connections then have a second to take the answers that are on their way. */
static void finish(int number) {
    (void)number;
    fsk_server_stop(server, 1000000000);
}

static int check(int result, const char *what) {
    char text[128];
    if (result >= 0)
        return result;
    fsk_error_text(result, text, sizeof text);
    fprintf(stderr, "frame_server: %s: %s\n", what, text);
    exit(1);
}

static int listener(const char *host, unsigned port, struct fsk_address *name) {
    if (fsk_address_parse_host(name, AF_INET, host, port) < 0)
        check(fsk_address_parse_host(name, AF_INET6, host, port), host);
    int fd = check(fsk_socket_open(name->name.any.sa_family, SOCK_STREAM, 0), "socket");
    check(fsk_socket_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1), "SO_REUSEADDR");
    check(fsk_socket_bind(fd, name), host);
    check(fsk_socket_listen(fd, SOMAXCONN), "listen");
    check(fsk_socket_name(fd, name), "name");
    return fd;
}

int main(int count, char **arguments) {
    unsigned port = 0;
    char more;
    if (count != 3 || sscanf(arguments[2], "%5u%c", &port, &more) != 1 || port > UINT16_MAX)
        check(-EINVAL, "HOST PORT");
    struct fsk_framing framing = {sizeof framing, FSK_FRAMING_LENGTH, MAX_FRAME, .header_size = 4};
    struct fsk_server_options options = {.size = sizeof options, .framing = &framing};
    options.memory = 64 << 20;
    options.max_pending = 4 * MAX_FRAME;
    options.max_connections = 1000;
    options.closes_slow = true; /* who takes too few of its answers, so that no send fails */
    options.idle_timeout_ns = FSK_FOREVER;
    struct fsk_address name;
    struct fsk_batch *batch;
    check(fsk_server_open(&server, listener(arguments[1], port, &name), &options), "server");
    check(fsk_batch_new(&batch, FRAMES, fsk_server_arena(&framing) / FRAMES + 1, 0), "batch");
    signal(SIGINT, finish);
    signal(SIGTERM, finish);
    printf("Listening on %s port %d\n", arguments[1], fsk_address_port(&name));
    check(fflush(stdout) == 0 ? 0 : -errno, "stdout");
    for (int result = 1; result != 0;) {
        result = fsk_server_next(server, FSK_FOREVER, batch);
        check(result == -EINTR ? 0 : result, "next");
        for (uint32_t i = 0; result > 0 && i < batch->count; i++) {
            int sent = fsk_server_send(server, batch->source[i], batch->arena + batch->offsets[i],
                                       batch->lengths[i]);
            check(sent == -EPIPE ? 0 : sent, "send"); /* EPIPE: the connection has ended */
        }
    }
    signal(SIGINT, SIG_IGN); /* finish must not meet a server that is gone */
    signal(SIGTERM, SIG_IGN);
    fsk_server_free(server);
    fsk_batch_free(batch);
    return 0;
}
