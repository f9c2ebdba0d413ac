/* SPDX-License-Identifier: MIT
 * Run once per engine: everything accept promises in engine.h is checked here.
 */
#include <fastsock/socket.h>

#include <limits.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <linux/filter.h>

#include "datagrams.h"

#define MILLISECOND INT64_C(1000000)

static void check_accepted_mode(int connection) {
    int descriptor_flags = fcntl(connection, F_GETFD);
    int status_flags = fcntl(connection, F_GETFL);
    REQUIRE(descriptor_flags >= 0 && status_flags >= 0);
    CHECK_INT(descriptor_flags & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_INT(status_flags & O_NONBLOCK, 0);
}

static void check_accept(int family) {
    struct fsk_address bound;
    struct fsk_address client_name;
    struct fsk_address peer;
    char byte = 0;
    if (!has_loopback(family))
        return;
    int listener = open_listener(family, &bound);
    int client = open_connected(&bound);
    memset(&peer, 0xa5, sizeof peer);
    int connection = fsk_socket_accept(listener, &peer);
    REQUIRE(connection >= 0);
    bound_name(client, &client_name);
    CHECK_INT(peer.length, client_name.length);
    CHECK(fsk_address_equal(&peer, &client_name));
    check_accepted_mode(connection);
    CHECK_INT(send(client, "x", 1, 0), 1);
    CHECK_INT(recv(connection, &byte, 1, 0), 1);
    CHECK_INT(byte, 'x');
    close(connection);
    close(client);
    close(listener);
}

static void test_accept_tcp_ipv4_gives_the_peer(void) {
    check_accept(AF_INET);
}

static void test_accept_tcp_ipv6_gives_the_peer(void) {
    check_accept(AF_INET6);
}

static void test_accept_without_peer_wanted_gives_the_connection(void) {
    struct fsk_address bound;
    int listener = open_listener(AF_INET, &bound);
    int client = open_connected(&bound);
    int connection = fsk_socket_accept(listener, NULL);
    REQUIRE(connection >= 0);
    check_accepted_mode(connection);
    close(connection);
    close(client);
    close(listener);
}

static void test_accept_from_nonblocking_listener_gives_blocking_mode(void) {
    struct fsk_address bound;
    struct fsk_address peer = {.length = 99};
    int listener = open_listener(AF_INET, &bound);
    set_nonblocking(listener);
    CHECK_INT(fsk_socket_accept(listener, &peer), -EAGAIN);
    CHECK_INT(peer.length, 0);
    CHECK_INT(fsk_socket_accept(listener, NULL), -EAGAIN);
    int client = open_connected(&bound);
    REQUIRE(fsk_socket_wait(listener, FSK_WAIT_READABLE, FSK_FOREVER) == 1);
    int connection = fsk_socket_accept(listener, NULL);
    REQUIRE(connection >= 0);
    check_accepted_mode(connection);
    CHECK((fcntl(listener, F_GETFL) & O_NONBLOCK) != 0);
    close(connection);
    close(client);
    close(listener);
}

static void test_accept_unix_gives_the_bound_peer(void) {
    struct unix_socket listener;
    struct unix_socket client;
    struct fsk_address to;
    struct fsk_address from;
    struct fsk_address peer;
    open_unix(&listener, SOCK_STREAM, &to);
    open_unix(&client, SOCK_STREAM, &from);
    REQUIRE(listen(listener.fd, 1) == 0);
    REQUIRE(connect(client.fd, &to.name.any, to.length) == 0);
    int connection = fsk_socket_accept(listener.fd, &peer);
    REQUIRE(connection >= 0);
    CHECK(fsk_address_equal(&peer, &from));
    check_accepted_mode(connection);
    close(connection);
    close_unix(&client);
    close_unix(&listener);
}

static void test_accept_unix_unnamed_peer_has_no_path(void) {
    struct unix_socket listener;
    struct fsk_address to;
    struct fsk_address peer;
    size_t length = 1;
    open_unix(&listener, SOCK_STREAM, &to);
    REQUIRE(listen(listener.fd, 1) == 0);
    int client = open_connected(&to);
    memset(&peer, 0xa5, sizeof peer);
    int connection = fsk_socket_accept(listener.fd, &peer);
    REQUIRE(connection >= 0);
    fsk_address_path(&peer, &length);
    CHECK_INT(length, 0);
    CHECK(!fsk_address_is_abstract(&peer));
    close(connection);
    close(client);
    close_unix(&listener);
}

static void test_accept_on_wrong_descriptor_gives_its_error(void) {
    struct fsk_address bound;
    struct fsk_address peer = {.length = 99};
    int ends[2];
    CHECK_INT(fsk_socket_accept(-1, &peer), -EBADF);
    CHECK_INT(peer.length, 0);
    CHECK_INT(fsk_socket_accept(closed_number(), NULL), -EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(fsk_socket_accept(ends[0], &peer), -ENOTSOCK);
    close_pair(ends);
    int unlistening = open_bound(AF_INET, SOCK_STREAM, &bound);
    CHECK_INT(fsk_socket_accept(unlistening, &peer), -EINVAL);
    close(unlistening);
    int datagrams = open_bound(AF_INET, SOCK_DGRAM, &bound);
    CHECK_INT(fsk_socket_accept(datagrams, &peer), -EOPNOTSUPP);
    close(datagrams);
}

static void test_accept_signal_while_waiting_gives_eintr(void) {
    struct fsk_address bound;
    struct fsk_address peer = {.length = 99};
    int listener = open_listener(AF_INET, &bound);
    start_interrupting();
    CHECK_INT(fsk_socket_accept(listener, &peer), -EINTR);
    stop_interrupting();
    CHECK_INT(peer.length, 0);
    close(listener);
}

static void test_accept_timeout_of_the_listener_gives_eagain(void) {
    struct fsk_address bound;
    int listener = open_listener(AF_INET, &bound);
    set_timeout(listener, SO_RCVTIMEO, 20);
    CHECK_INT(fsk_socket_accept(listener, NULL), -EAGAIN);
    close(listener);
}

/* In a child, as the limit is the process's; returns when the limit is back. */
static void check_without_descriptors(int listener) {
    struct rlimit before;
    struct fsk_address peer = {.length = 99};
    int lowest = closed_number();
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    struct rlimit none = {.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_INT(fsk_socket_accept(listener, &peer), -EMFILE);
    CHECK_INT(peer.length, 0);
    CHECK_INT(fsk_socket_accept(listener, NULL), -EMFILE);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_INT(closed_number(), lowest);
}

static void test_accept_without_descriptor_left_keeps_the_connection_queued(void) {
    struct fsk_address bound;
    struct fsk_address name;
    struct fsk_address peer;
    int status = -1;
    int listener = open_listener(AF_INET, &bound);
    int client = open_connected(&bound);
    set_nonblocking(listener);
    REQUIRE(fsk_socket_wait(listener, FSK_WAIT_READABLE, FSK_FOREVER) == 1);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        check_without_descriptors(listener);
        _exit(check_failures == 0 ? 0 : 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    int connection = fsk_socket_accept(listener, &peer);
    REQUIRE(connection >= 0);
    bound_name(client, &name);
    CHECK(fsk_address_equal(&peer, &name));
    close(connection);
    close(client);
    close(listener);
}

static void test_wait_readable_tells_data_and_its_absence(void) {
    int pair[2];
    char byte;
    open_unix_pair(SOCK_STREAM, pair);
    CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, 0), 0);
    REQUIRE(send(pair[0], "x", 1, 0) == 1);
    CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, 0), 1);
    CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, FSK_FOREVER), 1);
    CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, 1), 1);
    REQUIRE(recv(pair[1], &byte, 1, 0) == 1);
    CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, 0), 0);
    close_pair(pair);
}

static void test_wait_writable_tells_room_and_its_absence(void) {
    int pair[2];
    char buffer[4096];
    open_unix_pair(SOCK_STREAM, pair);
    CHECK_INT(fsk_socket_wait(pair[0], FSK_WAIT_WRITABLE, 0), 1);
    fill_stream(pair[0]);
    CHECK_INT(fsk_socket_wait(pair[0], FSK_WAIT_WRITABLE, 0), 0);
    while (recv(pair[1], buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
    CHECK_INT(fsk_socket_wait(pair[0], FSK_WAIT_WRITABLE, FSK_FOREVER), 1);
    close_pair(pair);
}

static void test_wait_on_hung_up_peer_is_ready(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    fill_stream(pair[0]);
    close(pair[1]);
    CHECK_INT(fsk_socket_wait(pair[0], FSK_WAIT_READABLE, FSK_FOREVER), 1);
    CHECK_INT(fsk_socket_wait(pair[0], FSK_WAIT_WRITABLE, FSK_FOREVER), 1);
    close(pair[0]);
}

/* Rounded up: 0.1 ms must not become none, nor 2.000001 ms become 2. */
static void test_wait_timeout_is_never_early(void) {
    static const int64_t timeouts[] = {1, 100000, MILLISECOND, 2 * MILLISECOND + 1,
                                       20 * MILLISECOND};
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        int64_t start = clock_ns();
        CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, timeouts[i]), 0);
        int64_t least = (timeouts[i] + MILLISECOND - 1) / MILLISECOND * MILLISECOND;
        CHECK(clock_ns() - start >= least);
    }
    close_pair(pair);
}

/* Beyond what poll's int holds: neither an overflow nor the end at once. */
static void test_wait_huge_timeout_waits(void) {
    static const int64_t timeouts[] = {INT64_MAX, INT64_MAX - 999999,
                                       (INT64_C(1) << 32) * MILLISECOND,
                                       ((int64_t)INT_MAX + 1) * MILLISECOND};
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        CHECK_INT(fsk_socket_wait(pair[0], FSK_WAIT_WRITABLE, timeouts[i]), 1);
        start_interrupting();
        CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, timeouts[i]), -EINTR);
        stop_interrupting();
    }
    close_pair(pair);
}

static void test_wait_forever_is_ended_by_a_signal(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    start_interrupting();
    CHECK_INT(fsk_socket_wait(pair[1], FSK_WAIT_READABLE, FSK_FOREVER), -EINTR);
    stop_interrupting();
    close_pair(pair);
}

static void test_wait_on_what_is_not_open_is_ready_at_once(void) {
    int closed = closed_number();
    CHECK_INT(fsk_socket_wait(-1, FSK_WAIT_READABLE, FSK_FOREVER), 1);
    CHECK_INT(fsk_socket_wait(INT_MIN, FSK_WAIT_WRITABLE, 0), 1);
    CHECK_INT(fsk_socket_wait(closed, FSK_WAIT_READABLE, FSK_FOREVER), 1);
    CHECK_INT(fsk_socket_wait(closed, FSK_WAIT_WRITABLE, 0), 1);
}

static void test_blocking_follows_the_mode(void) {
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    CHECK_INT(fsk_socket_is_blocking(pair[0]), 1);
    set_nonblocking(pair[0]);
    CHECK_INT(fsk_socket_is_blocking(pair[0]), 0);
    CHECK_INT(fsk_socket_is_blocking(pair[1]), 1);
    close_pair(pair);
    CHECK_INT(fsk_socket_is_blocking(-1), -EBADF);
    CHECK_INT(fsk_socket_is_blocking(closed_number()), -EBADF);
}

static void test_low_water_is_one_unless_set(void) {
    struct fsk_address bound;
    int pair[2];
    int bytes = 7;
    open_tcp_pair(AF_INET, pair);
    CHECK_INT(fsk_socket_receive_low_water(pair[1]), 1);
    REQUIRE(setsockopt(pair[1], SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0);
    CHECK_INT(fsk_socket_receive_low_water(pair[1]), 7);
    close_pair(pair);
    int datagrams = open_bound(AF_INET, SOCK_DGRAM, &bound);
    CHECK_INT(fsk_socket_receive_low_water(datagrams), 1);
    close(datagrams);
}

static void test_low_water_of_wrong_descriptor_gives_its_error(void) {
    int ends[2];
    CHECK_INT(fsk_socket_receive_low_water(-1), -EBADF);
    CHECK_INT(fsk_socket_receive_low_water(closed_number()), -EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(fsk_socket_receive_low_water(ends[0]), -ENOTSOCK);
    close_pair(ends);
}

/* The buffer takes its first datagram whatever its size, and no second one as large. */
static void check_drops(int family) {
    struct udp_pair pair;
    uint32_t drops = 99;
    size_t received = 0;
    char buffer[1024];
    int least = 1;
    if (!has_loopback(family))
        return;
    open_udp(family, &pair);
    REQUIRE(setsockopt(pair.receiver, SOL_SOCKET, SO_RCVBUF, &least, sizeof least) == 0);
    CHECK_INT(fsk_socket_drops(pair.receiver, &drops), 0);
    CHECK_INT(drops, 0);
    for (uint32_t sent = 50; sent <= 200; sent += 50) {
        for (size_t i = 0; i < 50; i++)
            send_plain(&pair, sizeof buffer);
        settle();
        while (recv(pair.receiver, buffer, sizeof buffer, MSG_DONTWAIT) == sizeof buffer)
            received++;
        CHECK_INT(fsk_socket_drops(pair.receiver, &drops), 0);
        CHECK_INT(drops, sent - received);
        CHECK(drops > 0);
    }
    CHECK_INT(fsk_socket_drops(pair.sender, &drops), 0);
    CHECK_INT(drops, 0);
    close_udp(&pair);
}

static void test_drops_ipv4_counts_what_the_buffer_had_no_room_for(void) {
    check_drops(AF_INET);
}

static void test_drops_ipv6_counts_what_the_buffer_had_no_room_for(void) {
    check_drops(AF_INET6);
}

static void test_drops_counts_what_a_filter_refused(void) {
    struct udp_pair pair;
    uint32_t drops = 99;
    struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog filter = {.len = 1, .filter = nothing};
    open_udp(AF_INET, &pair);
    REQUIRE(setsockopt(pair.receiver, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0);
    for (size_t i = 0; i < 7; i++)
        send_plain(&pair, 10);
    settle();
    CHECK_INT(fsk_socket_drops(pair.receiver, &drops), 0);
    CHECK_INT(drops, 7);
    close_udp(&pair);
}

/* A full queue makes the sender wait. */
static void test_drops_of_unix_socket_are_none(void) {
    int pair[2];
    uint32_t drops = 99;
    open_unix_pair(SOCK_DGRAM, pair);
    fill_stream(pair[0]);
    CHECK_INT(fsk_socket_drops(pair[1], &drops), 0);
    CHECK_INT(drops, 0);
    close_pair(pair);
}

static void test_drops_of_wrong_descriptor_gives_its_error(void) {
    int ends[2];
    uint32_t drops = 99;
    CHECK_INT(fsk_socket_drops(-1, &drops), -EBADF);
    CHECK_INT(fsk_socket_drops(closed_number(), &drops), -EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_INT(fsk_socket_drops(ends[0], &drops), -ENOTSOCK);
    CHECK_INT(drops, 99);
    close_pair(ends);
}

static void test_socket_wait_either_tells_which_end_came(void) {
    int one[2], other[2];
    open_unix_pair(SOCK_DGRAM, one);
    open_unix_pair(SOCK_DGRAM, other);
    CHECK_INT(fsk_socket_wait_either(one[0], other[0], 0), 0);
    CHECK_INT(fsk_socket_wait_either(one[0], -1, 0), 0);
    CHECK_INT(fsk_socket_wait_either(one[0], other[0], 1000000), 0);
    REQUIRE(send(other[1], "x", 1, 0) == 1);
    CHECK_INT(fsk_socket_wait_either(one[0], other[0], FSK_FOREVER), FSK_READY);
    CHECK_INT(fsk_socket_wait_either(one[0], -1, 0), 0);
    REQUIRE(send(one[1], "x", 1, 0) == 1);
    CHECK_INT(fsk_socket_wait_either(one[0], -1, FSK_FOREVER), FSK_READY);
    REQUIRE(shutdown(one[0], SHUT_RD) == 0);
    CHECK_INT(fsk_socket_wait_either(one[0], -1, FSK_FOREVER), FSK_READY | FSK_HUNG_UP);
    CHECK_INT(fsk_socket_wait_either(-1, other[0], FSK_FOREVER), FSK_READY);
    close_pair(one);
    close_pair(other);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_accept_tcp_ipv4_gives_the_peer);
    RUN(test_accept_tcp_ipv6_gives_the_peer);
    RUN(test_accept_without_peer_wanted_gives_the_connection);
    RUN(test_accept_from_nonblocking_listener_gives_blocking_mode);
    RUN(test_accept_unix_gives_the_bound_peer);
    RUN(test_accept_unix_unnamed_peer_has_no_path);
    RUN(test_accept_on_wrong_descriptor_gives_its_error);
    RUN(test_accept_signal_while_waiting_gives_eintr);
    RUN(test_accept_timeout_of_the_listener_gives_eagain);
    RUN(test_accept_without_descriptor_left_keeps_the_connection_queued);
    RUN(test_wait_readable_tells_data_and_its_absence);
    RUN(test_wait_writable_tells_room_and_its_absence);
    RUN(test_wait_on_hung_up_peer_is_ready);
    RUN(test_wait_timeout_is_never_early);
    RUN(test_wait_huge_timeout_waits);
    RUN(test_wait_forever_is_ended_by_a_signal);
    RUN(test_wait_on_what_is_not_open_is_ready_at_once);
    RUN(test_blocking_follows_the_mode);
    RUN(test_low_water_is_one_unless_set);
    RUN(test_low_water_of_wrong_descriptor_gives_its_error);
    RUN(test_drops_ipv4_counts_what_the_buffer_had_no_room_for);
    RUN(test_drops_ipv6_counts_what_the_buffer_had_no_room_for);
    RUN(test_drops_counts_what_a_filter_refused);
    RUN(test_drops_of_unix_socket_are_none);
    RUN(test_drops_of_wrong_descriptor_gives_its_error);
    RUN(test_socket_wait_either_tells_which_end_came);
    return check_report();
}
