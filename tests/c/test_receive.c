/* SPDX-License-Identifier: MIT */
#include <fastsock/receive.h>

#include <limits.h>
#include <netinet/in.h>

#include "loopback.h"

#define CONTROL_ROOM 256

struct datagram_pair {
    int sender;
    int receiver;
    struct fsk_address from; /* of the sender */
    struct fsk_address to;   /* of the receiver */
};

static void open_datagrams(int family, struct datagram_pair *made) {
    made->sender = open_bound(family, SOCK_DGRAM, &made->from);
    made->receiver = open_bound(family, SOCK_DGRAM, &made->to);
}

static void close_datagrams(struct datagram_pair *made) {
    close(made->sender);
    close(made->receiver);
}

static void send_datagram(const struct datagram_pair *made, const void *data, size_t length) {
    REQUIRE(sendto(made->sender, data, length, 0, &made->to.name.any, made->to.length) ==
            (ssize_t)length);
}

static void check_udp_source(int family) {
    struct datagram_pair made;
    struct fsk_address source;
    char buffer[16];
    if (!has_loopback(family))
        return;
    open_datagrams(family, &made);
    send_datagram(&made, "datagram", 8);
    memset(&source, 0xa5, sizeof source);
    CHECK_INT(fsk_receive_from(made.receiver, buffer, sizeof buffer, 0, &source), 8);
    CHECK_BYTES(buffer, "datagram", 8);
    CHECK_INT(source.length, made.from.length);
    CHECK(fsk_address_equal(&source, &made.from));
    close_datagrams(&made);
}

static void test_receive_from_udp_ipv4_names_the_sender(void) {
    check_udp_source(AF_INET);
}

static void test_receive_from_udp_ipv6_names_the_sender(void) {
    check_udp_source(AF_INET6);
}

static void check_message_source(int family) {
    struct datagram_pair made;
    struct fsk_address source;
    char one[3];
    char other[16];
    struct iovec buffers[] = {
        {.iov_base = one, .iov_len = sizeof one},
        {.iov_base = NULL, .iov_len = 0},
        {.iov_base = other, .iov_len = sizeof other},
    };
    struct fsk_message message = {
        .buffers = buffers, .buffer_count = 3, .address = &source, .flags = -1};
    if (!has_loopback(family))
        return;
    open_datagrams(family, &made);
    send_datagram(&made, "scattered", 9);
    source.length = 0; /* not read: the room is that of the whole union */
    CHECK_INT(fsk_receive_message(made.receiver, &message, 0), 9);
    CHECK_BYTES(one, "sca", 3);
    CHECK_BYTES(other, "ttered", 6);
    CHECK(fsk_address_equal(&source, &made.from));
    CHECK_INT(message.flags, 0);
    CHECK_INT(message.control_length, 0);
    close_datagrams(&made);
}

static void test_receive_message_udp_ipv4_scatters_and_names_the_sender(void) {
    check_message_source(AF_INET);
}

static void test_receive_message_udp_ipv6_scatters_and_names_the_sender(void) {
    check_message_source(AF_INET6);
}

static void test_receive_larger_than_buffer_gives_what_was_stored(void) {
    struct datagram_pair made;
    char buffer[5] = "....";
    open_datagrams(AF_INET, &made);
    send_datagram(&made, "datagram", 8);
    CHECK_INT(fsk_receive(made.receiver, buffer, 4, 0), 4);
    CHECK_BYTES(buffer, "data", 5);
    CHECK_INT(fsk_receive(made.receiver, buffer, 4, MSG_DONTWAIT), -EAGAIN);
    close_datagrams(&made);
}

static void test_receive_larger_than_buffer_with_trunc_gives_the_full_length(void) {
    struct datagram_pair made;
    struct fsk_address source;
    char buffer[5] = "....";
    open_datagrams(AF_INET, &made);
    send_datagram(&made, "datagram", 8);
    CHECK_INT(fsk_receive(made.receiver, buffer, 4, MSG_TRUNC), 8);
    CHECK_BYTES(buffer, "data", 5);
    send_datagram(&made, "datagram", 8);
    CHECK_INT(fsk_receive_from(made.receiver, buffer, 0, MSG_TRUNC, &source), 8);
    CHECK(fsk_address_equal(&source, &made.from));
    close_datagrams(&made);
}

static void test_receive_message_larger_than_buffer_sets_truncated(void) {
    struct datagram_pair made;
    char text[5] = "....";
    struct iovec buffer = {.iov_base = text, .iov_len = 4};
    struct fsk_message message = {.buffers = &buffer, .buffer_count = 1};
    open_datagrams(AF_INET, &made);
    send_datagram(&made, "datagram", 8);
    send_datagram(&made, "datagram", 8);
    send_datagram(&made, "fits", 4);
    CHECK_INT(fsk_receive_message(made.receiver, &message, 0), 4);
    CHECK_INT(message.flags & MSG_TRUNC, MSG_TRUNC);
    CHECK_BYTES(text, "data", 5);
    CHECK_INT(fsk_receive_message(made.receiver, &message, MSG_TRUNC), 8);
    CHECK_INT(message.flags & MSG_TRUNC, MSG_TRUNC);
    CHECK_INT(fsk_receive_message(made.receiver, &message, 0), 4);
    CHECK_INT(message.flags & MSG_TRUNC, 0);
    close_datagrams(&made);
}

static void test_receive_empty_datagram_gives_zero(void) {
    struct datagram_pair made;
    struct fsk_address source;
    char buffer[4];
    open_datagrams(AF_INET, &made);
    send_datagram(&made, "", 0);
    CHECK_INT(fsk_receive_from(made.receiver, buffer, sizeof buffer, 0, &source), 0);
    CHECK(fsk_address_equal(&source, &made.from));
    close_datagrams(&made);
}

static void test_receive_with_peek_leaves_the_message(void) {
    struct datagram_pair made;
    char buffer[4];
    open_datagrams(AF_INET, &made);
    send_datagram(&made, "peek", 4);
    CHECK_INT(fsk_receive(made.receiver, buffer, sizeof buffer, MSG_PEEK), 4);
    CHECK_INT(fsk_receive(made.receiver, buffer, sizeof buffer, MSG_DONTWAIT), 4);
    CHECK_INT(fsk_receive(made.receiver, buffer, sizeof buffer, MSG_DONTWAIT), -EAGAIN);
    close_datagrams(&made);
}

static void check_stream(int family) {
    int pair[2];
    char text[8];
    struct fsk_address source;
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {.buffers = &buffer, .buffer_count = 1, .address = &source};
    if (!has_loopback(family))
        return;
    open_tcp_pair(family, pair);
    REQUIRE(send(pair[0], "abcdef", 6, 0) == 6);
    CHECK_INT(fsk_receive(pair[1], text, 2, 0), 2);
    memset(&source, 0xa5, sizeof source);
    CHECK_INT(fsk_receive_from(pair[1], text + 2, 2, 0, &source), 2);
    CHECK_INT(source.length, 0);
    buffer.iov_base = text + 4;
    buffer.iov_len = 2;
    memset(&source, 0xa5, sizeof source);
    CHECK_INT(fsk_receive_message(pair[1], &message, 0), 2);
    CHECK_INT(source.length, 0);
    CHECK_BYTES(text, "abcdef", 6);
    close(pair[0]);
    CHECK_INT(fsk_receive(pair[1], text, sizeof text, 0), 0);
    CHECK_INT(fsk_receive_from(pair[1], text, sizeof text, 0, &source), 0);
    CHECK_INT(source.length, 0);
    CHECK_INT(fsk_receive_message(pair[1], &message, 0), 0);
    close(pair[1]);
}

static void test_receive_tcp_ipv4_names_no_source_and_ends_with_zero(void) {
    check_stream(AF_INET);
}

static void test_receive_tcp_ipv6_names_no_source_and_ends_with_zero(void) {
    check_stream(AF_INET6);
}

static void test_receive_from_unix_datagram_names_the_bound_sender(void) {
    struct unix_socket receiver;
    struct unix_socket sender;
    struct fsk_address to;
    struct fsk_address from;
    struct fsk_address source;
    char buffer[8];
    size_t length = 0;
    open_unix(&receiver, SOCK_DGRAM, &to);
    open_unix(&sender, SOCK_DGRAM, &from);
    REQUIRE(sendto(sender.fd, "unix", 4, 0, &to.name.any, to.length) == 4);
    CHECK_INT(fsk_receive_from(receiver.fd, buffer, sizeof buffer, 0, &source), 4);
    CHECK_BYTES(buffer, "unix", 4);
    CHECK(fsk_address_equal(&source, &from));
    const char *path = fsk_address_path(&source, &length);
    CHECK_INT(length, strlen(sender.path));
    CHECK_BYTES(path, sender.path, length);
    close_unix(&sender);
    close_unix(&receiver);
}

static void test_receive_from_unnamed_unix_socket_names_no_source(void) {
    int pair[2];
    char text[8];
    struct fsk_address source;
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {.buffers = &buffer, .buffer_count = 1, .address = &source};
    open_unix_pair(SOCK_DGRAM, pair);
    REQUIRE(send(pair[0], "one", 3, 0) == 3);
    REQUIRE(send(pair[0], "two", 3, 0) == 3);
    memset(&source, 0xa5, sizeof source);
    CHECK_INT(fsk_receive_from(pair[1], text, sizeof text, 0, &source), 3);
    CHECK_INT(source.length, 0);
    memset(&source, 0xa5, sizeof source);
    CHECK_INT(fsk_receive_message(pair[1], &message, 0), 3);
    CHECK_INT(source.length, 0);
    close_pair(pair);
}

/* All three calls give the same error; the room of a message is as before, for the next attempt. */
static void check_failure(int fd, int flags, int expected) {
    char text[8];
    char control[CONTROL_ROOM];
    struct fsk_address source;
    struct fsk_address address;
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {.buffers = &buffer,
                                  .buffer_count = 1,
                                  .address = &address,
                                  .control = control,
                                  .control_length = sizeof control,
                                  .flags = -1};
    source.length = 99;
    CHECK_INT(fsk_receive(fd, text, sizeof text, flags), expected);
    CHECK_INT(fsk_receive_from(fd, text, sizeof text, flags, &source), expected);
    CHECK_INT(source.length, 0);
    CHECK_INT(fsk_receive_message(fd, &message, flags), expected);
    CHECK_INT(message.control_length, sizeof control);
    CHECK_INT(message.flags, -1);
}

static void test_receive_with_nothing_there_does_not_wait_when_told(void) {
    struct datagram_pair made;
    int pair[2];
    open_datagrams(AF_INET, &made);
    open_tcp_pair(AF_INET, pair);
    check_failure(made.receiver, MSG_DONTWAIT, -EAGAIN);
    check_failure(pair[1], MSG_DONTWAIT, -EAGAIN);
    close_pair(pair);
    close_datagrams(&made);
}

static void test_receive_message_repeated_after_an_error_has_its_room(void) {
    struct datagram_pair made;
    char text[8];
    struct fsk_address source;
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {.buffers = &buffer, .buffer_count = 1, .address = &source};
    open_datagrams(AF_INET, &made);
    CHECK_INT(fsk_receive_message(made.receiver, &message, MSG_DONTWAIT), -EAGAIN);
    send_datagram(&made, "again", 5);
    CHECK_INT(fsk_receive_message(made.receiver, &message, 0), 5);
    CHECK(fsk_address_equal(&source, &made.from));
    close_datagrams(&made);
}

static void test_receive_on_nonblocking_descriptor_does_not_wait(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    set_nonblocking(pair[1]);
    check_failure(pair[1], 0, -EAGAIN);
    close_pair(pair);
}

static void test_receive_on_wrong_descriptor_gives_its_error(void) {
    int ends[2];
    struct fsk_address bound;
    check_failure(-1, 0, -EBADF);
    check_failure(closed_number(), 0, -EBADF);
    REQUIRE(pipe(ends) == 0);
    check_failure(ends[0], 0, -ENOTSOCK);
    close_pair(ends);
    int listener = open_listener(AF_INET, &bound);
    check_failure(listener, 0, -ENOTCONN);
    close(listener);
}

static void test_receive_timeout_of_the_socket_gives_eagain(void) {
    int pair[2];
    open_unix_pair(SOCK_DGRAM, pair);
    set_timeout(pair[1], SO_RCVTIMEO, 20);
    int64_t start = clock_ns();
    check_failure(pair[1], 0, -EAGAIN);
    CHECK(clock_ns() - start >= INT64_C(3) * 15000000); /* kernel ticks may be early by one */
    close_pair(pair);
}

static void test_receive_signal_while_waiting_gives_eintr(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    start_interrupting();
    check_failure(pair[1], 0, -EINTR);
    stop_interrupting();
    close_pair(pair);
}

static void test_receive_message_with_too_many_buffers_is_refused(void) {
    int pair[2];
    char text[1];
    struct iovec *buffers = malloc((IOV_MAX + 1) * sizeof *buffers);
    REQUIRE(buffers != NULL);
    for (size_t i = 0; i < IOV_MAX + 1; i++)
        buffers[i] = (struct iovec){.iov_base = text, .iov_len = i == 0};
    struct fsk_message message = {.buffers = buffers, .buffer_count = IOV_MAX + 1};
    open_unix_pair(SOCK_DGRAM, pair);
    REQUIRE(send(pair[0], "x", 1, 0) == 1);
    CHECK_INT(fsk_receive_message(pair[1], &message, MSG_DONTWAIT), -EMSGSIZE);
    message.buffer_count = IOV_MAX;
    CHECK_INT(fsk_receive_message(pair[1], &message, MSG_DONTWAIT), 1);
    close_pair(pair);
    free(buffers);
}

static void enable(int fd, int level, int option) {
    int on = 1;
    REQUIRE(setsockopt(fd, level, option, &on, sizeof on) == 0);
}

/* Several items at once, as the kernel lays them out. */
static void test_receive_message_control_items_come_by_next(void) {
    struct datagram_pair made;
    char text[8];
    _Alignas(struct cmsghdr) char control[CONTROL_ROOM];
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {.buffers = &buffer,
                                  .buffer_count = 1,
                                  .control = control,
                                  .control_length = sizeof control};
    struct fsk_control item;
    size_t cursor = 0;
    int ttl = 0;
    int found = 0;
    int result;
    open_datagrams(AF_INET, &made);
    enable(made.receiver, IPPROTO_IP, IP_RECVTTL);
    enable(made.receiver, IPPROTO_IP, IP_RECVTOS);
    enable(made.receiver, SOL_SOCKET, SO_TIMESTAMP);
    ttl = 33;
    REQUIRE(setsockopt(made.sender, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) == 0);
    send_datagram(&made, "x", 1);
    CHECK_INT(fsk_receive_message(made.receiver, &message, 0), 1);
    CHECK(message.control_length > 0 && message.control_length < sizeof control);
    CHECK_INT(message.flags & MSG_CTRUNC, 0);
    while ((result = fsk_control_next(&message, &cursor, &item)) == 1) {
        found++;
        if (item.level == IPPROTO_IP && item.length == sizeof ttl)
            memcpy(&ttl, item.data, sizeof ttl);
        else if (item.level == SOL_SOCKET)
            CHECK_INT(item.length, sizeof(struct timeval));
    }
    CHECK_INT(result, 0);
    CHECK_INT(found, 3);
    CHECK_INT(ttl, 33);
    close_datagrams(&made);
}

/* In room for half an item the kernel writes half of it and says so. */
static void test_receive_message_control_cut_sets_truncated(void) {
    struct datagram_pair made;
    char text[8];
    size_t room = fsk_control_space(0) + sizeof(struct timeval) / 2;
    char *control = malloc(room);
    REQUIRE(control != NULL);
    struct iovec buffer = {.iov_base = text, .iov_len = sizeof text};
    struct fsk_message message = {
        .buffers = &buffer, .buffer_count = 1, .control = control, .control_length = room};
    struct fsk_control item;
    size_t cursor = 0;
    open_datagrams(AF_INET, &made);
    enable(made.receiver, SOL_SOCKET, SO_TIMESTAMP);
    send_datagram(&made, "x", 1);
    CHECK_INT(fsk_receive_message(made.receiver, &message, 0), 1);
    CHECK_INT(message.flags & MSG_CTRUNC, MSG_CTRUNC);
    CHECK(message.control_length <= room);
    int result = fsk_control_next(&message, &cursor, &item);
    CHECK(result == 1 || result == -EBADMSG);
    CHECK_INT(item.level, SOL_SOCKET);
    CHECK_INT(item.length, sizeof(struct timeval) / 2);
    CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    close_datagrams(&made);
    free(control);
}

int main(void) {
    RUN(test_receive_from_udp_ipv4_names_the_sender);
    RUN(test_receive_from_udp_ipv6_names_the_sender);
    RUN(test_receive_message_udp_ipv4_scatters_and_names_the_sender);
    RUN(test_receive_message_udp_ipv6_scatters_and_names_the_sender);
    RUN(test_receive_larger_than_buffer_gives_what_was_stored);
    RUN(test_receive_larger_than_buffer_with_trunc_gives_the_full_length);
    RUN(test_receive_message_larger_than_buffer_sets_truncated);
    RUN(test_receive_empty_datagram_gives_zero);
    RUN(test_receive_with_peek_leaves_the_message);
    RUN(test_receive_tcp_ipv4_names_no_source_and_ends_with_zero);
    RUN(test_receive_tcp_ipv6_names_no_source_and_ends_with_zero);
    RUN(test_receive_from_unix_datagram_names_the_bound_sender);
    RUN(test_receive_from_unnamed_unix_socket_names_no_source);
    RUN(test_receive_with_nothing_there_does_not_wait_when_told);
    RUN(test_receive_message_repeated_after_an_error_has_its_room);
    RUN(test_receive_on_nonblocking_descriptor_does_not_wait);
    RUN(test_receive_on_wrong_descriptor_gives_its_error);
    RUN(test_receive_timeout_of_the_socket_gives_eagain);
    RUN(test_receive_signal_while_waiting_gives_eintr);
    RUN(test_receive_message_with_too_many_buffers_is_refused);
    RUN(test_receive_message_control_items_come_by_next);
    RUN(test_receive_message_control_cut_sets_truncated);
    return check_report();
}
