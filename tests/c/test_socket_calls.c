/* SPDX-License-Identifier: MIT
 * The wrappers with which a program opens an endpoint; accept and waiting are test_socket.c's. */
#include <fastsock/socket.h>

#include <netinet/tcp.h>

#include "loopback.h"

static struct fsk_address loopback_address(int family) {
    struct fsk_address address;
    REQUIRE(fsk_address_parse_host(&address, family, loopback_host(family), 0) == 0);
    return address;
}

static int opened(int family, int type) {
    int fd = fsk_socket_open(family, type, 0);
    REQUIRE(fd >= 0);
    return fd;
}

static void close_checked(int fd) {
    CHECK_INT(fsk_socket_close(fd), 0);
}

static void test_open_gives_a_blocking_socket_closed_on_exec(void) {
    static const int families[] = {AF_INET, AF_UNIX};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (size_t i = 0; i < 4; i++) {
        int fd = opened(families[i / 2], types[i % 2]);
        int type = 0;
        struct fsk_address name;
        CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        CHECK_INT(fsk_socket_option(fd, SOL_SOCKET, SO_TYPE, &type), 0);
        CHECK_INT(type, types[i % 2]);
        CHECK_INT(fsk_socket_name(fd, &name), 0);
        CHECK_INT(name.name.any.sa_family, families[i / 2]);
        close_checked(fd);
    }
}

static void test_open_nonblocking_type_gives_that_mode(void) {
    int fd = opened(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK);
    CHECK_INT(fsk_socket_is_blocking(fd), 0);
    CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close_checked(fd);
}

static void test_open_of_what_there_is_not_gives_its_error(void) {
    CHECK_INT(fsk_socket_open(12345, SOCK_STREAM, 0), -EAFNOSUPPORT);
    CHECK_INT(fsk_socket_open(AF_INET, SOCK_STREAM, IPPROTO_UDP), -EPROTONOSUPPORT);
    CHECK_INT(fsk_socket_open(AF_UNIX, SOCK_RDM, 0), -ESOCKTNOSUPPORT);
}

static void test_close_frees_the_number(void) {
    int fd = opened(AF_INET, SOCK_DGRAM);
    CHECK_INT(fsk_socket_close(fd), 0);
    CHECK_INT(fcntl(fd, F_GETFD), -1);
    CHECK_INT(fsk_socket_close(fd), -EBADF);
    CHECK_INT(fsk_socket_close(-1), -EBADF);
}

static void check_connection(int family) {
    struct fsk_address wish;
    struct fsk_address bound;
    struct fsk_address name;
    struct fsk_address peer;
    char byte = 0;
    if (!has_loopback(family))
        return;
    wish = loopback_address(family);
    int listener = opened(family, SOCK_STREAM);
    CHECK_INT(fsk_socket_bind(listener, &wish), 0);
    CHECK_INT(fsk_socket_listen(listener, 8), 0);
    memset(&bound, 0xa5, sizeof bound);
    CHECK_INT(fsk_socket_name(listener, &bound), 0);
    CHECK_INT(bound.length, wish.length);
    CHECK_INT(bound.name.any.sa_family, family);
    int client = opened(family, SOCK_STREAM);
    CHECK_INT(fsk_socket_peer(client, &peer), -ENOTCONN);
    CHECK_INT(peer.length, 0);
    CHECK_INT(fsk_socket_connect(client, &bound), 0);
    CHECK_INT(fsk_socket_connect(client, &bound), -EISCONN);
    int connection = fsk_socket_accept(listener, NULL);
    REQUIRE(connection >= 0);
    CHECK_INT(fsk_socket_peer(client, &peer), 0);
    CHECK(fsk_address_equal(&peer, &bound));
    CHECK_INT(fsk_socket_name(client, &name), 0);
    CHECK_INT(fsk_socket_peer(connection, &peer), 0);
    CHECK(fsk_address_equal(&peer, &name));
    CHECK_INT(send(client, "x", 1, 0), 1);
    CHECK_INT(fsk_socket_shutdown(client, SHUT_WR), 0);
    CHECK_INT(recv(connection, &byte, 1, 0), 1);
    CHECK_INT(byte, 'x');
    CHECK_INT(recv(connection, &byte, 1, 0), 0);
    CHECK_INT(send(connection, "y", 1, 0), 1);
    CHECK_INT(recv(client, &byte, 1, 0), 1);
    CHECK_INT(byte, 'y');
    close_checked(connection);
    close_checked(client);
    close_checked(listener);
}

static void test_calls_over_ipv4_make_a_connection(void) {
    check_connection(AF_INET);
}

static void test_calls_over_ipv6_make_a_connection(void) {
    check_connection(AF_INET6);
}

static void test_bind_to_address_in_use_or_not_ours_gives_its_error(void) {
    struct fsk_address bound;
    struct fsk_address elsewhere;
    int first = open_listener(AF_INET, &bound);
    int second = opened(AF_INET, SOCK_STREAM);
    CHECK_INT(fsk_socket_bind(second, &bound), -EADDRINUSE);
    REQUIRE(fsk_address_parse_host(&elsewhere, AF_INET, "203.0.113.1", 0) == 0);
    CHECK_INT(fsk_socket_bind(second, &elsewhere), -EADDRNOTAVAIL);
    bound.name.ip4.sin_port = 0;
    CHECK_INT(fsk_socket_bind(first, &bound), -EINVAL);
    close_checked(first);
    close_checked(second);
}

static void test_listen_on_datagram_socket_gives_its_error(void) {
    int fd = opened(AF_INET, SOCK_DGRAM);
    CHECK_INT(fsk_socket_listen(fd, 1), -EOPNOTSUPP);
    close_checked(fd);
}

static void test_connect_to_nobody_is_refused(void) {
    struct fsk_address bound;
    int reserved = open_bound(AF_INET, SOCK_STREAM, &bound); /* it does not listen */
    int fd = opened(AF_INET, SOCK_STREAM);
    CHECK_INT(fsk_socket_connect(fd, &bound), -ECONNREFUSED);
    close_checked(fd);
    close_checked(reserved);
}

static void test_connect_of_datagram_socket_is_undone_by_no_family(void) {
    struct fsk_address bound;
    struct fsk_address peer;
    struct fsk_address none = {.length = sizeof(sa_family_t), .name.any.sa_family = AF_UNSPEC};
    int receiver = open_bound(AF_INET, SOCK_DGRAM, &bound);
    int fd = opened(AF_INET, SOCK_DGRAM);
    CHECK_INT(fsk_socket_connect(fd, &bound), 0);
    CHECK_INT(fsk_socket_peer(fd, &peer), 0);
    CHECK(fsk_address_equal(&peer, &bound));
    CHECK_INT(fsk_socket_connect(fd, &none), 0);
    CHECK_INT(fsk_socket_peer(fd, &peer), -ENOTCONN);
    close_checked(fd);
    close_checked(receiver);
}

static void test_connect_without_waiting_goes_on_as_documented(void) {
    struct fsk_address bound;
    struct fsk_address peer;
    int error = 99;
    int listener = open_listener(AF_INET, &bound);
    int fd = opened(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    CHECK_INT(fsk_socket_connect(fd, &bound), -EINPROGRESS);
    CHECK_INT(fsk_socket_wait(fd, FSK_WAIT_WRITABLE, FSK_FOREVER), 1);
    CHECK_INT(fsk_socket_option(fd, SOL_SOCKET, SO_ERROR, &error), 0);
    CHECK_INT(error, 0);
    CHECK_INT(fsk_socket_peer(fd, &peer), 0);
    CHECK(fsk_address_equal(&peer, &bound));
    close_checked(fd);
    close_checked(listener);
    fd = opened(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    int result = fsk_socket_connect(fd, &bound);
    CHECK(result == -EINPROGRESS);
    CHECK_INT(fsk_socket_wait(fd, FSK_WAIT_WRITABLE, FSK_FOREVER), 1);
    CHECK_INT(fsk_socket_option(fd, SOL_SOCKET, SO_ERROR, &error), 0);
    CHECK_INT(error, ECONNREFUSED);
    close_checked(fd);
}

/* A listener whose queue is full lets a connect wait, on a Unix socket without a deadline. */
static void test_connect_signal_while_waiting_gives_eintr(void) {
    struct unix_socket listener;
    struct fsk_address to;
    open_unix(&listener, SOCK_STREAM, &to);
    CHECK_INT(fsk_socket_listen(listener.fd, 0), 0);
    int queued = open_connected(&to);
    int fd = opened(AF_UNIX, SOCK_STREAM);
    start_interrupting();
    CHECK_INT(fsk_socket_connect(fd, &to), -EINTR);
    stop_interrupting();
    CHECK_INT(fsk_socket_set_blocking(fd, false), 0);
    CHECK_INT(fsk_socket_connect(fd, &to), -EAGAIN);
    close_checked(fd);
    close_checked(queued);
    close_unix(&listener);
}

static void test_names_of_unix_sockets_have_their_paths(void) {
    struct unix_socket receiver;
    struct fsk_address to;
    struct fsk_address name;
    size_t length = 99;
    open_unix(&receiver, SOCK_DGRAM, &to);
    CHECK_INT(fsk_socket_name(receiver.fd, &name), 0);
    CHECK(fsk_address_equal(&name, &to));
    int fd = opened(AF_UNIX, SOCK_DGRAM);
    CHECK_INT(fsk_socket_name(fd, &name), 0);
    fsk_address_path(&name, &length);
    CHECK_INT(length, 0);
    CHECK_INT(fsk_socket_connect(fd, &to), 0);
    CHECK_INT(fsk_socket_peer(fd, &name), 0);
    CHECK(fsk_address_equal(&name, &to));
    close_checked(fd);
    close_unix(&receiver);
}

static void test_options_are_read_as_they_were_set(void) {
    int fd = opened(AF_INET, SOCK_STREAM);
    int value = 99;
    CHECK_INT(fsk_socket_option(fd, IPPROTO_TCP, TCP_NODELAY, &value), 0);
    CHECK_INT(value, 0);
    CHECK_INT(fsk_socket_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1), 0);
    CHECK_INT(fsk_socket_option(fd, IPPROTO_TCP, TCP_NODELAY, &value), 0);
    CHECK_INT(value, 1);
    CHECK_INT(fsk_socket_set_option(fd, IPPROTO_IP, IP_TTL, 77), 0);
    CHECK_INT(fsk_socket_option(fd, IPPROTO_IP, IP_TTL, &value), 0);
    CHECK_INT(value, 77);
    CHECK_INT(fsk_socket_set_option(fd, IPPROTO_IP, IP_TTL, 256), -EINVAL);
    CHECK_INT(fsk_socket_set_option(fd, IPPROTO_TCP, 9999, 1), -ENOPROTOOPT);
    CHECK_INT(fsk_socket_option(fd, IPPROTO_TCP, 9999, &value), -ENOPROTOOPT);
    CHECK_INT(value, 77);
    close_checked(fd);
}

static void test_set_blocking_changes_the_mode_alone(void) {
    int fd = opened(AF_INET, SOCK_DGRAM);
    char byte;
    REQUIRE(fcntl(fd, F_SETFL, O_ASYNC) == 0);
    CHECK_INT(fsk_socket_set_blocking(fd, false), 0);
    CHECK_INT(recv(fd, &byte, 1, 0), -1);
    CHECK_INT(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ASYNC), O_NONBLOCK | O_ASYNC);
    CHECK_INT(fsk_socket_set_blocking(fd, true), 0);
    CHECK_INT(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ASYNC), O_ASYNC);
    close_checked(fd);
}

/* On Linux. */
static void test_shutdown_of_datagram_socket_without_peer_ends_its_receives(void) {
    struct fsk_address bound;
    char byte;
    int fd = open_bound(AF_INET, SOCK_DGRAM, &bound);
    errno = EDOM;
    CHECK_INT(fsk_socket_shutdown(fd, SHUT_RD), -ENOTCONN);
    CHECK_INT(errno, EDOM);
    CHECK_INT(recv(fd, &byte, 1, 0), 0);
    CHECK_INT(fsk_socket_shutdown(fd, 99), -EINVAL);
    close_checked(fd);
}

static int receive_buffer(int fd) {
    int bytes = -1;
    REQUIRE(fsk_socket_option(fd, SOL_SOCKET, SO_RCVBUF, &bytes) == 0);
    return bytes;
}

/* Read by the test itself: net.core.rmem_max is not part of a network namespace everywhere. */
static int largest_receive_buffer(void) {
    int fd = opened(AF_INET, SOCK_DGRAM);
    int bytes = INT32_MAX;
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
    bytes = receive_buffer(fd);
    close(fd);
    return bytes;
}

static void test_receive_buffer_tells_what_the_kernel_has(void) {
    int fd = opened(AF_INET, SOCK_DGRAM);
    CHECK_INT(fsk_socket_set_receive_buffer(fd, 10000, false), 20000); /* Linux doubles it */
    CHECK_INT(receive_buffer(fd), 20000);
    CHECK_INT(fsk_socket_set_receive_buffer(fd, 12000, true), 24000);
    CHECK_INT(receive_buffer(fd), 24000);
    int least = fsk_socket_set_receive_buffer(fd, 0, false);
    CHECK(least > 0);
    CHECK_INT(receive_buffer(fd), least);
    CHECK_INT(fsk_socket_set_receive_buffer(fd, -1, true), -EINVAL);
    CHECK_INT(fsk_socket_set_receive_buffer(fd, -1, false), -EINVAL);
    CHECK_INT(receive_buffer(fd), least);
    close_checked(fd);
}

static void test_receive_buffer_is_cut_to_the_limit_unless_forced(void) {
    int largest = largest_receive_buffer();
    int fd = opened(AF_INET, SOCK_DGRAM);
    int wish = largest / 2 + 4096;
    int bytes = wish;
    CHECK_INT(fsk_socket_set_receive_buffer(fd, wish, false), largest);
    bool may_force = setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0;
    if (!may_force)
        REQUIRE(errno == EPERM);
    CHECK_INT(fsk_socket_set_receive_buffer(fd, wish, true), may_force ? 2 * wish : largest);
    close_checked(fd);
}

static void check_own_credentials(int fd) {
    struct fsk_credentials peer = {.pid = -1, .uid = 1234567, .gid = 1234567};
    CHECK_INT(fsk_socket_peer_credentials(fd, &peer), 0);
    CHECK_INT(peer.pid, getpid());
    CHECK_INT(peer.uid, geteuid());
    CHECK_INT(peer.gid, getegid());
}

static void check_credentials_of_pair(int type) {
    int pair[2];
    open_unix_pair(type, pair);
    check_own_credentials(pair[0]);
    check_own_credentials(pair[1]);
    close_pair(pair);
}

static void test_credentials_of_a_pair_are_its_makers(void) {
    check_credentials_of_pair(SOCK_STREAM);
    check_credentials_of_pair(SOCK_SEQPACKET);
    check_credentials_of_pair(SOCK_DGRAM);
}

static void test_credentials_of_a_connection_are_the_peers(void) {
    struct unix_socket listener;
    struct fsk_address to;
    open_unix(&listener, SOCK_STREAM, &to);
    REQUIRE(listen(listener.fd, 1) == 0);
    int client = open_connected(&to);
    int connection = fsk_socket_accept(listener.fd, NULL);
    REQUIRE(connection >= 0);
    check_own_credentials(connection);
    check_own_credentials(client);
    close(connection);
    close(client);
    close_unix(&listener);
}

static void test_credentials_of_nobody_give_an_error(void) {
    struct fsk_credentials peer = {.pid = -7, .uid = 7, .gid = 7};
    int kinds[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_UNIX, kinds[i], 0);
        REQUIRE(fd >= 0);
        CHECK_INT(fsk_socket_peer_credentials(fd, &peer), -ENOTCONN);
        close(fd);
        fd = socket(AF_INET, kinds[i], 0);
        REQUIRE(fd >= 0);
        CHECK_INT(fsk_socket_peer_credentials(fd, &peer), -EOPNOTSUPP);
        close(fd);
    }
    CHECK_INT(fsk_socket_peer_credentials(closed_number(), &peer), -EBADF);
    CHECK_INT(peer.pid, -7);
    CHECK_INT(peer.uid, 7);
    CHECK_INT(peer.gid, 7);
}

static void test_wrong_descriptor_gives_its_error(void) {
    int closed = closed_number();
    int ends[2];
    int value = 99;
    struct fsk_address address = loopback_address(AF_INET);
    CHECK_INT(fsk_socket_bind(closed, &address), -EBADF);
    CHECK_INT(fsk_socket_connect(closed, &address), -EBADF);
    CHECK_INT(fsk_socket_listen(closed, 1), -EBADF);
    CHECK_INT(fsk_socket_shutdown(closed, SHUT_RD), -EBADF);
    CHECK_INT(fsk_socket_set_option(closed, SOL_SOCKET, SO_KEEPALIVE, 1), -EBADF);
    CHECK_INT(fsk_socket_option(closed, SOL_SOCKET, SO_KEEPALIVE, &value), -EBADF);
    CHECK_INT(fsk_socket_set_blocking(closed, true), -EBADF);
    CHECK_INT(fsk_socket_set_receive_buffer(closed, 1000, true), -EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(fsk_socket_name(ends[0], &address), -ENOTSOCK);
    CHECK_INT(address.length, 0);
    CHECK_INT(fsk_socket_peer(ends[0], &address), -ENOTSOCK);
    CHECK_INT(fsk_socket_set_receive_buffer(ends[0], 1000, false), -ENOTSOCK);
    CHECK_INT(value, 99);
    close_pair(ends);
}

int main(void) {
    RUN(test_open_gives_a_blocking_socket_closed_on_exec);
    RUN(test_open_nonblocking_type_gives_that_mode);
    RUN(test_open_of_what_there_is_not_gives_its_error);
    RUN(test_close_frees_the_number);
    RUN(test_calls_over_ipv4_make_a_connection);
    RUN(test_calls_over_ipv6_make_a_connection);
    RUN(test_bind_to_address_in_use_or_not_ours_gives_its_error);
    RUN(test_listen_on_datagram_socket_gives_its_error);
    RUN(test_connect_to_nobody_is_refused);
    RUN(test_connect_of_datagram_socket_is_undone_by_no_family);
    RUN(test_connect_without_waiting_goes_on_as_documented);
    RUN(test_connect_signal_while_waiting_gives_eintr);
    RUN(test_names_of_unix_sockets_have_their_paths);
    RUN(test_options_are_read_as_they_were_set);
    RUN(test_set_blocking_changes_the_mode_alone);
    RUN(test_shutdown_of_datagram_socket_without_peer_ends_its_receives);
    RUN(test_receive_buffer_tells_what_the_kernel_has);
    RUN(test_receive_buffer_is_cut_to_the_limit_unless_forced);
    RUN(test_credentials_of_a_pair_are_its_makers);
    RUN(test_credentials_of_a_connection_are_the_peers);
    RUN(test_credentials_of_nobody_give_an_error);
    RUN(test_wrong_descriptor_gives_its_error);
    return check_report();
}
