/* SPDX-License-Identifier: MIT
 * Receives into batches with UDP_GRO: straight into an arena with room for whole trains, and
 * through the queue into a smaller one.
 */
#include <fastsock/metadata.h>
#include <fastsock/readahead.h>
#include <fastsock/receive.h>

#include <net/if.h>

#include "trains.h"

/* What a batch and a queue may look like to each other. */
static const struct {
    uint32_t capacity;
    uint32_t max_message;
    unsigned buffers;
} sizes[] = {
    {1, 1, 1},        /* the least of everything */
    {1, 65536, 4},    /* one row, straight */
    {7, 2048, 2},     /* too small for one buffer */
    {10, 10, 64},     /* most is cut */
    {32, 2048, 1},    /* room for exactly one */
    {70, 1999, 3},    /* for two, with a rest */
    {1000, 100, 64},  /* for one, with more rows than there are datagrams */
    {1024, 2048, 64}, /* for half of the buffers */
    {65, 65536, 64},  /* for all */
    {5, 65536, 64},   /* fewer rows than buffers */
};
#define SIZES (sizeof sizes / sizeof *sizes)

/* All that was sent and settled, in as few receives as the rows allow. */
static void receive_all(const struct reader *reader, struct fsk_batch *batch) {
    while (ledger.taken < ledger.sent) {
        size_t left = ledger.sent - ledger.taken;
        size_t expected = left < batch->capacity ? left : batch->capacity;
        fsk_batch_clear(batch);
        CHECK_INT(fsk_readahead_receive(reader->queue, reader->pair.receiver, 0, batch),
                  (intmax_t)expected);
        REQUIRE(batch->count == expected);
        ledger_take_rows(batch, 0, reader->has_gro);
        CHECK_INT(batch->source_count, 1);
        for (uint32_t row = 0; row < batch->count; row++)
            CHECK_INT(batch->source[row], 0);
    }
    fsk_batch_clear(batch);
    CHECK_INT(fsk_readahead_receive(reader->queue, reader->pair.receiver, MSG_DONTWAIT, batch),
              -EAGAIN);
    CHECK_INT(fsk_readahead_pending(reader->queue), 0);
}

static void check_rounds(int family) {
    if (!has_loopback(family))
        return;
    for (size_t i = 0; i < SIZES; i++) {
        struct reader reader;
        struct fsk_batch *batch = new_batch(sizes[i].capacity, sizes[i].max_message);
        open_reader(&reader, family, sizes[i].buffers);
        for (size_t j = 0; j < ROUNDS; j++) {
            send_round(&reader.pair, j);
            receive_all(&reader, batch);
        }
        close_reader(&reader);
        fsk_batch_free(batch);
    }
}

static void test_readahead_receive_ipv4_gives_each_datagram_of_every_train(void) {
    check_rounds(AF_INET);
}

static void test_readahead_receive_ipv6_gives_each_datagram_of_every_train(void) {
    check_rounds(AF_INET6);
}

/* The rest of a train stays queued, is counted, and comes before what the kernel got meanwhile. */
static void test_readahead_receive_carries_the_rest_of_a_train_over(void) {
    for (size_t i = 0; i < SIZES; i++) {
        struct reader reader;
        struct fsk_batch *batch = new_batch(sizes[i].capacity, sizes[i].max_message);
        uint32_t rows = sizes[i].capacity;
        open_reader(&reader, AF_INET, sizes[i].buffers);
        for (size_t j = 0; j < 12; j++) {
            size_t before = ledger.sent - ledger.taken;
            if (before < 120)
                send_train(&reader.pair, 40, 64 * 40);
            settle();
            size_t there = ledger.sent - ledger.taken;
            fsk_batch_clear(batch);
            int received = fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch);
            CHECK_INT(received, there < rows ? there : rows);
            ledger_take_rows(batch, 0, reader.has_gro);
            CHECK(fsk_readahead_pending(reader.queue) <= ledger.sent - ledger.taken);
            if (reader.has_gro && before == 0 && rows < 64)
                CHECK_INT(fsk_readahead_pending(reader.queue), 64 - rows);
        }
        receive_all(&reader, batch);
        close_reader(&reader);
        fsk_batch_free(batch);
    }
}

/* A fill by itself, pops by hand, then the batch: what is queued first, then the kernel's. */
static void test_readahead_receive_takes_the_queue_before_the_kernel(void) {
    for (size_t i = 0; i < SIZES; i++) {
        struct reader reader;
        struct fsk_batch *batch = new_batch(sizes[i].capacity, sizes[i].max_message);
        open_reader(&reader, AF_INET, sizes[i].buffers);
        send_train(&reader.pair, 50, 999);
        send_plain(&reader.pair, 33);
        settle();
        CHECK(fsk_readahead_fill(reader.queue, reader.pair.receiver, 0) > 0);
        take_queued(&reader, 1);
        send_train(&reader.pair, 60, 1000);
        settle();
        receive_all(&reader, batch);
        close_reader(&reader);
        fsk_batch_free(batch);
    }
}

/* Small datagrams that came straight leave the arena full of gaps, and room for less than the rows
 * left need; what is appended must find its place, whichever way it comes. */
enum { APPEND_STRAIGHT, APPEND_FROM_QUEUE, APPEND_PLAIN };

static void append(const struct reader *reader, const struct udp_pair *plain, int way,
                   struct fsk_batch *batch) {
    uint32_t before = batch->count;
    uint32_t left = batch->capacity - before;
    uint32_t count = left < 64 ? left : 64;
    for (size_t i = 0; i < count; i++)
        send_plain(way == APPEND_PLAIN ? plain : &reader->pair, 2048);
    settle();
    if (way == APPEND_FROM_QUEUE)
        CHECK_INT(fsk_readahead_fill(reader->queue, reader->pair.receiver, 0), count);
    int received = way == APPEND_PLAIN ? fsk_receive_batch(plain->receiver, SOCK_DGRAM, 0, batch)
                                       : fsk_readahead_receive(reader->queue, reader->pair.receiver,
                                                               MSG_DONTWAIT, batch);
    REQUIRE(received == (int)count);
    ledger_take_rows(batch, before, false);
}

static void check_append(int way) {
    struct reader reader;
    struct udp_pair plain;
    struct fsk_batch *batch = new_batch(1024, 2048);
    open_udp(AF_INET, &plain);
    open_reader(&reader, AF_INET, 64);
    if (has_room_for(plain.receiver, 64, 2048) && has_room_for(reader.pair.receiver, 64, 2048)) {
        for (size_t i = 0; i < 31; i++)
            send_plain(&reader.pair, 10);
        settle();
        CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), 31);
        ledger_take_rows(batch, 0, false);
        while (batch->count < batch->capacity)
            append(&reader, &plain, way, batch);
        ledger_end();
        ledger.taken = 0; /* all rows once more: none was overwritten */
        ledger_take_rows(batch, 0, false);
    } else {
        check_skip("SO_RCVBUF for 64 datagrams of 2048 bytes: less was given");
    }
    close_udp(&plain);
    close_reader(&reader);
    fsk_batch_free(batch);
}

static void test_readahead_receive_appends_straight_behind_gaps(void) {
    check_append(APPEND_STRAIGHT);
}

static void test_readahead_receive_appends_from_the_queue_behind_gaps(void) {
    check_append(APPEND_FROM_QUEUE);
}

static void test_readahead_rows_are_followed_by_those_of_a_plain_receive(void) {
    check_append(APPEND_PLAIN);
}

/* A full batch is refused before the kernel or the queue is asked. */
static void test_readahead_receive_into_a_full_batch_is_refused(void) {
    struct reader reader;
    struct fsk_batch *batch = new_batch(3, 2048);
    open_reader(&reader, AF_INET, 4);
    send_train(&reader.pair, 100, 500);
    settle();
    CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), 3);
    ledger_take_rows(batch, 0, reader.has_gro);
    size_t pending = fsk_readahead_pending(reader.queue);
    CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), -EINVAL);
    CHECK_INT(batch->count, 3);
    CHECK_INT(fsk_readahead_pending(reader.queue), pending);
    receive_all(&reader, batch);
    fsk_batch_free(batch);
    close_reader(&reader);
}

static void check_waiting(uint32_t capacity, uint32_t max_message) {
    struct reader reader;
    struct fsk_batch *batch = new_batch(capacity, max_message);
    open_reader(&reader, AF_INET, 4);
    int fd = reader.pair.receiver;
    CHECK_INT(fsk_readahead_receive(reader.queue, fd, MSG_DONTWAIT, batch), -EAGAIN);
    set_timeout(fd, SO_RCVTIMEO, 20);
    int64_t start = clock_ns();
    CHECK_INT(fsk_readahead_receive(reader.queue, fd, 0, batch), -EAGAIN);
    CHECK(clock_ns() - start >= 15000000); /* kernel ticks may be early by one */
    set_timeout(fd, SO_RCVTIMEO, 0);
    start_interrupting();
    CHECK_INT(fsk_readahead_receive(reader.queue, fd, 0, batch), -EINTR);
    stop_interrupting();
    CHECK_INT(fsk_readahead_receive(reader.queue, -1, 0, batch), -EBADF);
    CHECK_INT(batch->count, 0);
    send_plain(&reader.pair, 10);
    settle();
    CHECK_INT(fsk_readahead_receive(reader.queue, fd, 0, batch), 1);
    /* The batch is not empty: nothing to wait for, although the descriptor would. */
    CHECK_INT(fsk_readahead_receive(reader.queue, fd, 0, batch), -EAGAIN);
    ledger_take_rows(batch, 0, false);
    fsk_batch_free(batch);
    close_reader(&reader);
}

static void test_readahead_receive_waits_only_while_the_batch_is_empty(void) {
    check_waiting(4, 100);
    check_waiting(4, 65536);
}

static void check_shutdown(uint32_t capacity, uint32_t max_message) {
    struct reader reader;
    struct fsk_batch *batch = new_batch(capacity, max_message);
    open_reader(&reader, AF_INET, 16);
    REQUIRE(connect(reader.pair.receiver, &reader.pair.from.name.any, reader.pair.from.length) ==
            0);
    send_plain(&reader.pair, 0);
    send_train(&reader.pair, 10, 55);
    send_plain(&reader.pair, 0);
    settle();
    REQUIRE(shutdown(reader.pair.receiver, SHUT_RD) == 0);
    CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), 8);
    ledger_take_rows(batch, 0, reader.has_gro);
    fsk_batch_clear(batch);
    CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), 0);
    CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), 0);
    CHECK_INT(batch->count, 0);
    fsk_batch_free(batch);
    close_reader(&reader);
}

static void test_readahead_receive_after_shutdown_gives_zero(void) {
    check_shutdown(100, 100);
    check_shutdown(100, 65536);
}

/* Trains of several senders, which come one after the other. */
static void check_sources(uint32_t capacity, uint32_t max_message) {
    enum { SENDERS = 5 };
    struct reader reader;
    struct fsk_address from[SENDERS];
    struct fsk_address source;
    int senders[SENDERS];
    struct fsk_batch *batch = new_batch(capacity, max_message);
    open_reader(&reader, AF_INET, 64);
    int own = reader.pair.sender;
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = open_bound(AF_INET, SOCK_DGRAM, &from[i]);
        reader.pair.sender = senders[i];
        send_train(&reader.pair, 30, 300);
    }
    reader.pair.sender = senders[1];
    send_train(&reader.pair, 30, 300);
    settle();
    CHECK_INT(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch), 60);
    ledger_take_rows(batch, 0, reader.has_gro);
    CHECK_INT(batch->source_count, SENDERS);
    for (uint32_t row = 0; row < batch->count; row++) {
        CHECK_INT(batch->source[row], row < 50 ? row / 10 : 1);
        fsk_batch_source(batch, batch->source[row], &source);
        CHECK(fsk_address_equal(&source, &from[batch->source[row] % SENDERS]));
    }
    for (size_t i = 0; i < SENDERS; i++)
        close(senders[i]);
    reader.pair.sender = own;
    fsk_batch_free(batch);
    close_reader(&reader);
}

static void test_readahead_receive_names_the_sender_of_each_train(void) {
    check_sources(60, 30);
    check_sources(60, 65536);
}

/* All datagrams of a train have what the kernel told of it; that of the next train is its own. */
static void check_metadata(uint32_t capacity, uint32_t max_message) {
    struct reader reader;
    struct fsk_address destination;
    struct fsk_batch *batch = new_batch(capacity, max_message);
    open_reader(&reader, AF_INET, 16);
    batch->metadata = FSK_METADATA_TIMESTAMP | FSK_METADATA_DESTINATION | FSK_METADATA_HOP_LIMIT |
                      FSK_METADATA_TOS;
    CHECK_INT(fsk_metadata_enable(reader.pair.receiver, AF_INET, batch->metadata), 0);
    for (int i = 0; i < 4; i++) {
        int ttl = 10 + i;
        int tos = 8 * i;
        REQUIRE(setsockopt(reader.pair.sender, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) == 0);
        REQUIRE(setsockopt(reader.pair.sender, IPPROTO_IP, IP_TOS, &tos, sizeof tos) == 0);
        send_train(&reader.pair, 30, 300);
    }
    settle();
    uint32_t start = 0;
    while (start < 40 && batch->count == start) {
        int received = fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch);
        REQUIRE(received > 0);
        for (uint32_t row = start; row < batch->count; row++) {
            CHECK_INT(batch->hop_limit[row], 10 + row / 10);
            CHECK_INT(batch->tos[row], 8 * (row / 10));
            CHECK_INT(batch->interface[row], if_nametoindex("lo"));
            CHECK(batch->timestamps_ns[row] > 0);
            if (row % 10 > 0 && reader.has_gro)
                CHECK_INT(batch->timestamps_ns[row], batch->timestamps_ns[row - 1]);
            fsk_batch_destination(batch, batch->destination[row], &destination);
            reader.pair.to.name.ip4.sin_port = 0;
            CHECK(fsk_address_equal(&destination, &reader.pair.to));
        }
        start = batch->count;
    }
    CHECK_INT(start, 40);
    CHECK_INT(batch->destination_count, 1);
    ledger_take_rows(batch, 0, reader.has_gro);
    fsk_batch_free(batch);
    close_reader(&reader);
}

static void test_readahead_receive_tells_metadata_of_each_datagram(void) {
    check_metadata(40, 30);
    check_metadata(41, 65536);
}

/* What was moved to the queue by stop comes first, then what arrived plain. */
static void test_readahead_receive_after_stop_goes_on_in_order(void) {
    for (size_t i = 0; i < SIZES; i++) {
        struct reader reader;
        struct fsk_batch *batch = new_batch(sizes[i].capacity, sizes[i].max_message);
        open_reader(&reader, AF_INET, sizes[i].buffers);
        send_train(&reader.pair, 70, 700);
        send_plain(&reader.pair, 70);
        send_train(&reader.pair, 70, 750);
        settle();
        CHECK_INT(fsk_readahead_stop(reader.queue, reader.pair.receiver), 0);
        send_train(&reader.pair, 60, 777);
        settle();
        while (fsk_readahead_pending(reader.queue) > 0) {
            fsk_batch_clear(batch);
            REQUIRE(fsk_readahead_receive(reader.queue, reader.pair.receiver, 0, batch) > 0);
            for (uint32_t row = 0; row < batch->count; row++)
                ledger_take_cut(batch->arena + batch->offsets[row], batch->lengths[row],
                                batch->wire_lengths[row]);
        }
        take_plain(reader.pair.receiver);
        ledger_end();
        fsk_batch_free(batch);
        close_reader(&reader);
    }
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_readahead_receive_ipv4_gives_each_datagram_of_every_train);
    RUN(test_readahead_receive_ipv6_gives_each_datagram_of_every_train);
    RUN(test_readahead_receive_carries_the_rest_of_a_train_over);
    RUN(test_readahead_receive_takes_the_queue_before_the_kernel);
    RUN(test_readahead_receive_appends_straight_behind_gaps);
    RUN(test_readahead_receive_appends_from_the_queue_behind_gaps);
    RUN(test_readahead_rows_are_followed_by_those_of_a_plain_receive);
    RUN(test_readahead_receive_into_a_full_batch_is_refused);
    RUN(test_readahead_receive_waits_only_while_the_batch_is_empty);
    RUN(test_readahead_receive_after_shutdown_gives_zero);
    RUN(test_readahead_receive_names_the_sender_of_each_train);
    RUN(test_readahead_receive_tells_metadata_of_each_datagram);
    RUN(test_readahead_receive_after_stop_goes_on_in_order);
    return check_report();
}
