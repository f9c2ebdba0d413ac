/* SPDX-License-Identifier: MIT
 * Receivers for the tests, what is sent to them, and what must hold of each: the ledger's entries one
 * by one where nothing may be lost, numbered datagrams where some may.
 */
#ifndef RECEIVERS_H
#define RECEIVERS_H

#include <dirent.h>
#include <poll.h>

#include <fastsock/receiver.h>

#include "trains.h"

#define SECOND INT64_C(1000000000)
#define LONG_WAIT (10 * SECOND) /* for what must come; a test that waits so long has failed */

static inline struct fsk_receiver_options usual(void) {
    return (struct fsk_receiver_options){
        .size = sizeof(struct fsk_receiver_options),
        .memory = 4 * FSK_RECEIVER_MEMORY,
        .gro = true,
        .key = 1,
    };
}

static inline struct fsk_receiver_options with_overflow(enum fsk_overflow overflow) {
    struct fsk_receiver_options options = usual();
    options.overflow = overflow;
    options.memory = FSK_RECEIVER_MEMORY;
    options.gro = false;
    return options;
}

static inline struct fsk_receiver *open_receiver(int fd,
                                                 const struct fsk_receiver_options *options) {
    struct fsk_receiver *receiver;
    REQUIRE(fsk_receiver_open(&receiver, &fd, 1, options) == 0);
    return receiver;
}

static inline struct fsk_receiver *open_usual(int fd) {
    const struct fsk_receiver_options options = usual();
    return open_receiver(fd, &options);
}

static inline struct fsk_receiver_stats stats_of(struct fsk_receiver *receiver) {
    struct fsk_receiver_stats stats = {.size = sizeof stats};
    REQUIRE(fsk_receiver_stats(receiver, &stats) == 0);
    CHECK_INT(stats.received, stats.delivered + stats.ring_drops + stats.queued + stats.discarded);
    CHECK(stats.queued <= stats.received);
    CHECK(stats.queued <= stats.high_water);
    return stats;
}

/* Closes and frees; all messages are accounted for. Returns the counts after close. */
static inline struct fsk_receiver_stats end_receiver(struct fsk_receiver *receiver) {
    CHECK_INT(fsk_receiver_close(receiver), 0);
    struct fsk_receiver_stats stats = stats_of(receiver);
    CHECK_INT(stats.queued, 0);
    CHECK_INT(stats.pinned, 0);
    fsk_receiver_free(receiver);
    return stats;
}

/* Gives up the CPU for a while; false when it has been waited long enough. */
static inline bool wait_on(int64_t deadline) {
    const struct timespec little = {.tv_nsec = 50000};
    nanosleep(&little, NULL);
    return clock_ns() < deadline;
}

/* Waits until the receiver or the kernel has counted so many messages. */
static inline void await_counted(struct fsk_receiver *receiver, uint64_t sent) {
    struct fsk_receiver_stats stats = stats_of(receiver);
    int64_t deadline = clock_ns() + LONG_WAIT;
    while (stats.received + stats.kernel_drops < sent && wait_on(deadline))
        stats = stats_of(receiver);
    CHECK_INT(stats.received + stats.kernel_drops, sent);
}

/* The next batch, which must come. Its bytes lie one after the other. */
static inline struct fsk_batch *next_batch(struct fsk_receiver *receiver) {
    struct fsk_batch *batch;
    int count = fsk_receiver_next(receiver, LONG_WAIT, &batch);
    REQUIRE(count > 0);
    CHECK_INT(count, batch->count);
    size_t end = 0;
    for (uint32_t row = 0; row < batch->count; row++) {
        CHECK_INT(batch->offsets[row], end);
        end += batch->lengths[row];
    }
    CHECK_INT(batch->used, end);
    return batch;
}

static inline void expect_nothing(struct fsk_receiver *receiver) {
    struct fsk_batch *batch;
    CHECK_INT(fsk_receiver_next(receiver, 0, &batch), -EAGAIN);
    CHECK(batch == NULL);
}

static inline void expect_end(struct fsk_receiver *receiver, int result) {
    struct fsk_batch *batch;
    CHECK_INT(fsk_receiver_next(receiver, LONG_WAIT, &batch), result);
    CHECK(batch == NULL);
}

/* Takes what the ledger has and compares it. */
static inline void take_ledger(struct fsk_receiver *receiver, bool gro) {
    while (ledger.taken < ledger.sent) {
        struct fsk_batch *batch = next_batch(receiver);
        ledger_take_rows(batch, 0, gro);
        fsk_receiver_release(receiver, batch);
    }
}

/* A datagram that can be told by its number, of 4 bytes or more. Returns what send did. */
static inline ssize_t send_number(int fd, const struct fsk_address *to, uint32_t number,
                                  size_t length) {
    unsigned char bytes[65536];
    write_numbered(bytes, number, length);
    return sendto(fd, bytes, length, MSG_DONTWAIT, to == NULL ? NULL : &to->name.any,
                  to == NULL ? 0 : to->length);
}

/* The number of a row, whose bytes are all as they were sent. */
static inline uint32_t number_of(const struct fsk_batch *batch, uint32_t row) {
    unsigned char expected[65536];
    const unsigned char *bytes = batch->arena + batch->offsets[row];
    REQUIRE(batch->lengths[row] >= 4);
    uint32_t number =
        bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    write_numbered(expected, number, batch->lengths[row]);
    CHECK_BYTES(bytes, expected, batch->lengths[row]);
    return number;
}

static inline int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    REQUIRE(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static inline bool is_readable(int fd, int timeout_ms) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    int ready = poll(&watched, 1, timeout_ms);
    REQUIRE(ready >= 0 || errno == EINTR);
    return ready > 0;
}

#endif
