/* SPDX-License-Identifier: MIT
 * The pollers of both engines: what is told of whom, and that all have their turn. */
#include "engine.h"

#include "loopback.h"

static struct fski_poller open_set(void) {
    struct fski_poller poller;
    REQUIRE(fski_engine()->open_poller(&poller) == 0);
    return poller;
}

static void close_set(struct fski_poller *poller) {
    fski_engine()->close_poller(poller);
}

static int watch(struct fski_poller *poller, int fd, unsigned before, unsigned after,
                 uint64_t token) {
    return fski_engine()->watch(poller, fd, before, after, token);
}

/* The events of the only one that is ready, which must be token's; 0: none is. */
static unsigned events_of(struct fski_poller *poller, uint64_t token) {
    struct fski_ready ready[4];
    int found = fski_engine()->poll(poller, ready, 4, 0);
    CHECK(found == 0 || found == 1);
    if (found != 1)
        return 0;
    CHECK_INT(ready[0].token, token);
    return ready[0].events;
}

static void events_that_are_waited_for_are_told(void) {
    struct fski_poller poller = open_set();
    int pair[2];
    char byte;
    open_unix_pair(SOCK_STREAM, pair);
    CHECK_INT(watch(&poller, pair[0], FSKI_UNWATCHED, FSKI_READABLE, 7), 0);
    CHECK_INT(events_of(&poller, 7), 0);
    REQUIRE(write(pair[1], "x", 1) == 1);
    CHECK_INT(events_of(&poller, 7), FSKI_READABLE);
    CHECK_INT(events_of(&poller, 7), FSKI_READABLE); /* again, as it is still there */
    CHECK_INT(watch(&poller, pair[0], FSKI_READABLE, FSKI_READABLE | FSKI_WRITABLE, 8), 0);
    CHECK_INT(events_of(&poller, 8), FSKI_READABLE | FSKI_WRITABLE);
    CHECK_INT(watch(&poller, pair[0], FSKI_READABLE | FSKI_WRITABLE, FSKI_WRITABLE, 9), 0);
    CHECK_INT(events_of(&poller, 9), FSKI_WRITABLE);
    CHECK_INT(watch(&poller, pair[0], FSKI_WRITABLE, 0, 10), 0);
    CHECK_INT(events_of(&poller, 10), 0);
    CHECK_INT(watch(&poller, pair[0], 0, FSKI_READABLE, 11), 0);
    REQUIRE(read(pair[0], &byte, 1) == 1);
    CHECK_INT(events_of(&poller, 11), 0);
    CHECK_INT(watch(&poller, pair[0], FSKI_READABLE, FSKI_UNWATCHED, 0), 0);
    close(pair[1]);
    CHECK_INT(events_of(&poller, 0), 0);
    close(pair[0]);
    close_set(&poller);
}

static void broken_is_told_unasked(void) {
    struct fski_poller poller = open_set();
    const struct linger at_once = {.l_onoff = 1};
    int pair[2];
    open_tcp_pair(AF_INET, pair);
    CHECK_INT(watch(&poller, pair[1], FSKI_UNWATCHED, 0, 7), 0);
    REQUIRE(write(pair[0], "x", 1) == 1);
    CHECK_INT(events_of(&poller, 7), 0);
    REQUIRE(setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(pair[0]);
    struct fski_ready ready;
    CHECK_INT(fski_engine()->poll(&poller, &ready, 1, 5000), 1);
    CHECK_INT(ready.events, FSKI_BROKEN);
    CHECK_INT(watch(&poller, pair[1], 0, FSKI_UNWATCHED, 0), 0);
    close(pair[1]);
    close_set(&poller);
}

/* All stay ready, and fewer are asked for than there are. */
static void each_has_its_turn_when_more_are_ready_than_asked_for(void) {
    enum { COUNT = 50, ASKED = 7 };
    struct fski_poller poller = open_set();
    int pairs[COUNT][2];
    int told[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        open_unix_pair(SOCK_STREAM, pairs[i]);
        REQUIRE(write(pairs[i][1], "x", 1) == 1);
        REQUIRE(watch(&poller, pairs[i][0], FSKI_UNWATCHED, FSKI_READABLE, (uint64_t)i) == 0);
    }
    for (int round = 0; round < 4 * COUNT / ASKED; round++) {
        struct fski_ready ready[ASKED];
        REQUIRE(fski_engine()->poll(&poller, ready, ASKED, 0) == ASKED);
        for (int i = 0; i < ASKED; i++)
            told[ready[i].token]++;
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(told[i] >= 3 && told[i] <= 5);
        close_pair(pairs[i]);
    }
    close_set(&poller);
}

/* Descriptors come, leave from the middle, and their numbers come again with another token. */
static void set_is_what_was_watched_last(void) {
    enum { COUNT = 100, ROUNDS = 3000 };
    static struct {
        int pair[2];
        uint64_t token;
        bool is_watched;
    } all[COUNT];
    struct fski_poller poller = open_set();
    uint32_t random = 1;
    uint64_t token = 0;
    for (int i = 0; i < COUNT; i++) {
        open_unix_pair(SOCK_STREAM, all[i].pair);
        REQUIRE(write(all[i].pair[1], "x", 1) == 1);
    }
    for (int round = 0; round < ROUNDS; round++) {
        random = random * 1103515245 + 12345;
        uint32_t i = (random >> 16) % COUNT;
        unsigned before = all[i].is_watched ? FSKI_READABLE : FSKI_UNWATCHED;
        unsigned after = all[i].is_watched ? FSKI_UNWATCHED : FSKI_READABLE;
        all[i].token = ++token;
        REQUIRE(watch(&poller, all[i].pair[0], before, after, token) == 0);
        all[i].is_watched = !all[i].is_watched;
        struct fski_ready ready[COUNT];
        int watched = 0, right = 0;
        int found = fski_engine()->poll(&poller, ready, COUNT, 0);
        for (int j = 0; j < COUNT; j++) {
            watched += all[j].is_watched;
            for (int k = 0; k < found; k++)
                right += all[j].is_watched && ready[k].token == all[j].token;
        }
        REQUIRE(found == watched && right == watched);
    }
    CHECK_INT(token, ROUNDS);
    for (int i = 0; i < COUNT; i++)
        close_pair(all[i].pair);
    close_set(&poller);
}

static void poll_waits_until_its_time_or_a_signal(void) {
    struct fski_poller poller = open_set();
    struct fski_ready ready[2];
    int pair[2];
    open_unix_pair(SOCK_STREAM, pair);
    REQUIRE(watch(&poller, pair[0], FSKI_UNWATCHED, FSKI_READABLE, 1) == 0);
    int64_t begin = clock_ns();
    CHECK_INT(fski_engine()->poll(&poller, ready, 2, 20), 0);
    CHECK(clock_ns() - begin >= 19000000);
    start_interrupting();
    CHECK_INT(fski_engine()->poll(&poller, ready, 2, -1), -EINTR);
    stop_interrupting();
    close_pair(pair);
    close_set(&poller);
}

static void epoll_descriptor_is_readable_while_one_is_ready(void) {
    struct fski_poller poller = open_set();
    struct fski_ready ready;
    int pair[2];
    if (poller.fd < 0) {
        CHECK_TEXT(fski_engine()->name, "portable");
        close_set(&poller);
        return;
    }
    struct fski_poller outer = open_set();
    CHECK_INT(watch(&outer, poller.fd, FSKI_UNWATCHED, FSKI_READABLE, 3), 0);
    open_unix_pair(SOCK_STREAM, pair);
    REQUIRE(watch(&poller, pair[0], FSKI_UNWATCHED, FSKI_READABLE, 1) == 0);
    CHECK_INT(events_of(&outer, 3), 0);
    REQUIRE(write(pair[1], "x", 1) == 1);
    CHECK_INT(events_of(&outer, 3), FSKI_READABLE);
    CHECK_INT(fski_engine()->poll(&poller, &ready, 1, 0), 1);
    CHECK_INT(events_of(&outer, 3), FSKI_READABLE);
    close_pair(pair);
    CHECK_INT(events_of(&outer, 3), 0);
    close_set(&poller);
    close_set(&outer);
}

int main(void) {
    RUN(events_that_are_waited_for_are_told);
    RUN(broken_is_told_unasked);
    RUN(each_has_its_turn_when_more_are_ready_than_asked_for);
    RUN(set_is_what_was_watched_last);
    RUN(poll_waits_until_its_time_or_a_signal);
    RUN(epoll_descriptor_is_readable_while_one_is_ready);
    return check_report();
}
