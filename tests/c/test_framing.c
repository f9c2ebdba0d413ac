/* SPDX-License-Identifier: MIT
 * Framings: what is cut out of a stream, at every split of it, and that it can be made again. */
#include <fastsock/framing.h>

#include "check.h"

enum { MOST = 64 };

static struct fsk_framing length_prefix(uint8_t size, bool little_endian, bool includes_header) {
    return (struct fsk_framing){
        .size = sizeof(struct fsk_framing),
        .kind = FSK_FRAMING_LENGTH,
        .max_frame = 1 << 20,
        .header_size = size,
        .little_endian = little_endian,
        .includes_header = includes_header,
    };
}

static struct fsk_framing varint(void) {
    return (struct fsk_framing){
        .size = sizeof(struct fsk_framing),
        .kind = FSK_FRAMING_VARINT,
        .max_frame = 1 << 20,
    };
}

static struct fsk_framing delimiter(const char *text, bool keeps, uint32_t max_frame) {
    struct fsk_framing framing = {
        .size = sizeof framing,
        .kind = FSK_FRAMING_DELIMITER,
        .max_frame = max_frame,
        .keeps_delimiter = keeps,
        .delimiter_size = (uint8_t)strlen(text),
    };
    memcpy(framing.delimiter, text, strlen(text));
    return framing;
}

static struct fsk_framing fixed(uint32_t size) {
    return (struct fsk_framing){
        .size = sizeof(struct fsk_framing),
        .kind = FSK_FRAMING_FIXED,
        .max_frame = 1 << 20,
        .frame_size = size,
    };
}

/* What cutting gave: the frames, each followed by '|', and then the error by its name. */
static char result[1024];

static void add_result(const void *text, size_t length) {
    size_t before = strlen(result);
    REQUIRE(before + length < sizeof result);
    memcpy(result + before, text, length);
    result[before + length] = '\0';
}

/* Cut until nothing comes; data from *start to end is there. */
static ssize_t cut_all(const struct fsk_framing *framing, struct fsk_cut *cut, const char *data,
                       size_t *start, size_t end, size_t capacity) {
    uint64_t offsets[MOST];
    uint32_t lengths[MOST];
    ssize_t count;
    do {
        count = fsk_framing_cut(framing, cut, (const unsigned char *)data, start, end, offsets,
                                lengths, capacity);
        for (ssize_t i = 0; i < count; i++) {
            add_result(data + offsets[i], lengths[i]);
            add_result("|", 1);
        }
    } while (count > 0);
    return count;
}

/* Cut data, split in two at every place and for some capacities, and expect the same of all:
 * the frames, and an error (or 0) with offset bytes of the stream before it. */
static void check_cut_of(const struct fsk_framing *framing, const char *data, size_t size,
                         const char *frames, ssize_t error, size_t offset) {
    CHECK_INT(fsk_framing_check(framing), 0);
    for (size_t capacity = 1; capacity <= 3; capacity++) {
        for (size_t split = 0; split <= size; split++) {
            struct fsk_cut cut = {0};
            size_t start = 0;
            result[0] = '\0';
            ssize_t count = cut_all(framing, &cut, data, &start, split, capacity);
            if (count == 0)
                count = cut_all(framing, &cut, data, &start, size, capacity);
            CHECK_TEXT(result, frames);
            CHECK_INT(count, error);
            CHECK_INT(start, offset);
            CHECK_INT(cut.offset, offset);
        }
    }
}

#define CHECK_CUT(framing, text, frames, error, offset)                                            \
    check_cut_of(framing, text, sizeof(text) - 1, frames, error, offset)

static void test_check_of_rules_that_contradict_themselves_is_einval(void) {
    struct fsk_framing framing = {0};
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing = length_prefix(3, false, false);
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing = varint();
    framing.max_frame = 0;
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing.max_frame = (uint32_t)FSK_FRAME_MAX + 1;
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing.max_frame = FSK_FRAME_MAX;
    CHECK_INT(fsk_framing_check(&framing), 0);
    framing.size = offsetof(struct fsk_framing, frame_size);
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing = delimiter("", false, 10);
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing.delimiter_size = FSK_DELIMITER_MAX + 1;
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing = delimiter("abc", true, 2);
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing.keeps_delimiter = false;
    CHECK_INT(fsk_framing_check(&framing), 0);
    framing = fixed(0);
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing = fixed((1 << 20) + 1);
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
    framing.kind = (enum fsk_framing_kind)9;
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
}

static void test_cut_by_length_reads_every_header(void) {
    struct fsk_framing framing = length_prefix(1, false, false);
    CHECK_CUT(&framing, "\2ab\0\1c\5wxyz", "ab||c|", 0, 6);
    framing = length_prefix(2, false, false);
    CHECK_CUT(&framing, "\0\2ab\0\0\0\1c\1\0", "ab||c|", 0, 9);
    framing = length_prefix(2, true, false);
    CHECK_CUT(&framing, "\2\0ab\0\0\1\0c\0\1", "ab||c|", 0, 9);
    framing = length_prefix(4, false, false);
    CHECK_CUT(&framing, "\0\0\0\2ab\0\0\0\0\0\0\0\1c", "ab||c|", 0, 15);
    framing = length_prefix(4, true, true);
    CHECK_CUT(&framing, "\6\0\0\0ab\4\0\0\0\5\0\0\0c", "ab||c|", 0, 15);
    framing = length_prefix(8, false, true);
    CHECK_CUT(&framing, "\0\0\0\0\0\0\0\12ab\0\0\0\0\0\0\0\10", "ab||", 0, 18);
    framing = length_prefix(8, true, false);
    CHECK_CUT(&framing, "\2\0\0\0\0\0\0\0ab\0\0", "ab|", 0, 10);
}

static void test_cut_by_length_of_a_wrong_header_is_an_error_there(void) {
    struct fsk_framing framing = length_prefix(2, false, true);
    CHECK_CUT(&framing, "\0\3a\0\1zz", "a|", -EBADMSG, 3);
    framing = length_prefix(4, false, false);
    CHECK_CUT(&framing, "\0\0\0\1a\xff\xff\xff\xffzz", "a|", -EMSGSIZE, 5);
    framing = length_prefix(8, false, false);
    CHECK_CUT(&framing, "\xff\xff\xff\xff\xff\xff\xff\xff", "", -EMSGSIZE, 0);
    framing = length_prefix(8, true, true);
    CHECK_CUT(&framing, "\xff\xff\xff\xff\xff\xff\xff\xff", "", -EMSGSIZE, 0);
    CHECK_CUT(&framing, "\0\0\0\0\0\0\0\0", "", -EBADMSG, 0);
    framing = length_prefix(1, false, false);
    framing.max_frame = 3;
    CHECK_CUT(&framing, "\3abc\4abcd", "abc|", -EMSGSIZE, 4);
}

static void test_cut_by_varint_takes_up_to_64_bits(void) {
    struct fsk_framing framing = varint();
    CHECK_CUT(&framing, "\2ab\0\1c\x80", "ab||c|", 0, 6);
    /* More bytes than the number needs are allowed, as protobuf has it. */
    CHECK_CUT(&framing, "\x82\x80\0ab", "ab|", 0, 5);
    CHECK_CUT(&framing, "\x81\x80\x80\x80\x80\x80\x80\x80\x80\0a", "a|", 0, 11);
    CHECK_CUT(&framing, "\1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "a|", -EMSGSIZE, 2);
    CHECK_CUT(&framing, "\1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", "a|", -EBADMSG, 2);
    CHECK_CUT(&framing, "\1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", "a|", -EBADMSG, 2);
    framing.max_frame = 130;
    CHECK_CUT(&framing, "\x83\1", "", -EMSGSIZE, 0);
    CHECK_CUT(&framing, "\x82\1xyz", "", 0, 0);
}

static void test_cut_by_delimiter_takes_the_first_that_is_whole(void) {
    struct fsk_framing framing = delimiter("\n", false, 100);
    CHECK_CUT(&framing, "one\n\ntwo\nrest", "one||two|", 0, 9);
    framing = delimiter("\n", true, 100);
    CHECK_CUT(&framing, "one\n\ntwo\nrest", "one\n|\n|two\n|", 0, 9);
    framing = delimiter("\r\n", false, 100);
    CHECK_CUT(&framing, "a\rb\n\r\r\n\r\n\r", "a\rb\n\r||", 0, 9);
    framing = delimiter("aa", false, 100);
    CHECK_CUT(&framing, "aaaaabaaa", "||ab|", 0, 8);
    framing = delimiter("aab", true, 100);
    CHECK_CUT(&framing, "aaabxaabaabaa", "aaab|xaab|aab|", 0, 11);
    framing = delimiter("abab", false, 100);
    CHECK_CUT(&framing, "abaabababa", "aba|", 0, 7);
}

/* Two and a half blocks of the vectorised search, with short, long and no frames in each. */
static void test_cut_by_delimiter_of_many_blocks_finds_every_frame(void) {
    for (size_t length = 1; length <= 70; length++) {
        char stream[200];
        char expected[200] = "";
        char *place = expected;
        memset(stream, 'x', sizeof stream);
        size_t at = length;
        for (; at + 2 <= sizeof stream; at += length + 2) {
            memcpy(stream + at, "\r\n", 2);
            memset(place, 'x', length);
            place[length] = '|';
            place += length + 1;
        }
        struct fsk_framing framing = delimiter("\r\n", false, 1000);
        check_cut_of(&framing, stream, sizeof stream, expected, 0, at - length);
    }
}

static void test_cut_by_delimiter_of_a_longer_frame_is_an_error_at_every_split(void) {
    struct fsk_framing framing = delimiter("\r\n", false, 3);
    CHECK_CUT(&framing, "abc\r\nabc\r", "abc|", 0, 5);
    CHECK_CUT(&framing, "abc\r\nabcd\r\n", "abc|", -EMSGSIZE, 5);
    CHECK_CUT(&framing, "abc\r\nabcd\r", "abc|", -EMSGSIZE, 5);
    CHECK_CUT(&framing, "abcd\rxyz", "", -EMSGSIZE, 0);
    framing = delimiter("\r\n", true, 5);
    CHECK_CUT(&framing, "abc\r\nabc\r", "abc\r\n|", 0, 5);
    CHECK_CUT(&framing, "abc\r\nabcd\r\n", "abc\r\n|", -EMSGSIZE, 5);
}

static void test_cut_by_size_gives_equal_frames(void) {
    struct fsk_framing framing = fixed(3);
    CHECK_CUT(&framing, "abcdefgh", "abc|def|", 0, 6);
    CHECK_CUT(&framing, "", "", 0, 0);
}

static void check_unfinished(const struct fsk_framing *framing, const char *data, size_t size,
                             uint64_t missing, uint64_t needed, size_t header) {
    struct fsk_cut cut = {0};
    size_t start = 0;
    result[0] = '\0';
    CHECK_INT(cut_all(framing, &cut, data, &start, size, MOST), 0);
    CHECK_INT(cut.missing, missing);
    CHECK_INT(cut.needed, needed);
    if (needed > 0)
        CHECK_INT(cut.header, header);
}

static void test_cut_tells_what_an_unfinished_frame_lacks(void) {
    struct fsk_framing framing = length_prefix(4, false, false);
    check_unfinished(&framing, "", 0, 4, 0, 0);
    check_unfinished(&framing, "\0\0\0", 3, 1, 0, 0);
    check_unfinished(&framing, "\0\0\0\7abc", 7, 4, 11, 4);
    check_unfinished(&framing, "\0\0\0\1a\0\0\1\1b", 10, 256, 261, 4);
    framing = length_prefix(2, true, true);
    check_unfinished(&framing, "\7\0abc", 5, 2, 7, 2);
    framing = varint();
    check_unfinished(&framing, "\x80", 1, 1, 0, 0);
    check_unfinished(&framing, "\x80\1abc", 5, 125, 130, 2);
    framing = fixed(10);
    check_unfinished(&framing, "", 0, 10, 10, 0);
    check_unfinished(&framing, "abc", 3, 7, 10, 0);
    framing = delimiter("\r\n", false, 10);
    check_unfinished(&framing, "abc\r", 4, 1, 0, 0);
}

static void test_cut_after_a_full_one_goes_on_where_it_ended(void) {
    struct fsk_framing framing = delimiter("\n", false, 100);
    struct fsk_cut cut = {0};
    uint64_t offsets[2];
    uint32_t lengths[2];
    size_t start = 0;
    const unsigned char *data = (const unsigned char *)"a\nbb\nccc\n";
    CHECK_INT(fsk_framing_cut(&framing, &cut, data, &start, 9, offsets, lengths, 2), 2);
    CHECK_INT(start, 5);
    CHECK_INT(offsets[1], 2);
    CHECK_INT(lengths[1], 2);
    /* The rest of the stream may lie elsewhere by now. */
    start = 0;
    CHECK_INT(fsk_framing_cut(&framing, &cut, data + 5, &start, 4, offsets, lengths, 2), 1);
    CHECK_INT(offsets[0], 0);
    CHECK_INT(lengths[0], 3);
    CHECK_INT(cut.offset, 9);
}

/* A frame that was checked comes out of its encoding; encoded is what that must be. */
static void check_encoding(const struct fsk_framing *framing, const char *frame,
                           const char *encoded, size_t size) {
    unsigned char written[64];
    unsigned char header[FSK_FRAME_HEADER_MAX];
    size_t length = strlen(frame);
    CHECK_INT(fsk_framing_check_frame(framing, frame, length), 0);
    CHECK_INT(fsk_framing_encoded_size(framing, length), size);
    CHECK_INT(fsk_framing_encode(framing, frame, length, written), size);
    CHECK_BYTES(written, encoded, size);
    size_t header_size = fsk_framing_header(framing, length, header);
    CHECK_BYTES(header, encoded, header_size);
    CHECK_BYTES(encoded + header_size, frame, length);
    struct fsk_cut cut = {0};
    size_t start = 0;
    result[0] = '\0';
    CHECK_INT(cut_all(framing, &cut, encoded, &start, size, 1), 0);
    result[strlen(result) - 1] = '\0';
    CHECK_TEXT(result, frame);
    CHECK_INT(start, size);
}

#define CHECK_ENCODING(framing, frame, encoded)                                                    \
    check_encoding(framing, frame, encoded, sizeof(encoded) - 1)

static void test_encode_writes_what_cut_reads(void) {
    struct fsk_framing framing = length_prefix(1, false, false);
    CHECK_ENCODING(&framing, "abc", "\3abc");
    framing = length_prefix(2, true, true);
    CHECK_ENCODING(&framing, "abc", "\5\0abc");
    framing = length_prefix(8, false, false);
    CHECK_ENCODING(&framing, "", "\0\0\0\0\0\0\0\0");
    framing = varint();
    CHECK_ENCODING(&framing, "abc", "\3abc");
    framing = delimiter("\r\n", false, 100);
    CHECK_ENCODING(&framing, "a\rb", "a\rb\r\n");
    CHECK_ENCODING(&framing, "a\r", "a\r\r\n");
    framing = delimiter("\r\n", true, 100);
    CHECK_ENCODING(&framing, "ab\r\n", "ab\r\n");
    framing = fixed(3);
    CHECK_ENCODING(&framing, "abc", "abc");
    unsigned char header[FSK_FRAME_HEADER_MAX];
    framing = varint();
    CHECK_INT(fsk_framing_header(&framing, 300, header), 2);
    CHECK_BYTES(header, "\xac\2", 2);
    CHECK_INT(fsk_framing_encoded_size(&framing, FSK_FRAME_MAX), FSK_FRAME_MAX + 5);
}

static void test_check_frame_refuses_what_would_be_cut_differently(void) {
    struct fsk_framing framing = length_prefix(1, false, true);
    static const char zeros[300];
    CHECK_INT(fsk_framing_check_frame(&framing, zeros, 254), 0);
    CHECK_INT(fsk_framing_check_frame(&framing, zeros, 255), -EMSGSIZE);
    framing.includes_header = false;
    CHECK_INT(fsk_framing_check_frame(&framing, zeros, 255), 0);
    CHECK_INT(fsk_framing_check_frame(&framing, zeros, 256), -EMSGSIZE);
    framing.max_frame = 10;
    CHECK_INT(fsk_framing_check_frame(&framing, zeros, 11), -EMSGSIZE);
    framing = fixed(3);
    CHECK_INT(fsk_framing_check_frame(&framing, zeros, 2), -EMSGSIZE);
    framing = delimiter("\r\n", false, 100);
    CHECK_INT(fsk_framing_check_frame(&framing, NULL, 0), 0);
    CHECK_INT(fsk_framing_check_frame(&framing, "a\r\nb", 4), -EBADMSG);
    framing = delimiter("aa", false, 100);
    CHECK_INT(fsk_framing_check_frame(&framing, "ba", 2), -EBADMSG);
    CHECK_INT(fsk_framing_check_frame(&framing, "ab", 2), 0);
    framing = delimiter("aab", true, 100);
    CHECK_INT(fsk_framing_check_frame(&framing, "xaab", 4), 0);
    CHECK_INT(fsk_framing_check_frame(&framing, "xaa", 3), -EBADMSG);
    CHECK_INT(fsk_framing_check_frame(&framing, "ab", 2), -EBADMSG);
    CHECK_INT(fsk_framing_check_frame(&framing, "aabaab", 6), -EBADMSG);
    framing = delimiter("abab", true, 100);
    CHECK_INT(fsk_framing_check_frame(&framing, "ababab", 6), -EBADMSG);
}

int main(void) {
    RUN(test_check_of_rules_that_contradict_themselves_is_einval);
    RUN(test_cut_by_length_reads_every_header);
    RUN(test_cut_by_length_of_a_wrong_header_is_an_error_there);
    RUN(test_cut_by_varint_takes_up_to_64_bits);
    RUN(test_cut_by_delimiter_takes_the_first_that_is_whole);
    RUN(test_cut_by_delimiter_of_many_blocks_finds_every_frame);
    RUN(test_cut_by_delimiter_of_a_longer_frame_is_an_error_at_every_split);
    RUN(test_cut_by_size_gives_equal_frames);
    RUN(test_cut_tells_what_an_unfinished_frame_lacks);
    RUN(test_cut_after_a_full_one_goes_on_where_it_ended);
    RUN(test_encode_writes_what_cut_reads);
    RUN(test_check_frame_refuses_what_would_be_cut_differently);
    return check_report();
}
