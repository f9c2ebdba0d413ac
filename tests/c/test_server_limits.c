/* SPDX-License-Identifier: MIT
 * The bounds of a server: connections, descriptors, memory, and each one's share of a turn. */
#include <sys/resource.h>

#include "servers.h"

static void connections_over_the_most_wait_in_the_backlog(void) {
    enum { MOST = 3, CLIENTS = 10 };
    struct fsk_server_options options = usual();
    options.max_connections = MOST;
    struct served served = start_with(&options);
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = open_connected(&served.name);
    for (size_t i = 0; i < CLIENTS; i++) {
        take_opened(&served, i + MOST < CLIENTS ? i + MOST : CLIENTS);
        expect_nothing(&served);
        CHECK(stats_of(&served).connections <= MOST);
        CHECK_INT(fsk_server_due(served.server), FSK_FOREVER);
        close(clients[i]); /* they are accepted in order */
        take_closed(&served, i + 1);
    }
    CHECK_INT(stats_of(&served).accept_pauses, 0);
    end_served(&served);
}

static void without_descriptors_accepting_pauses(void) {
    struct served served = start_usual();
    struct rlimit before, none;
    int first = join(&served, NULL);
    int waiting = open_connected(&served.name);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = (rlim_t)closed_number();
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_INT(take(&served, 0), -EAGAIN);
    CHECK_INT(stats_of(&served).accept_pauses, 1);
    /* It is not tried again and again: the next time is due some time from now. */
    CHECK_INT(take(&served, 0), -EAGAIN);
    CHECK_INT(stats_of(&served).accept_pauses, 1);
    int64_t due = fsk_server_due(served.server);
    CHECK(due != FSK_FOREVER && due <= SECOND);
    send_frame(first, 1, 5);
    take_frames(&served, 1);
    /* The end of another is the time to try. */
    close(first);
    take_closed(&served, 1);
    take_opened(&served, 2);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    close(waiting);
    take_closed(&served, 2);
    end_served(&served);
}

static void accepting_goes_on_when_there_are_descriptors_again(void) {
    struct served served = start_usual();
    struct rlimit before, none;
    int waiting = open_connected(&served.name);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = (rlim_t)closed_number();
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_INT(take(&served, 0), -EAGAIN);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    take_opened(&served, 1);
    close(waiting);
    end_served(&served);
}

static void unfinished_frame_over_the_memory_ends_its_connection(void) {
    struct fsk_server_options options = usual();
    options.memory = 20000;
    struct served served = start_with(&options);
    uint32_t greedy, other;
    int clients[2];
    clients[0] = join(&served, &greedy);
    clients[1] = join(&served, &other);
    unsigned char stream[30000];
    size_t size = write_frame(stream, 1, 5);
    size += write_frame(stream + size, 2, 29000) - 1;
    send_all(clients[0], stream, size);
    take_closed(&served, 1);
    check_closed(0, greedy, FSK_CLOSE_MEMORY);
    CHECK_INT(told.frame_count, 1);
    check_frame(0, greedy, 1, 5);
    CHECK_INT(stats_of(&served).memory, 0);
    CHECK(stats_of(&served).memory_peak <= 20000);
    CHECK_INT(stats_of(&served).bytes_received, size);
    send_frame(clients[1], 3, 29000);
    take_all(&served);
    if (told.closed_count == 1) /* it came in one piece, which takes no memory */
        check_frame(told.frame_count - 1, other, 3, 29000);
    close_pair(clients);
    end_served(&served);
}

static void queued_output_over_the_memory_is_refused(void) {
    static const unsigned char frame[60000];
    for (int closes = 0; closes < 2; closes++) {
        struct fsk_server_options options = usual();
        options.memory = 100000;
        options.max_pending = 1 << 24;
        options.closes_slow = closes != 0;
        struct served served = start_with(&options);
        uint32_t number;
        int result = 0;
        int client = join(&served, &number);
        for (int i = 0; i < 2000 && result == 0; i++)
            result = fsk_server_send(served.server, number, frame, sizeof frame);
        CHECK_INT(result, closes ? -EPIPE : -ENOBUFS);
        CHECK(stats_of(&served).memory <= 100000);
        CHECK(stats_of(&served).memory_peak <= 100000);
        take_all(&served);
        CHECK_INT(told.closed_count, closes);
        if (closes)
            check_closed(0, number, FSK_CLOSE_SLOW);
        close(client);
        end_served(&served);
    }
}

/* The frame that was refused is not taken for sent: the peer gets a reset, not an end. */
static void connection_refused_for_others_memory_is_reset(void) {
    static const unsigned char frame[60000];
    struct fsk_server_options options = usual();
    options.memory = 100000;
    options.max_pending = 1 << 24;
    struct served served = start_with(&options);
    uint32_t numbers[2];
    size_t received;
    int clients[2];
    for (int i = 0; i < 2; i++)
        clients[i] = join(&served, &numbers[i]);
    while (fsk_server_send(served.server, numbers[0], frame, sizeof frame) == 0) {
    }
    CHECK_INT(fsk_server_send(served.server, numbers[1], frame, sizeof frame), -ENOBUFS);
    CHECK_INT(fsk_server_pending(served.server, numbers[1]), 0);
    end_served(&served);
    close_pair(clients);

    options.closes_slow = true;
    options.memory = 50000;
    served = start_with(&options);
    clients[0] = join(&served, &numbers[0]);
    CHECK_INT(fsk_server_send(served.server, numbers[0], frame, sizeof frame), -EPIPE);
    take_closed(&served, 1);
    check_closed(0, numbers[0], FSK_CLOSE_SLOW);
    CHECK_INT(drain(clients[0], &received), -ECONNRESET);
    close(clients[0]);
    end_served(&served);
}

/* A number is not another's in the call that tells of its end, nor before that. */
static void number_is_not_given_again_before_its_end_was_told(void) {
    struct served served = start_usual();
    uint32_t number;
    int client = join(&served, &number);
    for (int round = 0; round < 50; round++) {
        size_t opened = told.opened_count;
        int next = open_connected(&served.name);
        close(client);
        take_opened(&served, opened + 1);
        take_closed(&served, (size_t)round + 1);
        check_closed((size_t)round, number, FSK_CLOSE_EOF);
        CHECK(told.opened[opened] != number);
        number = told.opened[opened];
        client = next;
    }
    CHECK(number < 3);
    close(client);
    end_served(&served);
}

/* An event of a connection that has ended is nothing to the one that has its descriptor. */
static void events_of_an_ended_connection_are_not_anothers(void) {
    enum { ROUNDS = 30 };
    const struct fsk_server_options options = usual();
    struct served served = start_rows(&options, 1);
    size_t frames = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t numbers[2], next;
        int clients[2];
        for (int i = 0; i < 2; i++)
            clients[i] = join(&served, &numbers[i]);
        /* Both are ready, and only one frame has room: the event of the other is kept. */
        for (uint32_t i = 0; i < 2; i++)
            send_frame(clients[i], i, 5);
        take_frames(&served, ++frames);
        uint32_t first = told.frames[frames - 1].connection;
        uint32_t second = first == numbers[0] ? numbers[1] : numbers[0];
        CHECK_INT(fsk_server_end(served.server, second), 0);
        int client = join(&served, &next);
        send_frame(client, 9, 5);
        take_frames(&served, ++frames);
        check_frame(frames - 1, next, 9, 5);
        close_pair(clients);
        close(client);
        take_closed(&served, ((size_t)round + 1) * 3);
    }
    CHECK_INT(stats_of(&served).closed[FSK_CLOSE_LOCAL], ROUNDS);
    end_served(&served);
}

/* What a connection has been received of in its turn may take many calls to give; then others come. */
static void loud_connections_have_their_turns(void) {
    enum { MOST = 3, FRAMES = 40000, TURN = 65536 + 4096 };
    const struct fsk_server_options options = usual();
    unsigned char *stream = calloc(FRAMES, 4);
    REQUIRE(stream != NULL);
    for (uint32_t count = 2; count <= MOST; count++) {
        struct served served = start_rows(&options, 16);
        int clients[MOST];
        size_t run = 0, longest = 0;
        for (uint32_t i = 0; i < count; i++) {
            clients[i] = join(&served, NULL);
            send_all(clients[i], stream, (size_t)4 * FRAMES);
        }
        take_until(&served, &told.frame_count, (size_t)count * FRAMES);
        for (size_t i = 1; i < told.frame_count; i++) {
            bool is_same = told.frames[i].connection == told.frames[i - 1].connection;
            run = is_same ? run + 1 : 0;
            longest = run > longest && i < (size_t)2 * FRAMES ? run : longest;
        }
        CHECK(longest <= TURN / 4);
        for (uint32_t i = 0; i < count; i++)
            close(clients[i]);
        take_closed(&served, count);
        end_served(&served);
    }
    free(stream);
}

/* More than are told of at once, and more than an array has at first. */
static void many_connections_are_all_served(void) {
    enum { CLIENTS = 600 };
    static int clients[CLIENTS];
    static uint32_t numbers[CLIENTS];
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 2 * CLIENTS + 50) {
        limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    struct served served = start_usual();
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = join(&served, &numbers[i]);
    for (uint32_t i = 0; i < CLIENTS; i++)
        send_frame(clients[i], i, 10);
    take_frames(&served, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_INT(fsk_server_send(served.server, numbers[i], told.bytes, 10), 0);
    take_all(&served);
    for (int i = 0; i < CLIENTS; i++) {
        unsigned char answer[14];
        CHECK_INT(recv(clients[i], answer, sizeof answer, MSG_WAITALL), 14);
        close(clients[i]);
    }
    take_closed(&served, CLIENTS);
    CHECK_INT(stats_of(&served).connections, 0);
    end_served(&served);
}

int main(void) {
    RUN(connections_over_the_most_wait_in_the_backlog);
    RUN(without_descriptors_accepting_pauses);
    RUN(accepting_goes_on_when_there_are_descriptors_again);
    RUN(unfinished_frame_over_the_memory_ends_its_connection);
    RUN(queued_output_over_the_memory_is_refused);
    RUN(connection_refused_for_others_memory_is_reset);
    RUN(number_is_not_given_again_before_its_end_was_told);
    RUN(events_of_an_ended_connection_are_not_anothers);
    RUN(loud_connections_have_their_turns);
    RUN(many_connections_are_all_served);
    return check_report();
}
