/* SPDX-License-Identifier: MIT
 * Frames in a stream of bytes: cutting them out, and encoding them.
 *
 * How bytes are split between calls must not change what comes out. So a frame is cut, or an error
 * told, only from what no later byte can change; a delimiter is looked for no further than the
 * longest frame allowed would have it.
 */
#include <fastsock/framing.h>

#include <errno.h>
#include <string.h>

static bool is_length_header(unsigned size) {
    return size == 1 || size == 2 || size == 4 || size == 8;
}

int fsk_framing_check(const struct fsk_framing *framing) {
    if (framing->size != sizeof *framing || framing->max_frame < 1 ||
        framing->max_frame > FSK_FRAME_MAX)
        return -EINVAL;
    switch (framing->kind) {
    case FSK_FRAMING_LENGTH:
        return is_length_header(framing->header_size) ? 0 : -EINVAL;
    case FSK_FRAMING_VARINT:
        return 0;
    case FSK_FRAMING_DELIMITER:
        return framing->delimiter_size >= 1 && framing->delimiter_size <= FSK_DELIMITER_MAX
                   ? 0
                   : -EINVAL;
    case FSK_FRAMING_FIXED:
        return framing->frame_size >= 1 && framing->frame_size <= framing->max_frame ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static uint64_t read_number(const unsigned char *bytes, unsigned size, bool little_endian) {
    uint64_t number = 0;
    for (unsigned i = 0; i < size; i++)
        number = number << 8 | bytes[little_endian ? size - 1 - i : i];
    return number;
}

static void write_number(unsigned char *bytes, unsigned size, bool little_endian, uint64_t number) {
    for (unsigned i = 0; i < size; i++)
        bytes[little_endian ? i : size - 1 - i] = (unsigned char)(number >> 8 * i);
}

/* What is known of the next frame: it begins skip bytes on, has length bytes, and the one after it
 * begins at next. */
struct found {
    size_t skip;
    uint64_t length;
    uint64_t next;
};

/* Each returns 1 when found is filled, 0 when more bytes are needed (cut->missing), or an error. */

static int find_length(const struct fsk_framing *framing, struct fsk_cut *cut,
                       const unsigned char *data, size_t available, struct found *found) {
    size_t size = framing->header_size;
    if (available < size) {
        cut->missing = size - available;
        return 0;
    }
    uint64_t number = read_number(data, (unsigned)size, framing->little_endian);
    if (framing->includes_header) {
        if (number < size)
            return -EBADMSG;
        number -= size;
    }
    if (number > framing->max_frame)
        return -EMSGSIZE;
    *found = (struct found){.skip = size, .length = number, .next = size + number};
    return 1;
}

static int find_varint(const struct fsk_framing *framing, struct fsk_cut *cut,
                       const unsigned char *data, size_t available, struct found *found) {
    uint64_t number = 0;
    for (size_t i = 0; i < available; i++) {
        uint64_t bits = data[i] & 0x7f;
        /* The tenth byte holds the 64th bit alone. */
        if (i == FSK_FRAME_HEADER_MAX - 1 && data[i] > 1)
            return -EBADMSG;
        number |= bits << 7 * i;
        if (data[i] >= 0x80)
            continue;
        if (number > framing->max_frame)
            return -EMSGSIZE;
        *found = (struct found){.skip = i + 1, .length = number, .next = i + 1 + number};
        return 1;
    }
    cut->missing = 1;
    return 0;
}

/* The first place of the delimiter that begins at from or later and ends at end at most; NULL when
 * there is none. The last byte is looked for, as memchr is the fastest search there is. */
static const unsigned char *find_bytes(const struct fsk_framing *framing, const unsigned char *from,
                                       const unsigned char *end) {
    size_t before = framing->delimiter_size - 1u;
    unsigned char last = framing->delimiter[before];
    if ((size_t)(end - from) <= before)
        return NULL;
    for (from += before; from < end; from++) {
        from = memchr(from, last, (size_t)(end - from));
        if (from == NULL)
            return NULL;
        if (memcmp(from - before, framing->delimiter, before) == 0)
            return from - before;
    }
    return NULL;
}

static int find_delimiter(const struct fsk_framing *framing, struct fsk_cut *cut,
                          const unsigned char *data, size_t available, struct found *found) {
    size_t size = framing->delimiter_size;
    size_t most = framing->max_frame + (framing->keeps_delimiter ? 0 : size);
    size_t searchable = available < most ? available : most;
    const unsigned char *place = find_bytes(framing, data + cut->searched, data + searchable);
    if (place != NULL) {
        size_t length = (size_t)(place - data);
        cut->searched = 0;
        *found = (struct found){
            .length = length + (framing->keeps_delimiter ? size : 0),
            .next = length + size,
        };
        return 1;
    }
    if (available >= most)
        return -EMSGSIZE;
    cut->searched = available < size ? 0 : available - size + 1;
    cut->missing = 1;
    return 0;
}

static int find_fixed(const struct fsk_framing *framing, struct fsk_cut *cut,
                      const unsigned char *data, size_t available, struct found *found) {
    (void)cut, (void)data, (void)available;
    *found = (struct found){.length = framing->frame_size, .next = framing->frame_size};
    return 1;
}

typedef int (*find_function)(const struct fsk_framing *, struct fsk_cut *, const unsigned char *,
                             size_t, struct found *);

static inline ssize_t cut_frames(find_function find, const struct fsk_framing *framing,
                                 struct fsk_cut *cut, const unsigned char *data, size_t *start,
                                 size_t end, uint64_t *offsets, uint32_t *lengths,
                                 size_t capacity) {
    size_t at = *start;
    size_t count = 0;
    int result = 1;
    struct found found;
    cut->missing = cut->needed = 0;
    while (count < capacity) {
        result = find(framing, cut, data + at, end - at, &found);
        if (result <= 0)
            break;
        if (found.next > end - at) {
            cut->missing = found.next - (end - at);
            cut->needed = found.next;
            cut->header = found.skip;
            break;
        }
        offsets[count] = at + found.skip;
        lengths[count] = (uint32_t)found.length;
        count++;
        at += (size_t)found.next;
    }
    cut->offset += at - *start;
    *start = at;
    return count > 0 ? (ssize_t)count : result < 0 ? result : 0;
}

ssize_t fsk_framing_cut(const struct fsk_framing *framing, struct fsk_cut *cut,
                        const unsigned char *data, size_t *start, size_t end, uint64_t *offsets,
                        uint32_t *lengths, size_t capacity) {
    /* A call of its own for each kind, into which its search is compiled. */
    switch (framing->kind) {
    case FSK_FRAMING_LENGTH:
        return cut_frames(find_length, framing, cut, data, start, end, offsets, lengths, capacity);
    case FSK_FRAMING_VARINT:
        return cut_frames(find_varint, framing, cut, data, start, end, offsets, lengths, capacity);
    case FSK_FRAMING_DELIMITER:
        return cut_frames(find_delimiter, framing, cut, data, start, end, offsets, lengths,
                          capacity);
    case FSK_FRAMING_FIXED:
        return cut_frames(find_fixed, framing, cut, data, start, end, offsets, lengths, capacity);
    }
    return -EINVAL;
}

/* Whether a receiver would find the delimiter at the end of data and nowhere before. */
static int check_delimited(const struct fsk_framing *framing, const unsigned char *data,
                           size_t length) {
    size_t size = framing->delimiter_size;
    if (framing->keeps_delimiter) {
        if (length < size || memcmp(data + length - size, framing->delimiter, size) != 0)
            return -EBADMSG;
        length -= size;
    }
    /* One may begin in data and end in the delimiter that follows it. */
    for (size_t inside = size < length + 1 ? size - 1 : length; inside > 0; inside--)
        if (memcmp(data + length - inside, framing->delimiter, inside) == 0 &&
            memcmp(framing->delimiter + inside, framing->delimiter, size - inside) == 0)
            return -EBADMSG;
    return length > 0 && find_bytes(framing, data, data + length) != NULL ? -EBADMSG : 0;
}

int fsk_framing_check_frame(const struct fsk_framing *framing, const void *data, size_t length) {
    if (length > framing->max_frame)
        return -EMSGSIZE;
    switch (framing->kind) {
    case FSK_FRAMING_LENGTH: {
        uint64_t number = length + (framing->includes_header ? framing->header_size : 0);
        bool fits = framing->header_size == 8 || number >> 8 * framing->header_size == 0;
        return fits ? 0 : -EMSGSIZE;
    }
    case FSK_FRAMING_VARINT:
        return 0;
    case FSK_FRAMING_DELIMITER:
        return check_delimited(framing, data, length);
    case FSK_FRAMING_FIXED:
        return length == framing->frame_size ? 0 : -EMSGSIZE;
    }
    return -EINVAL;
}

size_t fsk_framing_header(const struct fsk_framing *framing, size_t length,
                          unsigned char header[FSK_FRAME_HEADER_MAX]) {
    size_t size = 0;
    if (framing->kind == FSK_FRAMING_LENGTH) {
        size = framing->header_size;
        write_number(header, (unsigned)size, framing->little_endian,
                     length + (framing->includes_header ? size : 0));
    } else if (framing->kind == FSK_FRAMING_VARINT) {
        for (; length >= 0x80; length >>= 7)
            header[size++] = (unsigned char)(length | 0x80);
        header[size++] = (unsigned char)length;
    }
    return size;
}

static size_t trailer_size(const struct fsk_framing *framing) {
    bool is_added = framing->kind == FSK_FRAMING_DELIMITER && !framing->keeps_delimiter;
    return is_added ? framing->delimiter_size : 0;
}

size_t fsk_framing_encoded_size(const struct fsk_framing *framing, size_t length) {
    unsigned char header[FSK_FRAME_HEADER_MAX];
    return fsk_framing_header(framing, length, header) + length + trailer_size(framing);
}

size_t fsk_framing_encode(const struct fsk_framing *framing, const void *data, size_t length,
                          unsigned char *encoded) {
    size_t size = fsk_framing_header(framing, length, encoded);
    if (length > 0)
        memcpy(encoded + size, data, length);
    size += length;
    memcpy(encoded + size, framing->delimiter, trailer_size(framing));
    return size + trailer_size(framing);
}
