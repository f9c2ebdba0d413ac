/* SPDX-License-Identifier: MIT
 * Control data that no kernel need have written: every buffer that is read lies in memory of
 * exactly its size, so that a sanitizer sees the first byte too many. Real control data is in
 * test_receive.c and test_send.c.
 */
#include <fastsock/message.h>

#include <stddef.h>
#include <sys/socket.h>

#include "check.h"

#define ROOM 256

/* Three items whose data lengths leave padding behind the first and the second. */
static const struct fsk_control items[] = {
    {.level = 1, .type = 2, .data = "abc", .length = 3},
    {.level = -3, .type = 0x7fffffff, .data = "0123456789012", .length = 13},
    {.level = 5, .type = 6, .data = "12345678", .length = 8},
};
#define ITEM_COUNT (sizeof items / sizeof *items)

/* Bytes of a header with the padding behind it: where an item's data starts. */
static size_t header_size(void) {
    return fsk_control_space(0);
}

static struct fsk_message message_of(void *control, size_t length) {
    struct fsk_message message = {.control = control, .control_length = length};
    return message;
}

/* The items, one behind the other; returns the bytes. control is out, ROOM bytes. */
static size_t put_items(void *control) {
    struct fsk_message message = message_of(control, 0);
    for (size_t i = 0; i < ITEM_COUNT; i++)
        REQUIRE(fsk_control_put(&message, ROOM, &items[i]) == 0);
    return message.control_length;
}

/* A copy with nothing behind it that a read could use. */
static char *exact_copy(const void *bytes, size_t length) {
    char *copy = malloc(length);
    REQUIRE(copy != NULL || length == 0);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

/* Returns the length that it claims, as far as its type has room for it. */
static size_t write_header(char *at, size_t claimed, int level, int type) {
    struct cmsghdr header;
    memset(&header, 0, sizeof header);
    header.cmsg_len = claimed;
    header.cmsg_level = level;
    header.cmsg_type = type;
    memcpy(at, &header, sizeof header);
    return header.cmsg_len;
}

static void check_item(const struct fsk_control *item, const struct fsk_control *expected,
                       size_t length) {
    CHECK_INT(item->level, expected->level);
    CHECK_INT(item->type, expected->type);
    CHECK_INT(item->length, length);
    CHECK_BYTES(item->data, expected->data, length);
}

static void test_put_several_items_come_back_by_next(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    struct fsk_control item;
    size_t cursor = 0;
    memset(control, 0xa5, sizeof control);
    size_t length = put_items(control);
    char *copy = exact_copy(control, length);
    struct fsk_message message = message_of(copy, length);
    for (size_t i = 0; i < ITEM_COUNT; i++) {
        REQUIRE(fsk_control_next(&message, &cursor, &item) == 1);
        check_item(&item, &items[i], items[i].length);
    }
    CHECK_INT(cursor, length);
    CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    free(copy);
}

static void test_put_grows_by_the_space_of_each_item(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    struct fsk_message message = message_of(control, 0);
    size_t expected = 0;
    for (size_t i = 0; i < ITEM_COUNT; i++) {
        REQUIRE(fsk_control_put(&message, ROOM, &items[i]) == 0);
        expected += fsk_control_space(items[i].length);
        CHECK_INT(message.control_length, expected);
    }
}

static void test_put_clears_the_padding(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    static const char zeros[ROOM];
    memset(control, 0xa5, sizeof control);
    struct fsk_message message = message_of(control, 0);
    REQUIRE(fsk_control_put(&message, ROOM, &items[0]) == 0);
    size_t used = header_size() + items[0].length;
    CHECK(message.control_length > used);
    CHECK_BYTES(control + used, zeros, message.control_length - used);
    CHECK_INT((unsigned char)control[message.control_length], 0xa5);
}

static void test_put_empty_item_round_trips(void) {
    struct fsk_control empty = {.level = 7, .type = 8, .data = NULL, .length = 0};
    struct fsk_control item;
    size_t room = fsk_control_space(0);
    size_t cursor = 0;
    char *control = malloc(room);
    REQUIRE(control != NULL);
    struct fsk_message message = message_of(control, 0);
    CHECK_INT(fsk_control_put(&message, room, &empty), 0);
    REQUIRE(fsk_control_next(&message, &cursor, &item) == 1);
    check_item(&item, &empty, 0);
    free(control);
}

/* In every room below what the item takes nothing is written; in exactly that room it fits. */
static void test_put_in_too_small_room_writes_nothing(void) {
    size_t space = fsk_control_space(items[1].length);
    for (size_t room = 0; room <= space; room++) {
        char *control = malloc(room);
        char *before = malloc(room);
        REQUIRE((control != NULL && before != NULL) || room == 0);
        if (room > 0) {
            memset(control, 0x5a, room);
            memset(before, 0x5a, room);
        }
        struct fsk_message message = message_of(control, 0);
        int result = fsk_control_put(&message, room, &items[1]);
        CHECK_INT(result, room < space ? -ENOSPC : 0);
        CHECK_INT(message.control_length, room < space ? 0 : space);
        if (room < space)
            CHECK_BYTES(control, before, room);
        free(control);
        free(before);
    }
}

static void test_put_second_item_without_room_leaves_the_first(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    struct fsk_message message = message_of(control, 0);
    struct fsk_control item;
    size_t cursor = 0;
    size_t room = fsk_control_space(items[0].length) + fsk_control_space(items[1].length) - 1;
    CHECK_INT(fsk_control_put(&message, room, &items[0]), 0);
    CHECK_INT(fsk_control_put(&message, room, &items[1]), -ENOSPC);
    CHECK_INT(message.control_length, fsk_control_space(items[0].length));
    REQUIRE(fsk_control_next(&message, &cursor, &item) == 1);
    check_item(&item, &items[0], items[0].length);
    CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
}

/* Lengths whose space wraps around to something small. */
static void test_put_huge_length_is_refused(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    struct fsk_message message = message_of(control, 0);
    for (size_t below = 0; below < 64; below++) {
        struct fsk_control huge = {.data = "x", .length = SIZE_MAX - below};
        CHECK_INT(fsk_control_put(&message, ROOM, &huge), -ENOSPC);
    }
    struct fsk_control half = {.data = "x", .length = SIZE_MAX / 2 + 1};
    CHECK_INT(fsk_control_put(&message, ROOM, &half), -ENOSPC);
    CHECK_INT(message.control_length, 0);
}

static void test_put_behind_more_than_the_room_is_refused(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    struct fsk_message message = message_of(control, ROOM);
    CHECK_INT(fsk_control_put(&message, ROOM - 1, &items[0]), -ENOSPC);
    CHECK_INT(fsk_control_put(&message, 0, &items[0]), -ENOSPC);
    CHECK_INT(message.control_length, ROOM);
}

static void test_space_grows_by_whole_headers_alignment(void) {
    size_t step = fsk_control_space(1) - fsk_control_space(0);
    CHECK(fsk_control_space(0) >= sizeof(struct cmsghdr));
    CHECK(step > 0);
    for (size_t length = 1; length < 64; length++) {
        CHECK(fsk_control_space(length) >= header_size() + length);
        CHECK_INT(fsk_control_space(length) % step, 0);
    }
}

/* Every item that is whole comes whole; the one that the cut hits comes as far as it is there. */
static void check_cut_at(const char *control, size_t cut) {
    char *copy = exact_copy(control, cut);
    struct fsk_message message = message_of(copy, cut);
    struct fsk_control item;
    size_t cursor = 0;
    size_t start = 0;
    for (size_t i = 0; i < ITEM_COUNT; i++) {
        size_t data = start + header_size();
        int result = fsk_control_next(&message, &cursor, &item);
        if (cut < data) {
            CHECK_INT(result, 0);
            break;
        }
        if (cut < data + items[i].length) {
            CHECK_INT(result, -EBADMSG);
            check_item(&item, &items[i], cut - data);
            break;
        }
        REQUIRE(result == 1);
        check_item(&item, &items[i], items[i].length);
        start += fsk_control_space(items[i].length);
    }
    CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    CHECK(cursor <= cut);
    free(copy);
}

static void test_next_of_cut_data_gives_what_is_there(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    size_t length = put_items(control);
    for (size_t cut = 0; cut <= length; cut++)
        check_cut_at(control, cut);
}

static void test_next_without_control_is_the_end(void) {
    struct fsk_message message = message_of(NULL, 0);
    struct fsk_control item;
    size_t cursor = 0;
    CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    CHECK_INT(cursor, 0);
}

/* A header that claims less than itself: no way to tell where the next one starts. */
static void test_next_of_length_below_a_header_is_the_end(void) {
    size_t length = header_size() + 16;
    char *control = malloc(length);
    REQUIRE(control != NULL);
    memset(control, 0, length);
    for (size_t claimed = 0; claimed < header_size(); claimed++) {
        struct fsk_message message = message_of(control, length);
        struct fsk_control item;
        size_t cursor = 0;
        write_header(control, claimed, 1, 1);
        CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
        CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    }
    free(control);
}

static void test_next_of_huge_length_gives_what_is_there(void) {
    static const size_t there = 5;
    size_t length = header_size() + there;
    char *control = malloc(length);
    REQUIRE(control != NULL);
    memcpy(control + header_size(), "12345", there);
    size_t claims[] = {length + 1,       length + ROOM,  UINT32_MAX / 2, UINT32_MAX / 2 + 1,
                       UINT32_MAX - 7,   UINT32_MAX - 1, UINT32_MAX,     SIZE_MAX / 2,
                       SIZE_MAX / 2 + 1, SIZE_MAX - 7,   SIZE_MAX - 1,   SIZE_MAX};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        struct fsk_message message = message_of(control, length);
        struct fsk_control expected = {.level = 9, .type = 10, .data = "12345"};
        struct fsk_control item;
        size_t cursor = 0;
        if (write_header(control, claims[i], 9, 10) != claims[i])
            continue; /* musl's cmsg_len has 32 bits */
        CHECK_INT(fsk_control_next(&message, &cursor, &item), -EBADMSG);
        check_item(&item, &expected, there);
        CHECK_INT(cursor, length);
        CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
    }
    free(control);
}

static void test_next_of_cursor_past_the_end_is_the_end(void) {
    _Alignas(struct cmsghdr) char control[ROOM];
    struct fsk_message message = message_of(control, put_items(control));
    struct fsk_control item;
    size_t cursors[] = {message.control_length, message.control_length + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof cursors / sizeof *cursors; i++) {
        size_t cursor = cursors[i];
        CHECK_INT(fsk_control_next(&message, &cursor, &item), 0);
        CHECK_INT(cursor, cursors[i]);
    }
}

/* xorshift64: the same bytes in every run. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Random bytes, with a header of a plausible length at about half the places that can hold one. */
static void fill_random(char *control, size_t length, uint64_t *state) {
    for (size_t i = 0; i < length; i++)
        control[i] = (char)next_random(state);
    size_t step = fsk_control_space(1) - fsk_control_space(0);
    for (size_t at = 0; length >= header_size() && at <= length - header_size(); at += step)
        if ((next_random(state) & 1) != 0)
            write_header(control + at, next_random(state) % (length + header_size() + 2), 1, 2);
}

/* Compares each step with twin, which holds the same bytes; so every byte of an item is read. */
static void check_walk(const struct fsk_message *message, const char *twin) {
    const char *control = message->control;
    struct fsk_control item;
    size_t cursor = 0;
    size_t steps = 0;
    int result;
    do {
        size_t before = cursor;
        result = fsk_control_next(message, &cursor, &item);
        REQUIRE(cursor >= before && cursor <= message->control_length);
        if (result == 0)
            return;
        struct cmsghdr header;
        memcpy(&header, twin + before, sizeof header);
        size_t there = message->control_length - before - header_size();
        size_t claimed = (size_t)header.cmsg_len - header_size();
        CHECK_INT(result, claimed > there ? -EBADMSG : 1);
        CHECK_INT(item.level, header.cmsg_level);
        CHECK_INT(item.type, header.cmsg_type);
        CHECK_INT(item.length, claimed > there ? there : claimed);
        REQUIRE((const char *)item.data == control + before + header_size());
        CHECK_BYTES(item.data, twin + before + header_size(), item.length);
        CHECK(cursor > before);
        REQUIRE(++steps <= message->control_length / header_size());
    } while (result == 1);
    CHECK_INT(fsk_control_next(message, &cursor, &item), 0);
}

static void test_next_of_random_bytes_stays_within_them(void) {
    uint64_t state = UINT64_C(0x853c49e6748fea9b);
    char twin[160];
    for (int round = 0; round < 20000; round++) {
        size_t length = next_random(&state) % sizeof twin;
        fill_random(twin, length, &state);
        char *control = exact_copy(twin, length);
        struct fsk_message message = message_of(control, length);
        check_walk(&message, twin);
        free(control);
    }
}

int main(void) {
    RUN(test_put_several_items_come_back_by_next);
    RUN(test_put_grows_by_the_space_of_each_item);
    RUN(test_put_clears_the_padding);
    RUN(test_put_empty_item_round_trips);
    RUN(test_put_in_too_small_room_writes_nothing);
    RUN(test_put_second_item_without_room_leaves_the_first);
    RUN(test_put_huge_length_is_refused);
    RUN(test_put_behind_more_than_the_room_is_refused);
    RUN(test_space_grows_by_whole_headers_alignment);
    RUN(test_next_of_cut_data_gives_what_is_there);
    RUN(test_next_without_control_is_the_end);
    RUN(test_next_of_length_below_a_header_is_the_end);
    RUN(test_next_of_huge_length_gives_what_is_there);
    RUN(test_next_of_cursor_past_the_end_is_the_end);
    RUN(test_next_of_random_bytes_stays_within_them);
    return check_report();
}
