/* SPDX-License-Identifier: MIT
 * A receiver whose consumer stalls: what is kept, what is dropped and where it is counted. */
#include "receivers.h"

enum { LENGTH = 1000, STALLED = 3000 }; /* about three times what 1 MiB holds */

struct stalled {
    struct fsk_address name;
    int sender;
    struct fsk_receiver *receiver;
    uint64_t sent;
    struct fsk_receiver_stats stats; /* once all was counted */
};

static void send_some(struct stalled *made, uint32_t count) {
    while (count-- > 0) {
        REQUIRE(send_number(made->sender, &made->name, (uint32_t)made->sent++, LENGTH) == LENGTH);
        if (made->sent % 50 == 0)
            await_counted(made->receiver, made->sent);
    }
    await_counted(made->receiver, made->sent);
    made->stats = stats_of(made->receiver);
}

/* Sends so that the kernel need not drop, while nobody takes anything. */
static void stall(struct stalled *made, enum fsk_overflow overflow) {
    struct fsk_receiver_options options = with_overflow(overflow);
    int fd = open_bound(AF_INET, SOCK_DGRAM, &made->name);
    made->sender = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(made->sender >= 0);
    made->sent = 0;
    made->receiver = open_receiver(fd, &options);
    send_some(made, STALLED);
    CHECK_INT(made->stats.received, STALLED - made->stats.kernel_drops);
    CHECK_INT(made->stats.delivered, 0);
    CHECK(made->stats.queued > 500 && made->stats.queued * LENGTH < options.memory);
}

static void unstall(struct stalled *made) {
    end_receiver(made->receiver);
    close(made->sender);
}

/* Takes all that waits; the numbers grow from first on, without gaps where the kernel dropped none.
 * Messages are counted before they are there to be taken, so it is the count that tells when that is all.
 * Returns the last one. */
static uint32_t take_growing(struct stalled *made, uint32_t first, bool has_gaps, uint64_t *taken) {
    struct fsk_batch *batch;
    uint32_t next = first;
    *taken = 0;
    for (int64_t deadline = clock_ns() + LONG_WAIT; stats_of(made->receiver).queued > 0;) {
        int count = fsk_receiver_next(made->receiver, 0, &batch);
        if (count < 0) {
            REQUIRE(count == -EAGAIN && wait_on(deadline));
            continue;
        }
        for (uint32_t row = 0; row < batch->count; row++) {
            uint32_t number = number_of(batch, row);
            CHECK(has_gaps || made->stats.kernel_drops > 0 ? number >= next : number == next);
            next = number + 1;
        }
        *taken += batch->count;
        fsk_receiver_release(made->receiver, batch);
    }
    return next - 1;
}

static void drop_newest_keeps_the_oldest(void) {
    struct stalled made;
    uint64_t taken;
    stall(&made, FSK_OVERFLOW_DROP_NEWEST);
    uint64_t queued = made.stats.queued;
    CHECK(made.stats.ring_drops > 0);
    uint32_t last = take_growing(&made, 0, false, &taken);
    CHECK_INT(taken, queued);
    CHECK(last >= queued - 1);
    if (made.stats.kernel_drops == 0)
        CHECK_INT(last, queued - 1);
    uint32_t resumed = (uint32_t)made.sent;
    send_some(&made, 100);
    CHECK_INT(take_growing(&made, resumed, false, &taken), made.sent - 1);
    CHECK(taken + made.stats.kernel_drops >= 100);
    CHECK_INT(stats_of(made.receiver).delivered, queued + taken);
    unstall(&made);
}

static void drop_oldest_keeps_the_newest(void) {
    struct stalled made;
    uint64_t taken;
    stall(&made, FSK_OVERFLOW_DROP_OLDEST);
    uint64_t queued = made.stats.queued, dropped = made.stats.ring_drops;
    CHECK(dropped > 0);
    bool is_exact = made.stats.kernel_drops == 0;
    uint32_t first = is_exact ? (uint32_t)dropped : 0;
    CHECK_INT(take_growing(&made, first, !is_exact, &taken), STALLED - 1);
    CHECK_INT(taken, queued);
    send_some(&made, 100);
    CHECK_INT(take_growing(&made, STALLED, false, &taken), made.sent - 1);
    unstall(&made);
}

/* The socket's own queue fills up, and what it drops is the kernel's to count. */
static void block_leaves_the_dropping_to_the_kernel(void) {
    struct stalled made;
    uint64_t taken;
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_BLOCK);
    int fd = open_bound(AF_INET, SOCK_DGRAM, &made.name);
    made.sender = socket(AF_INET, SOCK_DGRAM, 0);
    made.receiver = open_receiver(fd, &options);
    for (made.sent = 0; made.sent < STALLED; made.sent++)
        REQUIRE(send_number(made.sender, &made.name, (uint32_t)made.sent, LENGTH) == LENGTH);
    settle();
    uint64_t counted = 0;
    for (int64_t deadline = clock_ns() + LONG_WAIT; counted < made.sent && wait_on(deadline);) {
        made.stats = stats_of(made.receiver);
        take_growing(&made, 0, true, &taken);
        counted = made.stats.received + made.stats.kernel_drops;
    }
    CHECK_INT(counted, made.sent);
    CHECK_INT(made.stats.ring_drops, 0);
    CHECK(made.stats.kernel_drops > 0);
    CHECK(made.stats.kernel_drops_exact);
    take_growing(&made, 0, true, &taken);
    CHECK_INT(stats_of(made.receiver).delivered, made.stats.received);
    unstall(&made);
}

/* The sender of a Unix socket waits; nothing is lost. */
static void block_holds_up_unix_senders(void) {
    const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t t = 0; t < 2; t++) {
        int pair[2];
        uint32_t sent = 0, taken = 0;
        struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_BLOCK);
        open_unix_pair(types[t], pair);
        struct fsk_receiver *receiver = open_receiver(pair[0], &options);
        for (int turn = 0; turn < 3; turn++) {
            /* Until there has been no room for a while. */
            struct pollfd room = {.fd = pair[1], .events = POLLOUT};
            while (poll(&room, 1, 30) > 0 && send_number(pair[1], NULL, sent, LENGTH) == LENGTH)
                sent++;
            CHECK(sent > 500);
            struct fsk_receiver_stats stats = stats_of(receiver);
            CHECK_INT(stats.ring_drops, 0);
            CHECK(stats.received < sent);
            while (taken < sent) {
                struct fsk_batch *batch = next_batch(receiver);
                for (uint32_t row = 0; row < batch->count; row++)
                    CHECK_INT(number_of(batch, row), taken++);
                fsk_receiver_release(receiver, batch);
            }
        }
        struct fsk_receiver_stats stats = end_receiver(receiver);
        CHECK_INT(stats.delivered, sent);
        CHECK_INT(stats.discarded, 0);
        close(pair[1]);
    }
}

/* Sends a message and takes it. False when it finds no block, which under FSK_OVERFLOW_BLOCK is not
 * told: then nothing comes for a while. */
static bool claim(struct fsk_receiver *receiver, const struct fsk_address *to, int sender,
                  uint64_t *sent, struct fsk_batch **batch) {
    REQUIRE(send_number(sender, to, (uint32_t)*sent, LENGTH) == LENGTH);
    ++*sent;
    for (int64_t deadline = clock_ns() + SECOND / 10; clock_ns() < deadline;) {
        if (fsk_receiver_next(receiver, SECOND / 1000, batch) > 0)
            return true;
        if (stats_of(receiver).ring_drops > 0)
            return false;
    }
    return false;
}

/* With all blocks in the consumer's hands nothing in them changes. */
static void claimed_blocks_are_never_touched(void) {
    for (int overflow = FSK_OVERFLOW_DROP_NEWEST; overflow <= FSK_OVERFLOW_BLOCK; overflow++) {
        struct stalled made;
        struct fsk_batch *batches[FSK_RECEIVER_SHARDS];
        uint32_t numbers[FSK_RECEIVER_SHARDS], counts[FSK_RECEIVER_SHARDS];
        struct fsk_receiver_options options = with_overflow((enum fsk_overflow)overflow);
        unsigned held = 0;
        int fd = open_bound(AF_INET, SOCK_DGRAM, &made.name);
        made.sender = socket(AF_INET, SOCK_DGRAM, 0);
        made.receiver = open_receiver(fd, &options);
        made.sent = 0;
        struct fsk_receiver_stats stats = stats_of(made.receiver);
        /* One message each, until there is no block left. */
        while (claim(made.receiver, &made.name, made.sender, &made.sent, &batches[held])) {
            numbers[held] = number_of(batches[held], 0);
            counts[held] = batches[held]->count;
            REQUIRE(++held < FSK_RECEIVER_SHARDS);
        }
        CHECK(held >= 2);
        for (int i = 0; i < 100; i++)
            REQUIRE(send_number(made.sender, &made.name, (uint32_t)made.sent++, LENGTH) == LENGTH);
        if (overflow != FSK_OVERFLOW_BLOCK)
            await_counted(made.receiver, made.sent);
        stats = stats_of(made.receiver);
        CHECK_INT(stats.pinned, held);
        CHECK_INT(stats.delivered, held);
        if (overflow != FSK_OVERFLOW_BLOCK)
            CHECK_INT(stats.ring_drops + stats.kernel_drops, 101);
        else
            CHECK_INT(stats.ring_drops, 0);
        for (unsigned i = 0; i < held; i++) {
            CHECK_INT(batches[i]->count, counts[i]);
            CHECK_INT(number_of(batches[i], 0), numbers[i]);
            fsk_receiver_release(made.receiver, batches[i]);
        }
        if (overflow == FSK_OVERFLOW_BLOCK)
            await_counted(made.receiver, made.sent);
        REQUIRE(send_number(made.sender, &made.name, (uint32_t)made.sent++, LENGTH) == LENGTH);
        for (uint32_t number = 0; number + 1 < made.sent;) {
            struct fsk_batch *batch = next_batch(made.receiver);
            number = number_of(batch, batch->count - 1);
            fsk_receiver_release(made.receiver, batch);
        }
        unstall(&made);
    }
}

static void close_counts_what_is_left(void) {
    for (int overflow = FSK_OVERFLOW_DROP_NEWEST; overflow <= FSK_OVERFLOW_BLOCK; overflow++) {
        int pair[2];
        uint32_t sent = 0;
        struct fsk_receiver_options options = with_overflow((enum fsk_overflow)overflow);
        open_unix_pair(SOCK_DGRAM, pair);
        struct fsk_receiver *receiver = open_receiver(pair[0], &options);
        while (sent < STALLED && send_number(pair[1], NULL, sent, LENGTH) == LENGTH)
            sent++;
        struct fsk_batch *batch = next_batch(receiver);
        uint32_t taken = batch->count;
        fsk_receiver_release(receiver, batch);
        struct fsk_receiver_stats stats = end_receiver(receiver);
        CHECK_INT(stats.received, sent);
        CHECK_INT(stats.delivered, taken);
        CHECK_INT(stats.discarded, sent - taken - stats.ring_drops);
        close(pair[1]);
    }
}

/* Also with an error that stands before the messages. */
static void close_counts_what_the_kernel_holds(void) {
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_BLOCK);
    struct udp_pair pair;
    struct fsk_batch *batches[FSK_RECEIVER_SHARDS];
    unsigned held = 0;
    uint64_t sent = 0;
    open_udp(AF_INET, &pair);
    int copy = dup(pair.receiver);
    struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
    while (claim(receiver, &pair.to, pair.sender, &sent, &batches[held]))
        REQUIRE(++held < FSK_RECEIVER_SHARDS);
    for (int i = 0; i < 20; i++)
        REQUIRE(send_number(pair.sender, &pair.to, (uint32_t)sent++, LENGTH) == LENGTH);
    /* The socket's own message is refused, which it is told as an error. */
    REQUIRE(connect(copy, &pair.from.name.any, pair.from.length) == 0);
    close(pair.sender);
    REQUIRE(send_number(copy, NULL, 0, LENGTH) == LENGTH);
    CHECK_INT(fsk_receiver_close(receiver), 0);
    close(copy);
    for (unsigned i = 0; i < held; i++)
        fsk_receiver_release(receiver, batches[i]);
    struct fsk_receiver_stats stats = end_receiver(receiver);
    CHECK_INT(stats.received, sent);
    CHECK_INT(stats.delivered, held);
    CHECK_INT(stats.discarded, sent - held);
}

/* A small receive buffer: the kernel drops, and tells exactly how many. */
static void sent_is_received_or_dropped_by_the_kernel(void) {
    const int bytes = 2304;
    struct stalled made;
    uint64_t taken, total = 0;
    struct fsk_receiver_options options = usual();
    int fd = open_bound(AF_INET, SOCK_DGRAM, &made.name);
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
    options.gro = false;
    made.sender = socket(AF_INET, SOCK_DGRAM, 0);
    made.receiver = open_receiver(fd, &options);
    for (made.sent = 0; made.sent < 5000; made.sent++)
        REQUIRE(send_number(made.sender, &made.name, (uint32_t)made.sent, 100) == 100);
    settle();
    made.stats = stats_of(made.receiver);
    await_counted(made.receiver, made.sent);
    take_growing(&made, 0, true, &total);
    made.stats = stats_of(made.receiver);
    CHECK(made.stats.kernel_drops_exact);
    CHECK_INT(made.stats.ring_drops, 0);
    CHECK_INT(made.stats.received + made.stats.kernel_drops, made.sent);
    CHECK_INT(made.stats.delivered, total);
    take_growing(&made, 0, true, &taken);
    CHECK_INT(taken, 0);
    unstall(&made);
}

/* What shadow memory a sanitizer adds to each byte, in eighths. */
#if defined(__SANITIZE_THREAD__)
enum { SHADOW = 64 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SHADOW = 1 };
#else
enum { SHADOW = 0 };
#endif

static size_t resident_bytes(void) {
    size_t total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file != NULL && fscanf(file, "%zu %zu", &total, &resident) == 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void memory_is_bounded_and_given_back(void) {
    const size_t slack = (size_t)3 << 20; /* the thread's stack, malloc, the test's own */
    struct stalled made;
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_DROP_OLDEST);
    options.memory = (size_t)8 << 20;
    size_t before = resident_bytes();
    int fd = open_bound(AF_INET, SOCK_DGRAM, &made.name);
    made.sender = socket(AF_INET, SOCK_DGRAM, 0);
    made.receiver = open_receiver(fd, &options);
    for (made.sent = 0; made.sent < 300;) {
        ssize_t length = made.sent % 8 == 0 ? 8 : 60000;
        REQUIRE(send_number(made.sender, &made.name, (uint32_t)made.sent++, (size_t)length) ==
                length);
        await_counted(made.receiver, made.sent);
    }
    size_t used = resident_bytes() - before;
    CHECK(used < options.memory + options.memory / 8 * SHADOW + slack);
    CHECK(stats_of(made.receiver).ring_drops > 0);
    CHECK_INT(fsk_receiver_close(made.receiver), 0);
    CHECK(resident_bytes() < before + options.memory / 8 * SHADOW + slack);
    unstall(&made);
}

int main(void) {
    RUN(drop_newest_keeps_the_oldest);
    RUN(drop_oldest_keeps_the_newest);
    RUN(block_leaves_the_dropping_to_the_kernel);
    RUN(block_holds_up_unix_senders);
    RUN(claimed_blocks_are_never_touched);
    RUN(close_counts_what_is_left);
    RUN(close_counts_what_the_kernel_holds);
    RUN(sent_is_received_or_dropped_by_the_kernel);
    RUN(memory_is_bounded_and_given_back);
    return check_report();
}
