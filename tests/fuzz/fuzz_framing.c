/* SPDX-License-Identifier: MIT
 * Fuzz target: framings and the framer, against cutting done one byte after the other.
 *
 * An input is a head, which chooses the framing and how the stream is split, and the stream. The
 * same frames, or the same error at the same place, must come out of one cut of it all, of each way
 * to feed a framer with pieces, and of the reference; what comes out must go in again.
 */
#include <fastsock/framer.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 8, MOST_FRAMES = 4096, MOST_BYTES = 1 << 16 };

#define EXPECT(expression) expect((expression), #expression, __LINE__)

static void expect(bool holds, const char *expression, int line) {
    if (holds)
        return;
    fprintf(stderr, "fuzz_framing.c:%d: %s is false\n", line, expression);
    abort();
}

/* What a stream comes to. */
struct outcome {
    size_t count;
    size_t starts[MOST_FRAMES]; /* in the stream */
    size_t lengths[MOST_FRAMES];
    int error;
    size_t offset; /* of the frame that comes next, or of the wrong one */
};

struct head {
    struct fsk_framing framing;
    uint32_t seed;
    size_t capacity;
    size_t readahead;
};

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 16;
}

static struct head read_head(const unsigned char *bytes) {
    static const unsigned char HEADER_SIZES[] = {1, 2, 4, 8};
    struct head head = {
        .framing =
            {
                .size = sizeof head.framing,
                .kind = (enum fsk_framing_kind)(bytes[0] & 3),
                .max_frame = 1 + (uint32_t)bytes[1] * (bytes[0] & 4 ? 1 : 131),
                .header_size = HEADER_SIZES[bytes[2] & 3],
                .little_endian = bytes[2] & 4,
                .includes_header = bytes[2] & 8,
                .keeps_delimiter = bytes[2] & 8,
                .delimiter_size = (uint8_t)(bytes[2] & 16 ? 1 + (bytes[2] >> 5) : 1),
                .frame_size = 1 + bytes[2],
            },
        .seed = bytes[3] | (uint32_t)bytes[4] << 8,
        .capacity = 1 + (bytes[5] & 63),
        .readahead = 1 + (size_t)bytes[6] * (bytes[0] & 8 ? 1 : 17),
    };
    /* Few different bytes, so that delimiters overlap with themselves and each other. */
    for (unsigned i = 0; i < head.framing.delimiter_size; i++)
        head.framing.delimiter[i] = bytes[7] & 1 << i ? 'a' : '\n';
    return head;
}

/* The reference: returns whether a frame ends with the n bytes, and where in them it lies. */
static bool is_frame(const struct fsk_framing *framing, const unsigned char *bytes, size_t n,
                     size_t *skip, size_t *length, int *error) {
    size_t size = framing->kind == FSK_FRAMING_LENGTH ? framing->header_size : 0;
    uint64_t number = 0;
    if (framing->kind == FSK_FRAMING_DELIMITER) {
        size = framing->delimiter_size;
        bool ends = n >= size && memcmp(bytes + n - size, framing->delimiter, size) == 0;
        *skip = 0;
        *length = framing->keeps_delimiter || n < size ? n : n - size;
        size_t most = framing->max_frame + (framing->keeps_delimiter ? 0 : size);
        *error = n > most || (n == most && !ends) ? -EMSGSIZE : 0;
        return *error == 0 && ends;
    }
    if (framing->kind == FSK_FRAMING_FIXED)
        number = framing->frame_size;
    if (framing->kind == FSK_FRAMING_LENGTH) {
        if (n < size)
            return false;
        for (size_t i = 0; i < size; i++)
            number = number * 256 + bytes[framing->little_endian ? size - 1 - i : i];
        if (framing->includes_header && number < size)
            *error = -EBADMSG;
        else if (framing->includes_header)
            number -= size;
    }
    if (framing->kind == FSK_FRAMING_VARINT) {
        while (size < n && bytes[size] >= 128 && size < 9)
            size++;
        if (size == n)
            return false;
        size++;
        if (size == 10 && bytes[9] > 1)
            *error = -EBADMSG;
        for (size_t i = size; i-- > 0 && *error == 0;)
            number = number * 128 + (bytes[i] & 127);
    }
    if (*error == 0 && number > framing->max_frame)
        *error = -EMSGSIZE;
    *skip = size;
    *length = (size_t)number;
    return *error == 0 && n == size + number;
}

static void cut_slowly(const struct fsk_framing *framing, const unsigned char *stream, size_t size,
                       struct outcome *outcome) {
    size_t n = 0;
    outcome->count = outcome->offset = 0;
    outcome->error = 0;
    while (outcome->error == 0 && outcome->offset + n < size) {
        size_t skip, length;
        n++;
        if (!is_frame(framing, stream + outcome->offset, n, &skip, &length, &outcome->error))
            continue;
        outcome->starts[outcome->count] = outcome->offset + skip;
        outcome->lengths[outcome->count++] = length;
        outcome->offset += n;
        n = 0;
    }
}

/* Compares with the reference as frames come. */
struct check {
    const struct outcome *expected;
    const unsigned char *stream;
    size_t count;
};

static void check_frames(struct check *check, const unsigned char *base, const uint64_t *offsets,
                         const uint32_t *lengths, ssize_t count) {
    for (ssize_t i = 0; i < count; i++, check->count++) {
        EXPECT(check->count < check->expected->count);
        EXPECT(lengths[i] == check->expected->lengths[check->count]);
        EXPECT(memcmp(base + offsets[i], check->stream + check->expected->starts[check->count],
                      lengths[i]) == 0);
    }
}

static void cut_at_once(const struct head *head, const unsigned char *stream, size_t size,
                        const struct outcome *expected) {
    struct check check = {expected, stream, 0};
    struct fsk_cut cut = {0};
    uint64_t offsets[64];
    uint32_t lengths[64];
    size_t start = 0;
    ssize_t count;
    do {
        count = fsk_framing_cut(&head->framing, &cut, stream, &start, size, offsets, lengths,
                                head->capacity);
        EXPECT(start <= size && cut.offset == start);
        check_frames(&check, stream, offsets, lengths, count);
    } while (count > 0);
    EXPECT(count == expected->error && check.count == expected->count);
    EXPECT(start == expected->offset);
    EXPECT(count < 0 || cut.missing > 0);
    EXPECT(cut.needed == 0 || cut.needed - (size - start) == cut.missing);
}

/* One piece goes into the framer in the way that is chosen. Returns the bytes that it took. */
static size_t give(struct fsk_framer *framer, bool by_room, const unsigned char *data, size_t n) {
    if (!by_room) {
        EXPECT(fsk_framer_feed(framer, data, n) == 0);
        return n;
    }
    unsigned char *where;
    size_t size;
    EXPECT(fsk_framer_room(framer, &where, &size) == 0 && size >= 1);
    memset(where, 0x55, size);
    if (n > size)
        n = size;
    memcpy(where, data, n);
    fsk_framer_put(framer, n);
    return n;
}

static void check_left(struct fsk_framer *framer, const struct outcome *expected, size_t size) {
    const unsigned char *data;
    size_t left;
    uint64_t missing;
    EXPECT(fsk_framer_offset(framer) == expected->offset);
    fsk_framer_left(framer, &data, &left, &missing);
    EXPECT(left == size - expected->offset && missing > 0);
}

static void cut_in_pieces(const struct head *head, const unsigned char *stream, size_t size,
                          const struct outcome *expected, bool copies) {
    struct check check = {expected, stream, 0};
    uint32_t seed = head->seed;
    uint64_t offsets[64];
    uint32_t lengths[64];
    ssize_t count = 0;
    struct fsk_framer *framer;
    EXPECT(fsk_framer_new(&framer, &head->framing, head->readahead) == 0);
    for (size_t at = 0; at < size && count >= 0;) {
        uint32_t number = next_random(&seed);
        size_t piece = 1 + number % ((number & 0x8000) ? 7 : 700);
        if (piece > size - at)
            piece = size - at;
        if (copies)
            piece = give(framer, number & 0x4000, stream + at, piece);
        /* Memory of its own, so that a sanitizer sees who reads beyond the piece. */
        unsigned char *own = malloc(piece);
        EXPECT(own != NULL);
        memcpy(own, stream + at, piece);
        size_t start = 0;
        do {
            const unsigned char *base = fsk_framer_data(framer);
            count = copies ? fsk_framer_next(framer, offsets, lengths, head->capacity)
                           : fsk_framer_cut(framer, own, &start, piece, &base, offsets, lengths,
                                            head->capacity);
            check_frames(&check, base, offsets, lengths, count);
        } while (count > 0);
        free(own);
        EXPECT(copies || count < 0 || start == piece);
        at += piece;
    }
    EXPECT(count == expected->error && check.count == expected->count);
    if (count == 0 && size > 0)
        check_left(framer, expected, size);
    fsk_framer_free(framer);
}

/* Whatever may be sent as a frame is received as it, and what may not is not. */
static void check_round_trip(const struct fsk_framing *framing, const unsigned char *frame,
                             size_t length) {
    struct fsk_cut cut = {0};
    uint64_t offset;
    uint32_t found;
    size_t start = 0;
    int result = fsk_framing_check_frame(framing, frame, length);
    if (result == -EMSGSIZE)
        return;
    size_t size = fsk_framing_encoded_size(framing, length);
    unsigned char *encoded = malloc(size + 1);
    EXPECT(encoded != NULL);
    EXPECT(fsk_framing_encode(framing, frame, length, encoded) == size);
    ssize_t count = fsk_framing_cut(framing, &cut, encoded, &start, size, &offset, &found, 1);
    bool is_same = count == 1 && start == size && found == length &&
                   (length == 0 || memcmp(encoded + offset, frame, length) == 0);
    EXPECT(is_same == (result == 0));
    free(encoded);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static struct outcome expected;
    if (size < HEAD || size > MOST_FRAMES)
        return 0;
    struct head head = read_head(data);
    if (fsk_framing_check(&head.framing) < 0)
        return 0;
    size -= HEAD;
    unsigned char *stream = malloc(size + (size == 0));
    EXPECT(stream != NULL);
    memcpy(stream, data + HEAD, size);
    cut_slowly(&head.framing, stream, size, &expected);
    cut_at_once(&head, stream, size, &expected);
    cut_in_pieces(&head, stream, size, &expected, true);
    cut_in_pieces(&head, stream, size, &expected, false);
    for (size_t i = 0; i < expected.count; i++)
        check_round_trip(&head.framing, stream + expected.starts[i], expected.lengths[i]);
    check_round_trip(&head.framing, stream, size);
    check_round_trip(&head.framing, stream + size / 2, size / 3);
    free(stream);
    return 0;
}
