/* SPDX-License-Identifier: MIT
 * The queue of bytes: what went in comes out, and the budget knows of every byte allocated. */
#include "store.h"

#include "check.h"

static void bytes_come_out_as_they_went_in(void) {
    struct fski_budget budget = {.limit = 1 << 20};
    struct fski_store store = {0};
    unsigned char byte = 0, expected = 0;
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        unsigned char bytes[300];
        random = random * 1103515245 + 12345;
        size_t length = (random >> 16) % sizeof bytes;
        for (size_t i = 0; i < length; i++)
            bytes[i] = byte++;
        REQUIRE(fski_store_append(&store, bytes, length, &budget) == 0);
        size_t taken = (random >> 8) % 400;
        if (taken > fski_store_size(&store) || round % 100 == 99)
            taken = fski_store_size(&store);
        for (size_t i = 0; i < taken; i++)
            if (store.data[store.start + i] != expected++)
                CHECK_INT(i, -1);
        fski_store_skip(&store, taken, &budget);
        REQUIRE(budget.used == store.capacity && store.end <= store.capacity);
        CHECK(fski_store_size(&store) > 0 || store.capacity == 0);
    }
    fski_store_clear(&store, &budget);
    CHECK_INT(budget.used, 0);
    CHECK(budget.peak > 0 && budget.peak <= budget.limit);
    fski_budget_fini(&budget);
}

/* However much goes through, the memory is that of what is in it. */
static void steady_queue_takes_no_more_memory(void) {
    struct fski_budget budget = {.limit = 1 << 20};
    struct fski_store store = {0};
    const unsigned char bytes[100] = {0};
    for (int i = 0; i < 10; i++)
        REQUIRE(fski_store_append(&store, bytes, sizeof bytes, &budget) == 0);
    for (int i = 0; i < 10000; i++) {
        REQUIRE(fski_store_append(&store, bytes, sizeof bytes, &budget) == 0);
        fski_store_skip(&store, sizeof bytes, &budget);
    }
    CHECK_INT(fski_store_size(&store), 1000);
    CHECK(budget.peak <= 8000);
    fski_store_clear(&store, &budget);
    fski_budget_fini(&budget);
}

static void budget_is_never_exceeded(void) {
    static const unsigned char bytes[1000];
    struct fski_budget budget = {.limit = 1000};
    struct fski_store one = {0}, other = {0};
    CHECK_INT(fski_store_append(&one, bytes, 1001, &budget), -ENOBUFS);
    CHECK_INT(budget.used, 0);
    CHECK_INT(fski_store_append(&one, bytes, 600, &budget), 0); /* twice as much would not go */
    CHECK_INT(budget.used, 600);
    CHECK_INT(fski_store_append(&other, bytes, 401, &budget), -ENOBUFS);
    CHECK_INT(fski_store_append(&other, bytes, 100, &budget), 0);
    CHECK(budget.used <= 1000);
    size_t used = budget.used;
    CHECK_INT(fski_store_reserve(&one, SIZE_MAX, &budget), -ENOBUFS);
    CHECK_INT(fski_store_reserve(&one, SIZE_MAX - 600, &budget), -ENOBUFS);
    CHECK_INT(fski_store_reserve(&one, SIZE_MAX / 2, &budget), -ENOBUFS);
    CHECK_INT(fski_store_size(&one), 600);
    CHECK_INT(budget.used, used);
    fski_store_clear(&one, &budget);
    CHECK_INT(fski_store_append(&other, bytes, 900, &budget), 0);
    CHECK_INT(budget.used, 1000);
    CHECK_INT(budget.peak, 1000);
    fski_store_clear(&other, &budget);
    CHECK_INT(budget.used, 0);
    fski_budget_fini(&budget);
}

static void reserved_room_is_there(void) {
    struct fski_budget budget = {.limit = 1 << 20};
    struct fski_store store = {0};
    for (size_t more = 1; more < 3000; more += 7) {
        REQUIRE(fski_store_reserve(&store, more, &budget) == 0);
        CHECK(store.capacity - store.end >= more);
        memset(store.data + store.end, 1, more);
        store.end += more / 2;
        fski_store_skip(&store, more / 3, &budget);
    }
    fski_store_clear(&store, &budget);
    fski_store_clear(&store, &budget);
    CHECK_INT(fski_store_append(&store, NULL, 0, &budget), 0);
    CHECK_INT(budget.used, 0);
    fski_budget_fini(&budget);
}

/* What is left of much does not hold its memory. */
static void fitted_store_has_what_was_left(void) {
    static const unsigned char bytes[100000];
    struct fski_budget budget = {.limit = 1 << 20};
    struct fski_store store = {0};
    fski_store_fit(&store, &budget);
    CHECK_INT(fski_store_append(&store, bytes, sizeof bytes, &budget), 0);
    CHECK_INT(fski_store_append(&store, "rest", 4, &budget), 0);
    size_t before = store.capacity;
    fski_store_fit(&store, &budget);
    CHECK_INT(store.capacity, before);
    fski_store_skip(&store, sizeof bytes, &budget);
    fski_store_fit(&store, &budget);
    CHECK_INT(fski_store_size(&store), 4);
    CHECK_BYTES(store.data + store.start, "rest", 4);
    CHECK(store.capacity <= 1000);
    CHECK_INT(budget.used, store.capacity);
    fski_store_clear(&store, &budget);
    CHECK_INT(budget.used, 0);
    fski_budget_fini(&budget);
}

int main(void) {
    RUN(bytes_come_out_as_they_went_in);
    RUN(steady_queue_takes_no_more_memory);
    RUN(budget_is_never_exceeded);
    RUN(reserved_room_is_there);
    RUN(fitted_store_has_what_was_left);
    return check_report();
}
