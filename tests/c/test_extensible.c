/* SPDX-License-Identifier: MIT
 * Structures that grow: an older and a newer caller's are understood, a wrong one is refused. */
#include "extensible.h"

#include "check.h"

#include <string.h>

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

int main(void) {
    RUN(callers_of_every_age_are_understood);
    RUN(what_is_not_known_is_refused);
    RUN(sizes_that_can_not_be_are_refused);
    RUN(answers_fit_callers_of_every_age);
    return check_report();
}
