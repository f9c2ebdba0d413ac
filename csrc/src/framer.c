/* SPDX-License-Identifier: MIT
 * The buffer of one stream that is cut into frames.
 *
 * What keeps the work linear: a frame's bytes are moved to the front at most once, as only frames
 * before it make a gap there; what is too small grows to twice its size.
 */
#include <fastsock/framer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "framing.h"

struct fsk_framer {
    struct fsk_framing framing;
    struct fsk_cut cut;
    size_t readahead;
    unsigned char *buffer; /* NULL until it is needed */
    size_t size;           /* bytes of the buffer */
    size_t start;          /* the bytes held are those from start to end */
    size_t end;
};

static size_t held(const struct fsk_framer *framer) {
    return framer->end - framer->start;
}

/* The next frame begins n bytes of the stream later than it did. */
static void begin_later(struct fsk_framer *framer, uint64_t n) {
    framer->cut = (struct fsk_cut){.offset = framer->cut.offset + n};
}

int fsk_framer_new(struct fsk_framer **framer, const struct fsk_framing *framing,
                   size_t readahead) {
    *framer = NULL;
    struct fsk_framing own;
    int result = fski_framing_read(&own, framing);
    if (result < 0)
        return result;
    if (readahead > FSK_FRAME_MAX)
        return -EINVAL;
    struct fsk_framer *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->framing = own;
    made->readahead = readahead == 0 ? FSK_FRAMER_READAHEAD : readahead;
    *framer = made;
    return 0;
}

void fsk_framer_free(struct fsk_framer *framer) {
    if (framer == NULL)
        return;
    free(framer->buffer);
    free(framer);
}

static void move_to_front(struct fsk_framer *framer) {
    if (held(framer) > 0)
        memmove(framer->buffer, framer->buffer + framer->start, held(framer));
    framer->end -= framer->start;
    framer->start = 0;
}

static int resize(struct fsk_framer *framer, uint64_t size) {
    if (size > SIZE_MAX)
        return -ENOMEM;
    move_to_front(framer);
    unsigned char *buffer = realloc(framer->buffer, (size_t)size);
    if (buffer == NULL)
        return -ENOMEM;
    framer->buffer = buffer;
    framer->size = (size_t)size;
    return 0;
}

/* Bytes of the stream that the next frame takes, at most. */
static uint64_t longest(const struct fsk_framer *framer) {
    const struct fsk_framing *framing = &framer->framing;
    if (framer->cut.needed > 0)
        return framer->cut.needed;
    return (uint64_t)framing->max_frame + FSK_FRAME_HEADER_MAX + framing->delimiter_size;
}

/* Have room for least bytes behind what is held. Returns 0 or -ENOMEM. */
static int reserve(struct fsk_framer *framer, size_t least) {
    uint64_t needed = (uint64_t)held(framer) + least;
    if (needed < least)
        return -ENOMEM;
    size_t behind = framer->size - framer->end;
    bool is_roomy = behind >= framer->readahead / 2;
    if (needed <= framer->readahead && framer->size != framer->readahead)
        return resize(framer, framer->readahead);
    /* Moved early only when it costs less than what has been cut since the last time. */
    if (behind >= least && (is_roomy || framer->start < held(framer)))
        return 0;
    if (needed <= framer->size) {
        move_to_front(framer);
        return 0;
    }
    uint64_t doubled = 2 * (uint64_t)framer->size;
    if (needed <= longest(framer) && doubled > longest(framer))
        doubled = longest(framer);
    return resize(framer, needed > doubled ? needed : doubled);
}

int fsk_framer_room(struct fsk_framer *framer, unsigned char **where, size_t *size) {
    uint64_t missing = framer->cut.missing;
    /* Not all that a header claims; and not so little that receiving it wastes a call. */
    size_t least = (framer->readahead + 1) / 2;
    if (missing < least)
        least = missing == 0 ? 1 : (size_t)missing;
    int result = reserve(framer, least);
    if (result < 0)
        return result;
    *where = framer->buffer + framer->end;
    *size = framer->size - framer->end;
    if (framer->cut.needed > framer->readahead && missing > 0 && *size > missing)
        *size = (size_t)missing;
    return 0;
}

void fsk_framer_put(struct fsk_framer *framer, size_t n) {
    framer->end += n;
    framer->cut.missing -= n < framer->cut.missing ? n : framer->cut.missing;
}

int fsk_framer_feed(struct fsk_framer *framer, const void *data, size_t n) {
    if (n == 0)
        return 0;
    int result = reserve(framer, n);
    if (result < 0)
        return result;
    memcpy(framer->buffer + framer->end, data, n);
    fsk_framer_put(framer, n);
    return 0;
}

ssize_t fsk_framer_next(struct fsk_framer *framer, uint64_t *offsets, uint32_t *lengths,
                        size_t capacity) {
    return fsk_framing_cut(&framer->framing, &framer->cut, framer->buffer, &framer->start,
                           framer->end, offsets, lengths, capacity);
}

void fsk_framer_back(struct fsk_framer *framer, size_t n) {
    framer->start -= n;
    framer->cut = (struct fsk_cut){.offset = framer->cut.offset - n};
}

/* Bytes to complete the unfinished frame with: no more than it lacks, where that is known. */
static size_t piece_size(const struct fsk_framer *framer, size_t available) {
    size_t most = held(framer) > 256 ? held(framer) : 256;
    if (framer->framing.kind != FSK_FRAMING_DELIMITER && framer->cut.missing > 0)
        return framer->cut.missing < available ? (size_t)framer->cut.missing : available;
    return most < available ? most : available;
}

/* Complete the unfinished frame with the beginning of data, and give back what is behind it. */
static ssize_t complete(struct fsk_framer *framer, const unsigned char *data, size_t *start,
                        size_t end, uint64_t *offsets, uint32_t *lengths, size_t capacity) {
    while (*start < end) {
        size_t piece = piece_size(framer, end - *start);
        int result = fsk_framer_feed(framer, data + *start, piece);
        if (result < 0)
            return result;
        *start += piece;
        ssize_t count = fsk_framer_next(framer, offsets, lengths, capacity);
        if (count > 0 && held(framer) <= piece) {
            *start -= held(framer);
            framer->start = framer->end;
            begin_later(framer, 0);
        }
        if (count != 0)
            return count;
    }
    return 0;
}

ssize_t fsk_framer_cut(struct fsk_framer *framer, const unsigned char *data, size_t *start,
                       size_t end, const unsigned char **base, uint64_t *offsets, uint32_t *lengths,
                       size_t capacity) {
    ssize_t count = 0;
    if (held(framer) > 0) {
        count = complete(framer, data, start, end, offsets, lengths, capacity);
        *base = framer->buffer;
    } else {
        count = fsk_framing_cut(&framer->framing, &framer->cut, data, start, end, offsets, lengths,
                                capacity);
        *base = data;
        if (count == 0 && *start < end) {
            struct fsk_cut cut = framer->cut;
            int result = fsk_framer_feed(framer, data + *start, end - *start);
            if (result < 0)
                return result;
            framer->cut = cut; /* it has seen these bytes */
            *start = end;
        }
    }
    return count;
}

const unsigned char *fsk_framer_data(const struct fsk_framer *framer) {
    return framer->buffer;
}

uint64_t fsk_framer_offset(const struct fsk_framer *framer) {
    return framer->cut.offset;
}

void fsk_framer_left(const struct fsk_framer *framer, const unsigned char **data, size_t *size,
                     uint64_t *missing) {
    *data = held(framer) > 0 ? framer->buffer + framer->start : framer->buffer;
    *size = held(framer);
    *missing = framer->cut.missing;
}

int fsk_framer_begun(const struct fsk_framer *framer, size_t *header, uint64_t *length) {
    if (framer->cut.needed == 0)
        return 0;
    *header = framer->cut.header;
    *length = framer->cut.needed - framer->cut.header;
    return 1;
}

void fsk_framer_leave(struct fsk_framer *framer) {
    framer->start = framer->end = 0;
    begin_later(framer, framer->cut.needed);
}

size_t fsk_framer_take(struct fsk_framer *framer, void *buffer, size_t n) {
    if (n > held(framer))
        n = held(framer);
    if (n == 0)
        return 0;
    if (buffer != NULL)
        memcpy(buffer, framer->buffer + framer->start, n);
    framer->start += n;
    begin_later(framer, n);
    return n;
}
