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

int main(void) {
    RUN(test_new_with_wrong_arguments_is_refused);
    RUN(test_next_after_every_split_gives_the_same_frames);
    return check_report();
}
