/* SPDX-License-Identifier: MIT */
#include <fastsock/receive.h>
#include <fastsock/send.h>

#include <limits.h>
#include <sys/stat.h>

#include "loopback.h"

#define CONTROL_ROOM 256

static struct fsk_message message_of(struct iovec *buffers, size_t count) {
    struct fsk_message message = {.buffers = buffers, .buffer_count = count};
    return message;
}

static void check_udp(int family) {
    struct fsk_address to;
    struct fsk_address from;
    struct fsk_address source = {.length = sizeof source.name};
    char text[16];
    if (!has_loopback(family))
        return;
    int sender = open_bound(family, SOCK_DGRAM, &from);
    int receiver = open_bound(family, SOCK_DGRAM, &to);
    CHECK_INT(fsk_send_to(sender, "to", 2, 0, &to), 2);
    CHECK_INT(recvfrom(receiver, text, sizeof text, 0, &source.name.any, &source.length), 2);
    CHECK_BYTES(text, "to", 2);
    CHECK(fsk_address_equal(&source, &from));

    struct iovec buffers[] = {{.iov_base = "gath", .iov_len = 4},
                              {.iov_base = NULL, .iov_len = 0},
                              {.iov_base = "ered", .iov_len = 4}};
    struct fsk_message message = message_of(buffers, 3);
    message.address = &to;
    message.flags = -1; /* not read */
    CHECK_INT(fsk_send_message(sender, &message, 0), 8);
    CHECK_INT(recv(receiver, text, sizeof text, 0), 8);
    CHECK_BYTES(text, "gathered", 8);
    CHECK_INT(message.flags, -1);

    REQUIRE(connect(sender, &to.name.any, to.length) == 0);
    CHECK_INT(fsk_send(sender, "connected", 9, 0), 9);
    CHECK_INT(recv(receiver, text, sizeof text, 0), 9);
    CHECK_BYTES(text, "connected", 9);
    CHECK_INT(fsk_send(sender, "", 0, 0), 0);
    CHECK_INT(recv(receiver, text, sizeof text, 0), 0);
    close(sender);
    close(receiver);
}

static void test_send_udp_ipv4_arrives_whole(void) {
    check_udp(AF_INET);
}

static void test_send_udp_ipv6_arrives_whole(void) {
    check_udp(AF_INET6);
}

static void check_tcp(int family) {
    int pair[2];
    char text[16];
    struct iovec buffers[] = {{.iov_base = "ef", .iov_len = 2}, {.iov_base = "gh", .iov_len = 2}};
    struct fsk_message message = message_of(buffers, 2);
    if (!has_loopback(family))
        return;
    open_tcp_pair(family, pair);
    CHECK_INT(fsk_send(pair[0], "abcd", 4, 0), 4);
    CHECK_INT(fsk_send_message(pair[0], &message, 0), 4);
    CHECK_INT(recv(pair[1], text, 8, MSG_WAITALL), 8);
    CHECK_BYTES(text, "abcdefgh", 8);
    close_pair(pair);
}

static void test_send_tcp_ipv4_keeps_the_order(void) {
    check_tcp(AF_INET);
}

static void test_send_tcp_ipv6_keeps_the_order(void) {
    check_tcp(AF_INET6);
}

static void test_send_to_unix_datagram_arrives(void) {
    struct unix_socket receiver;
    struct fsk_address to;
    char text[8];
    open_unix(&receiver, SOCK_DGRAM, &to);
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(sender >= 0);
    CHECK_INT(fsk_send_to(sender, "unix", 4, 0, &to), 4);
    CHECK_INT(recv(receiver.fd, text, sizeof text, 0), 4);
    CHECK_BYTES(text, "unix", 4);
    close_unix(&receiver);
    CHECK_INT(fsk_send_to(sender, "unix", 4, 0, &to), -ENOENT);
    close(sender);
}

static void test_send_on_wrong_descriptor_gives_its_error(void) {
    struct fsk_address to;
    struct iovec buffer = {.iov_base = "x", .iov_len = 1};
    struct fsk_message message = message_of(&buffer, 1);
    int numbers[] = {-1, closed_number()};
    REQUIRE(fsk_address_parse_host(&to, AF_INET, "127.0.0.1", 9) == 0);
    for (size_t i = 0; i < 2; i++) {
        CHECK_INT(fsk_send(numbers[i], "x", 1, 0), -EBADF);
        CHECK_INT(fsk_send_to(numbers[i], "x", 1, 0, &to), -EBADF);
        CHECK_INT(fsk_send_message(numbers[i], &message, 0), -EBADF);
    }
}

static void test_send_without_destination_is_refused(void) {
    struct fsk_address bound;
    struct iovec buffer = {.iov_base = "x", .iov_len = 1};
    struct fsk_message message = message_of(&buffer, 1);
    int fd = open_bound(AF_INET, SOCK_DGRAM, &bound);
    CHECK_INT(fsk_send(fd, "x", 1, 0), -EDESTADDRREQ);
    CHECK_INT(fsk_send_message(fd, &message, 0), -EDESTADDRREQ);
    close(fd);
}

/* Also shows that nothing of a refused datagram is sent. */
static void test_send_datagram_too_large_is_refused_whole(void) {
    static const char large[70000];
    struct fsk_address to;
    struct iovec buffer = {.iov_base = (void *)large, .iov_len = sizeof large};
    struct fsk_message message = message_of(&buffer, 1);
    char byte;
    int fd = open_bound(AF_INET, SOCK_DGRAM, &to);
    message.address = &to;
    CHECK_INT(fsk_send_to(fd, large, sizeof large, 0, &to), -EMSGSIZE);
    CHECK_INT(fsk_send_message(fd, &message, 0), -EMSGSIZE);
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) < 0);
    close(fd);
}

static void test_send_message_with_too_many_buffers_is_refused(void) {
    int pair[2];
    char byte;
    struct iovec *buffers = malloc((IOV_MAX + 1) * sizeof *buffers);
    REQUIRE(buffers != NULL);
    for (size_t i = 0; i < IOV_MAX + 1; i++)
        buffers[i] = (struct iovec){.iov_base = "x", .iov_len = i == 0};
    struct fsk_message message = message_of(buffers, IOV_MAX + 1);
    open_unix_pair(SOCK_DGRAM, pair);
    CHECK_INT(fsk_send_message(pair[0], &message, 0), -EMSGSIZE);
    CHECK(recv(pair[1], &byte, 1, MSG_DONTWAIT) < 0);
    message.buffer_count = IOV_MAX;
    CHECK_INT(fsk_send_message(pair[0], &message, 0), 1);
    close_pair(pair);
    free(buffers);
}

/* The three calls on a stream without room. */
static void check_full(int fd, int flags, int expected) {
    struct iovec buffer = {.iov_base = "x", .iov_len = 1};
    struct fsk_message message = message_of(&buffer, 1);
    CHECK_INT(fsk_send(fd, "x", 1, flags), expected);
    CHECK_INT(fsk_send_message(fd, &message, flags), expected);
}

static void test_send_without_room_does_not_wait_when_told(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair); /* a TCP peer may make room at any time */
    CHECK(fill_stream(pair[0]) > 0);
    check_full(pair[0], MSG_DONTWAIT, -EAGAIN);
    set_nonblocking(pair[0]);
    check_full(pair[0], 0, -EAGAIN);
    close_pair(pair);
}

/* A call that does not wait takes the beginning, and the count says how much. */
static void test_send_more_than_the_room_takes_the_beginning(void) {
    int pair[2];
    size_t length = 16 << 20;
    char *data = calloc(1, length);
    REQUIRE(data != NULL);
    open_unix_pair(SOCK_STREAM, pair);
    ssize_t sent = fsk_send(pair[0], data, length, MSG_DONTWAIT);
    CHECK(sent > 0 && sent < (ssize_t)length);
    close(pair[0]);
    ssize_t arrived = 0;
    ssize_t part;
    while ((part = recv(pair[1], data, length, 0)) > 0)
        arrived += part;
    CHECK_INT(arrived, sent);
    close(pair[1]);
    free(data);
}

static void test_send_timeout_of_the_socket_gives_eagain(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    fill_stream(pair[0]);
    set_timeout(pair[0], SO_SNDTIMEO, 20);
    int64_t start = clock_ns();
    check_full(pair[0], 0, -EAGAIN);
    CHECK(clock_ns() - start >= INT64_C(2) * 15000000); /* kernel ticks may be early by one */
    close_pair(pair);
}

static void test_send_signal_while_waiting_gives_eintr(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    fill_stream(pair[0]);
    start_interrupting();
    check_full(pair[0], 0, -EINTR);
    stop_interrupting();
    close_pair(pair);
}

static void test_send_to_gone_peer_gives_epipe(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    close(pair[1]);
    check_full(pair[0], MSG_NOSIGNAL, -EPIPE);
    close(pair[0]);
}

/* The header promises the signal to who does not ask for MSG_NOSIGNAL. */
static void test_send_to_gone_peer_without_nosignal_raises_sigpipe(void) {
    struct sigaction before;
    struct sigaction action = {.sa_handler = count_signal};
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    close(pair[1]);
    signals_caught = 0;
    REQUIRE(sigaction(SIGPIPE, &action, &before) == 0);
    check_full(pair[0], 0, -EPIPE);
    CHECK_INT(signals_caught, 2);
    REQUIRE(sigaction(SIGPIPE, &before, NULL) == 0);
    close(pair[0]);
}

static bool is_same_file(int one, int other) {
    struct stat first;
    struct stat second;
    REQUIRE(fstat(one, &first) == 0 && fstat(other, &second) == 0);
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static void send_descriptors(int fd, const int *descriptors, size_t count) {
    _Alignas(struct cmsghdr) char control[CONTROL_ROOM];
    struct iovec buffer = {.iov_base = "fd", .iov_len = 2};
    struct fsk_message message = message_of(&buffer, 1);
    struct fsk_control item = {.level = SOL_SOCKET,
                               .type = SCM_RIGHTS,
                               .data = descriptors,
                               .length = count * sizeof *descriptors};
    message.control = control;
    REQUIRE(fsk_control_put(&message, sizeof control, &item) == 0);
    REQUIRE(fsk_send_message(fd, &message, 0) == 2);
}

/* Returns how many came; room counts descriptors. */
static size_t receive_descriptors(int fd, int *descriptors, size_t room, int *flags) {
    _Alignas(struct cmsghdr) char control[CONTROL_ROOM];
    char text[4];
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = message_of(&buffer, 1);
    struct fsk_control item;
    size_t cursor = 0;
    message.control = control;
    message.control_length = fsk_control_space(room * sizeof *descriptors);
    REQUIRE(fsk_receive_message(fd, &message, 0) == 2);
    CHECK_BYTES(text, "fd", 2);
    *flags = message.flags;
    REQUIRE(fsk_control_next(&message, &cursor, &item) == 1);
    CHECK_INT(item.level, SOL_SOCKET);
    CHECK_INT(item.type, SCM_RIGHTS);
    REQUIRE(item.length % sizeof *descriptors == 0 && item.length <= room * sizeof *descriptors);
    memcpy(descriptors, item.data, item.length);
    struct fsk_control beyond;
    CHECK_INT(fsk_control_next(&message, &cursor, &beyond), 0);
    return item.length / sizeof *descriptors;
}

static void check_descriptors_pass(int type) {
    int pair[2];
    int ends[2];
    int passed[2] = {-1, -1};
    int flags = -1;
    char byte = 0;
    open_unix_pair(type, pair);
    REQUIRE(pipe(ends) == 0);
    send_descriptors(pair[0], ends, 2);
    REQUIRE(receive_descriptors(pair[1], passed, 2, &flags) == 2);
    CHECK_INT(flags & MSG_CTRUNC, 0);
    CHECK(passed[0] != ends[0] && passed[1] != ends[1]);
    CHECK(is_same_file(passed[0], ends[0]));
    CHECK_INT(write(passed[1], "p", 1), 1);
    CHECK_INT(read(ends[0], &byte, 1), 1);
    CHECK_INT(byte, 'p');
    close_pair(passed);
    close_pair(ends);
    close_pair(pair);
}

static void test_send_descriptors_over_a_stream_arrive(void) {
    check_descriptors_pass(SOCK_STREAM);
}

static void test_send_descriptors_over_datagrams_arrive(void) {
    check_descriptors_pass(SOCK_DGRAM);
}

/* What does not fit is closed by the kernel, and no number is left behind. The room is for two, as
 * the padding behind one would hold a second. */
static void test_send_descriptors_beyond_the_room_are_cut(void) {
    int pair[2];
    int passed[4] = {-1, -1, -1, -1};
    int same[6];
    int flags = 0;
    int lowest = closed_number();
    open_unix_pair(SOCK_STREAM, pair);
    for (size_t i = 0; i < 6; i++)
        same[i] = pair[0];
    send_descriptors(pair[0], same, 6);
    size_t count = receive_descriptors(pair[1], passed, 2, &flags);
    CHECK_INT(count, 2);
    CHECK_INT(flags & MSG_CTRUNC, MSG_CTRUNC);
    for (size_t i = 0; i < count; i++) {
        CHECK(is_same_file(passed[i], pair[0]));
        close(passed[i]);
    }
    close_pair(pair);
    CHECK_INT(closed_number(), lowest);
}

static void test_send_descriptor_that_is_not_open_is_refused(void) {
    _Alignas(struct cmsghdr) char control[CONTROL_ROOM];
    int pair[2];
    int closed = -1;
    char byte;
    struct iovec buffer = {.iov_base = "fd", .iov_len = 2};
    struct fsk_message message = message_of(&buffer, 1);
    struct fsk_control item = {
        .level = SOL_SOCKET, .type = SCM_RIGHTS, .data = &closed, .length = sizeof closed};
    open_unix_pair(SOCK_STREAM, pair);
    message.control = control;
    REQUIRE(fsk_control_put(&message, sizeof control, &item) == 0);
    CHECK_INT(fsk_send_message(pair[0], &message, 0), -EBADF);
    CHECK(recv(pair[1], &byte, 1, MSG_DONTWAIT) < 0);
    close_pair(pair);
}

int main(void) {
    RUN(test_send_udp_ipv4_arrives_whole);
    RUN(test_send_udp_ipv6_arrives_whole);
    RUN(test_send_tcp_ipv4_keeps_the_order);
    RUN(test_send_tcp_ipv6_keeps_the_order);
    RUN(test_send_to_unix_datagram_arrives);
    RUN(test_send_on_wrong_descriptor_gives_its_error);
    RUN(test_send_without_destination_is_refused);
    RUN(test_send_datagram_too_large_is_refused_whole);
    RUN(test_send_message_with_too_many_buffers_is_refused);
    RUN(test_send_without_room_does_not_wait_when_told);
    RUN(test_send_more_than_the_room_takes_the_beginning);
    RUN(test_send_timeout_of_the_socket_gives_eagain);
    RUN(test_send_signal_while_waiting_gives_eintr);
    RUN(test_send_to_gone_peer_gives_epipe);
    RUN(test_send_to_gone_peer_without_nosignal_raises_sigpipe);
    RUN(test_send_descriptors_over_a_stream_arrive);
    RUN(test_send_descriptors_over_datagrams_arrive);
    RUN(test_send_descriptors_beyond_the_room_are_cut);
    RUN(test_send_descriptor_that_is_not_open_is_refused);
    return check_report();
}
