/* SPDX-License-Identifier: MIT
 * A receiver on Unix sockets: names, messages that are cut, descriptors that come along, and ends. */
#include <fastsock/message.h>
#include <fastsock/send.h>

#include "receivers.h"

static void tells_named_and_unnamed_senders_apart(void) {
    struct unix_socket made, other;
    struct fsk_address name, own, source;
    open_unix(&made, SOCK_DGRAM, &name);
    open_unix(&other, SOCK_DGRAM, &own);
    int unnamed = socket(AF_UNIX, SOCK_DGRAM, 0);
    REQUIRE(unnamed >= 0);
    struct fsk_receiver *receiver = open_usual(dup(made.fd));
    for (uint32_t i = 0; i < 300; i++) {
        REQUIRE(send_number(i % 3 == 0 ? other.fd : unnamed, &name, i, 4 + i) == (ssize_t)(4 + i));
        struct fsk_batch *batch = next_batch(receiver);
        CHECK_INT(batch->count, 1);
        CHECK_INT(number_of(batch, 0), i);
        if (i % 3 == 0) {
            fsk_batch_source(batch, batch->source[0], &source);
            CHECK(fsk_address_equal(&source, &own));
        } else {
            CHECK_INT(batch->source[0], FSK_NO_ADDRESS);
        }
        fsk_receiver_release(receiver, batch);
    }
    struct fsk_receiver_stats stats = end_receiver(receiver);
    CHECK_INT(stats.delivered, 300);
    CHECK_INT(stats.kernel_drops, 0);
    CHECK(stats.kernel_drops_exact);
    close(unnamed);
    close_unix(&made);
    close_unix(&other);
}

/* Each is kept up to 64 KiB, and its real length told; the shorter ones around it are whole. */
static void cuts_what_is_longer_than_64_kib(void) {
    static const size_t lengths[] = {10, 65536, 65537, 0, 100000, 65535, 150000, 150000, 7};
    static unsigned char bytes[150000];
    const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t t = 0; t < 2; t++) {
        int pair[2];
        open_unix_pair(types[t], pair);
        struct fsk_receiver *receiver = open_usual(pair[0]);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            size_t stored = lengths[i] < 65536 ? lengths[i] : 65536;
            write_numbered(bytes, i, lengths[i]);
            REQUIRE(send(pair[1], bytes, lengths[i], 0) == (ssize_t)lengths[i]);
            struct fsk_batch *batch = next_batch(receiver);
            CHECK_INT(batch->count, 1);
            CHECK_INT(batch->lengths[0], stored);
            CHECK_INT(batch->wire_lengths[0], lengths[i]);
            CHECK_INT(batch->flags[0], stored < lengths[i] ? FSK_BATCH_TRUNCATED : 0);
            CHECK_BYTES(batch->arena + batch->offsets[0], bytes, stored);
            fsk_receiver_release(receiver, batch);
        }
        CHECK_INT(end_receiver(receiver).truncated, 4);
        close(pair[1]);
    }
}

/* By the library: sendmsg of musl takes 252 at most. */
static void send_descriptors(int fd, int count) {
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(253 * sizeof(int))];
    int descriptors[253];
    struct fsk_control item = {.level = SOL_SOCKET,
                               .type = SCM_RIGHTS,
                               .data = descriptors,
                               .length = (size_t)count * sizeof(int)};
    struct fsk_message message = {.buffers = &part, .buffer_count = 1, .control = control};
    for (int i = 0; i < count; i++)
        descriptors[i] = fd;
    REQUIRE(fsk_control_put(&message, sizeof control, &item) == 0);
    REQUIRE(fsk_send_message(fd, &message, 0) == 1);
}

/* Delivered, dropped, and left at close; 253 in one message are more than there is room for. */
static void closes_descriptors_that_come_along(void) {
    enum { MESSAGES = 60, EACH = 3 };
    const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t t = 0; t < 2; t++) {
        int pair[2];
        uint64_t taken = 0;
        int before = count_descriptors();
        open_unix_pair(types[t], pair);
        struct fsk_receiver *receiver = open_usual(pair[0]);
        for (int i = 0; i < MESSAGES; i++)
            send_descriptors(pair[1], EACH);
        while (taken < MESSAGES) {
            struct fsk_batch *batch = next_batch(receiver);
            for (uint32_t row = 0; row < batch->count; row++)
                CHECK_INT(batch->flags[row], FSK_BATCH_CONTROL_TRUNCATED);
            taken += batch->count;
            fsk_receiver_release(receiver, batch);
        }
        CHECK_INT(stats_of(receiver).descriptors, MESSAGES * EACH);
        CHECK_INT(stats_of(receiver).control_truncated, 0);
        send_descriptors(pair[1], 253);
        struct fsk_batch *batch = next_batch(receiver);
        CHECK_INT(batch->flags[0], FSK_BATCH_CONTROL_TRUNCATED);
        fsk_receiver_release(receiver, batch);
        CHECK_INT(stats_of(receiver).control_truncated, 1);
        for (int i = 0; i < 20; i++)
            send_descriptors(pair[1], EACH);
        end_receiver(receiver);
        close(pair[1]);
        CHECK_INT(count_descriptors(), before);
    }
}

/* What was sent before the peer closed comes first, empty messages too while something follows them. */
static void peer_that_closes_ends_seqpacket(void) {
    static const char *const messages[] = {"a", "", "bc", "", "", "d", "", "", "", "efg"};
    enum { COUNT = sizeof messages / sizeof *messages };
    for (int late = 0; late < 2; late++) {
        int pair[2];
        struct fsk_receiver *receiver = NULL;
        open_unix_pair(SOCK_SEQPACKET, pair);
        if (late == 0)
            receiver = open_usual(pair[0]);
        for (int i = 0; i < COUNT; i++)
            REQUIRE(send(pair[1], messages[i], strlen(messages[i]), 0) >= 0);
        close(pair[1]);
        if (late != 0)
            receiver = open_usual(pair[0]);
        uint32_t taken = 0;
        struct fsk_batch *batch;
        while (fsk_receiver_next(receiver, LONG_WAIT, &batch) > 0) {
            for (uint32_t row = 0; row < batch->count; row++, taken++) {
                REQUIRE(taken < COUNT);
                CHECK_INT(batch->lengths[row], strlen(messages[taken]));
                CHECK_BYTES(batch->arena + batch->offsets[row], messages[taken],
                            batch->lengths[row]);
            }
            fsk_receiver_release(receiver, batch);
        }
        CHECK_INT(taken, COUNT);
        expect_end(receiver, 0);
        struct fsk_receiver_stats stats = end_receiver(receiver);
        CHECK_INT(stats.received, COUNT);
        CHECK_INT(stats.discarded, 0);
        CHECK_INT(stats.errors, 0);
    }
}

/* An empty message alone is none of the ends. */
static void empty_message_is_delivered_while_the_peer_is_there(void) {
    const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t t = 0; t < 2; t++) {
        int pair[2];
        open_unix_pair(types[t], pair);
        struct fsk_receiver *receiver = open_usual(pair[0]);
        for (int i = 0; i < 5; i++) {
            REQUIRE(send(pair[1], "", 0, 0) == 0);
            struct fsk_batch *batch = next_batch(receiver);
            CHECK_INT(batch->count, 1);
            CHECK_INT(batch->lengths[0], 0);
            fsk_receiver_release(receiver, batch);
            expect_nothing(receiver);
        }
        CHECK_INT(end_receiver(receiver).received, 5);
        close(pair[1]);
    }
}

static void shutdown_ends_after_what_was_sent(void) {
    const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t t = 0; t < 2; t++) {
        for (int early = 0; early < 2; early++) {
            int pair[2];
            struct fsk_receiver *receiver = NULL;
            open_unix_pair(types[t], pair);
            if (early == 0)
                receiver = open_usual(pair[0]);
            for (uint32_t i = 0; i < 5; i++)
                REQUIRE(send_number(pair[1], NULL, i, 10) == 10);
            REQUIRE(shutdown(pair[0], SHUT_RD) == 0);
            if (early != 0)
                receiver = open_usual(pair[0]);
            for (uint32_t taken = 0; taken < 5;) {
                struct fsk_batch *batch = next_batch(receiver);
                for (uint32_t row = 0; row < batch->count; row++)
                    CHECK_INT(number_of(batch, row), taken++);
                fsk_receiver_release(receiver, batch);
            }
            expect_end(receiver, 0);
            expect_end(receiver, 0);
            CHECK_INT(end_receiver(receiver).received, 5);
            close(pair[1]);
        }
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    RUN(tells_named_and_unnamed_senders_apart);
    RUN(cuts_what_is_longer_than_64_kib);
    RUN(closes_descriptors_that_come_along);
    RUN(peer_that_closes_ends_seqpacket);
    RUN(empty_message_is_delivered_while_the_peer_is_there);
    RUN(shutdown_ends_after_what_was_sent);
    return check_report();
}
