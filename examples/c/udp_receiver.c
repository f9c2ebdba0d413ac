/* SPDX-License-Identifier: MIT
 * Print who sent each datagram and what, until Ctrl+C or SIGTERM. A thread of the library receives.
 *
 *   cc -Wall -Wextra -o udp_receiver udp_receiver.c $(python -m fastsock.config --cflags --libs)
 *   ./udp_receiver 127.0.0.1 8888     # or an IPv6 host; port 0 takes a free one
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include <fastsock/fastsock.h>

static int fd;
static volatile sig_atomic_t is_over;
/* Ends the wait for datagrams. As more may come all the same, the loop looks at is_over too. */
static void finish(int number) {
    (void)number;
    is_over = 1;
    fsk_socket_shutdown(fd, SHUT_RD);
}

static int check(int result, const char *what) {
    char text[128];
    if (result >= 0)
        return result;
    fsk_error_text(result, text, sizeof text);
    fprintf(stderr, "udp_receiver: %s: %s\n", what, text);
    exit(1);
}

static void print_message(const struct fsk_batch *batch, int i) {
    const unsigned char *data = batch->arena + batch->offsets[i];
    struct fsk_address source;
    char host[FSK_HOST_SIZE];
    fsk_batch_source(batch, batch->source[i], &source);
    check(fsk_address_format_host(&source, host), "source");
    printf("%s port %d: ", host, fsk_address_port(&source));
    for (uint32_t k = 0; k < batch->lengths[i]; k++) /* nothing that could drive the terminal */
        printf(data[k] < ' ' || data[k] > '~' || data[k] == '\\' ? "\\x%02x" : "%c", data[k]);
    puts("");
}

int main(int count, char **arguments) {
    struct fsk_address address;
    unsigned port = 0;
    char more;
    if (count != 3 || sscanf(arguments[2], "%5u%c", &port, &more) != 1 || port > UINT16_MAX)
        check(-EINVAL, "HOST PORT");
    if (fsk_address_parse_host(&address, AF_INET, arguments[1], port) < 0)
        check(fsk_address_parse_host(&address, AF_INET6, arguments[1], port), arguments[1]);
    fd = check(fsk_socket_open(address.name.any.sa_family, SOCK_DGRAM, 0), "socket");
    check(fsk_socket_bind(fd, &address), arguments[1]);
    check(fsk_socket_name(fd, &address), "name");
    struct fsk_receiver_options options = {.size = sizeof options, .memory = 64 << 20, .gro = true};
    struct fsk_receiver *receiver;
    struct fsk_batch *batch;
    check(getentropy(&options.key, sizeof options.key) == 0 ? 0 : -errno, "getentropy");
    check(fsk_receiver_open(&receiver, &fd, 1, &options), "receiver");
    signal(SIGINT, finish);
    signal(SIGTERM, finish);
    printf("Listening on %s port %d\n", arguments[1], fsk_address_port(&address));
    for (int messages = 1; messages != 0 && !is_over;) {
        check(fflush(stdout) == 0 ? 0 : -errno, "stdout");
        messages = fsk_receiver_next(receiver, FSK_FOREVER, &batch);
        check(messages == -EINTR ? 0 : messages, "receive");
        for (int i = 0; i < messages; i++)
            print_message(batch, i);
        if (messages > 0)
            fsk_receiver_release(receiver, batch);
    }
    signal(SIGINT, SIG_IGN); /* the descriptor may be another's after this */
    signal(SIGTERM, SIG_IGN);
    fsk_receiver_close(receiver);
    fsk_receiver_free(receiver);
    return 0;
}
