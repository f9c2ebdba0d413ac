/* SPDX-License-Identifier: MIT
 * The queue of blocks: its order and its limits in one thread, and that with several threads every
 * message is had exactly once and no block changes in a consumer's hands.
 *
 * FASTSOCK_STRESS_MS makes the threads run for so many milliseconds a test.
 */
#include "ring.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "check.h"

enum {
    BLOCKS = 6,
    ROWS = 32,
    ROUND = 1 << 19, /* messages a round has at most */
    CONSUMERS = 2,
    NEVER = 0xff, /* of a slot in order[] that is not to be read */
};

static void start_at(struct fski_ring *ring, unsigned count, uint32_t number) {
    fski_ring_init(ring, count);
    atomic_store(&ring->ends, (uint64_t)number << 32 | number);
    for (unsigned i = 0; i < FSKI_RING_BLOCKS; i++)
        atomic_store(&ring->order[i], (uint8_t)NEVER);
}

static void each_block_is_taken_once(void) {
    struct fski_ring ring;
    for (unsigned count = 1; count <= FSKI_RING_BLOCKS; count++) {
        uint64_t taken = 0;
        fski_ring_init(&ring, count);
        CHECK_INT(fski_ring_free(&ring), count);
        for (unsigned i = 0; i < count; i++) {
            int block = fski_ring_take(&ring);
            REQUIRE(block >= 0 && block < (int)count);
            CHECK_INT(taken >> block & 1, 0);
            taken |= UINT64_C(1) << block;
        }
        CHECK_INT(fski_ring_take(&ring), -1);
        CHECK_INT(fski_ring_free(&ring), 0);
        fski_ring_release(&ring, (int)count - 1);
        CHECK_INT(fski_ring_free(&ring), 1);
        CHECK_INT(fski_ring_take(&ring), (int)count - 1);
        CHECK_INT(fski_ring_take(&ring), -1);
    }
}

static void empty_ring_has_nothing_to_pop_or_pull(void) {
    struct fski_ring ring;
    fski_ring_init(&ring, 3);
    CHECK_INT(fski_ring_length(&ring), 0);
    CHECK_INT(fski_ring_pop(&ring), -1);
    CHECK(!fski_ring_pull(&ring));
    CHECK_INT(fski_ring_pop(&ring), -1);
    CHECK_INT(fski_ring_length(&ring), 0);
}

/* Full, from each of the numbers on: past the slots, and past what a number can be. */
static void full_ring_keeps_its_order(void) {
    const uint32_t starts[] = {0, 1, 63, 64, UINT32_MAX - 64, UINT32_MAX - 31, UINT32_MAX};
    struct fski_ring ring;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        start_at(&ring, FSKI_RING_BLOCKS, starts[i]);
        for (int block = 0; block < FSKI_RING_BLOCKS; block++) {
            CHECK_INT(fski_ring_take(&ring), block);
            CHECK_INT(fski_ring_length(&ring), block);
            fski_ring_push(&ring, FSKI_RING_BLOCKS - 1 - block);
        }
        CHECK_INT(fski_ring_length(&ring), FSKI_RING_BLOCKS);
        CHECK_INT(fski_ring_take(&ring), -1);
        for (int block = FSKI_RING_BLOCKS - 1; block >= 0; block--)
            CHECK_INT(fski_ring_pop(&ring), block);
        CHECK_INT(fski_ring_pop(&ring), -1);
        CHECK_INT(fski_ring_free(&ring), 0);
    }
}

static void order_holds_past_the_largest_number(void) {
    struct fski_ring ring;
    unsigned char queued[4 * FSKI_RING_BLOCKS];
    unsigned first = 0, last = 0;
    start_at(&ring, 5, UINT32_MAX - 50);
    while (first < sizeof queued) {
        int block = last < sizeof queued ? fski_ring_take(&ring) : -1;
        if (block >= 0) {
            fski_ring_push(&ring, block);
            queued[last++] = (unsigned char)block;
            if (last % 3 != 0)
                continue;
        }
        CHECK_INT(fski_ring_length(&ring), last - first);
        CHECK_INT(fski_ring_pop(&ring), queued[first]);
        fski_ring_release(&ring, queued[first++]);
    }
    CHECK_INT(fski_ring_pop(&ring), -1);
    CHECK_INT(fski_ring_free(&ring), 5);
}

static void pulled_block_is_not_there_until_it_is_pushed_again(void) {
    struct fski_ring ring;
    for (uint32_t start = UINT32_MAX - 3; start != 2; start++) {
        start_at(&ring, 3, start);
        fski_ring_push(&ring, fski_ring_take(&ring));
        fski_ring_push(&ring, fski_ring_take(&ring));
        CHECK(fski_ring_pull(&ring));
        CHECK_INT(fski_ring_length(&ring), 1);
        CHECK_INT(fski_ring_pop(&ring), 0);
        CHECK_INT(fski_ring_pop(&ring), -1);
        CHECK(!fski_ring_pull(&ring));
        fski_ring_push(&ring, 1);
        CHECK(fski_ring_pull(&ring));
        CHECK_INT(fski_ring_pop(&ring), -1);
        fski_ring_push(&ring, 1);
        CHECK_INT(fski_ring_pop(&ring), 1);
        CHECK(!fski_ring_pull(&ring));
    }
}

/*
 * The threads. A block holds the numbers of messages, and their sum as it was when it was pushed.
 */
struct block {
    uint32_t count;
    uint32_t sum;
    uint32_t numbers[ROWS];
};

/* Which numbers a thread has had; nobody else looks at it before the thread has ended. */
struct had {
    uint64_t count;
    uint64_t twice;   /* had before, or not after the one before */
    uint64_t changed; /* blocks that did while they were looked at */
    uint32_t last;
    uint64_t bits[ROUND / 64];
};

static struct {
    struct fski_ring ring;
    struct block blocks[BLOCKS];
    atomic_bool is_over;
    bool drops_oldest;
    uint32_t sent;
    uint64_t refused; /* that found no block */
    struct had producer;
    struct had consumers[CONSUMERS];
} shared;

static int64_t now_ms(void) {
    struct timespec now;
    REQUIRE(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int stress_ms(void) {
    const char *wish = getenv("FASTSOCK_STRESS_MS");
    return wish == NULL ? 120 : atoi(wish);
}

static void note(struct had *had, const struct block *block) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t number = block->numbers[i];
        uint64_t bit = UINT64_C(1) << number % 64;
        had->twice += (had->bits[number / 64] & bit) != 0 || (had->count > 0 && number <= had->last);
        had->bits[number / 64] |= bit;
        had->last = number;
        had->count++;
        sum += number;
    }
    had->changed += block->count == 0 || sum != block->sum;
}

/* What a lane does when no block is free. */
static int make_way(void) {
    if (!shared.drops_oldest)
        return -1;
    int oldest = fski_ring_pop(&shared.ring);
    if (oldest >= 0)
        note(&shared.producer, &shared.blocks[oldest]);
    return oldest;
}

static void produce(int64_t until) {
    int open = -1;
    uint32_t number = 0;
    for (; number < ROUND && (number % 1024 != 0 || now_ms() < until); number++) {
        if (open >= 0 && !fski_ring_pull(&shared.ring))
            open = -1;
        bool is_new = open < 0;
        if (is_new)
            open = fski_ring_take(&shared.ring);
        if (open < 0)
            open = make_way();
        if (open < 0) {
            shared.refused++;
            sched_yield();
            continue;
        }
        struct block *block = &shared.blocks[open];
        if (is_new)
            block->count = block->sum = 0;
        block->numbers[block->count++] = number;
        block->sum += number;
        fski_ring_push(&shared.ring, open);
        if (block->count == ROWS)
            open = -1;
    }
    shared.sent = number;
}

static void *consume(void *argument) {
    struct had *had = argument;
    for (bool is_over = false;;) {
        int number = fski_ring_pop(&shared.ring);
        if (number < 0 && is_over)
            return NULL;
        if (number < 0) {
            is_over = atomic_load(&shared.is_over);
            continue;
        }
        struct block before = shared.blocks[number];
        note(had, &before);
        if (had->count % 64 == 0)
            sched_yield();
        had->changed += memcmp(&before, &shared.blocks[number], sizeof before) != 0;
        fski_ring_release(&shared.ring, number);
    }
}

static void run_round(int consumers, uint32_t start, int64_t until) {
    pthread_t threads[CONSUMERS];
    memset(&shared.producer, 0, sizeof shared.producer);
    memset(shared.consumers, 0, sizeof shared.consumers);
    shared.refused = 0;
    start_at(&shared.ring, BLOCKS, start);
    atomic_store(&shared.is_over, false);
    for (int i = 0; i < consumers; i++)
        REQUIRE(pthread_create(&threads[i], NULL, consume, &shared.consumers[i]) == 0);
    produce(until);
    atomic_store(&shared.is_over, true);
    uint64_t had = shared.producer.count;
    uint64_t wrong = shared.producer.twice + shared.producer.changed;
    for (int i = 0; i < consumers; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        had += shared.consumers[i].count;
        wrong += shared.consumers[i].twice + shared.consumers[i].changed;
        for (int word = 0; word < ROUND / 64; word++) {
            wrong += (shared.producer.bits[word] & shared.consumers[i].bits[word]) != 0;
            shared.producer.bits[word] |= shared.consumers[i].bits[word];
        }
    }
    CHECK_INT(wrong, 0);
    CHECK_INT(had + shared.refused, shared.sent);
    CHECK_INT(fski_ring_length(&shared.ring), 0);
    CHECK_INT(fski_ring_free(&shared.ring), BLOCKS);
}

/* Rounds begin a little below the largest number, so that each goes past it. */
static void run_rounds(int consumers, bool drops_oldest) {
    int64_t until = now_ms() + stress_ms();
    shared.drops_oldest = drops_oldest;
    do
        run_round(consumers, UINT32_MAX - 1000, until);
    while (now_ms() < until);
}

static void one_consumer_has_every_message_once(void) {
    run_rounds(1, false);
}

static void consumer_and_dropping_producer_have_every_message_once(void) {
    run_rounds(1, true);
    CHECK_INT(shared.refused, 0);
}

static void several_consumers_have_every_message_once(void) {
    run_rounds(CONSUMERS, false);
    run_rounds(CONSUMERS, true);
}

int main(void) {
    RUN(each_block_is_taken_once);
    RUN(empty_ring_has_nothing_to_pop_or_pull);
    RUN(full_ring_keeps_its_order);
    RUN(order_holds_past_the_largest_number);
    RUN(pulled_block_is_not_there_until_it_is_pushed_again);
    RUN(one_consumer_has_every_message_once);
    RUN(consumer_and_dropping_producer_have_every_message_once);
    RUN(several_consumers_have_every_message_once);
    return check_report();
}
