/* SPDX-License-Identifier: MIT
 * How connections end: each once, with its reason, after what came before it. */
#include <sys/ioctl.h>

#include "servers.h"

static void eof_leaves_time_for_the_answer(void) {
    struct served served = start_usual();
    unsigned char answer[104];
    uint32_t number;
    int client = join(&served, &number);
    send_frame(client, 1, 100);
    shutdown(client, SHUT_WR);
    take_frames(&served, 1);
    CHECK_INT(told.closed_count, 0);
    CHECK_INT(fsk_server_send(served.server, number, told.bytes, 100), 0);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_EOF);
    CHECK_INT(recv(client, answer, sizeof answer, MSG_WAITALL), 104);
    CHECK_BYTES(answer + 4, told.bytes, 100);
    CHECK_INT(recv(client, answer, 1, 0), 0);
    CHECK_INT(fsk_server_send(served.server, number, "", 0), -EPIPE);
    close(client);
    end_served(&served);
}

/* More than the kernel takes at once, by a peer that reads only when it has sent all. */
static void eof_waits_until_queued_answers_have_gone(void) {
    static const unsigned char frame[60000];
    struct fsk_server_options options = usual();
    options.max_pending = 1 << 24;
    options.memory = 1 << 25;
    struct served served = start_with(&options);
    size_t queued = 0, received = 0;
    uint32_t number;
    int client = join(&served, &number);
    unsigned char bytes[65536];
    shutdown(client, SHUT_WR);
    take_all(&served);
    while (fsk_server_send(served.server, number, frame, sizeof frame) == 0)
        queued += 4 + sizeof frame;
    CHECK(told.closed_count == 1 || queued > 0);
    while (told.closed_count == 0) {
        ssize_t got = recv(client, bytes, sizeof bytes, MSG_DONTWAIT);
        received += got > 0 ? (size_t)got : 0;
        take(&served, 0);
    }
    check_closed(0, number, FSK_CLOSE_EOF);
    size_t rest;
    CHECK_INT(drain(client, &rest), 0);
    CHECK_INT(received + rest, queued);
    CHECK_INT(stats_of(&served).bytes_unsent, 0);
    close(client);
    end_served(&served);
}

static void reset_is_told_with_what_was_unfinished(void) {
    struct served served = start_usual();
    uint32_t number;
    int client = join(&served, &number);
    send_all(client, "\0\0\0\5ab", 6);
    take_all(&served);
    reset(client);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_RESET);
    CHECK_INT(told.closed[0].unfinished, 6);
    CHECK_INT(stats_of(&served).bytes_unfinished, 6);
    CHECK_INT(stats_of(&served).memory, 0);
    end_served(&served);
}

/* Until the kernel has so many bytes for fd. */
static void await_arrived(int fd, int bytes) {
    int64_t deadline = clock_ns() + LONG_WAIT;
    int arrived = 0;
    while (arrived < bytes && clock_ns() < deadline)
        REQUIRE(ioctl(fd, FIONREAD, &arrived) == 0);
    CHECK_INT(arrived, bytes);
}

/* A peer that sends and closes without having read what was sent to it. */
static void frames_before_a_failed_send_are_not_lost(void) {
    enum { FRAMES = 50 }; /* what the first window of a connection lets through */
    const struct fsk_server_options options = usual();
    for (uint32_t rows = 1; rows <= 256; rows += 255) {
        struct served served = start_rows(&options, rows);
        uint32_t number;
        int client = join(&served, &number);
        CHECK_INT(fsk_server_send(served.server, number, "unread", 6), 0);
        CHECK_INT(fsk_server_flush(served.server), 0);
        for (uint32_t i = 0; i < FRAMES; i++)
            send_frame(client, i, 1000);
        CHECK(is_readable(client, 5000));
        await_arrived(fsk_server_connection_fd(served.server, number), FRAMES * 1004);
        close(client);
        /* The first of these meets a reset connection. */
        for (int i = 0; i < 3; i++) {
            fsk_server_send(served.server, number, "more", 4);
            fsk_server_flush(served.server);
        }
        CHECK_INT(fsk_server_send(served.server, number, "more", 4), -EPIPE);
        take_closed(&served, 1);
        check_closed(0, number, FSK_CLOSE_RESET);
        CHECK_INT(told.frame_count, FRAMES);
        for (uint32_t i = 0; i < told.frame_count; i++)
            check_frame(i, number, i, 1000);
        CHECK(stats_of(&served).bytes_unsent > 0);
        end_served(&served);
    }
}

static void idle_connection_is_ended(void) {
    struct fsk_server_options options = usual();
    options.idle_timeout_ns = SECOND / 20;
    struct served served = start_with(&options);
    uint32_t number;
    int client = join(&served, &number);
    int64_t begin = clock_ns();
    size_t received;
    int64_t due = fsk_server_due(served.server);
    CHECK(due >= 0 && due <= SECOND / 20);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_IDLE);
    CHECK(clock_ns() - begin < LONG_WAIT);
    CHECK_INT(drain(client, &received), 0);
    close(client);
    end_served(&served);
}

/* Its end of stream does not spare a peer that leaves its answers in our queue. */
static void idle_peer_that_has_ended_is_ended(void) {
    static const unsigned char frame[60000];
    struct fsk_server_options options = usual();
    options.idle_timeout_ns = SECOND / 20;
    struct served served = start_with(&options);
    uint32_t number;
    size_t received;
    int client = join(&served, &number);
    shutdown(client, SHUT_WR);
    while (fsk_server_send(served.server, number, frame, sizeof frame) == 0) {
    }
    CHECK(fsk_server_pending(served.server, number) > 0);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_IDLE);
    CHECK(stats_of(&served).bytes_unsent > 0);
    CHECK_INT(drain(client, &received), -ECONNRESET);
    close(client);
    end_served(&served);
}

/* The end of stream came while the caller was away: it is no idleness. */
static void end_of_stream_that_came_in_time_is_no_idleness(void) {
    struct fsk_server_options options = usual();
    options.idle_timeout_ns = SECOND / 20;
    struct served served = start_with(&options);
    uint32_t number;
    int client = join(&served, &number);
    close(client);
    while (fsk_server_due(served.server) > 0)
        poll(NULL, 0, 10);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_EOF);
    end_served(&served);
}

/* A byte now and then of one frame does not keep a connection, however many come. */
static void slow_bytes_of_one_frame_are_idleness(void) {
    struct fsk_server_options options = usual();
    options.idle_timeout_ns = SECOND / 20;
    struct served served = start_with(&options);
    uint32_t number;
    int client = join(&served, &number);
    int64_t deadline = clock_ns() + LONG_WAIT;
    send_all(client, "\0\0\x70", 3);
    while (told.closed_count == 0 && clock_ns() < deadline) {
        send(client, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        take(&served, SECOND / 1000);
    }
    CHECK_INT(told.closed_count, 1);
    check_closed(0, number, FSK_CLOSE_IDLE);
    CHECK(told.closed[0].unfinished > 3);
    close(client);
    end_served(&served);
}

/* The caller was long in coming back: what had arrived in time is no idleness. */
static void idle_time_of_the_caller_loses_no_frame(void) {
    enum { CLIENTS = 5 };
    struct fsk_server_options options = usual();
    options.idle_timeout_ns = SECOND / 20;
    struct served served = start_rows(&options, 2);
    int clients[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = open_connected(&served.name);
        send_frame(clients[i], i, 10);
    }
    take_all(&served);
    size_t before = told.frame_count;
    size_t ended = told.closed_count;
    CHECK_INT(ended, 0);
    for (uint32_t i = 0; i < CLIENTS; i++)
        for (uint32_t frame = 0; frame < 3; frame++)
            send_frame(clients[i], 100 + i, 10);
    /* Until the time of all is over: they came at once. */
    for (int64_t until = clock_ns() + SECOND / 10; clock_ns() < until;)
        poll(NULL, 0, 10);
    CHECK_INT(fsk_server_due(served.server), 0);
    take_frames(&served, before + (size_t)3 * CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    take_closed(&served, CLIENTS);
    end_served(&served);
}

static void oversize_is_told_after_the_frames_before_it(void) {
    const struct fsk_server_options options = usual();
    for (uint32_t rows = 1; rows <= 256; rows += 255) {
        struct served served = start_rows(&options, rows);
        unsigned char stream[100];
        uint32_t number;
        size_t received;
        int client = join(&served, &number);
        size_t size = write_frame(stream, 1, 20);
        size += write_frame(stream + size, 2, 20);
        put_length(stream + size, 65537);
        send_all(client, stream, size + 4);
        take_frames(&served, 2);
        take_closed(&served, 1);
        check_frame(0, number, 1, 20);
        check_frame(1, number, 2, 20);
        check_closed(0, number, FSK_CLOSE_OVERSIZE);
        CHECK_INT(drain(client, &received) <= 0, 1);
        close(client);
        end_served(&served);
    }
}

static void unending_line_is_oversize(void) {
    struct fsk_server_options options = usual();
    const struct fsk_framing framing = lines(100000);
    options.framing = &framing;
    struct served served = start_with(&options);
    uint32_t number;
    int client = join(&served, &number);
    while (told.closed_count == 0) {
        send(client, "xxxxxxxxxxxxxxx\r", 16, MSG_NOSIGNAL | MSG_DONTWAIT);
        take(&served, 0);
    }
    check_closed(0, number, FSK_CLOSE_OVERSIZE);
    CHECK_INT(told.frame_count, 0);
    CHECK(stats_of(&served).memory_peak <= 4 * 100000);
    close(client);
    end_served(&served);
}

static void slow_peer_gets_an_error_or_its_end(void) {
    static const unsigned char frame[50000];
    for (int closes = 0; closes < 2; closes++) {
        struct fsk_server_options options = usual();
        options.closes_slow = closes != 0;
        options.max_pending = 100000;
        struct served served = start_with(&options);
        uint32_t slow, other;
        size_t received;
        int clients[2];
        int result = 0;
        clients[0] = join(&served, &slow);
        clients[1] = join(&served, &other);
        for (int i = 0; i < 2000 && result == 0; i++)
            result = fsk_server_send(served.server, slow, frame, sizeof frame);
        CHECK_INT(result, closes ? -EPIPE : -EAGAIN);
        CHECK(fsk_server_pending(served.server, slow) <= 100000);
        CHECK_INT(fsk_server_send(served.server, slow, frame, sizeof frame), result);
        if (closes) {
            take_closed(&served, 1);
            check_closed(0, slow, FSK_CLOSE_SLOW);
            CHECK_INT(drain(clients[0], &received), -ECONNRESET);
            CHECK_INT(stats_of(&served).bytes_unsent + stats_of(&served).bytes_sent,
                      stats_of(&served).frames_queued * 50004);
        } else {
            expect_nothing(&served);
            while (fsk_server_pending(served.server, slow) > 0) {
                recv(clients[0], told.bytes, 1 << 20, MSG_DONTWAIT);
                take(&served, SECOND / 1000);
            }
            CHECK_INT(fsk_server_send(served.server, slow, frame, sizeof frame), 0);
        }
        CHECK_INT(fsk_server_send(served.server, other, "x", 1), 0);
        take_all(&served);
        CHECK_INT(fsk_server_pending(served.server, other), 0);
        close_pair(clients);
        end_served(&served);
    }
}

static void end_sends_what_is_queued_first(void) {
    struct served served = start_usual();
    uint32_t number;
    size_t received;
    int client = join(&served, &number);
    /* Bytes that nobody will read don't take from the peer what was sent to it. */
    send_frame(client, 1, 60000);
    CHECK_INT(fsk_server_send(served.server, number, told.bytes, 50000), 0);
    CHECK_INT(fsk_server_end(served.server, number), 0);
    CHECK_INT(fsk_server_end(served.server, number), -EPIPE);
    CHECK_INT(fsk_server_send(served.server, number, "x", 1), -EPIPE);
    CHECK_INT(fsk_server_due(served.server), 0);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_LOCAL);
    CHECK_INT(drain(client, &received), 0);
    CHECK_INT(received, 50004);
    close(client);
    end_served(&served);
}

static void abort_resets_and_sends_nothing_more(void) {
    struct served served = start_usual();
    uint32_t number;
    size_t received;
    int client = join(&served, &number);
    CHECK_INT(fsk_server_send(served.server, number, "never sent", 10), 0);
    CHECK_INT(fsk_server_end(served.server, number), 0);
    CHECK_INT(fsk_server_abort(served.server, number), 0);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_LOCAL);
    CHECK_INT(fsk_server_abort(served.server, number), -EPIPE);
    CHECK_INT(drain(client, &received), -ECONNRESET);
    CHECK_INT(received, 0);
    CHECK_INT(stats_of(&served).bytes_unsent, 14);
    close(client);
    end_served(&served);
}

/* What a flush, or a full queue, has sent is no end: more answers may come in the same turn. */
static void flush_leaves_the_end_of_a_half_closed_peer_to_the_next_turn(void) {
    struct served served = start_usual();
    uint32_t number;
    size_t received;
    int client = join(&served, &number);
    send_frame(client, 1, 10);
    REQUIRE(shutdown(client, SHUT_WR) == 0);
    take_frames(&served, 1);
    CHECK_INT(fsk_server_send(served.server, number, "one", 3), 0);
    CHECK_INT(fsk_server_flush(served.server), 0);
    CHECK_INT(fsk_server_send(served.server, number, "two", 3), 0);
    CHECK_INT(fsk_server_flush(served.server), 0);
    CHECK_INT(fsk_server_send(served.server, number, "three", 5), 0);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_EOF);
    CHECK_INT(drain(client, &received), 0);
    CHECK_INT(received, 3 * 4 + 11);
    close(client);
    end_served(&served);
}

/* Frames that were received for it are no longer wanted. */
static void end_drops_frames_that_had_no_row(void) {
    const struct fsk_server_options options = usual();
    struct served served = start_rows(&options, 1);
    uint32_t number;
    int client = join(&served, &number);
    for (uint32_t i = 0; i < 10; i++)
        send_frame(client, i, 10);
    take_frames(&served, 1);
    CHECK_INT(fsk_server_end(served.server, number), 0);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_LOCAL);
    CHECK_INT(told.frame_count, 1);
    close(client);
    end_served(&served);
}

/* The end of a connection that was found out by a send, and the interrupt, are both told. */
static void interrupt_does_not_hide_an_end(void) {
    struct served served = start_usual();
    uint32_t number;
    int client = join(&served, &number);
    CHECK_INT(fsk_server_end(served.server, number), 0);
    CHECK_INT(fsk_server_flush(served.server), 0);
    fsk_server_interrupt(served.server);
    CHECK_INT(take(&served, LONG_WAIT), -EINTR);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_LOCAL);
    close(client);
    end_served(&served);
}

/* What is dropped with the server is a reset for the peer, as with a connection. */
static void free_resets_where_output_is_queued(void) {
    static const unsigned char frame[60000];
    struct served served = start_usual();
    uint32_t slow, done;
    size_t received;
    int clients[2];
    clients[0] = join(&served, &slow);
    clients[1] = join(&served, &done);
    while (fsk_server_send(served.server, slow, frame, sizeof frame) == 0) {
    }
    CHECK(fsk_server_pending(served.server, slow) > 0);
    end_served(&served);
    CHECK_INT(drain(clients[0], &received), -ECONNRESET);
    CHECK_INT(drain(clients[1], &received), 0);
    close_pair(clients);
}

int main(void) {
    RUN(eof_leaves_time_for_the_answer);
    RUN(eof_waits_until_queued_answers_have_gone);
    RUN(reset_is_told_with_what_was_unfinished);
    RUN(frames_before_a_failed_send_are_not_lost);
    RUN(idle_connection_is_ended);
    RUN(idle_peer_that_has_ended_is_ended);
    RUN(end_of_stream_that_came_in_time_is_no_idleness);
    RUN(slow_bytes_of_one_frame_are_idleness);
    RUN(idle_time_of_the_caller_loses_no_frame);
    RUN(oversize_is_told_after_the_frames_before_it);
    RUN(unending_line_is_oversize);
    RUN(slow_peer_gets_an_error_or_its_end);
    RUN(end_sends_what_is_queued_first);
    RUN(abort_resets_and_sends_nothing_more);
    RUN(flush_leaves_the_end_of_a_half_closed_peer_to_the_next_turn);
    RUN(end_drops_frames_that_had_no_row);
    RUN(interrupt_does_not_hide_an_end);
    RUN(free_resets_where_output_is_queued);
    return check_report();
}
