/* SPDX-License-Identifier: MIT
 * A server's frames: none is lost, changed or given twice, however the stream is split and however
 * little the batch holds. */
#include <sys/wait.h>

#include "servers.h"

static void open_refuses_what_contradicts_itself(void) {
    struct fsk_address name;
    struct fsk_server *server;
    const struct fsk_server_options good = usual();
    int listener = open_listener(AF_INET, &name);
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    struct fsk_server_options wrong[] = {good, good, good, good, good, good, good};
    wrong[0].size--;
    wrong[1].max_connections = 0;
    wrong[2].max_connections = UINT32_MAX;
    wrong[3].max_pending = 0;
    wrong[4].memory = SIZE_MAX;
    wrong[5].idle_timeout_ns = 0;
    struct fsk_framing none = *good.framing;
    none.max_frame = 0;
    wrong[6].framing = &none;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_INT(fsk_server_open(&server, listener, &wrong[i]), -EINVAL);
        CHECK(server == NULL);
    }
    CHECK_INT(fsk_server_open(&server, stream, &good), -EINVAL);
    CHECK_INT(fsk_server_open(&server, closed_number(), &good), -EBADF);
    CHECK_INT(fcntl(listener, F_GETFD) >= 0, 1);
    close(listener);
    close(stream);
    fsk_server_free(NULL);
}

/* A program compiled with later headers asks for nothing that it has not set. */
static void options_of_a_later_version_are_taken_as_far_as_known(void) {
    struct fsk_address name;
    struct fsk_server *server;
    struct {
        struct fsk_server_options known;
        uint64_t later;
    } options = {usual(), 1};
    struct {
        struct fsk_server_stats known;
        uint64_t later;
    } stats = {{.size = sizeof stats}, 1};
    int listener = open_listener(AF_INET, &name);
    REQUIRE(listen(listener, 1) == 0);
    options.known.size = sizeof options;
    CHECK_INT(fsk_server_open(&server, listener, &options.known), -E2BIG);
    options.later = 0;
    REQUIRE(fsk_server_open(&server, listener, &options.known) == 0);
    CHECK_INT(fsk_server_stats(server, &stats.known), 0);
    CHECK_INT(stats.later, 0);
    fsk_server_free(server);
}

/* Its messages are no stream. */
static void open_refuses_messages(void) {
    struct fsk_server *server;
    struct unix_socket made;
    struct fsk_address name;
    const struct fsk_server_options options = usual();
    open_unix(&made, SOCK_SEQPACKET, &name);
    REQUIRE(listen(made.fd, 1) == 0);
    CHECK_INT(fsk_server_open(&server, made.fd, &options), -EINVAL);
    close_unix(&made);
}

static void next_with_too_small_a_batch_is_an_error(void) {
    struct served served = start_usual();
    struct fsk_batch *small;
    const struct fsk_framing framing = prefixed(65536);
    uint32_t least = (uint32_t)fsk_server_arena(&framing);
    REQUIRE(fsk_batch_new(&small, 1, least - 1, 1) == 0);
    CHECK_INT(fsk_server_next(served.server, 0, small), -EINVAL);
    fsk_batch_free(small);
    REQUIRE(fsk_batch_new(&small, 1, least, 1) == 0);
    CHECK_INT(fsk_server_next(served.server, 0, small), -EAGAIN);
    fsk_batch_free(small);
    end_served(&served);
}

static void next_without_a_client_waits_no_longer_than_it_was_told(void) {
    struct served served = start_usual();
    int64_t begin = clock_ns();
    CHECK_INT(take(&served, SECOND / 50), -EAGAIN);
    CHECK(clock_ns() - begin >= SECOND / 50);
    expect_nothing(&served);
    CHECK_INT(fsk_server_due(served.server), FSK_FOREVER);
    end_served(&served);
}

/* Of each frame, an empty one too, wherever the stream is cut in two. */
static void frame_split_at_each_byte_comes_whole(void) {
    enum { COUNT = 3 };
    const size_t lengths[COUNT] = {5, 0, 9};
    unsigned char stream[64];
    size_t size = 0, frames = 0;
    struct served served = start_usual();
    uint32_t number;
    int client = join(&served, &number);
    for (uint32_t i = 0; i < COUNT; i++)
        size += write_frame(stream + size, i, lengths[i]);
    for (size_t at = 1; at < size; at++) {
        send_all(client, stream, at);
        take_all(&served);
        send_all(client, stream + at, size - at);
        take_frames(&served, frames + COUNT);
        for (uint32_t i = 0; i < COUNT; i++)
            check_frame(frames + i, number, i, lengths[i]);
        frames += COUNT;
    }
    CHECK_INT(stats_of(&served).memory, 0);
    CHECK_INT(stats_of(&served).bytes_received, size * (size - 1));
    close(client);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_EOF);
    end_served(&served);
}

static void lines_byte_by_byte_come_whole(void) {
    const char text[] = "one\r\n\r\n\rtwo\n\r\n\r\r\nlast\r\n";
    const char *const expected[] = {"one", "", "\rtwo\n", "\r", "last"};
    struct fsk_server_options options = usual();
    const struct fsk_framing framing = lines(100);
    options.framing = &framing;
    struct served served = start_with(&options);
    int client = join(&served, NULL);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        send_all(client, text + i, 1);
        take_all(&served);
    }
    take_frames(&served, 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK_INT(told.frames[i].length, strlen(expected[i]));
        CHECK_BYTES(told.bytes + told.frames[i].at, expected[i], strlen(expected[i]));
    }
    close(client);
    end_served(&served);
}

/* Batches of few rows: frames that were received are held, and given in order by the next calls. */
static void frames_for_which_there_are_no_rows_come_later(void) {
    enum { CLIENTS = 4, FRAMES = 300 };
    const struct fsk_server_options options = usual();
    for (uint32_t rows = 1; rows < 8; rows += 3) {
        struct served served = start_rows(&options, rows);
        int clients[CLIENTS];
        uint32_t numbers[CLIENTS], seen[CLIENTS] = {0};
        for (int i = 0; i < CLIENTS; i++)
            clients[i] = join(&served, &numbers[i]);
        for (uint32_t frame = 0; frame < FRAMES; frame++)
            for (int i = 0; i < CLIENTS; i++)
                send_frame(clients[i], frame, frame % 50);
        for (int i = 0; i < CLIENTS; i++)
            close(clients[i]);
        take_closed(&served, CLIENTS);
        CHECK_INT(told.frame_count, CLIENTS * FRAMES);
        for (size_t i = 0; i < told.frame_count; i++)
            for (int j = 0; j < CLIENTS; j++)
                if (numbers[j] == told.frames[i].connection) {
                    check_frame(i, numbers[j], seen[j], seen[j] % 50);
                    seen[j]++;
                }
        CHECK_INT(stats_of(&served).bytes_unfinished, 0);
        CHECK_INT(stats_of(&served).closed[FSK_CLOSE_EOF], CLIENTS);
        end_served(&served);
    }
}

/* The end of a connection is told after its frames, though it was known before. */
static void end_comes_after_the_frames_it_had(void) {
    const struct fsk_server_options options = usual();
    struct served served = start_rows(&options, 1);
    uint32_t number;
    int client = join(&served, &number);
    for (uint32_t i = 0; i < 5; i++)
        send_frame(client, i, 3);
    send_all(client, "\0\0", 2);
    close(client);
    for (size_t i = 0; i < 5; i++) {
        CHECK_INT(told.closed_count, 0);
        take_frames(&served, i + 1);
    }
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_EOF);
    CHECK_INT(told.closed[0].unfinished, 2);
    CHECK_INT(stats_of(&served).bytes_unfinished, 2);
    end_served(&served);
}

static void long_frames_come_whole_beside_short_ones(void) {
    const size_t lengths[] = {1000000, 3, 65536, 4095, 4096, 999999, 0, 70000, 131072, 1};
    const uint32_t count = sizeof lengths / sizeof *lengths;
    struct fsk_server_options options = usual();
    const struct fsk_framing framing = prefixed(1000000);
    options.framing = &framing;
    for (uint32_t rows = 1; rows <= 64; rows *= 8) {
        struct served served = start_rows(&options, rows);
        uint32_t number;
        int client = join(&served, &number);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            for (uint32_t i = 0; i < count; i++)
                send_frame(client, i, lengths[i]);
            _exit(0);
        }
        close(client);
        take_closed(&served, 1);
        CHECK_INT(waitpid(child, NULL, 0), child);
        check_closed(0, number, FSK_CLOSE_EOF);
        CHECK_INT(told.frame_count, count);
        for (uint32_t i = 0; i < count; i++)
            check_frame(i, number, i, lengths[i]);
        CHECK_INT(stats_of(&served).memory, 0);
        CHECK_INT(stats_of(&served).bytes_unfinished, 0);
        end_served(&served);
    }
}

/* A connection that is behind a long frame by a few bytes does not go on holding its memory. */
static void rest_behind_a_long_frame_takes_little_memory(void) {
    struct fsk_server_options options = usual();
    const struct fsk_framing framing = prefixed(1000000);
    options.framing = &framing;
    struct served served = start_with(&options);
    unsigned char *stream = malloc(200008);
    size_t size = write_frame(stream, 1, 200000);
    int client = join(&served, NULL);
    REQUIRE(stream != NULL);
    send_all(client, stream, 100000);
    take_all(&served);
    memset(stream + size, 0, 3);
    send_all(client, stream + 100000, size + 3 - 100000);
    take_frames(&served, 1);
    take_all(&served);
    CHECK(stats_of(&served).memory >= 3);
    CHECK(stats_of(&served).memory <= 4096);
    send_all(client, "\0", 1);
    take_frames(&served, 2);
    CHECK_INT(told.frames[1].length, 0);
    CHECK_INT(stats_of(&served).memory, 0);
    free(stream);
    close(client);
    end_served(&served);
}

static void answers_go_out_in_order_in_one_stream(void) {
    unsigned char stream[100], expected[100];
    struct served served = start_usual();
    uint32_t number;
    size_t size = 0;
    int client = join(&served, &number);
    for (uint32_t i = 0; i < 4; i++) {
        size_t frame = write_frame(expected + size, i, 3 * i);
        CHECK_INT(fsk_server_send(served.server, number, expected + size + 4, 3 * i), 0);
        size += frame;
    }
    CHECK_INT(fsk_server_pending(served.server, number), size);
    CHECK_INT(fsk_server_due(served.server), 0);
    CHECK_INT(fsk_server_flush(served.server), 0);
    CHECK_INT(fsk_server_pending(served.server, number), 0);
    CHECK_INT(fsk_server_due(served.server), FSK_FOREVER);
    CHECK_INT(recv(client, stream, sizeof stream, MSG_WAITALL | MSG_DONTWAIT), size);
    CHECK_BYTES(stream, expected, size);
    CHECK_INT(stats_of(&served).frames_queued, 4);
    CHECK_INT(stats_of(&served).bytes_sent, size);
    CHECK_INT(fsk_server_send(served.server, number + 1, "x", 1), -EPIPE);
    CHECK_INT(fsk_server_send(served.server, UINT32_MAX, "x", 1), -EPIPE);
    CHECK_INT(fsk_server_send(served.server, number, stream, 65537), -EMSGSIZE);
    CHECK_INT(fsk_server_end(served.server, number + 1), -EPIPE);
    CHECK_INT(fsk_server_connection_fd(served.server, number + 1), -EPIPE);
    close(client);
    end_served(&served);
}

static void peer_is_known_until_the_number_is_given_again(void) {
    struct served served = start_usual();
    struct fsk_address peer, name;
    uint32_t number;
    int client = join(&served, &number);
    bound_name(client, &name);
    fsk_server_peer(served.server, number, &peer);
    CHECK_INT(peer.length, name.length);
    CHECK_BYTES(&peer.name, &name.name, name.length);
    close(client);
    take_closed(&served, 1);
    fsk_server_peer(served.server, number, &peer);
    CHECK_BYTES(&peer.name, &name.name, name.length);
    fsk_server_peer(served.server, number + 1, &peer);
    CHECK_INT(peer.length, 0);
    end_served(&served);
}

static void unix_streams_are_served(void) {
    struct fsk_server_options options = usual();
    struct served served = start_with(&options);
    struct unix_socket made;
    uint32_t number;
    fsk_server_free(served.server);
    open_unix(&made, SOCK_STREAM, &served.name);
    REQUIRE(listen(made.fd, 8) == 0);
    int copy = dup(made.fd);
    REQUIRE(fsk_server_open(&served.server, copy, &options) == 0);
    int client = join(&served, &number);
    send_frame(client, 5, 100);
    take_frames(&served, 1);
    check_frame(0, number, 5, 100);
    close(client);
    take_closed(&served, 1);
    check_closed(0, number, FSK_CLOSE_EOF);
    end_served(&served);
    close_unix(&made);
}

int main(void) {
    RUN(options_of_a_later_version_are_taken_as_far_as_known);
    RUN(open_refuses_what_contradicts_itself);
    RUN(open_refuses_messages);
    RUN(next_with_too_small_a_batch_is_an_error);
    RUN(next_without_a_client_waits_no_longer_than_it_was_told);
    RUN(frame_split_at_each_byte_comes_whole);
    RUN(lines_byte_by_byte_come_whole);
    RUN(frames_for_which_there_are_no_rows_come_later);
    RUN(end_comes_after_the_frames_it_had);
    RUN(long_frames_come_whole_beside_short_ones);
    RUN(rest_behind_a_long_frame_takes_little_memory);
    RUN(answers_go_out_in_order_in_one_stream);
    RUN(peer_is_known_until_the_number_is_given_again);
    RUN(unix_streams_are_served);
    return check_report();
}
