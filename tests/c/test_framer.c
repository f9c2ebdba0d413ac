/* SPDX-License-Identifier: MIT
 * The buffer of one stream: frames come out whole however the bytes came in, memory stays small,
 * and no byte is moved more often than it must be. */
#include <fastsock/framer.h>

#include "check.h"

enum { CAPACITY = 64 };

static const struct fsk_framing PREFIX = {
    .size = sizeof PREFIX,
    .kind = FSK_FRAMING_LENGTH,
    .max_frame = 1 << 24,
    .header_size = 4,
};
static const struct fsk_framing LINES = {
    .size = sizeof LINES,
    .kind = FSK_FRAMING_DELIMITER,
    .max_frame = 1 << 24,
    .delimiter_size = 2,
    .delimiter = "\r\n",
};

static uint64_t offsets[CAPACITY];
static uint32_t lengths[CAPACITY];

static struct fsk_framer *new_framer(const struct fsk_framing *framing, size_t readahead) {
    struct fsk_framer *framer;
    REQUIRE(fsk_framer_new(&framer, framing, readahead) == 0);
    return framer;
}

static size_t size_left(const struct fsk_framer *framer, uint64_t *missing) {
    const unsigned char *data;
    size_t size;
    fsk_framer_left(framer, &data, &size, missing);
    return size;
}

/* Store n bytes as a receive would. */
static void store(struct fsk_framer *framer, const char *data, size_t n) {
    while (n > 0) {
        unsigned char *where;
        size_t size;
        REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
        REQUIRE(size >= 1);
        size_t some = size < n ? size : n;
        memcpy(where, data, some);
        fsk_framer_put(framer, some);
        data += some;
        n -= some;
    }
}

static void test_new_with_wrong_arguments_is_refused(void) {
    struct fsk_framer *framer = NULL;
    struct fsk_framing wrong = PREFIX;
    wrong.header_size = 3;
    CHECK_INT(fsk_framer_new(&framer, &wrong, 0), -EINVAL);
    CHECK_INT(fsk_framer_new(&framer, &PREFIX, FSK_FRAME_MAX + 1), -EINVAL);
    CHECK(framer == NULL);
    fsk_framer_free(NULL);
}

static void test_next_after_every_split_gives_the_same_frames(void) {
    static const char stream[] = "one\r\n\r\nthree\r\rx\r\nrest";
    size_t size = sizeof stream - 1;
    for (size_t split = 0; split <= size; split++) {
        struct fsk_framer *framer = new_framer(&LINES, 4);
        uint64_t missing;
        char joined[64] = "";
        for (int half = 0; half < 2; half++) {
            if (half == 0)
                store(framer, stream, split);
            else
                CHECK_INT(fsk_framer_feed(framer, stream + split, size - split), 0);
            ssize_t count = fsk_framer_next(framer, offsets, lengths, CAPACITY);
            REQUIRE(count >= 0);
            for (ssize_t i = 0; i < count; i++) {
                strncat(joined, (const char *)fsk_framer_data(framer) + offsets[i], lengths[i]);
                strcat(joined, "|");
            }
        }
        CHECK_TEXT(joined, "one||three\r\rx|");
        CHECK_INT(size_left(framer, &missing), 4);
        CHECK_INT(missing, 1);
        CHECK_INT(fsk_framer_offset(framer), size - 4);
        fsk_framer_free(framer);
    }
}

static void test_next_before_anything_came_gives_nothing(void) {
    struct fsk_framer *framer = new_framer(&PREFIX, 0);
    uint64_t missing;
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 0);
    CHECK_INT(size_left(framer, &missing), 0);
    CHECK_INT(missing, 4);
    CHECK_INT(fsk_framer_feed(framer, NULL, 0), 0);
    CHECK_INT(fsk_framer_take(framer, NULL, 10), 0);
    fsk_framer_free(framer);
}

/* Were the work not linear, this would take minutes: 2 MiB, a byte at a time. */
static void check_frame_of_single_bytes(const struct fsk_framing *framing, const char *head,
                                        size_t head_size, const char *tail, size_t tail_size) {
    enum { LENGTH = 1 << 21 };
    struct fsk_framer *framer = new_framer(framing, 0);
    store(framer, head, head_size);
    for (size_t i = 0; i < LENGTH; i++) {
        store(framer, "x", 1);
        if (i < LENGTH - 1 || tail_size > 0)
            REQUIRE(fsk_framer_next(framer, offsets, lengths, CAPACITY) == 0);
    }
    store(framer, tail, tail_size);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_INT(lengths[0], LENGTH);
    CHECK_INT(fsk_framer_data(framer)[offsets[0] + LENGTH - 1], 'x');
    fsk_framer_free(framer);
}

static void test_next_of_single_bytes_does_linear_work(void) {
    check_frame_of_single_bytes(&PREFIX, "\0\x20\0\0", 4, "", 0);
    check_frame_of_single_bytes(&LINES, "", 0, "\r\n", 2);
}

static void test_room_of_a_long_frame_grows_with_what_came(void) {
    enum { READAHEAD = 4096 };
    struct fsk_framer *framer = new_framer(&PREFIX, READAHEAD);
    unsigned char *where;
    size_t size;
    size_t held = 4;
    const unsigned char *data;
    uint64_t missing;
    store(framer, "\0\x10\0\0", 4); /* 1 MiB */
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 0);
    for (size_t rooms = 0;; rooms++) {
        fsk_framer_left(framer, &data, &size, &missing);
        CHECK_INT(size, held);
        CHECK_INT(missing, (1 << 20) + 4 - held);
        if (missing == 0)
            break;
        REQUIRE(rooms < 20);
        REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
        CHECK(size <= held + READAHEAD && size <= missing);
        memset(where, 'x', size);
        fsk_framer_put(framer, size);
        held += size;
    }
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_INT(lengths[0], 1 << 20);
    /* Then small again. */
    REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
    CHECK_INT(size, READAHEAD);
    fsk_framer_free(framer);
}

static void test_room_before_a_whole_frame_is_cut_still_has_a_byte(void) {
    struct fsk_framer *framer = new_framer(&PREFIX, 4);
    unsigned char *where;
    size_t size;
    for (int i = 0; i < 100; i++) {
        REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
        REQUIRE(size >= 1);
        memset(where, 0, 1);
        fsk_framer_put(framer, 1);
    }
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 25);
    fsk_framer_free(framer);
}

/* What the kernel would store behind a long frame would have to be moved again. */
static void test_room_of_a_long_frame_ends_where_it_ends(void) {
    static char stream[9000] = "\0\0\x13\x88"; /* 5000 */
    struct fsk_framer *framer = new_framer(&PREFIX, 64);
    unsigned char *where;
    size_t size;
    memcpy(stream + 5004, "\0\0\x17\x70", 4); /* 6000, of which 3992 are there */
    CHECK_INT(fsk_framer_feed(framer, stream, sizeof stream), 0);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
    CHECK_INT(size, 2008);
    memset(where, 'x', size);
    fsk_framer_put(framer, size);
    /* It is whole, though nobody has cut it. */
    REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
    CHECK(size >= 1);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_INT(lengths[0], 6000);
    fsk_framer_free(framer);
}

static void test_room_behind_many_cut_frames_is_nearly_all_again(void) {
    struct fsk_framer *framer = new_framer(&LINES, 100);
    unsigned char *where;
    size_t size;
    for (int i = 0; i < 18; i++)
        store(framer, "abc\r\n", 5);
    store(framer, "ab", 2);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 18);
    REQUIRE(fsk_framer_room(framer, &where, &size) == 0);
    CHECK_INT(size, 98);
    fsk_framer_free(framer);
}

static void test_begun_tells_the_length_once_the_header_is_whole(void) {
    struct fsk_framer *framer = new_framer(&PREFIX, 0);
    size_t header;
    uint64_t length;
    store(framer, "\0\0\1", 3);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 0);
    CHECK_INT(fsk_framer_begun(framer, &header, &length), 0);
    store(framer, "\2abc", 4);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 0);
    CHECK_INT(fsk_framer_begun(framer, &header, &length), 1);
    CHECK_INT(header, 4);
    CHECK_INT(length, 258);
    /* Its rest is received elsewhere; the next frame is cut as if nothing had been. */
    fsk_framer_leave(framer);
    CHECK_INT(fsk_framer_offset(framer), 262);
    store(framer, "\0\0\0\1z", 5);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_INT(lengths[0], 1);
    CHECK_INT(fsk_framer_offset(framer), 267);
    fsk_framer_free(framer);
}

static void test_take_gives_raw_bytes_and_frames_go_on_behind_them(void) {
    struct fsk_framer *framer = new_framer(&LINES, 0);
    char taken[16] = "";
    store(framer, "one\r\nhead", 9);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    store(framer, "er\r\ntwo\r\nxy", 11);
    CHECK_INT(fsk_framer_take(framer, taken, 8), 8);
    CHECK_TEXT(taken, "header\r\n");
    CHECK_INT(fsk_framer_offset(framer), 13);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_BYTES(fsk_framer_data(framer) + offsets[0], "two", 3);
    CHECK_INT(fsk_framer_take(framer, NULL, 1), 1);
    CHECK_INT(fsk_framer_take(framer, taken, 100), 1);
    CHECK_INT(taken[0], 'y');
    CHECK_INT(fsk_framer_offset(framer), 20);
    fsk_framer_free(framer);
}

static void test_back_has_frames_and_raw_bytes_given_again(void) {
    struct fsk_framer *framer = new_framer(&LINES, 0);
    uint64_t missing;
    store(framer, "one\r\ntwo\r\nthree\r\nfo", 19);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 3);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 0);
    fsk_framer_back(framer, 12);
    CHECK_INT(fsk_framer_offset(framer), 5);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 2);
    CHECK_BYTES(fsk_framer_data(framer) + offsets[0], "two", 3);
    CHECK_BYTES(fsk_framer_data(framer) + offsets[1], "three", 5);
    CHECK_INT(fsk_framer_take(framer, NULL, 2), 2);
    CHECK_INT(size_left(framer, &missing), 0);
    fsk_framer_back(framer, 2);
    store(framer, "ur\r\n", 4);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_BYTES(fsk_framer_data(framer) + offsets[0], "four", 4);
    CHECK_INT(fsk_framer_offset(framer), 23);
    fsk_framer_free(framer);
}

static void test_next_of_a_wrong_frame_gives_the_frames_before_it_first(void) {
    struct fsk_framer *framer = new_framer(&PREFIX, 0);
    store(framer, "\0\0\0\1a\xff\0\0\0zz", 11);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), 1);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), -EMSGSIZE);
    CHECK_INT(fsk_framer_next(framer, offsets, lengths, CAPACITY), -EMSGSIZE);
    CHECK_INT(fsk_framer_offset(framer), 5);
    fsk_framer_free(framer);
}

/* Whole frames are cut where they lie; only what is unfinished is kept. */
static void test_cut_copies_only_the_unfinished_frame(void) {
    static const unsigned char data[] = "one\r\ntwo\r\nth";
    static const unsigned char more[] = "ree\r\nfour\r\n";
    struct fsk_framer *framer = new_framer(&LINES, 64);
    const unsigned char *base;
    size_t start = 0;
    uint64_t missing;
    CHECK_INT(fsk_framer_cut(framer, data, &start, 12, &base, offsets, lengths, CAPACITY), 2);
    CHECK(base == data);
    CHECK_INT(offsets[1], 5);
    CHECK_INT(fsk_framer_cut(framer, data, &start, 12, &base, offsets, lengths, CAPACITY), 0);
    CHECK_INT(start, 12);
    CHECK_INT(size_left(framer, &missing), 2);
    start = 0;
    CHECK_INT(fsk_framer_cut(framer, more, &start, 11, &base, offsets, lengths, 1), 1);
    CHECK(base != more);
    CHECK_BYTES(base + offsets[0], "three", 5);
    CHECK_INT(fsk_framer_cut(framer, more, &start, 11, &base, offsets, lengths, CAPACITY), 1);
    CHECK(base == more);
    CHECK_BYTES(base + offsets[0], "four", 4);
    CHECK_INT(fsk_framer_cut(framer, more, &start, 11, &base, offsets, lengths, CAPACITY), 0);
    CHECK_INT(fsk_framer_offset(framer), 23);
    CHECK_INT(size_left(framer, &missing), 0);
    fsk_framer_free(framer);
}

int main(void) {
    RUN(test_new_with_wrong_arguments_is_refused);
    RUN(test_next_before_anything_came_gives_nothing);
    RUN(test_next_after_every_split_gives_the_same_frames);
    RUN(test_next_of_single_bytes_does_linear_work);
    RUN(test_room_of_a_long_frame_grows_with_what_came);
    RUN(test_room_before_a_whole_frame_is_cut_still_has_a_byte);
    RUN(test_room_of_a_long_frame_ends_where_it_ends);
    RUN(test_room_behind_many_cut_frames_is_nearly_all_again);
    RUN(test_begun_tells_the_length_once_the_header_is_whole);
    RUN(test_take_gives_raw_bytes_and_frames_go_on_behind_them);
    RUN(test_back_has_frames_and_raw_bytes_given_again);
    RUN(test_next_of_a_wrong_frame_gives_the_frames_before_it_first);
    RUN(test_cut_copies_only_the_unfinished_frame);
    return check_report();
}
