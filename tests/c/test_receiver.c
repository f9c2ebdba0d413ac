/* SPDX-License-Identifier: MIT
 * A receiver over loopback: what is delivered, and in what form. */
#include <netinet/ip.h>

#include "receivers.h"

static void delivers_in_order_and_counts(void) {
    enum { MESSAGES = 1000 };
    struct udp_pair pair;
    open_udp(AF_INET, &pair);
    struct fsk_receiver *receiver = open_usual(pair.receiver);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        send_plain(&pair, 4);
        if (i % 100 == 99)
            take_ledger(receiver, false);
    }
    struct fsk_batch *none;
    expect_nothing(receiver);
    CHECK_INT(fsk_receiver_next(receiver, 1000000, &none), -EAGAIN);
    CHECK_INT(fsk_receiver_close(receiver), 0);
    struct fsk_receiver_stats stats = stats_of(receiver);
    CHECK_INT(stats.received, MESSAGES);
    CHECK_INT(stats.delivered, MESSAGES);
    CHECK_INT(stats.bytes, MESSAGES * 4);
    CHECK_INT(stats.kernel_drops, 0);
    CHECK(stats.kernel_drops_exact);
    CHECK_INT(stats.pinned, 0);
    CHECK(stats.largest_batch >= 1 && stats.largest_batch <= MESSAGES);
    CHECK(stats.high_water >= 1 && stats.high_water <= MESSAGES);
    CHECK_INT(fsk_receiver_next(receiver, 0, &none), -EBADF);
    CHECK_INT(fsk_receiver_fd(receiver), -EBADF);
    CHECK_INT(fsk_receiver_close(receiver), 0);
    fsk_receiver_free(receiver);
    fsk_receiver_free(NULL);
    close(pair.sender);
}

/* From one to as many blocks as there are, and messages of any size. */
static void delivers_every_size_whole(void) {
    const size_t memories[] = {FSK_RECEIVER_MEMORY, 5 * FSK_RECEIVER_MEMORY / 2,
                               20 * FSK_RECEIVER_MEMORY};
    unsigned state = 1;
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) {
        struct udp_pair pair;
        struct fsk_receiver_options options = usual();
        open_udp(i == 1 && has_loopback(AF_INET6) ? AF_INET6 : AF_INET, &pair);
        options.memory = memories[i];
        options.overflow = (enum fsk_overflow)i;
        struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
        const size_t sizes[] = {0, 1, LARGEST_DATAGRAM, 0, LARGEST_DATAGRAM, LARGEST_DATAGRAM};
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            send_plain(&pair, sizes[j]);
            take_ledger(receiver, false);
        }
        for (int j = 0; j < 120; j++) {
            state = state * 1103515245 + 12345;
            unsigned number = state >> 8;
            send_plain(&pair, number % 4 == 0 ? number % (LARGEST_DATAGRAM + 1) : number % 2000);
            if (j % 2 == 1)
                take_ledger(receiver, false);
        }
        take_ledger(receiver, false);
        struct fsk_receiver_stats stats = end_receiver(receiver);
        CHECK_INT(stats.delivered, ledger.sent);
        CHECK_INT(stats.truncated, 0);
        close(pair.sender);
    }
}

static bool can_send_trains(const struct udp_pair *pair) {
    if (try_train(pair, 10, 20) > 0)
        return true;
    check_skip("send with UDP_SEGMENT: %s", strerror(errno));
    return false;
}

/* Datagrams have the contents and boundaries they were sent with, however the kernel brings them. */
static void cuts_trains(void) {
    for (int gro = 0; gro < 2; gro++) {
        struct udp_pair pair;
        struct fsk_receiver_options options = usual();
        open_udp(AF_INET, &pair);
        options.gro = gro != 0;
        struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
        bool is_coalesced = gro != 0 && expects_offload(UDP_GRO);
        if (!can_send_trains(&pair)) {
            end_receiver(receiver);
            close(pair.sender);
            return;
        }
        take_ledger(receiver, is_coalesced);
        for (size_t number = 0; number < ROUNDS; number++) {
            send_round(&pair, number);
            take_ledger(receiver, is_coalesced);
        }
        ledger_begin();
        for (int i = 0; i < 60; i++) {
            send_train(&pair, 1000, 63500);
            take_ledger(receiver, is_coalesced);
        }
        CHECK(end_receiver(receiver).kernel_drops_exact);
        close(pair.sender);
    }
}

/* More than there is room for, in trains: what is received is accounted for, and whole. */
static void counts_trains_that_find_no_room(void) {
    struct udp_pair pair;
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_DROP_NEWEST);
    uint64_t bytes = 0;
    open_udp(AF_INET, &pair);
    options.gro = true;
    struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
    if (can_send_trains(&pair)) {
        ledger_begin();
        take_ledger(receiver, false);
        for (int i = 0; i < 60; i++) {
            ledger_begin();
            send_train(&pair, 100, 6350);
            ledger_begin();
            send_train(&pair, 1000, 63500);
            bytes += 6350 + 63500;
        }
        settle();
        struct fsk_batch *batch;
        while (fsk_receiver_next(receiver, SECOND / 20, &batch) > 0) {
            for (uint32_t row = 0; row < batch->count; row++)
                CHECK(batch->lengths[row] == 10 || batch->lengths[row] == 100 ||
                      batch->lengths[row] == 50 || batch->lengths[row] == 1000 ||
                      batch->lengths[row] == 500);
            fsk_receiver_release(receiver, batch);
        }
    }
    struct fsk_receiver_stats stats = end_receiver(receiver);
    CHECK(stats.bytes <= bytes + 20);
    if (stats.kernel_drops == 0)
        CHECK_INT(stats.bytes, bytes + (bytes > 0 ? 20 : 0));
    close(pair.sender);
}

static void tells_several_senders_apart(void) {
    enum { SENDERS = 7, MESSAGES = 20 };
    struct fsk_address names[SENDERS], name, source;
    int senders[SENDERS];
    uint32_t next[SENDERS] = {0};
    int fd = open_bound(AF_INET, SOCK_DGRAM, &name);
    struct fsk_receiver *receiver = open_usual(fd);
    for (int i = 0; i < SENDERS; i++)
        senders[i] = open_bound(AF_INET, SOCK_DGRAM, &names[i]);
    for (uint32_t i = 0; i < SENDERS * MESSAGES; i++)
        REQUIRE(send_number(senders[i % SENDERS], &name, i, 4 + i) == (ssize_t)(4 + i));
    for (uint32_t taken = 0; taken < SENDERS * MESSAGES;) {
        struct fsk_batch *batch = next_batch(receiver);
        CHECK(batch->source_count <= SENDERS);
        for (uint32_t row = 0; row < batch->count; row++) {
            uint32_t number = number_of(batch, row);
            CHECK_INT(number, number % SENDERS + SENDERS * next[number % SENDERS]++);
            fsk_batch_source(batch, batch->source[row], &source);
            CHECK(fsk_address_equal(&source, &names[number % SENDERS]));
        }
        taken += batch->count;
        fsk_receiver_release(receiver, batch);
    }
    end_receiver(receiver);
    for (int i = 0; i < SENDERS; i++)
        close(senders[i]);
}

static void fills_metadata(void) {
    const unsigned all = FSK_METADATA_TIMESTAMP | FSK_METADATA_DESTINATION |
                         FSK_METADATA_HOP_LIMIT | FSK_METADATA_TOS;
    const int tos = IPTOS_LOWDELAY, hops = 23;
    struct udp_pair pair;
    struct fsk_address destination;
    struct fsk_receiver_options options = usual();
    open_udp(AF_INET, &pair);
    REQUIRE(fsk_metadata_enable(pair.receiver, AF_INET, all) == 0);
    REQUIRE(setsockopt(pair.sender, IPPROTO_IP, IP_TOS, &tos, sizeof tos) == 0);
    REQUIRE(setsockopt(pair.sender, IPPROTO_IP, IP_TTL, &hops, sizeof hops) == 0);
    options.metadata = all;
    struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
    for (int i = 0; i < 3000; i++) {
        send_plain(&pair, 10);
        if (i % 50 != 49)
            continue;
        while (ledger.taken < ledger.sent) {
            struct fsk_batch *batch = next_batch(receiver);
            CHECK_INT(batch->metadata, all);
            ledger_take_rows(batch, 0, false);
            CHECK_INT(batch->destination_count, 1);
            fsk_batch_destination(batch, 0, &destination);
            CHECK_INT(destination.name.ip4.sin_addr.s_addr, pair.to.name.ip4.sin_addr.s_addr);
            for (uint32_t row = 0; row < batch->count; row++) {
                CHECK(batch->timestamps_ns[row] > 0);
                CHECK_INT(batch->destination[row], 0);
                CHECK(batch->interface[row] > 0);
                CHECK_INT(batch->hop_limit[row], hops);
                CHECK_INT(batch->tos[row], tos);
            }
            fsk_receiver_release(receiver, batch);
        }
    }
    end_receiver(receiver);
    close(pair.sender);
}

/* Each sender's port belongs to one of the sockets. */
static void reads_several_sockets(void) {
    enum { SHARDS = 3, SENDERS = 24, MESSAGES = 10 };
    const int yes = 1;
    struct fsk_address name, own;
    struct fsk_receiver_options options = usual();
    struct fsk_receiver *receiver;
    int fds[SHARDS], senders[SENDERS];
    uint32_t next[SENDERS] = {0};
    for (int i = 0; i < SHARDS; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
        REQUIRE(fds[i] >= 0);
        REQUIRE(setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0);
        if (i == 0)
            REQUIRE(fsk_address_parse_host(&name, AF_INET, "127.0.0.1", 0) == 0);
        REQUIRE(bind(fds[i], &name.name.any, name.length) == 0);
        bound_name(fds[i], &name);
    }
    REQUIRE(fsk_receiver_open(&receiver, fds, SHARDS, &options) == 0);
    for (int i = 0; i < SENDERS; i++)
        senders[i] = open_bound(AF_INET, SOCK_DGRAM, &own);
    for (uint32_t i = 0; i < SENDERS * MESSAGES; i++)
        REQUIRE(send_number(senders[i % SENDERS], &name, i, 4) == 4);
    for (uint32_t taken = 0; taken < SENDERS * MESSAGES;) {
        struct fsk_batch *batch = next_batch(receiver);
        for (uint32_t row = 0; row < batch->count; row++) {
            uint32_t number = number_of(batch, row);
            CHECK_INT(number, number % SENDERS + SENDERS * next[number % SENDERS]++);
        }
        taken += batch->count;
        fsk_receiver_release(receiver, batch);
    }
    expect_nothing(receiver);
    CHECK_INT(end_receiver(receiver).delivered, SENDERS * MESSAGES);
    for (int i = 0; i < SENDERS; i++)
        close(senders[i]);
}

/* Batches live as long as their user wants, and may be given back by any thread. */
static void batches_outlive_close(void) {
    struct udp_pair pair;
    struct fsk_batch *batches[3];
    open_udp(AF_INET, &pair);
    struct fsk_receiver *receiver = open_usual(pair.receiver);
    for (int i = 0; i < 3; i++) {
        send_plain(&pair, 1000);
        batches[i] = next_batch(receiver);
        CHECK_INT(batches[i]->count, 1);
        CHECK_INT(stats_of(receiver).pinned, i + 1);
    }
    fsk_receiver_release(receiver, batches[1]);
    CHECK_INT(stats_of(receiver).pinned, 2);
    CHECK_INT(fsk_receiver_close(receiver), 0);
    CHECK_INT(stats_of(receiver).pinned, 2);
    ledger_take_rows(batches[0], 0, false);
    ledger.taken++;
    ledger_take_rows(batches[2], 0, false);
    fsk_receiver_release(receiver, batches[2]);
    fsk_receiver_release(receiver, batches[0]);
    CHECK_INT(end_receiver(receiver).delivered, 3);
    close(pair.sender);
}

int main(void) {
    RUN(delivers_in_order_and_counts);
    RUN(delivers_every_size_whole);
    RUN(cuts_trains);
    RUN(counts_trains_that_find_no_room);
    RUN(tells_several_senders_apart);
    RUN(fills_metadata);
    RUN(reads_several_sockets);
    RUN(batches_outlive_close);
    return check_report();
}
