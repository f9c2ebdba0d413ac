/* SPDX-License-Identifier: MIT
 * The bell: when its descriptor is readable, and that no wake-up is lost between threads. */
#include "bell.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "loopback.h"

static bool is_readable(const struct fski_bell *bell, int timeout_ms) {
    struct pollfd watched = {.fd = bell->poll_fd, .events = POLLIN};
    int ready = poll(&watched, 1, timeout_ms);
    REQUIRE(ready >= 0);
    return ready > 0;
}

static void only_an_armed_bell_is_heard(void) {
    struct fski_bell bell;
    REQUIRE(fski_bell_open(&bell) == 0);
    CHECK(!is_readable(&bell, 0));
    fski_bell_ring(&bell, false);
    CHECK(!is_readable(&bell, 0));
    fski_bell_arm(&bell);
    CHECK(!is_readable(&bell, 0));
    fski_bell_ring(&bell, false);
    CHECK(is_readable(&bell, 0));
    fski_bell_silence(&bell);
    CHECK(!is_readable(&bell, 0));
    fski_bell_ring(&bell, false);
    CHECK(!is_readable(&bell, 0));
    fski_bell_close(&bell);
}

static void forced_ring_is_always_heard(void) {
    struct fski_bell bell;
    REQUIRE(fski_bell_open(&bell) == 0);
    fski_bell_ring(&bell, true);
    CHECK(is_readable(&bell, 0));
    fski_bell_silence(&bell);
    fski_bell_arm(&bell);
    fski_bell_ring(&bell, true);
    CHECK(is_readable(&bell, 0));
    fski_bell_silence(&bell);
    fski_bell_ring(&bell, false); /* the forced one has found it armed */
    CHECK(!is_readable(&bell, 0));
    fski_bell_close(&bell);
}

/* More than a pipe holds. */
static void any_number_of_rings_is_silenced_at_once(void) {
    struct fski_bell bell;
    REQUIRE(fski_bell_open(&bell) == 0);
    for (int i = 0; i < 20000; i++)
        fski_bell_ring(&bell, true);
    CHECK(is_readable(&bell, 0));
    fski_bell_silence(&bell);
    CHECK(!is_readable(&bell, 0));
    fski_bell_silence(&bell);
    fski_bell_ring(&bell, true);
    CHECK(is_readable(&bell, 0));
    fski_bell_close(&bell);
}

static void descriptors_are_closed_on_exec_and_never_wait(void) {
    struct fski_bell bell;
    REQUIRE(fski_bell_open(&bell) == 0);
    int fds[] = {bell.poll_fd, bell.write_fd};
    for (int i = 0; i < 2; i++) {
        CHECK_INT(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        CHECK_INT(fcntl(fds[i], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    }
    fski_bell_close(&bell);
    for (int i = 0; i < 2; i++)
        CHECK_INT(fcntl(fds[i], F_GETFD), -1);
}

static void open_fails_with_nothing_left_open(void) {
    struct fski_bell bell;
    struct rlimit before, none;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    for (rlim_t more = 0; more < 2; more++) {
        int next = closed_number();
        none = before;
        none.rlim_cur = (rlim_t)next + more;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
        int result = fski_bell_open(&bell);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
        if (result == 0) {
            CHECK_INT(more, 1); /* one descriptor is enough for an eventfd */
            fski_bell_close(&bell);
        } else {
            CHECK_INT(result, -EMFILE);
        }
        CHECK_INT(closed_number(), next);
    }
}

/* Two that ring for what they bring, and one that waits for it as a consumer does. */
enum { RINGERS = 2, BROUGHT = 20000 };

static struct {
    struct fski_bell bell;
    atomic_uint brought;
    atomic_uint taken;
} shop;

static void *bring(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < BROUGHT; i++) {
        /* Mostly when the other waits, or is about to. */
        while (i % 16 != 0 && atomic_load_explicit(&shop.brought, memory_order_relaxed) >
                                  atomic_load_explicit(&shop.taken, memory_order_relaxed) + RINGERS)
            sched_yield();
        atomic_fetch_add_explicit(&shop.brought, 1, memory_order_relaxed);
        fski_bell_ring(&shop.bell, false);
    }
    return NULL;
}

static unsigned taken_now(unsigned taken) {
    unsigned brought = atomic_load_explicit(&shop.brought, memory_order_relaxed);
    atomic_store_explicit(&shop.taken, brought, memory_order_relaxed);
    return brought - taken;
}

static void no_wake_up_is_lost(void) {
    pthread_t ringers[RINGERS];
    REQUIRE(fski_bell_open(&shop.bell) == 0);
    for (int i = 0; i < RINGERS; i++)
        REQUIRE(pthread_create(&ringers[i], NULL, bring, NULL) == 0);
    unsigned taken = 0;
    while (taken < RINGERS * BROUGHT) {
        unsigned more = taken_now(taken);
        if (more == 0) {
            fski_bell_arm(&shop.bell);
            more = taken_now(taken);
        }
        taken += more;
        if (more > 0)
            continue;
        if (!CHECK(is_readable(&shop.bell, 5000)))
            break;
        fski_bell_silence(&shop.bell);
    }
    for (int i = 0; i < RINGERS; i++)
        REQUIRE(pthread_join(ringers[i], NULL) == 0);
    CHECK_INT(taken + taken_now(taken), RINGERS * BROUGHT);
    fski_bell_close(&shop.bell);
}

int main(void) {
    RUN(only_an_armed_bell_is_heard);
    RUN(forced_ring_is_always_heard);
    RUN(any_number_of_rings_is_silenced_at_once);
    RUN(descriptors_are_closed_on_exec_and_never_wait);
    RUN(open_fails_with_nothing_left_open);
    RUN(no_wake_up_is_lost);
    return check_report();
}
