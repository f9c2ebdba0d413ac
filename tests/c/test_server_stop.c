/* SPDX-License-Identifier: MIT
 * How a server is stopped, interrupted, waited for from outside, and what a fork leaves of it. */
#include <pthread.h>
#include <sys/wait.h>

#include "servers.h"

static void expect_over(struct served *served) {
    CHECK_INT(take(served, LONG_WAIT), 0);
    CHECK_INT(take(served, FSK_FOREVER), 0);
    CHECK_INT(take(served, 0), 0);
}

static void stop_ends_all_and_lets_nobody_in(void) {
    struct served served = start_usual();
    int clients[2];
    clients[0] = join(&served, NULL);
    clients[1] = open_connected(&served.name); /* in the backlog still */
    fsk_server_stop(served.server, 0);
    take_closed(&served, 2);
    CHECK_INT(told.opened_count, 2);
    CHECK_INT(stats_of(&served).closed[FSK_CLOSE_LOCAL], 2);
    expect_over(&served);
    int again = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(again, &served.name.name.any, served.name.length), -1);
    CHECK_INT(errno, ECONNREFUSED);
    close(again);
    close_pair(clients);
    end_served(&served);
}

/* Those that have nothing unfinished need not be waited for. */
static void stop_with_drain_ends_the_idle_at_once(void) {
    const int64_t drains[] = {FSK_FOREVER, 1000 * SECOND, INT64_MAX};
    for (size_t i = 0; i < sizeof drains / sizeof *drains; i++) {
        struct served served = start_usual();
        int clients[2];
        clients[0] = join(&served, NULL);
        clients[1] = join(&served, NULL);
        fsk_server_stop(served.server, drains[i]);
        take_closed(&served, 2);
        expect_over(&served);
        close_pair(clients);
        end_served(&served);
    }
}

/* One that goes on sending, and one whose frame is unfinished, don't hold up the others. */
static void stop_with_drain_takes_what_was_begun(void) {
    struct served served = start_usual();
    uint32_t busy, idle;
    size_t received;
    int clients[2];
    clients[0] = join(&served, &busy);
    clients[1] = join(&served, &idle);
    send_all(clients[0], "\0\0\0\2a", 5);
    take_all(&served);
    fsk_server_stop(served.server, FSK_FOREVER);
    take_closed(&served, 1);
    check_closed(0, idle, FSK_CLOSE_LOCAL);
    send_all(clients[0], "b", 1);
    take_frames(&served, 1);
    CHECK_INT(fsk_server_send(served.server, busy, told.bytes, 2), 0);
    take_closed(&served, 2);
    check_closed(1, busy, FSK_CLOSE_LOCAL);
    CHECK_INT(drain(clients[0], &received), 0);
    CHECK_INT(received, 6);
    expect_over(&served);
    close_pair(clients);
    end_served(&served);
}

static void stop_ends_what_is_unfinished_when_its_time_is_over(void) {
    struct served served = start_usual();
    uint32_t number;
    int client = join(&served, &number);
    send_all(client, "\0\0\0\2a", 5);
    take_all(&served);
    fsk_server_stop(served.server, SECOND / 50);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_LOCAL);
    CHECK_INT(told.closed[0].unfinished, 5);
    expect_over(&served);
    close(client);
    end_served(&served);
}

static void last_stop_counts(void) {
    struct served served = start_usual();
    int client = join(&served, NULL);
    send_all(client, "\0\0\0\2a", 5);
    take_all(&served);
    fsk_server_stop(served.server, FSK_FOREVER);
    expect_nothing(&served);
    fsk_server_stop(served.server, 0);
    take_closed(&served, 1);
    expect_over(&served);
    close(client);
    end_served(&served);
}

static void interrupt_comes_before_anything_else(void) {
    struct served served = start_usual();
    int client = open_connected(&served.name);
    fsk_server_interrupt(served.server);
    fsk_server_interrupt(served.server);
    CHECK_INT(take(&served, FSK_FOREVER), -EINTR);
    take_opened(&served, 1);
    expect_nothing(&served);
    close(client);
    end_served(&served);
}

static void signal_ends_the_wait(void) {
    struct served served = start_usual();
    start_interrupting();
    CHECK_INT(take(&served, FSK_FOREVER), -EINTR);
    stop_interrupting();
    end_served(&served);
}

static struct fsk_server *stopped_by_signal;
static volatile sig_atomic_t errno_before, errno_after;

static void stop_by_signal(int number) {
    (void)number;
    errno_before = errno;
    fsk_server_interrupt(stopped_by_signal);
    fsk_server_stop(stopped_by_signal, 0);
    errno_after = errno;
}

static void stop_in_a_signal_handler_ends_the_wait(void) {
    struct served served = start_usual();
    const struct sigaction action = {.sa_handler = stop_by_signal};
    const struct itimerval soon = {.it_value = {.tv_usec = 5000}};
    int client = join(&served, NULL);
    stopped_by_signal = served.server;
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK_INT(take(&served, FSK_FOREVER), -EINTR);
    CHECK_INT(errno_after, errno_before);
    take_closed(&served, 1);
    expect_over(&served);
    close(client);
    end_served(&served);
}

/* A peer that sends without end and never a whole frame: the caller can look for signals meanwhile. */
static void unending_frame_does_not_keep_the_caller(void) {
    struct fsk_server_options options = usual();
    const struct fsk_framing framing = prefixed(1 << 23);
    options.framing = &framing;
    struct served served = start_with(&options);
    const int little = 4096; /* so that much is little by little */
    REQUIRE(setsockopt(served.listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof little) == 0);
    int client = join(&served, NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        static unsigned char bytes[1 << 16];
        put_length(bytes, 1 << 23);
        for (int i = 0; i < 64; i++)
            send_all(client, bytes, sizeof bytes);
        pause();
    }
    /* It comes back though the 8 MiB that the frame has are never there. */
    CHECK_INT(take(&served, FSK_FOREVER), -EINTR);
    CHECK(stats_of(&served).bytes_received > 0);
    CHECK_INT(kill(child, SIGKILL), 0);
    CHECK_INT(waitpid(child, NULL, 0), child);
    close(client);
    end_served(&served);
}

static void descriptor_is_readable_while_there_is_something_to_do(void) {
    struct served served = start_usual();
    int fd = fsk_server_fd(served.server);
    if (fd == -EOPNOTSUPP) {
        CHECK_TEXT(getenv("FASTSOCK_ENGINE"), "portable");
        end_served(&served);
        return;
    }
    REQUIRE(fd >= 0);
    CHECK(!is_readable(fd, 0));
    uint32_t number;
    int client = open_connected(&served.name);
    CHECK(is_readable(fd, 5000));
    take_opened(&served, 1);
    number = told.opened[0];
    CHECK(!is_readable(fd, 0));
    send_frame(client, 1, 1);
    CHECK(is_readable(fd, 5000));
    take_frames(&served, 1);
    CHECK(!is_readable(fd, 0));
    CHECK_INT(fsk_server_due(served.server), FSK_FOREVER);
    fsk_server_interrupt(served.server);
    CHECK(is_readable(fd, 0));
    CHECK_INT(take(&served, 0), -EINTR);
    take_all(&served);
    CHECK(!is_readable(fd, 0));
    CHECK_INT(fsk_server_end(served.server, number), 0);
    CHECK(is_readable(fd, 0) || fsk_server_due(served.server) == 0);
    take_closed(&served, 1);
    take_all(&served);
    CHECK(!is_readable(fd, 0));
    fsk_server_stop(served.server, 0);
    CHECK(is_readable(fd, 0));
    expect_over(&served);
    close(client);
    end_served(&served);
}

/* A loop that sleeps unless the descriptor or fsk_server_due says otherwise misses nothing. */
static void no_frame_is_left_behind_the_descriptor(void) {
    enum { FRAMES = 500 };
    const struct fsk_server_options options = usual();
    struct served served = start_rows(&options, 2);
    int fd = fsk_server_fd(served.server);
    uint32_t number;
    int client = join(&served, &number);
    for (uint32_t i = 0; i < FRAMES; i++)
        send_frame(client, i, i % 30);
    close(client);
    while (told.closed_count == 0) {
        if (fd >= 0 && fsk_server_due(served.server) != 0 && !CHECK(is_readable(fd, 5000)))
            break;
        take(&served, fd >= 0 ? 0 : SECOND);
    }
    CHECK_INT(told.frame_count, FRAMES);
    end_served(&served);
}

static void listener_that_was_shut_down_is_told_until_stop(void) {
    struct served served = start_usual();
    uint32_t number;
    int client = join(&served, &number);
    shutdown(served.listener, SHUT_RDWR);
    CHECK_INT(take(&served, LONG_WAIT), -EINVAL);
    CHECK_INT(take(&served, FSK_FOREVER), -EINVAL);
    CHECK_INT(fsk_server_due(served.server), 0);
    send_frame(client, 1, 10);
    take_frames(&served, 1);
    check_frame(0, number, 1, 10);
    send_all(client, "\0\0\0\1", 4);
    fsk_server_stop(served.server, FSK_FOREVER);
    expect_nothing(&served);
    CHECK_INT(fsk_server_due(served.server), FSK_FOREVER);
    send_all(client, "x", 1);
    take_closed(&served, 1);
    CHECK_INT(told.frame_count, 2);
    expect_over(&served);
    close(client);
    end_served(&served);
}

/* In the child nothing is done but letting go, and the parent does not notice. */
static void fork_leaves_the_server_to_the_parent(void) {
    struct served served = start_usual();
    struct fsk_server_stats stats = {.size = sizeof stats};
    uint32_t number;
    unsigned char bytes[16];
    int status = 1;
    int client = join(&served, &number);
    CHECK_INT(fsk_server_send(served.server, number, "one", 3), 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        bool is_right = fsk_server_next(served.server, 0, served.batch) == -ECHILD &&
                        fsk_server_flush(served.server) == -ECHILD &&
                        fsk_server_end(served.server, number) == -ECHILD &&
                        fsk_server_end(served.server, number + 1) == -ECHILD &&
                        fsk_server_stats(served.server, &stats) == -ECHILD &&
                        recv(client, bytes, sizeof bytes, MSG_DONTWAIT) < 0;
        fsk_server_stop(served.server, 0);
        fsk_server_interrupt(served.server);
        fsk_server_free(served.server);
        _exit(is_right ? 0 : 1);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    expect_nothing(&served);
    CHECK_INT(recv(client, bytes, sizeof bytes, 0), 7);
    send_frame(client, 1, 10);
    take_frames(&served, 1);
    int second = join(&served, NULL);
    CHECK_INT(stats_of(&served).connections, 2);
    close(client);
    close(second);
    take_closed(&served, 2);
    end_served(&served);
}

int main(void) {
    RUN(stop_ends_all_and_lets_nobody_in);
    RUN(stop_with_drain_ends_the_idle_at_once);
    RUN(stop_with_drain_takes_what_was_begun);
    RUN(stop_ends_what_is_unfinished_when_its_time_is_over);
    RUN(last_stop_counts);
    RUN(interrupt_comes_before_anything_else);
    RUN(signal_ends_the_wait);
    RUN(stop_in_a_signal_handler_ends_the_wait);
    RUN(unending_frame_does_not_keep_the_caller);
    RUN(descriptor_is_readable_while_there_is_something_to_do);
    RUN(no_frame_is_left_behind_the_descriptor);
    RUN(listener_that_was_shut_down_is_told_until_stop);
    RUN(fork_leaves_the_server_to_the_parent);
    return check_report();
}
