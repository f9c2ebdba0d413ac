/* SPDX-License-Identifier: MIT
 * A receiver in the hands of several threads: senders, a consumer with moods, one that gives batches
 * back, one that reads the counts, one that closes. FASTSOCK_STRESS_MS makes each run last so long.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "receivers.h"

enum { SENDERS = 2, HELD = 4, LENGTH = 200 };

static struct {
    struct fsk_receiver *receiver;
    struct fsk_address names[2];
    atomic_bool is_over;
    atomic_uint_fast64_t sent;
    _Atomic(struct fsk_batch *) returned[HELD]; /* by the consumer, for another thread to release */
    uint64_t wrong;
} shared;

static int stress_ms(void) {
    const char *wish = getenv("FASTSOCK_STRESS_MS");
    return wish == NULL ? 60 : atoi(wish);
}

/* Numbers with the sender's own in the last place. */
static void *send_numbers(void *argument) {
    uint32_t place = (uint32_t)(uintptr_t)argument;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    for (uint32_t i = 0; !atomic_load(&shared.is_over); i++) {
        uint32_t number = i * SENDERS + place;
        if (send_number(fd, &shared.names[place], number, 4 + number % LENGTH) >= 0)
            atomic_fetch_add(&shared.sent, 1);
    }
    close(fd);
    return NULL;
}

static void *release(void *unused) {
    while (!atomic_load(&shared.is_over)) {
        for (int i = 0; i < HELD; i++) {
            struct fsk_batch *batch = atomic_exchange(&shared.returned[i], NULL);
            if (batch != NULL)
                fsk_receiver_release(shared.receiver, batch);
        }
        sched_yield();
    }
    return unused;
}

/* At any moment the parts are no more than the whole. */
static void *look(void *unused) {
    do {
        struct fsk_receiver_stats stats = {.size = sizeof stats};
        REQUIRE(fsk_receiver_stats(shared.receiver, &stats) == 0);
        shared.wrong +=
            stats.received != stats.delivered + stats.ring_drops + stats.queued + stats.discarded ||
            stats.queued > stats.received || stats.pinned > 2 * 64;
        sched_yield();
    } while (!atomic_load(&shared.is_over));
    return unused;
}

static void give_back(struct fsk_batch *batch, unsigned turn) {
    if (turn % 2 == 0)
        batch = atomic_exchange(&shared.returned[turn % HELD], batch);
    if (batch != NULL)
        fsk_receiver_release(shared.receiver, batch);
}

/* Returns the messages taken; every sender's numbers grow. */
static uint64_t take_with_moods(uint64_t *wrong) {
    uint32_t last[SENDERS] = {0};
    uint64_t taken = 0;
    struct fsk_batch *batch;
    int64_t deadline = clock_ns() + stress_ms() * INT64_C(1000000);
    int64_t timeouts[] = {0, 1, SECOND / 100};
    for (unsigned turn = 0; clock_ns() < deadline || taken == 0; turn++) {
        int count = fsk_receiver_next(shared.receiver, timeouts[turn % 3], &batch);
        if (count == -EAGAIN)
            continue;
        REQUIRE(count > 0);
        for (uint32_t row = 0; row < batch->count; row++) {
            uint32_t number = number_of(batch, row);
            *wrong += number != 0 && number < last[number % SENDERS];
            *wrong += batch->lengths[row] != 4 + number % LENGTH;
            last[number % SENDERS] = number;
        }
        taken += batch->count;
        if (turn % 50 == 49)
            poll(NULL, 0, 3); /* stalls */
        give_back(batch, turn);
    }
    return taken;
}

static void run_all(enum fsk_overflow overflow, unsigned sockets) {
    struct fsk_receiver_options options = with_overflow(overflow);
    pthread_t threads[SENDERS + 2];
    uint64_t wrong = 0;
    int fds[2];
    options.memory *= sockets;
    for (unsigned i = 0; i < 2; i++)
        fds[i] = open_bound(AF_INET, SOCK_DGRAM, &shared.names[i]);
    if (sockets == 1) {
        shared.names[1] = shared.names[0];
        close(fds[1]);
    }
    atomic_store(&shared.is_over, false);
    atomic_store(&shared.sent, 0);
    shared.wrong = 0;
    REQUIRE(fsk_receiver_open(&shared.receiver, fds, sockets, &options) == 0);
    for (uintptr_t i = 0; i < SENDERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, send_numbers, (void *)i) == 0);
    REQUIRE(pthread_create(&threads[SENDERS], NULL, release, NULL) == 0);
    REQUIRE(pthread_create(&threads[SENDERS + 1], NULL, look, NULL) == 0);
    uint64_t taken = take_with_moods(&wrong);
    atomic_store(&shared.is_over, true);
    for (int i = 0; i < SENDERS + 2; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < HELD; i++) {
        struct fsk_batch *batch = atomic_exchange(&shared.returned[i], NULL);
        if (batch != NULL)
            fsk_receiver_release(shared.receiver, batch);
    }
    struct fsk_receiver_stats stats = end_receiver(shared.receiver);
    CHECK_INT(wrong + shared.wrong, 0);
    CHECK_INT(stats.delivered, taken);
    CHECK_INT(stats.received + stats.kernel_drops, atomic_load(&shared.sent));
    if (overflow == FSK_OVERFLOW_BLOCK)
        CHECK_INT(stats.ring_drops, 0);
}

static void everything_adds_up_with_drop_newest(void) {
    run_all(FSK_OVERFLOW_DROP_NEWEST, 1);
    run_all(FSK_OVERFLOW_DROP_NEWEST, 2);
}

static void everything_adds_up_with_drop_oldest(void) {
    run_all(FSK_OVERFLOW_DROP_OLDEST, 1);
    run_all(FSK_OVERFLOW_DROP_OLDEST, 2);
}

static void everything_adds_up_with_block(void) {
    run_all(FSK_OVERFLOW_BLOCK, 1);
    run_all(FSK_OVERFLOW_BLOCK, 2);
}

/* A consumer that waits only when it has been told by the descriptor: no message is left behind. */
static void no_message_is_left_behind_the_descriptor(void) {
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_BLOCK);
    int pair[2];
    pthread_t thread;
    open_unix_pair(SOCK_DGRAM, pair);
    struct fsk_receiver *receiver = open_receiver(pair[0], &options);
    int fd = fsk_receiver_fd(receiver);
    atomic_store(&shared.is_over, false);
    shared.receiver = receiver;
    shared.wrong = 0;
    REQUIRE(pthread_create(&thread, NULL, look, NULL) == 0);
    uint32_t sent = 0, taken = 0;
    for (int64_t deadline = clock_ns() + stress_ms() * INT64_C(1000000); clock_ns() < deadline;) {
        struct fsk_batch *batch;
        for (unsigned more = 1 + sent % 7; more > 0; more--)
            if (send_number(pair[1], NULL, sent, 4 + sent % LENGTH) >= 0)
                sent++;
        while (taken < sent) {
            if (!CHECK(is_readable(fd, 5000)))
                break;
            if (fsk_receiver_next(receiver, sent % 2 == 0 ? 0 : 1000, &batch) < 0)
                continue;
            for (uint32_t row = 0; row < batch->count; row++)
                CHECK_INT(number_of(batch, row), taken++);
            fsk_receiver_release(receiver, batch);
        }
    }
    atomic_store(&shared.is_over, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_INT(shared.wrong, 0);
    CHECK_INT(end_receiver(receiver).delivered, sent);
    close(pair[1]);
}

static void *close_now(void *receiver) {
    while (!atomic_load(&shared.is_over))
        sched_yield();
    CHECK_INT(fsk_receiver_close(receiver), 0);
    return NULL;
}

/* While senders send, a consumer takes and two others close. */
static void close_beside_everything_else(void) {
    for (int turn = 0; turn < 20; turn++) {
        struct fsk_receiver_options options = with_overflow((enum fsk_overflow)(turn % 3));
        struct fsk_batch *batch, *held[64];
        pthread_t threads[3];
        unsigned count = 0;
        uint64_t taken = 0;
        int result;
        int fd = open_bound(AF_INET, SOCK_DGRAM, &shared.names[0]);
        options.gro = turn % 2 == 0;
        atomic_store(&shared.is_over, false);
        shared.receiver = open_receiver(fd, &options);
        REQUIRE(pthread_create(&threads[0], NULL, send_numbers, (void *)0) == 0);
        REQUIRE(pthread_create(&threads[1], NULL, close_now, shared.receiver) == 0);
        REQUIRE(pthread_create(&threads[2], NULL, look, NULL) == 0);
        while ((result = fsk_receiver_next(shared.receiver, FSK_FOREVER, &batch)) > 0) {
            taken += batch->count;
            if (count < 3)
                held[count++] = batch;
            else
                fsk_receiver_release(shared.receiver, batch);
            if (taken > (unsigned)turn * 20)
                atomic_store(&shared.is_over, true);
        }
        CHECK_INT(result, -EBADF);
        CHECK_INT(fsk_receiver_close(shared.receiver), 0);
        for (int i = 0; i < 3; i++)
            REQUIRE(pthread_join(threads[i], NULL) == 0);
        while (count > 0) {
            for (uint32_t row = 0; row < held[count - 1]->count; row++)
                number_of(held[count - 1], row);
            fsk_receiver_release(shared.receiver, held[--count]);
        }
        CHECK_INT(end_receiver(shared.receiver).delivered, taken);
    }
}

int main(void) {
    RUN(everything_adds_up_with_drop_newest);
    RUN(everything_adds_up_with_drop_oldest);
    RUN(everything_adds_up_with_block);
    RUN(no_message_is_left_behind_the_descriptor);
    RUN(close_beside_everything_else);
    return check_report();
}
