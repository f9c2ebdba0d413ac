/* SPDX-License-Identifier: MIT
 * A receiver: its lanes, one for each socket, and the consumer that waits for all of them.
 *
 * Closing in one thread while others are in a call: users counts who is in one, with one for being
 * open. Close ends the waits by the bell and goes on when it is alone; who comes later finds no user
 * and stays out.
 */
#include <fastsock/receiver.h>

#include <errno.h>
#include <stdlib.h>

#include <fastsock/socket.h>

#include "extensible.h"
#include "kernel.h"
#include "lane.h"

struct fsk_receiver {
    struct fsk_receiver_options options;
    struct fski_bell bell;  /* wakes the consumer */
    atomic_bool is_watched; /* the bell's descriptor has been handed out */
    atomic_bool is_closed;
    atomic_uint users; /* calls that need descriptors, and 1 as long as it is open */
    pid_t owner;
    unsigned turn;  /* of the lanes, the consumer's */
    unsigned count; /* lanes */
    struct fski_lane lanes[];
};

static int check_options(const struct fsk_receiver_options *options, unsigned count) {
    bool is_right = count >= 1 && count <= FSK_RECEIVER_SHARDS && options->memory <= PTRDIFF_MAX &&
                    options->memory / count >= FSK_RECEIVER_MEMORY && options->priority >= 0 &&
                    options->overflow >= FSK_OVERFLOW_DROP_NEWEST &&
                    options->overflow <= FSK_OVERFLOW_BLOCK;
    return is_right ? 0 : -EINVAL;
}

/* Ends what has begun of the first lanes; their sockets stay as they were. */
static void undo(struct fsk_receiver *receiver, unsigned opened) {
    receiver->options.keeps_sockets = true;
    for (unsigned i = 0; i < opened; i++) {
        fski_lane_stop(&receiver->lanes[i]);
        fski_lane_close(&receiver->lanes[i]);
        fski_lane_free(&receiver->lanes[i]);
    }
    fski_bell_close(&receiver->bell);
    free(receiver);
}

int fsk_receiver_open(struct fsk_receiver **receiver, const int *fds, unsigned count,
                      const struct fsk_receiver_options *given) {
    *receiver = NULL;
    struct fsk_receiver_options options;
    int result = fski_extensible_read(&options, sizeof options,
                                      FSKI_UP_TO(struct fsk_receiver_options, key), given);
    if (result == 0)
        result = check_options(&options, count);
    if (result < 0)
        return result;
    struct fsk_receiver *made = NULL;
    size_t size = sizeof *made + count * sizeof made->lanes[0];
    if (posix_memalign((void **)&made, _Alignof(struct fsk_receiver), size) != 0)
        return -ENOMEM;
    memset(made, 0, size);
    made->options = options;
    made->count = count;
    made->owner = getpid();
    atomic_init(&made->users, 1);
    result = fski_bell_open(&made->bell);
    if (result < 0) {
        free(made);
        return result;
    }
    unsigned opened = 0;
    for (; result >= 0 && opened < count; opened += result >= 0)
        result = fski_lane_open(&made->lanes[opened], fds[opened], options.memory / count,
                                &made->options, &made->bell);
    for (unsigned i = 0; result >= 0 && i < count; i++)
        result = fski_lane_start(&made->lanes[i], options.cpus == NULL ? -1 : options.cpus[i]);
    if (result < 0) {
        undo(made, opened);
        return result;
    }
    /* All are ready before any receives, and nothing can fail that would lose what it has received. */
    for (unsigned i = 0; i < count; i++)
        fski_lane_go(&made->lanes[i]);
    made->options.cpus = NULL;
    *receiver = made;
    return 0;
}

/* Enter a call that needs descriptors. Returns 0, -EBADF or -ECHILD. */
static int enter(struct fsk_receiver *receiver) {
    if (receiver->owner != getpid())
        return -ECHILD;
    unsigned users = atomic_load(&receiver->users);
    while (users > 0)
        if (atomic_compare_exchange_weak(&receiver->users, &users, users + 1))
            return 0;
    return -EBADF;
}

static void leave(struct fsk_receiver *receiver) {
    atomic_fetch_sub(&receiver->users, 1);
}

static struct fsk_batch *take(struct fsk_receiver *receiver) {
    for (unsigned i = 0; i < receiver->count; i++) {
        struct fsk_batch *batch = fski_lane_pop(&receiver->lanes[receiver->turn]);
        receiver->turn = receiver->turn + 1 < receiver->count ? receiver->turn + 1 : 0;
        if (batch != NULL)
            return batch;
    }
    return NULL;
}

static bool has_queued(const struct fsk_receiver *receiver) {
    for (unsigned i = 0; i < receiver->count; i++)
        if (fski_ring_length(&receiver->lanes[i].blocks.ring) > 0)
            return true;
    return false;
}

/* Whether all threads have ended: 0, FSKI_LANE_END, or the error of one. */
static int ended(struct fsk_receiver *receiver) {
    int all = FSKI_LANE_END;
    for (unsigned i = 0; i < receiver->count; i++) {
        int result = atomic_load(&receiver->lanes[i].result);
        if (result == 0)
            return 0;
        if (result < 0)
            all = result;
    }
    return all;
}

/* Whether the consumer has something to learn. */
static bool has_news(struct fsk_receiver *receiver) {
    return has_queued(receiver) || ended(receiver) != 0 || atomic_load(&receiver->is_closed);
}

/* Makes the descriptor that was handed out tell the truth, also when this call has silenced it with
 * more to come: it is readable, or armed with nothing queued. */
static void set_readable(struct fsk_receiver *receiver) {
    if (!atomic_load(&receiver->is_watched))
        return;
    if (!has_queued(receiver))
        fski_bell_silence(&receiver->bell);
    fski_bell_arm(&receiver->bell);
    if (has_news(receiver))
        fski_bell_ring(&receiver->bell, false);
}

/* Returns 1 when there may be something, 0 when the time is over, or -EINTR. */
static int wait_for_bell(struct fsk_receiver *receiver, int64_t timeout_ns) {
    fski_bell_arm(&receiver->bell);
    if (has_news(receiver))
        return 1;
    int result = fsk_socket_wait(receiver->bell.poll_fd, FSK_WAIT_READABLE, timeout_ns);
    if (result > 0)
        fski_bell_silence(&receiver->bell);
    return result;
}

/* The call itself, entered. */
static int next(struct fsk_receiver *receiver, int64_t timeout_ns, struct fsk_batch **batch) {
    int64_t now = fski_now_ns();
    int64_t deadline = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
    for (;;) {
        int end = ended(receiver);
        if (atomic_load(&receiver->is_closed))
            return -EBADF;
        *batch = take(receiver);
        if (*batch != NULL)
            return (int)(*batch)->count;
        if (end != 0)
            return end == FSKI_LANE_END ? 0 : end;
        int64_t remaining = timeout_ns > 0 ? deadline - fski_now_ns() : timeout_ns;
        if (timeout_ns >= 0 && remaining <= 0)
            return -EAGAIN;
        int result = wait_for_bell(receiver, remaining);
        if (result < 0)
            return result;
    }
}

int fsk_receiver_next(struct fsk_receiver *receiver, int64_t timeout_ns, struct fsk_batch **batch) {
    *batch = NULL;
    int result = enter(receiver);
    if (result < 0)
        return result;
    result = next(receiver, timeout_ns, batch);
    set_readable(receiver);
    leave(receiver);
    return result;
}

void fsk_receiver_release(struct fsk_receiver *receiver, struct fsk_batch *batch) {
    struct fski_lane *lane = ((struct fski_block *)batch)->lane;
    bool may_ring = enter(receiver) >= 0; /* not in a child, whose bell is the parent's */
    fski_lane_release(lane, batch, may_ring);
    if (may_ring)
        leave(receiver);
}

int fsk_receiver_fd(struct fsk_receiver *receiver) {
    int result = enter(receiver);
    if (result < 0)
        return result;
    atomic_store(&receiver->is_watched, true);
    fski_bell_arm(&receiver->bell);
    if (has_news(receiver))
        fski_bell_ring(&receiver->bell, false);
    leave(receiver);
    return receiver->bell.poll_fd;
}

int fsk_receiver_stats(struct fsk_receiver *receiver, struct fsk_receiver_stats *stats) {
    struct fsk_receiver_stats now = {.kernel_drops_exact = true};
    int entered = enter(receiver);
    if (entered == -ECHILD)
        return entered;
    for (unsigned i = 0; i < receiver->count; i++)
        fski_lane_count(&receiver->lanes[i], &now, entered >= 0);
    if (entered >= 0)
        leave(receiver);
    return fski_extensible_write(stats, &now, sizeof now,
                                 FSKI_UP_TO(struct fsk_receiver_stats, pinned));
}

/* Waits until no other thread is in a call that needs descriptors; nobody comes in after that. */
static void shut_out(struct fsk_receiver *receiver) {
    const struct timespec pause = {.tv_nsec = 50000};
    unsigned alone = 1;
    while (!atomic_compare_exchange_weak(&receiver->users, &alone, 0)) {
        if (alone > 1) {
            fski_bell_ring(&receiver->bell, true);
            fski_sleep(&pause);
        }
        alone = 1;
    }
}

static void close_descriptors(struct fsk_receiver *receiver) {
    for (unsigned i = 0; i < receiver->count; i++) {
        fski_lane_close(&receiver->lanes[i]);
        fski_close(receiver->lanes[i].fd);
    }
    fski_bell_close(&receiver->bell);
}

int fsk_receiver_close(struct fsk_receiver *receiver) {
    int result = 0;
    if (atomic_exchange(&receiver->is_closed, true))
        return 0;
    if (receiver->owner != getpid()) {
        close_descriptors(receiver);
        return 0;
    }
    fski_bell_ring(&receiver->bell, true);
    for (unsigned i = 0; i < receiver->count; i++) {
        int stopped = fski_lane_stop(&receiver->lanes[i]);
        result = result < 0 ? result : stopped;
    }
    shut_out(receiver);
    close_descriptors(receiver);
    return result;
}

void fsk_receiver_free(struct fsk_receiver *receiver) {
    if (receiver == NULL)
        return;
    for (unsigned i = 0; i < receiver->count; i++)
        fski_lane_free(&receiver->lanes[i]);
    free(receiver);
}
