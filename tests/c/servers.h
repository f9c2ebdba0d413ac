/* SPDX-License-Identifier: MIT
 * Servers for the tests, their clients, and a record of all that a server has told, in order. */
#ifndef SERVERS_H
#define SERVERS_H

#include <poll.h>

#include <fastsock/server.h>

#include "loopback.h"

#define SECOND INT64_C(1000000000)
#define LONG_WAIT (10 * SECOND) /* for what must come; a test that waits so long has failed */

enum { MOST_FRAMES = 1 << 17, MOST_ENDS = 1 << 10 };

struct served {
    struct fsk_server *server;
    struct fsk_batch *batch;
    struct fsk_address name; /* of the listener */
    int listener;            /* the server's */
};

struct told_frame {
    uint32_t connection;
    size_t at, length; /* in told.bytes */
};

/* What was told since the last start_served. */
static struct {
    struct told_frame frames[MOST_FRAMES];
    size_t frame_count;
    unsigned char bytes[1 << 24];
    size_t used;
    uint32_t opened[MOST_ENDS];
    size_t opened_count;
    struct fsk_closed closed[MOST_ENDS];
    size_t closed_count;
} told;

/* Lengths of 4 bytes in network order, frames of 64 KiB at most. */
static inline struct fsk_framing prefixed(uint32_t max_frame) {
    return (struct fsk_framing){.size = sizeof(struct fsk_framing),
                                .kind = FSK_FRAMING_LENGTH,
                                .max_frame = max_frame,
                                .header_size = 4};
}

static inline struct fsk_framing lines(uint32_t max_frame) {
    return (struct fsk_framing){.size = sizeof(struct fsk_framing),
                                .kind = FSK_FRAMING_DELIMITER,
                                .max_frame = max_frame,
                                .delimiter_size = 2,
                                .delimiter = "\r\n"};
}

static inline struct fsk_server_options usual(void) {
    static struct fsk_framing usually;
    usually = prefixed(65536);
    return (struct fsk_server_options){.size = sizeof(struct fsk_server_options),
                                       .framing = &usually,
                                       .memory = 1 << 24,
                                       .max_pending = 1 << 20,
                                       .max_connections = 1000,
                                       .idle_timeout_ns = FSK_FOREVER};
}

/* With a batch of so many rows. */
static inline struct served start_rows(const struct fsk_server_options *options, uint32_t rows) {
    struct served made;
    size_t arena = fsk_server_arena(options->framing);
    told.frame_count = told.used = told.opened_count = told.closed_count = 0;
    REQUIRE(fsk_batch_new(&made.batch, rows, (uint32_t)((arena + rows - 1) / rows), 1) == 0);
    made.listener = open_listener(AF_INET, &made.name);
    REQUIRE(listen(made.listener, 256) == 0);
    REQUIRE(fsk_server_open(&made.server, made.listener, options) == 0);
    return made;
}

static inline struct served start_with(const struct fsk_server_options *options) {
    return start_rows(options, 256);
}

static inline struct served start_usual(void) {
    const struct fsk_server_options options = usual();
    return start_with(&options);
}

static inline struct fsk_server_stats stats_of(const struct served *served) {
    struct fsk_server_stats stats = {.size = sizeof stats};
    uint64_t closed = 0;
    REQUIRE(fsk_server_stats(served->server, &stats) == 0);
    for (int reason = 0; reason < FSK_CLOSE_REASONS; reason++)
        closed += stats.closed[reason];
    CHECK_INT(stats.accepted, stats.connections + closed);
    CHECK(stats.memory <= stats.memory_peak);
    return stats;
}

/* Everything that was told is in the record, and the memory of what has ended was given back. */
static inline void end_served(struct served *served) {
    struct fsk_server_stats stats = stats_of(served);
    CHECK_INT(stats.frames_received, told.frame_count);
    CHECK_INT(stats.accepted, told.opened_count);
    if (stats.connections == 0)
        CHECK_INT(stats.memory, 0);
    fsk_server_free(served->server);
    fsk_batch_free(served->batch);
}

static inline void record_rows(const struct fsk_batch *batch) {
    size_t end = 0;
    for (uint32_t row = 0; row < batch->count; row++) {
        struct told_frame *frame = &told.frames[told.frame_count++];
        REQUIRE(told.frame_count < MOST_FRAMES);
        REQUIRE(told.used + batch->lengths[row] <= sizeof told.bytes);
        *frame = (struct told_frame){batch->source[row], told.used, batch->lengths[row]};
        memcpy(told.bytes + told.used, batch->arena + batch->offsets[row], frame->length);
        told.used += frame->length;
        if (batch->offsets[row] < end || batch->wire_lengths[row] != frame->length ||
            batch->flags[row] != 0)
            CHECK_INT(row, -1);
        end = batch->offsets[row] + frame->length;
    }
    CHECK(batch->count <= batch->capacity && end <= batch->used);
}

/* One fsk_server_next, recorded. */
static inline int take(struct served *served, int64_t timeout_ns) {
    size_t opened, closed;
    int result = fsk_server_next(served->server, timeout_ns, served->batch);
    if (result < 0)
        return result;
    record_rows(served->batch);
    const uint32_t *numbers = fsk_server_opened(served->server, &opened);
    for (size_t i = 0; i < opened; i++)
        told.opened[told.opened_count++ % MOST_ENDS] = numbers[i];
    const struct fsk_closed *ends = fsk_server_closed(served->server, &closed);
    for (size_t i = 0; i < closed; i++)
        told.closed[told.closed_count++ % MOST_ENDS] = ends[i];
    CHECK_INT(result, served->batch->count > 0 || opened > 0 || closed > 0);
    return result;
}

/* Takes until so many have been told since the start. False when they don't come. */
static inline bool take_until(struct served *served, const size_t *count, size_t wanted) {
    int64_t deadline = clock_ns() + LONG_WAIT;
    while (*count < wanted) {
        int result = take(served, LONG_WAIT);
        if (result == -EINTR)
            continue;
        CHECK_INT(result, 1);
        if (result != 1 || clock_ns() > deadline) {
            CHECK_INT(*count, wanted);
            return false;
        }
    }
    CHECK_INT(*count, wanted);
    return true;
}

static inline void take_frames(struct served *served, size_t count) {
    take_until(served, &told.frame_count, count);
}

static inline void take_opened(struct served *served, size_t count) {
    take_until(served, &told.opened_count, count);
}

static inline void take_closed(struct served *served, size_t count) {
    take_until(served, &told.closed_count, count);
}

static inline void expect_nothing(struct served *served) {
    CHECK_INT(take(served, 0), -EAGAIN);
}

/* Takes what is there until nothing more is. */
static inline void take_all(struct served *served) {
    while (take(served, 0) > 0) {
    }
}

/* A client, whose connection has been told as opened: number is out. */
static inline int join(struct served *served, uint32_t *number) {
    size_t before = told.opened_count;
    int fd = open_connected(&served->name);
    take_opened(served, before + 1);
    if (number != NULL)
        *number = told.opened[before % MOST_ENDS];
    return fd;
}

static inline void send_all(int fd, const void *data, size_t length) {
    const unsigned char *at = (const unsigned char *)data;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        REQUIRE(sent > 0);
        at += sent;
        length -= (size_t)sent;
    }
}

static inline void put_length(unsigned char header[4], size_t length) {
    for (int i = 0; i < 4; i++)
        header[i] = (unsigned char)(length >> (24 - 8 * i));
}

/* A frame of bytes that can be told by seed, as prefixed has it; encoded has room for it. */
static inline size_t write_frame(unsigned char *encoded, uint32_t seed, size_t length) {
    put_length(encoded, length);
    for (size_t i = 0; i < length; i++)
        encoded[4 + i] = (unsigned char)(seed * 31 + i * 7 + (i >> 8));
    return 4 + length;
}

static inline void send_frame(int fd, uint32_t seed, size_t length) {
    unsigned char *encoded = malloc(4 + length);
    REQUIRE(encoded != NULL);
    send_all(fd, encoded, write_frame(encoded, seed, length));
    free(encoded);
}

static inline void check_frame(size_t i, uint32_t connection, uint32_t seed, size_t length) {
    unsigned char *expected = malloc(4 + length);
    REQUIRE(expected != NULL && i < told.frame_count);
    write_frame(expected, seed, length);
    CHECK_INT(told.frames[i].connection, connection);
    CHECK_INT(told.frames[i].length, length);
    if (told.frames[i].length == length)
        CHECK_BYTES(told.bytes + told.frames[i].at, expected + 4, length);
    free(expected);
}

static inline void check_closed(size_t i, uint32_t connection, enum fsk_close_reason reason) {
    REQUIRE(i < told.closed_count);
    CHECK_INT(told.closed[i % MOST_ENDS].connection, connection);
    CHECK_INT(told.closed[i % MOST_ENDS].reason, reason);
}

/* Receives until the end; returns the bytes, or -errno after them. */
static inline ssize_t drain(int fd, size_t *received) {
    static unsigned char bytes[65536];
    ssize_t got;
    *received = 0;
    const struct timeval patience = {.tv_sec = 9};
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0)
        *received += (size_t)got;
    return got < 0 ? -errno : 0;
}

/* The next close resets the connection. */
static inline void reset(int fd) {
    const struct linger at_once = {.l_onoff = 1};
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(fd);
}

static inline bool is_readable(int fd, int timeout_ms) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    int ready = poll(&watched, 1, timeout_ms);
    REQUIRE(ready >= 0 || errno == EINTR);
    return ready > 0;
}

#endif
