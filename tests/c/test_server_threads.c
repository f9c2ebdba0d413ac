/* SPDX-License-Identifier: MIT
 * A server in the hands of several threads: one that serves, clients, and others that interrupt and stop
 * it. FASTSOCK_STRESS_MS makes each run last so long. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "servers.h"

enum { CLIENTS = 3, INTERRUPTERS = 2, LENGTH = 50 };

static struct {
    struct served served;
    atomic_bool is_over;
    atomic_uint_fast64_t sent;
    atomic_uint_fast64_t interrupts;
} shared;

static int64_t stress_ns(void) {
    const char *wish = getenv("FASTSOCK_STRESS_MS");
    return (wish == NULL ? 60 : atoi(wish)) * INT64_C(1000000);
}

static void *interrupt(void *unused) {
    while (!atomic_load(&shared.is_over)) {
        atomic_fetch_add(&shared.interrupts, 1);
        fsk_server_interrupt(shared.served.server);
        sched_yield();
    }
    return unused;
}

/* Requests of changing length, each with its answer. */
static void *ask(void *argument) {
    uint32_t seed = (uint32_t)(uintptr_t)argument;
    unsigned char request[4 + LENGTH], answer[4 + LENGTH];
    int fd = open_connected(&shared.served.name);
    while (!atomic_load(&shared.is_over)) {
        size_t size = write_frame(request, seed, seed % LENGTH);
        send_all(fd, request, size);
        if (recv(fd, answer, size, MSG_WAITALL) != (ssize_t)size) {
            CHECK(atomic_load(&shared.is_over));
            break;
        }
        CHECK(memcmp(answer, request, size) == 0);
        atomic_fetch_add(&shared.sent, 1);
        seed++;
    }
    close(fd);
    return NULL;
}

static void answer_all(const struct served *served) {
    const struct fsk_batch *batch = served->batch;
    for (uint32_t row = 0; row < batch->count; row++) {
        int result = fsk_server_send(served->server, batch->source[row],
                                     batch->arena + batch->offsets[row], batch->lengths[row]);
        if (result != 0)
            CHECK_INT(result, -EPIPE);
    }
}

static void every_request_is_answered_beside_interrupts(void) {
    struct served *served = &shared.served;
    const struct fsk_server_options options = usual();
    pthread_t threads[CLIENTS + INTERRUPTERS];
    uint64_t opened = 0, closed = 0, frames = 0;
    size_t count;
    int result;
    *served = start_rows(&options, 2);
    atomic_store(&shared.is_over, false);
    for (uintptr_t i = 0; i < CLIENTS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, ask, (void *)(i * 1000)) == 0);
    for (int i = 0; i < INTERRUPTERS; i++)
        REQUIRE(pthread_create(&threads[CLIENTS + i], NULL, interrupt, NULL) == 0);
    for (int64_t until = clock_ns() + stress_ns(); closed < CLIENTS;) {
        if (clock_ns() >= until && frames > 0)
            atomic_store(&shared.is_over, true);
        result = fsk_server_next(served->server, LONG_WAIT, served->batch);
        if (result == -EINTR)
            continue;
        REQUIRE(result == 1);
        frames += served->batch->count;
        fsk_server_opened(served->server, &count);
        opened += count;
        fsk_server_closed(served->server, &count);
        closed += count;
        answer_all(served);
    }
    for (int i = 0; i < CLIENTS + INTERRUPTERS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    CHECK_INT(opened, CLIENTS);
    CHECK_INT(frames, stats_of(served).frames_received);
    CHECK_INT(frames, atomic_load(&shared.sent));
    CHECK(atomic_load(&shared.interrupts) > 0);
    fsk_server_free(served->server);
    fsk_batch_free(served->batch);
}

static void *stop(void *unused) {
    atomic_store(&shared.is_over, true);
    fsk_server_stop(shared.served.server, SECOND);
    fsk_server_stop(shared.served.server, 0);
    return unused;
}

static void stop_from_another_thread_ends_the_wait(void) {
    for (int round = 0; round < 100; round++) {
        pthread_t thread;
        shared.served = start_usual();
        int client = open_connected(&shared.served.name);
        REQUIRE(pthread_create(&thread, NULL, stop, NULL) == 0);
        int result;
        while ((result = take(&shared.served, FSK_FOREVER)) == 1) {
        }
        CHECK_INT(result, 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        CHECK_INT(stats_of(&shared.served).closed[FSK_CLOSE_LOCAL], 1);
        close(client);
        end_served(&shared.served);
    }
}

int main(void) {
    RUN(every_request_is_answered_beside_interrupts);
    RUN(stop_from_another_thread_ends_the_wait);
    return check_report();
}
