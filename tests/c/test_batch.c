/* SPDX-License-Identifier: MIT */
#include <fastsock/batch.h>
#include <fastsock/receive.h>

#include <sys/mman.h>

#include "datagrams.h"

#define KEY UINT64_C(0xfeedfacecafebeef)
#define ROUND 200 /* small datagrams that the default receive buffer holds */

static void check_sizes(uint32_t capacity, uint32_t max_message, int expected) {
    struct fsk_batch *batch = (struct fsk_batch *)&batch; /* anything but NULL */
    CHECK_INT(fsk_batch_new(&batch, capacity, max_message, KEY), expected);
    CHECK(batch == NULL);
    fsk_batch_free(batch);
}

static void test_batch_of_impossible_size_is_refused(void) {
    check_sizes(0, 0, -EINVAL);
    check_sizes(0, 1, -EINVAL);
    check_sizes(1, 0, -EINVAL);
    check_sizes(UINT32_MAX, UINT32_MAX, -EINVAL);
    check_sizes(UINT32_MAX, 1, -EINVAL);
}

/* More than any processor can map today, with products that do and do not fit in 64 bits. */
static void test_batch_larger_than_memory_is_refused(void) {
    static const uint32_t sizes[][2] = {
        {UINT32_MAX / 2, UINT32_MAX}, {1u << 30, UINT32_MAX}, {1u << 30, 1u << 31}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct fsk_batch *batch = NULL;
        int result = fsk_batch_new(&batch, sizes[i][0], sizes[i][1], KEY);
        CHECK(result == -EINVAL || result == -ENOMEM);
        CHECK(batch == NULL);
    }
}

static void test_batch_free_of_null_does_nothing(void) {
    fsk_batch_free(NULL);
    CHECK(true);
}

static void check_empty(const struct fsk_batch *batch) {
    struct fsk_address address = {.length = 99};
    CHECK_INT(batch->count, 0);
    CHECK_INT(batch->used, 0);
    CHECK_INT(batch->source_count, 0);
    CHECK_INT(batch->destination_count, 0);
    fsk_batch_source(batch, 0, &address);
    CHECK_INT(address.length, 0);
    address.length = 99;
    fsk_batch_destination(batch, 0, &address);
    CHECK_INT(address.length, 0);
    address.length = 99;
    fsk_batch_source(batch, FSK_NO_ADDRESS, &address);
    CHECK_INT(address.length, 0);
}

static void check_new(uint32_t capacity, uint32_t max_message) {
    struct fsk_batch *batch = new_batch(capacity, max_message);
    size_t bytes = (size_t)capacity * max_message;
    size_t zeros = 0;
    CHECK_INT(batch->capacity, capacity);
    CHECK_INT(batch->max_message, max_message);
    CHECK_INT(batch->metadata, 0);
    check_empty(batch);
    CHECK_INT(fsk_batch_size(batch), (size_t)capacity * (max_message + 64));
    for (size_t i = 0; i < bytes; i++)
        zeros += batch->arena[i] == 0;
    CHECK_INT(zeros, bytes);
    fsk_batch_free(batch);
}

static void test_batch_new_is_empty_and_of_the_size_asked_for(void) {
    check_new(1, 1);
    check_new(1, 65535);
    check_new(3, 7);
    check_new(1024, 2048);
    check_new(100000, 1);
}

/* Every byte of every column is the caller's to read, and of no other column. */
static void test_batch_columns_do_not_overlap(void) {
    for (uint32_t capacity = 1; capacity < 200; capacity += 33) {
        struct fsk_batch *batch = new_batch(capacity, 5);
        struct {
            const void *start;
            size_t size;
        } columns[] = {
            {batch->arena, 5},        {batch->offsets, 8},       {batch->lengths, 4},
            {batch->wire_lengths, 4}, {batch->flags, 4},         {batch->source, 4},
            {batch->destination, 4},  {batch->timestamps_ns, 8}, {batch->interface, 4},
            {batch->hop_limit, 1},    {batch->tos, 1},
        };
        size_t count = sizeof columns / sizeof *columns;
        for (size_t i = 0; i < count; i++) {
            uintptr_t start = (uintptr_t)columns[i].start;
            CHECK_INT(columns[i].size == 5 ? 0 : start % columns[i].size, 0);
            for (size_t j = 0; j < count; j++) {
                uintptr_t other = (uintptr_t)columns[j].start;
                CHECK(i == j || start + capacity * columns[i].size <= other ||
                      other + capacity * columns[j].size <= start);
            }
        }
        fsk_batch_free(batch);
    }
}

static void test_batch_memory_is_not_touched_before_it_is_filled(void) {
    uint32_t capacity = 1 << 16;
    struct fsk_batch *batch = new_batch(capacity, 4096); /* 256 MiB */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (size_t)capacity * 4096;
    size_t pages = bytes / page;
    unsigned char *resident = malloc(pages);
    size_t touched = 0;
    REQUIRE(resident != NULL);
    REQUIRE((uintptr_t)batch->arena % page == 0);
    REQUIRE(mincore(batch->arena, bytes, (void *)resident) == 0);
    for (size_t i = 0; i < pages; i++)
        touched += resident[i] & 1;
    CHECK_INT(touched, 0);
    free(resident);
    fsk_batch_free(batch);
}

/* The nth address of loopback: 127.0.n/256.n%256, from 127.0.0.1 on. */
static int open_numbered_sender(uint32_t number, struct fsk_address *from) {
    char host[FSK_HOST_SIZE];
    snprintf(host, sizeof host, "127.0.%u.%u", (number + 1) / 256, (number + 1) % 256);
    REQUIRE(fsk_address_parse_host(from, AF_INET, host, 0) == 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, &from->name.any, from->length) == 0);
    bound_name(fd, from);
    return fd;
}

/* Twice from each of 1000 senders, neighbours apart: each has one number, in the order of coming.
 * */
static void test_batch_of_a_thousand_senders_numbers_each_once(void) {
    enum { SENDERS = 1000 };
    static struct fsk_address from[SENDERS];
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(2 * SENDERS, 16);
    struct fsk_address source;
    open_udp(AF_INET, &pair);
    for (uint32_t i = 0; i < 2 * SENDERS; i += ROUND) {
        for (uint32_t j = i; j < i + ROUND; j++) {
            pair.from = from[j % SENDERS];
            int plain = pair.sender;
            if (j < SENDERS) {
                pair.sender = open_numbered_sender(j, &from[j]);
            } else {
                pair.sender = socket(AF_INET, SOCK_DGRAM, 0);
                REQUIRE(pair.sender >= 0);
                REQUIRE(bind(pair.sender, &pair.from.name.any, pair.from.length) == 0);
            }
            send_plain(&pair, 8);
            close(pair.sender);
            pair.sender = plain;
        }
        settle();
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), ROUND);
    }
    REQUIRE(batch->count == 2 * SENDERS);
    ledger_take_rows(batch, 0, false);
    CHECK_INT(batch->source_count, SENDERS);
    for (uint32_t row = 0; row < batch->count; row++) {
        CHECK_INT(batch->source[row], row % SENDERS);
        fsk_batch_source(batch, batch->source[row], &source);
        CHECK(fsk_address_equal(&source, &from[row % SENDERS]));
    }
    fsk_batch_source(batch, SENDERS, &source);
    CHECK_INT(source.length, 0);
    CHECK_INT(fsk_batch_size(batch), 2 * SENDERS * (16 + 64));
    fsk_batch_clear(batch);
    check_empty(batch);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* As many senders as rows, at each capacity around where the search for one changes its way. */
static void test_batch_of_few_senders_numbers_each_once(void) {
    enum { MOST = 20 };
    struct fsk_address from[MOST];
    int senders[MOST];
    struct udp_pair pair;
    struct fsk_address source;
    if (!has_loopback(AF_INET6))
        return;
    for (uint32_t i = 0; i < MOST; i++)
        senders[i] = open_bound(AF_INET6, SOCK_DGRAM, &from[i]);
    open_udp(AF_INET6, &pair);
    int plain = pair.sender;
    for (uint32_t count = 1; count <= MOST; count++) {
        struct fsk_batch *batch = new_batch(2 * count, 8);
        ledger_begin();
        for (uint32_t i = 0; i < 2 * count; i++) {
            pair.sender = senders[i % count];
            send_plain(&pair, 8);
        }
        settle();
        CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 2 * count);
        ledger_take_rows(batch, 0, false);
        CHECK_INT(batch->source_count, count);
        for (uint32_t row = 0; row < batch->count; row++) {
            fsk_batch_source(batch, batch->source[row], &source);
            CHECK(fsk_address_equal(&source, &from[row % count]));
        }
        fsk_batch_free(batch);
    }
    pair.sender = plain;
    close_udp(&pair);
    for (uint32_t i = 0; i < MOST; i++)
        close(senders[i]);
}

/* A second fill numbers anew, from its own first sender on. */
static void test_batch_cleared_forgets_its_senders(void) {
    struct udp_pair pair;
    struct fsk_address other;
    struct fsk_address source;
    struct fsk_batch *batch = new_batch(4, 8);
    open_udp(AF_INET, &pair);
    int second = open_bound(AF_INET, SOCK_DGRAM, &other);
    batch->metadata = FSK_METADATA_TIMESTAMP;
    send_plain(&pair, 8);
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 1);
    ledger_take_rows(batch, 0, false);
    fsk_batch_clear(batch);
    check_empty(batch);
    CHECK_INT(batch->metadata, FSK_METADATA_TIMESTAMP);
    int first = pair.sender;
    pair.sender = second;
    send_plain(&pair, 8);
    pair.sender = first;
    send_plain(&pair, 8);
    settle();
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 2);
    ledger_take_rows(batch, 0, false);
    CHECK_INT(batch->source_count, 2);
    fsk_batch_source(batch, 0, &source);
    CHECK(fsk_address_equal(&source, &other));
    fsk_batch_source(batch, 1, &source);
    CHECK(fsk_address_equal(&source, &pair.from));
    close(second);
    fsk_batch_free(batch);
    close_udp(&pair);
}

/* Short names come first, and keep their numbers when a long one makes the table's rows longer. */
static void test_batch_of_long_names_keeps_them_whole(void) {
    enum { SENDERS = 12, LONGEST = 108 };
    struct unix_socket receiver;
    struct fsk_address to;
    struct fsk_address from[SENDERS];
    struct fsk_address source;
    int senders[SENDERS];
    char name[LONGEST];
    struct fsk_batch *batch = new_batch(2 * SENDERS, 4);
    open_unix(&receiver, SOCK_DGRAM, &to);
    for (int i = 0; i < SENDERS; i++) {
        size_t length = i < 6 ? 16 : LONGEST;
        memset(name, 'a' + i, sizeof name);
        name[0] = 0;
        snprintf(name + 1, 12, "%010d", (int)getpid());
        REQUIRE(fsk_address_set_path(&from[i], name, length) == 0);
        senders[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
        REQUIRE(senders[i] >= 0);
        REQUIRE(bind(senders[i], &from[i].name.any, from[i].length) == 0);
    }
    CHECK_INT(fsk_batch_size(batch), 2 * SENDERS * (4 + 64));
    for (int i = 0; i < 2 * SENDERS; i++) {
        REQUIRE(sendto(senders[i % SENDERS], "x", 1, 0, &to.name.any, to.length) == 1);
        CHECK_INT(fsk_receive_batch(receiver.fd, SOCK_DGRAM, 0, batch), 1);
    }
    CHECK_INT(fsk_batch_size(batch), 2 * SENDERS * (4 + 64 + 132));
    CHECK_INT(batch->source_count, SENDERS);
    for (int i = 0; i < 2 * SENDERS; i++) {
        CHECK_INT(batch->source[i], i % SENDERS);
        fsk_batch_source(batch, batch->source[i], &source);
        CHECK_INT(source.length, from[i % SENDERS].length);
        CHECK(fsk_address_equal(&source, &from[i % SENDERS]));
    }
    for (int i = 0; i < SENDERS; i++)
        close(senders[i]);
    fsk_batch_free(batch);
    close_unix(&receiver);
}

static void test_batch_size_counts_metadata_once_received(void) {
    struct udp_pair pair;
    struct fsk_batch *batch = new_batch(10, 100);
    open_udp(AF_INET, &pair);
    batch->metadata = FSK_METADATA_HOP_LIMIT;
    send_plain(&pair, 8);
    CHECK_INT(fsk_batch_size(batch), 10 * (100 + 64));
    CHECK_INT(fsk_receive_batch(pair.receiver, SOCK_DGRAM, 0, batch), 1);
    CHECK_INT(fsk_batch_size(batch), 10 * (100 + 64 + 64));
    fsk_batch_clear(batch);
    CHECK_INT(fsk_batch_size(batch), 10 * (100 + 64 + 64));
    fsk_batch_free(batch);
    close_udp(&pair);
}

static void test_batch_reshape_cuts_the_same_memory_anew(void) {
    struct fsk_batch *batch;
    REQUIRE(fsk_batch_new(&batch, 100, 1000, 1) == 0);
    size_t size = fsk_batch_size(batch);
    const unsigned char *arena = batch->arena;
    CHECK_INT(fsk_batch_reshape(batch, 0, 1000), -EINVAL);
    CHECK_INT(fsk_batch_reshape(batch, 100, 0), -EINVAL);
    CHECK_INT(fsk_batch_reshape(batch, 101, 1), -ENOSPC);
    CHECK_INT(fsk_batch_reshape(batch, 100, 1001), -ENOSPC);
    CHECK_INT(fsk_batch_reshape(batch, 3, UINT32_MAX), -ENOSPC);
    CHECK_INT(batch->capacity, 100);
    CHECK_INT(batch->max_message, 1000);
    batch->count = 7;
    CHECK_INT(fsk_batch_reshape(batch, 2, 50000), 0);
    CHECK_INT(batch->count, 0);
    CHECK_INT(batch->capacity, 2);
    CHECK_INT(batch->max_message, 50000);
    CHECK_INT(fsk_batch_size(batch), size);
    CHECK_INT(batch->arena == arena, true);
    CHECK_INT(fsk_batch_reshape(batch, 100, 1000), 0);
    fsk_batch_free(batch);
}

int main(void) {
    stay_on_one_cpu();
    RUN(test_batch_of_impossible_size_is_refused);
    RUN(test_batch_larger_than_memory_is_refused);
    RUN(test_batch_free_of_null_does_nothing);
    RUN(test_batch_new_is_empty_and_of_the_size_asked_for);
    RUN(test_batch_columns_do_not_overlap);
    RUN(test_batch_memory_is_not_touched_before_it_is_filled);
    RUN(test_batch_of_a_thousand_senders_numbers_each_once);
    RUN(test_batch_of_few_senders_numbers_each_once);
    RUN(test_batch_cleared_forgets_its_senders);
    RUN(test_batch_of_long_names_keeps_them_whole);
    RUN(test_batch_size_counts_metadata_once_received);
    RUN(test_batch_reshape_cuts_the_same_memory_anew);
    return check_report();
}
