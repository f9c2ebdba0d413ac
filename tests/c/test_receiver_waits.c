/* SPDX-License-Identifier: MIT
 * Waiting for a receiver: timeouts, signals, its descriptor, its end, and what it costs to wait. */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/wait.h>

#include "receivers.h"

/* A receiver of a pair's one end. */
struct open_pair {
    struct udp_pair pair;
    struct fsk_receiver *receiver;
};

static void open_waiting(struct open_pair *made) {
    open_udp(AF_INET, &made->pair);
    made->receiver = open_usual(made->pair.receiver);
}

static struct fsk_receiver_stats close_waiting(struct open_pair *made) {
    struct fsk_receiver_stats stats = end_receiver(made->receiver);
    close(made->pair.sender);
    return stats;
}

static void timeout_ends_the_wait(void) {
    const int64_t timeouts[] = {0, 1, 999999, 5000000};
    struct open_pair made;
    struct fsk_batch *batch;
    open_waiting(&made);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        int64_t start = clock_ns();
        CHECK_INT(fsk_receiver_next(made.receiver, timeouts[i], &batch), -EAGAIN);
        CHECK(clock_ns() - start >= timeouts[i]);
        CHECK(batch == NULL);
    }
    /* The longest there is, and for ever. */
    send_plain(&made.pair, 10);
    CHECK_INT(fsk_receiver_next(made.receiver, INT64_MAX, &batch), 1);
    fsk_receiver_release(made.receiver, batch);
    send_plain(&made.pair, 10);
    CHECK_INT(fsk_receiver_next(made.receiver, FSK_FOREVER, &batch), 1);
    fsk_receiver_release(made.receiver, batch);
    close_waiting(&made);
}

/* The thread that receives has all signals blocked, so that a process-wide one finds the waiting one. */
static void signal_ends_the_wait(void) {
    struct open_pair made;
    struct fsk_batch *batch;
    open_waiting(&made);
    start_interrupting();
    CHECK_INT(fsk_receiver_next(made.receiver, LONG_WAIT, &batch), -EINTR);
    CHECK_INT(fsk_receiver_next(made.receiver, FSK_FOREVER, &batch), -EINTR);
    stop_interrupting();
    send_plain(&made.pair, 100);
    take_ledger(made.receiver, false);
    close_waiting(&made);
}

static void no_signal_is_handled_by_the_receive_thread(void) {
    struct open_pair made;
    sigset_t all, before;
    struct sigaction action = {.sa_handler = count_signal};
    const int numbers[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGCHLD, SIGPROF};
    open_waiting(&made);
    sigfillset(&all);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    signals_caught = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        REQUIRE(sigaction(numbers[i], &action, NULL) == 0);
        REQUIRE(kill(getpid(), numbers[i]) == 0);
    }
    for (int i = 0; i < 10; i++) {
        send_plain(&made.pair, 100);
        take_ledger(made.receiver, false);
    }
    CHECK_INT(signals_caught, 0);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    CHECK_INT(signals_caught, sizeof numbers / sizeof *numbers);
    close_waiting(&made);
}

/* More than one block, so that more waits when one is taken. */
static void send_blocks(struct open_pair *made, uint32_t *sent) {
    uint32_t until = *sent + 400;
    while (*sent < until) {
        REQUIRE(send_number(made->pair.sender, &made->pair.to, (*sent)++, 2000) == 2000);
        if (*sent % 10 == 0)
            await_counted(made->receiver, *sent);
    }
}

static void descriptor_is_readable_while_messages_wait(void) {
    struct open_pair made;
    struct fsk_batch *batch;
    uint32_t sent = 0;
    open_waiting(&made);
    int fd = fsk_receiver_fd(made.receiver);
    REQUIRE(fd >= 0);
    CHECK_INT(fsk_receiver_fd(made.receiver), fd);
    CHECK(!is_readable(fd, 0));
    for (int turn = 0; turn < 3; turn++) {
        send_blocks(&made, &sent);
        unsigned blocks = 0;
        do {
            CHECK(is_readable(fd, 5000));
            CHECK_INT(fsk_receiver_fd(made.receiver), fd);
            CHECK(is_readable(fd, 5000));
            blocks++;
            batch = next_batch(made.receiver);
            fsk_receiver_release(made.receiver, batch);
        } while (stats_of(made.receiver).queued > 0);
        CHECK(blocks > 1);
        expect_nothing(made.receiver);
        CHECK(!is_readable(fd, 0));
        expect_nothing(made.receiver);
        CHECK(!is_readable(fd, 0));
    }
    CHECK_INT(fsk_receiver_close(made.receiver), 0);
    CHECK_INT(fsk_receiver_fd(made.receiver), -EBADF);
    close_waiting(&made);
}

/* What waits when the descriptor is first asked for counts too. */
static void descriptor_is_readable_at_once(void) {
    struct open_pair made;
    open_waiting(&made);
    send_plain(&made.pair, 10);
    await_counted(made.receiver, 1);
    CHECK(is_readable(fsk_receiver_fd(made.receiver), 5000));
    take_ledger(made.receiver, false);
    expect_nothing(made.receiver);
    CHECK(!is_readable(fsk_receiver_fd(made.receiver), 0));
    close_waiting(&made);
}

enum { SOCKETS = 6 };

static void *send_to_each(void *argument) {
    const struct udp_pair *pairs = argument;
    poll(NULL, 0, 1);
    for (uint32_t i = 0; i < SOCKETS; i++)
        REQUIRE(send_number(pairs[i].sender, &pairs[i].to, i, 10) == 10);
    return NULL;
}

/* A call that waits uses the descriptor itself, and must not leave it silent with more to come. */
static void descriptor_stays_readable_beside_waiting_calls(void) {
    struct udp_pair pairs[SOCKETS];
    int fds[SOCKETS];
    struct fsk_receiver *receiver;
    struct fsk_receiver_options options = usual();
    options.memory = SOCKETS * FSK_RECEIVER_MEMORY;
    for (int i = 0; i < SOCKETS; i++) {
        open_udp(AF_INET, &pairs[i]);
        fds[i] = pairs[i].receiver;
    }
    REQUIRE(fsk_receiver_open(&receiver, fds, SOCKETS, &options) == 0);
    int fd = fsk_receiver_fd(receiver);
    for (int turn = 0; turn < 30; turn++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, send_to_each, pairs) == 0);
        for (int taken = 0; taken < SOCKETS; taken++) {
            if (taken > 0 && !CHECK(is_readable(fd, 5000)))
                break;
            fsk_receiver_release(receiver, next_batch(receiver));
        }
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    end_receiver(receiver);
    for (int i = 0; i < SOCKETS; i++)
        close(pairs[i].sender);
}

static void *close_later(void *receiver) {
    poll(NULL, 0, 2);
    return fsk_receiver_close(receiver) == 0 ? receiver : NULL;
}

static void close_ends_a_wait_in_another_thread(void) {
    const int64_t timeouts[] = {FSK_FOREVER, LONG_WAIT};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        struct open_pair made;
        struct fsk_batch *batch;
        pthread_t thread;
        void *closed;
        open_waiting(&made);
        REQUIRE(pthread_create(&thread, NULL, close_later, made.receiver) == 0);
        CHECK_INT(fsk_receiver_next(made.receiver, timeouts[i], &batch), -EBADF);
        CHECK(batch == NULL);
        REQUIRE(pthread_join(thread, &closed) == 0);
        CHECK(closed == made.receiver);
        close_waiting(&made);
    }
}

/* The system calls and the CPU time of a while in which nothing comes; of any wait they would be
 * thousands, and all of it. */
static void expect_idle(struct fsk_receiver *receiver) {
    struct timespec before, after;
    struct fsk_batch *batch;
    uint64_t calls = stats_of(receiver).system_calls;
    REQUIRE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before) == 0);
    CHECK_INT(fsk_receiver_next(receiver, SECOND / 10, &batch), -EAGAIN);
    REQUIRE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after) == 0);
    CHECK(stats_of(receiver).system_calls - calls <= 150);
    int64_t used = (after.tv_sec - before.tv_sec) * SECOND + after.tv_nsec - before.tv_nsec;
    CHECK(used < SECOND / 20);
}

static void waiting_costs_nothing(void) {
    struct open_pair made;
    open_waiting(&made);
    REQUIRE(fsk_receiver_fd(made.receiver) >= 0);
    send_plain(&made.pair, 10);
    take_ledger(made.receiver, false);
    expect_nothing(made.receiver);
    uint64_t calls = stats_of(made.receiver).system_calls;
    expect_idle(made.receiver);
    CHECK(stats_of(made.receiver).system_calls - calls <= 3); /* the last of what came before */
    close_waiting(&made);
}

/* poll says for ever that such a socket is ready. */
static void error_queue_does_not_keep_the_thread_busy(void) {
    const int yes = 1;
    struct open_pair made;
    open_udp(AF_INET, &made.pair);
    REQUIRE(setsockopt(made.pair.receiver, IPPROTO_IP, IP_RECVERR, &yes, sizeof yes) == 0);
    int copy = dup(made.pair.receiver);
    made.receiver = open_usual(made.pair.receiver);
    struct fsk_address nobody;
    close(open_bound(AF_INET, SOCK_DGRAM, &nobody));
    REQUIRE(send_number(copy, &nobody, 0, 10) == 10);
    CHECK((poll(&(struct pollfd){.fd = copy}, 1, 5000)) == 1);
    expect_idle(made.receiver);
    send_plain(&made.pair, 100);
    take_ledger(made.receiver, false);
    close(copy);
    close_waiting(&made);
}

/* A consumer that holds every block, and one whose lanes have all ended. */
static void full_and_ended_receivers_are_idle_too(void) {
    struct fsk_receiver_options options = with_overflow(FSK_OVERFLOW_BLOCK);
    struct fsk_batch *batches[FSK_RECEIVER_SHARDS];
    struct udp_pair pair;
    unsigned held = 0;
    open_udp(AF_INET, &pair);
    struct fsk_receiver *receiver = open_receiver(pair.receiver, &options);
    do
        send_plain(&pair, 10);
    while (fsk_receiver_next(receiver, SECOND / 20, &batches[held]) > 0 && ++held);
    send_plain(&pair, 10);
    expect_idle(receiver);
    for (unsigned i = 0; i < held; i++)
        fsk_receiver_release(receiver, batches[i]);
    shutdown(pair.receiver, SHUT_RD);
    struct fsk_batch *batch;
    while (fsk_receiver_next(receiver, LONG_WAIT, &batch) > 0)
        fsk_receiver_release(receiver, batch);
    uint64_t calls = stats_of(receiver).system_calls;
    CHECK(is_readable(fsk_receiver_fd(receiver), 5000)); /* the end is to be had */
    expect_end(receiver, 0);
    CHECK(is_readable(fsk_receiver_fd(receiver), 5000));
    CHECK_INT(stats_of(receiver).system_calls, calls);
    CHECK_INT(end_receiver(receiver).discarded, 0);
    close(pair.sender);
}

static void network_errors_are_counted_and_do_not_end_it(void) {
    enum { ERRORS = 5 };
    struct open_pair made;
    struct fsk_address nobody;
    open_waiting(&made);
    int copy = dup(made.pair.receiver);
    close(open_bound(AF_INET, SOCK_DGRAM, &nobody));
    for (unsigned i = 1; i <= ERRORS; i++) {
        REQUIRE(connect(copy, &nobody.name.any, nobody.length) == 0);
        REQUIRE(send_number(copy, NULL, 0, 10) == 10);
        int64_t deadline = clock_ns() + LONG_WAIT;
        while (stats_of(made.receiver).errors < i && wait_on(deadline))
            ;
        CHECK_INT(stats_of(made.receiver).errors, i);
        REQUIRE(connect(copy, &made.pair.from.name.any, made.pair.from.length) == 0);
        send_plain(&made.pair, 100);
        take_ledger(made.receiver, false);
    }
    close(copy);
    CHECK_INT(close_waiting(&made).errors, ERRORS);
}

static void error_that_stays_ends_it(void) {
    struct fsk_receiver *receiver = open_usual(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    expect_end(receiver, -ENOTCONN);
    expect_end(receiver, -ENOTCONN);
    end_receiver(receiver);
}

/* One of two sockets that ends leaves the other. */
static void ends_when_all_sockets_have(void) {
    struct udp_pair pairs[2];
    int fds[2];
    struct fsk_receiver *receiver;
    struct fsk_batch *batch;
    struct fsk_receiver_options options = usual();
    for (int i = 0; i < 2; i++) {
        open_udp(AF_INET, &pairs[i]);
        fds[i] = pairs[i].receiver;
    }
    REQUIRE(fsk_receiver_open(&receiver, fds, 2, &options) == 0);
    shutdown(fds[0], SHUT_RD);
    CHECK_INT(fsk_receiver_next(receiver, 5000000, &batch), -EAGAIN);
    ledger_begin();
    send_plain(&pairs[1], 100);
    take_ledger(receiver, false);
    shutdown(fds[1], SHUT_RD);
    expect_end(receiver, 0);
    end_receiver(receiver);
    close(pairs[0].sender);
    close(pairs[1].sender);
}

/* In the child every call says whose it is; only close and free do something, to its own copies. */
static int use_in_child(struct fsk_receiver *receiver, struct fsk_batch *batch) {
    struct fsk_receiver_stats stats = {.size = sizeof stats};
    struct fsk_batch *other;
    int before = count_descriptors(), wrong = 0;
    wrong += fsk_receiver_next(receiver, FSK_FOREVER, &other) != -ECHILD;
    wrong += fsk_receiver_fd(receiver) != -ECHILD;
    wrong += fsk_receiver_stats(receiver, &stats) != -ECHILD;
    wrong += memcmp(batch->arena, "\0\0\0", 3) != 0;
    fsk_receiver_release(receiver, batch);
    wrong += fsk_receiver_close(receiver) != 0;
    wrong += fsk_receiver_close(receiver) != 0;
    wrong += fsk_receiver_next(receiver, FSK_FOREVER, &other) != -ECHILD;
    wrong += count_descriptors() >= before - 2;
    fsk_receiver_free(receiver);
    return wrong;
}

static void forked_child_has_no_part_in_it(void) {
    for (int turn = 0; turn < 3; turn++) {
        struct open_pair made;
        int status = -1;
        open_waiting(&made);
        send_plain(&made.pair, 100);
        struct fsk_batch *batch = next_batch(made.receiver);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0)
            _exit(use_in_child(made.receiver, batch));
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK_INT(status, 0);
        ledger_take_rows(batch, 0, false);
        fsk_receiver_release(made.receiver, batch);
        for (int i = 0; i < 20; i++) {
            send_plain(&made.pair, 1000);
            take_ledger(made.receiver, false);
        }
        CHECK_INT(close_waiting(&made).delivered, 21);
    }
}

int main(void) {
    RUN(timeout_ends_the_wait);
    RUN(signal_ends_the_wait);
    RUN(no_signal_is_handled_by_the_receive_thread);
    RUN(descriptor_is_readable_while_messages_wait);
    RUN(descriptor_is_readable_at_once);
    RUN(descriptor_stays_readable_beside_waiting_calls);
    RUN(close_ends_a_wait_in_another_thread);
    RUN(waiting_costs_nothing);
    RUN(error_queue_does_not_keep_the_thread_busy);
    RUN(full_and_ended_receivers_are_idle_too);
    RUN(network_errors_are_counted_and_do_not_end_it);
    RUN(error_that_stays_ends_it);
    RUN(ends_when_all_sockets_have);
    RUN(forked_child_has_no_part_in_it);
    return check_report();
}
