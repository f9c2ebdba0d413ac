/* SPDX-License-Identifier: MIT
 * Structures that grow: an older and a newer caller's are understood, a wrong one is refused. */
#include "extensible.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

#include <fastsock/framer.h>
#include <fastsock/receiver.h>
#include <fastsock/server.h>
#include <fastsock/socket.h>

struct first {
    size_t size;
    uint64_t number;
};

struct known {
    size_t size;
    uint64_t number;
    uint64_t added;
};

struct later {
    size_t size;
    uint64_t number;
    uint64_t added;
    uint64_t unknown;
};

static void callers_of_every_age_are_understood(void) {
    const struct first older = {sizeof older, 1};
    const struct known same = {sizeof same, 1, 2};
    const struct later newer = {sizeof newer, 1, 2, 0};
    struct known own;
    memset(&own, 0xff, sizeof own);
    CHECK_INT(fski_extensible_read(&own, sizeof own, sizeof older, &older), 0);
    CHECK(own.size == sizeof own && own.number == 1 && own.added == 0);
    CHECK_INT(fski_extensible_read(&own, sizeof own, sizeof older, &same), 0);
    CHECK(own.size == sizeof own && own.number == 1 && own.added == 2);
    CHECK_INT(fski_extensible_read(&own, sizeof own, sizeof older, &newer), 0);
    CHECK(own.size == sizeof own && own.number == 1 && own.added == 2);
}

static void what_is_not_known_is_refused(void) {
    const struct later newer = {sizeof newer, 1, 2, UINT64_C(1) << 63};
    struct known own = {.number = 7};
    CHECK_INT(fski_extensible_check(&newer, sizeof own, sizeof(struct first)), -E2BIG);
    CHECK_INT(fski_extensible_read(&own, sizeof own, sizeof(struct first), &newer), -E2BIG);
    CHECK_INT(own.number, 7);
}

static void sizes_that_can_not_be_are_refused(void) {
    const size_t sizes[] = {0, sizeof(struct first) - 1, 4097, SIZE_MAX};
    struct known own = {.number = 7};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct known wrong = {.size = sizes[i]};
        CHECK_INT(fski_extensible_read(&own, sizeof own, sizeof(struct first), &wrong), -EINVAL);
        CHECK_INT(fski_extensible_write(&wrong, &own, sizeof own, sizeof(struct first)), -EINVAL);
    }
    CHECK_INT(own.number, 7);
}

static void answers_fit_callers_of_every_age(void) {
    const struct known own = {sizeof own, 1, 2};
    struct {
        struct first first;
        uint64_t behind;
    } older = {{sizeof older.first, 0}, 7};
    struct later newer = {.size = sizeof newer, .unknown = 7};
    CHECK_INT(fski_extensible_write(&older, &own, sizeof own, sizeof(struct first)), 0);
    CHECK(older.first.size == sizeof older.first && older.first.number == 1 && older.behind == 7);
    CHECK_INT(fski_extensible_write(&newer, &own, sizeof own, sizeof(struct first)), 0);
    CHECK(newer.size == sizeof newer && newer.added == 2 && newer.unknown == 0);
}

/* A structure of the size it had in its first release, with nothing behind it; free it. */
static void *first_release(const void *own, size_t size) {
    void *given = malloc(size);
    REQUIRE(given != NULL);
    memcpy(given, own, size);
    memcpy(given, &size, sizeof size);
    return given;
}

static void rules_of_frames_may_be_older_and_newer(void) {
    struct {
        struct fsk_framing known;
        uint64_t newer;
    } given = {.known = {sizeof given, FSK_FRAMING_FIXED, 100, .frame_size = 10}};
    struct fsk_framing *older =
        first_release(&given.known, FSKI_UP_TO(struct fsk_framing, frame_size));
    struct fsk_framer *framer = NULL;
    CHECK_INT(fsk_framing_check(older), 0);
    CHECK_INT(fsk_framer_new(&framer, older, 0), 0);
    fsk_framer_free(framer);
    older->size--;
    CHECK_INT(fsk_framer_new(&framer, older, 0), -EINVAL);
    CHECK(framer == NULL);
    free(older);
    CHECK_INT(fsk_framing_check(&given.known), 0);
    given.newer = 1;
    CHECK_INT(fsk_framing_check(&given.known), -E2BIG);
    CHECK_INT(fsk_framer_new(&framer, &given.known, 0), -E2BIG);
}

static int try_receiver(const struct fsk_receiver_options *options) {
    struct fsk_receiver *receiver;
    const int none = -1;
    int result = fsk_receiver_open(&receiver, &none, 1, options);
    CHECK(receiver == NULL);
    return result;
}

/* It is the socket that is wrong then. */
static void options_of_receivers_may_be_older_and_newer(void) {
    struct {
        struct fsk_receiver_options known;
        uint64_t newer;
    } given = {.known = {.size = sizeof given, .memory = FSK_RECEIVER_MEMORY}};
    struct fsk_receiver_options *older =
        first_release(&given.known, FSKI_UP_TO(struct fsk_receiver_options, key));
    CHECK_INT(try_receiver(older), -EBADF);
    older->size--;
    CHECK_INT(try_receiver(older), -EINVAL);
    free(older);
    CHECK_INT(try_receiver(&given.known), -EBADF);
    given.newer = 1;
    CHECK_INT(try_receiver(&given.known), -E2BIG);
}

static int try_server(const struct fsk_server_options *options) {
    struct fsk_server *server;
    int result = fsk_server_open(&server, -1, options);
    CHECK(server == NULL);
    return result;
}

static void options_of_servers_may_be_older_and_newer(void) {
    const struct fsk_framing fixed = {sizeof fixed, FSK_FRAMING_FIXED, 100, .frame_size = 10};
    struct fsk_framing *rules = first_release(&fixed, FSKI_UP_TO(struct fsk_framing, frame_size));
    struct {
        struct fsk_server_options known;
        uint64_t newer;
    } given = {.known = {.size = sizeof given, .framing = rules, .memory = 1 << 20}};
    given.known.max_pending = given.known.max_connections = 1;
    given.known.idle_timeout_ns = FSK_FOREVER;
    struct fsk_server_options *older =
        first_release(&given.known, FSKI_UP_TO(struct fsk_server_options, idle_timeout_ns));
    CHECK_INT(try_server(older), -EBADF);
    older->size--;
    CHECK_INT(try_server(older), -EINVAL);
    free(older);
    CHECK_INT(try_server(&given.known), -EBADF);
    given.newer = 1;
    CHECK_INT(try_server(&given.known), -E2BIG);
    free(rules);
}

int main(void) {
    RUN(callers_of_every_age_are_understood);
    RUN(what_is_not_known_is_refused);
    RUN(sizes_that_can_not_be_are_refused);
    RUN(answers_fit_callers_of_every_age);
    RUN(rules_of_frames_may_be_older_and_newer);
    RUN(options_of_receivers_may_be_older_and_newer);
    RUN(options_of_servers_may_be_older_and_newer);
    return check_report();
}
