/* SPDX-License-Identifier: MIT
 * The connections by number: when a number is given again, and the order of the lists. */
#include "roster.h"

#include "check.h"

/* As a server does when it returns from a call. */
static void tell(struct fski_roster *roster) {
    roster->told_count = roster->closed_count;
}

static void number_is_given_again_after_its_end_was_told(void) {
    struct fski_roster roster;
    fski_roster_init(&roster);
    uint32_t number = fski_roster_add(&roster, 5, 0);
    uint32_t generation = fski_roster_get(&roster, number)->generation;
    CHECK_INT(roster.opened_count, 1);
    CHECK_INT(roster.opened[0], number);
    fski_roster_remove(&roster, number, FSK_CLOSE_IDLE, 7);
    CHECK(fski_roster_find(&roster, number) == NULL);
    CHECK(fski_roster_add(&roster, 6, 0) != number);
    fski_roster_begin_turn(&roster);
    CHECK_INT(roster.closed_count, 1); /* not told yet */
    CHECK_INT(roster.closed[0].unfinished, 7);
    CHECK(fski_roster_add(&roster, 7, 0) != number);
    tell(&roster);
    CHECK(fski_roster_add(&roster, 8, 0) != number);
    fski_roster_begin_turn(&roster);
    CHECK_INT(roster.closed_count, 0);
    CHECK_INT(fski_roster_add(&roster, 9, 0), number);
    CHECK(fski_roster_get(&roster, number)->generation != generation);
    CHECK_INT(roster.open, 4);
    fski_roster_fini(&roster);
}

/* A list that still has it would take the new one for the old. */
static void number_on_a_list_is_not_given_again(void) {
    struct fski_roster roster;
    fski_roster_init(&roster);
    uint32_t number = fski_roster_add(&roster, 5, 0);
    fski_roster_enlist(&roster, FSKI_DUE, number);
    fski_roster_enlist(&roster, FSKI_CUT_SHORT, number);
    fski_roster_remove(&roster, number, FSK_CLOSE_EOF, 0);
    tell(&roster);
    fski_roster_begin_turn(&roster);
    CHECK(fski_roster_add(&roster, 6, 0) != number);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), FSKI_NOBODY);
    CHECK(fski_roster_add(&roster, 7, 0) != number);
    CHECK_INT(fski_roster_take(&roster, FSKI_CUT_SHORT), FSKI_NOBODY);
    CHECK_INT(fski_roster_add(&roster, 8, 0), number);
    CHECK(fski_roster_add(&roster, 9, 0) != number);
    fski_roster_fini(&roster);
}

/* Taken off the list before its end is told. */
static void number_that_left_its_list_first_is_given_again_once(void) {
    struct fski_roster roster;
    fski_roster_init(&roster);
    uint32_t number = fski_roster_add(&roster, 5, 0);
    fski_roster_enlist(&roster, FSKI_DUE, number);
    fski_roster_remove(&roster, number, FSK_CLOSE_EOF, 0);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), FSKI_NOBODY);
    CHECK_INT(roster.free_count, 0);
    tell(&roster);
    fski_roster_begin_turn(&roster);
    CHECK_INT(roster.free_count, 1);
    CHECK_INT(fski_roster_add(&roster, 6, 0), number);
    fski_roster_fini(&roster);
}

static void list_gives_each_once_in_order(void) {
    struct fski_roster roster;
    fski_roster_init(&roster);
    for (int i = 0; i < 5; i++)
        fski_roster_add(&roster, i, 0);
    for (uint32_t i = 5; i-- > 0;) {
        fski_roster_enlist(&roster, FSKI_DUE, i);
        fski_roster_enlist(&roster, FSKI_DUE, i);
    }
    fski_roster_remove(&roster, 2, FSK_CLOSE_EOF, 0);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 4);
    fski_roster_enlist(&roster, FSKI_DUE, 4);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 3);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 1);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 0);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 4);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), FSKI_NOBODY);
    CHECK_INT(fski_roster_take(&roster, FSKI_CUT_SHORT), FSKI_NOBODY);
    fski_roster_fini(&roster);
}

static void put_back_is_first_again(void) {
    struct fski_roster roster;
    fski_roster_init(&roster);
    for (int i = 0; i < 3; i++)
        fski_roster_add(&roster, i, 0);
    fski_roster_put_back(&roster, FSKI_DUE, 1);
    fski_roster_enlist(&roster, FSKI_DUE, 1);
    fski_roster_enlist(&roster, FSKI_DUE, 0);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 1);
    fski_roster_put_back(&roster, FSKI_DUE, 1);
    fski_roster_enlist(&roster, FSKI_DUE, 2);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 1);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 0);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), 2);
    CHECK_INT(fski_roster_take(&roster, FSKI_DUE), FSKI_NOBODY);
    fski_roster_fini(&roster);
}

static void check_ages(const struct fski_roster *roster, const uint32_t *expected, int count) {
    uint32_t number = roster->by_age.first;
    for (int i = 0; i < count; i++) {
        CHECK_INT(number, expected[i]);
        number = fski_roster_get(roster, number)->newer;
    }
    CHECK_INT(number, FSKI_NOBODY);
    number = roster->by_age.last;
    for (int i = count; i-- > 0;) {
        CHECK_INT(number, expected[i]);
        number = fski_roster_get(roster, number)->older;
    }
    CHECK_INT(number, FSKI_NOBODY);
}

static void ages_are_in_order_of_the_last_touch(void) {
    struct fski_roster roster;
    fski_roster_init(&roster);
    for (int i = 0; i < 4; i++)
        fski_roster_add(&roster, i, i);
    fski_roster_touch(&roster, 1, 10);
    fski_roster_touch(&roster, 0, 11);
    fski_roster_touch(&roster, 0, 12);
    check_ages(&roster, (const uint32_t[]){2, 3, 1, 0}, 4);
    CHECK_INT(fski_roster_get(&roster, 0)->since_ns, 12);
    fski_roster_remove(&roster, 3, FSK_CLOSE_EOF, 0);
    check_ages(&roster, (const uint32_t[]){2, 1, 0}, 3);
    fski_roster_remove(&roster, 0, FSK_CLOSE_EOF, 0);
    fski_roster_remove(&roster, 2, FSK_CLOSE_EOF, 0);
    check_ages(&roster, (const uint32_t[]){1}, 1);
    fski_roster_remove(&roster, 1, FSK_CLOSE_EOF, 0);
    check_ages(&roster, NULL, 0);
    fski_roster_fini(&roster);
}

/* Past a block, with ends that are told late: every number has one owner at most. */
static void many_come_and_go(void) {
    enum { COUNT = 2000, ROUNDS = 40 };
    static bool is_open[COUNT * 8];
    struct fski_roster roster;
    uint32_t random = 1;
    memset(is_open, 0, sizeof is_open);
    fski_roster_init(&roster);
    for (int round = 0; round < ROUNDS; round++) {
        fski_roster_begin_turn(&roster);
        CHECK_INT(roster.opened_count, 0);
        while (roster.open < COUNT) {
            uint32_t number = fski_roster_add(&roster, 3, round);
            REQUIRE(number < sizeof is_open && !is_open[number]);
            is_open[number] = true;
            if (number % 3 == 0)
                fski_roster_enlist(&roster, (enum fski_list)(number % 2), number);
        }
        for (uint32_t number = 0; number < roster.numbers; number++) {
            random = random * 1103515245 + 12345;
            if (is_open[number] && (random >> 16) % 2 == 0) {
                fski_roster_remove(&roster, number, FSK_CLOSE_EOF, 0);
                if (round % 2 == 0)
                    is_open[number] = false;
                else
                    is_open[number] = roster.closed[roster.closed_count - 1].connection != number;
            }
        }
        fski_roster_take(&roster, FSKI_DUE);
        if (round % 3 != 0)
            tell(&roster);
    }
    CHECK(roster.numbers < 4 * COUNT);
    CHECK(roster.closed_count + roster.open <= roster.closed_room);
    fski_roster_fini(&roster);
}

int main(void) {
    RUN(number_is_given_again_after_its_end_was_told);
    RUN(number_on_a_list_is_not_given_again);
    RUN(number_that_left_its_list_first_is_given_again_once);
    RUN(list_gives_each_once_in_order);
    RUN(put_back_is_first_again);
    RUN(ages_are_in_order_of_the_last_touch);
    RUN(many_come_and_go);
    return check_report();
}
