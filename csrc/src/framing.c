/* SPDX-License-Identifier: MIT
 * Frames in a stream of bytes: cutting them out, and encoding them.
 *
 * How bytes are split between calls must not change what comes out. So a frame is cut, or an error
 * told, only from what no later byte can change; a delimiter is looked for no further than the
 * longest frame allowed would have it.
 */
#include "framing.h"

#include <errno.h>
#include <string.h>

#include "extensible.h"
#include "search.h"

static bool is_length_header(unsigned size) {
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static const size_t first_size = FSKI_UP_TO(struct fsk_framing, frame_size);

int fski_framing_read(struct fsk_framing *own, const struct fsk_framing *given) {
    int result = fski_extensible_read(own, sizeof *own, first_size, given);
    return result < 0 ? result : fsk_framing_check(own);
}

int fsk_framing_check(const struct fsk_framing *framing) {
    int result = fski_extensible_check(framing, sizeof *framing, first_size);
    if (result < 0)
        return result;
    if (framing->max_frame < 1 || framing->max_frame > FSK_FRAME_MAX)
        return -EINVAL;
    switch (framing->kind) {
    case FSK_FRAMING_LENGTH:
        return is_length_header(framing->header_size) ? 0 : -EINVAL;
    case FSK_FRAMING_VARINT:
        return 0;
    case FSK_FRAMING_DELIMITER:
        if (framing->delimiter_size < 1 || framing->delimiter_size > FSK_DELIMITER_MAX)
            return -EINVAL;
        /* A frame that ends with the delimiter must have room for it. */
        return framing->keeps_delimiter && framing->max_frame < framing->delimiter_size ? -EINVAL
                                                                                        : 0;
    case FSK_FRAMING_FIXED:
        return framing->frame_size >= 1 && framing->frame_size <= framing->max_frame ? 0 : -EINVAL;
    }
    return -EINVAL;
}

static void write_number(unsigned char *bytes, unsigned size, bool little_endian, uint64_t number) {
    if (!little_endian)
        number <<= 64 - 8 * size;
    if (little_endian != (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__))
        number = __builtin_bswap64(number);
    if (size == 4) /* an instruction, and not a call */
        memcpy(bytes, &number, 4);
    else
        memcpy(bytes, &number, size);
}

/* One call of fsk_framing_cut. Handed on by value: nothing else can then change a number while a loop
 * has it in a register. */
struct cutting {
    const unsigned char *data;
    size_t at; /* where the next frame begins in the stream */
    size_t end;
    uint64_t *offsets;
    uint32_t *lengths;
    size_t count;
    size_t capacity;
    int error; /* that ended it, or 0 */
};

/* Compiled into each caller, where what its loop turns on is a constant. */
#define INLINED static inline __attribute__((always_inline))

INLINED struct cutting failed(struct cutting cutting, int error) {
    cutting.error = error;
    return cutting;
}

INLINED void add_frame(struct cutting *cutting, size_t offset, size_t length) {
    cutting->offsets[cutting->count] = offset;
    cutting->lengths[cutting->count] = (uint32_t)length;
    cutting->count++;
}

/* The next frame has a header, whole, and length bytes, but not all of them are there. */
INLINED struct cutting begun(struct cutting cutting, struct fsk_cut *cut, size_t header,
                             uint64_t length) {
    cut->header = header;
    cut->needed = header + length;
    cut->missing = cut->needed - (cutting.end - cutting.at);
    return cutting;
}

INLINED uint64_t read_number(const unsigned char *bytes, unsigned size, bool little_endian) {
    uint64_t number = 0;
    memcpy(&number, bytes, size);
    if (little_endian != (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__))
        number = __builtin_bswap64(number);
    return little_endian ? number : number >> (64 - 8 * size);
}

INLINED struct cutting cut_by_length(const struct fsk_framing *framing, struct fsk_cut *cut,
                                     struct cutting cutting, unsigned size, bool little_endian) {
    uint64_t most = framing->max_frame;
    uint64_t own = framing->includes_header ? size : 0;
    while (cutting.count < cutting.capacity) {
        size_t available = cutting.end - cutting.at;
        if (available < size) {
            cut->missing = size - available;
            return cutting;
        }
        uint64_t number = read_number(cutting.data + cutting.at, size, little_endian);
        uint64_t length = number - own;
        if (length > most)
            return failed(cutting, number < own ? -EBADMSG : -EMSGSIZE);
        if (length > available - size)
            return begun(cutting, cut, size, length);
        add_frame(&cutting, cutting.at + size, (size_t)length);
        cutting.at += size + (size_t)length;
    }
    return cutting;
}

static struct cutting cut_by_any_length(const struct fsk_framing *framing, struct fsk_cut *cut,
                                        struct cutting cutting) {
    bool little_endian = framing->little_endian;
    switch (framing->header_size) {
    case 1:
        return cut_by_length(framing, cut, cutting, 1, true);
    case 2:
        return little_endian ? cut_by_length(framing, cut, cutting, 2, true)
                             : cut_by_length(framing, cut, cutting, 2, false);
    case 4:
        return little_endian ? cut_by_length(framing, cut, cutting, 4, true)
                             : cut_by_length(framing, cut, cutting, 4, false);
    default:
        return little_endian ? cut_by_length(framing, cut, cutting, 8, true)
                             : cut_by_length(framing, cut, cutting, 8, false);
    }
}

/* Returns the bytes of the varint, 0 when it is not whole, or an error. */
INLINED int read_varint(const unsigned char *bytes, size_t available, uint64_t *number) {
    *number = 0;
    for (size_t i = 0; i < available; i++) {
        /* The tenth byte holds the 64th bit alone. */
        if (i == FSK_FRAME_HEADER_MAX - 1 && bytes[i] > 1)
            return -EBADMSG;
        *number |= (uint64_t)(bytes[i] & 0x7f) << 7 * i;
        if (bytes[i] < 0x80)
            return (int)i + 1;
    }
    return 0;
}

static struct cutting cut_by_varint(const struct fsk_framing *framing, struct fsk_cut *cut,
                                    struct cutting cutting) {
    uint64_t most = framing->max_frame;
    while (cutting.count < cutting.capacity) {
        size_t available = cutting.end - cutting.at;
        uint64_t length = 0;
        int size = 0;
        if (available > 0 && cutting.data[cutting.at] < 0x80) {
            length = cutting.data[cutting.at];
            size = 1;
        } else if (available > 0) {
            size = read_varint(cutting.data + cutting.at, available, &length);
        }
        if (size <= 0) {
            cut->missing = size == 0;
            return failed(cutting, size);
        }
        if (length > most)
            return failed(cutting, -EMSGSIZE);
        if (length > available - (unsigned)size)
            return begun(cutting, cut, (unsigned)size, length);
        add_frame(&cutting, cutting.at + (unsigned)size, (size_t)length);
        cutting.at += (unsigned)size + (size_t)length;
    }
    return cutting;
}

static struct cutting cut_by_size(const struct fsk_framing *framing, struct fsk_cut *cut,
                                  struct cutting cutting) {
    size_t size = framing->frame_size;
    while (cutting.count < cutting.capacity) {
        if (cutting.end - cutting.at < size)
            return begun(cutting, cut, 0, size);
        add_frame(&cutting, cutting.at, size);
        cutting.at += size;
    }
    return cutting;
}

/* A delimiter has before + 1 bytes, of which the last is looked for. */
struct delimiter {
    const unsigned char *bytes;
    size_t before;
    size_t most; /* bytes of a frame and its delimiter */
    size_t cut;  /* bytes at its end that are not the frame's */
};

INLINED struct delimiter delimiter_of(const struct fsk_framing *framing, size_t before) {
    size_t cut = framing->keeps_delimiter ? 0 : before + 1;
    return (struct delimiter){
        .bytes = framing->delimiter,
        .before = before,
        .most = framing->max_frame + cut,
        .cut = cut,
    };
}

/* Whether the delimiter ends at place, where its last byte was found. */
INLINED bool is_end(struct delimiter delimiter, const unsigned char *place) {
    if (delimiter.before <= 1)
        return delimiter.before == 0 || place[-1] == delimiter.bytes[0];
    return memcmp(place - delimiter.before, delimiter.bytes, delimiter.before) == 0;
}

/* Cut the frame that ends with the byte at place, if one does. Returns 0 or an error. */
INLINED int try_place(struct delimiter delimiter, struct cutting *cutting, size_t place) {
    /* What looks like a delimiter's beginning may be the end of the one before. */
    if (place < cutting->at + delimiter.before || !is_end(delimiter, cutting->data + place))
        return 0;
    size_t taken = place + 1 - cutting->at;
    if (taken > delimiter.most)
        return -EMSGSIZE;
    add_frame(cutting, cutting->at, taken - delimiter.cut);
    cutting->at += taken;
    return 0;
}

/* No delimiter ends in what is there; the next search has to look across its end alone. */
INLINED struct cutting unended(struct cutting cutting, struct fsk_cut *cut,
                               struct delimiter delimiter) {
    size_t available = cutting.end - cutting.at;
    if (available >= delimiter.most)
        return failed(cutting, -EMSGSIZE);
    cut->searched = available > delimiter.before ? available - delimiter.before : 0;
    cut->missing = 1;
    return cutting;
}

/* Short frames end several to a block; where two blocks have no place, memchr is the faster one. */
INLINED struct cutting cut_by_bytes(struct delimiter delimiter, struct fsk_cut *cut,
                                    struct cutting cutting) {
    unsigned char last = delimiter.bytes[delimiter.before];
    size_t from = cutting.at + cut->searched + delimiter.before;
    unsigned misses = 0;
    cut->searched = 0;
    while (cutting.count < cutting.capacity) {
        size_t base = from;
        uint64_t places = 1;
        if (FSKI_SEARCH_BLOCK > 0 && misses < 2 && from + FSKI_SEARCH_BLOCK <= cutting.end) {
            places = fski_search_block(cutting.data + base, last);
            misses = places == 0 ? misses + 1 : 0;
            from += FSKI_SEARCH_BLOCK;
        } else {
            const unsigned char *place = NULL;
            if (from < cutting.end)
                place = memchr(cutting.data + from, last, cutting.end - from);
            if (place == NULL)
                return unended(cutting, cut, delimiter);
            base = (size_t)(place - cutting.data);
            misses = 0;
            from = base + 1;
        }
        for (; places != 0 && cutting.count < cutting.capacity; places &= places - 1) {
            int error = try_place(delimiter, &cutting, base + fski_search_lowest(places));
            if (error < 0)
                return failed(cutting, error);
        }
    }
    return cutting;
}

static struct cutting cut_by_delimiter(const struct fsk_framing *framing, struct fsk_cut *cut,
                                       struct cutting cutting) {
    switch (framing->delimiter_size) {
    case 1:
        return cut_by_bytes(delimiter_of(framing, 0), cut, cutting);
    case 2:
        return cut_by_bytes(delimiter_of(framing, 1), cut, cutting);
    default:
        return cut_by_bytes(delimiter_of(framing, framing->delimiter_size - 1u), cut, cutting);
    }
}

ssize_t fsk_framing_cut(const struct fsk_framing *framing, struct fsk_cut *cut,
                        const unsigned char *data, size_t *start, size_t end, uint64_t *offsets,
                        uint32_t *lengths, size_t capacity) {
    struct cutting cutting = {
        .data = data,
        .at = *start,
        .end = end,
        .offsets = offsets,
        .lengths = lengths,
        .capacity = capacity,
    };
    cut->missing = cut->needed = 0;
    switch (framing->kind) {
    case FSK_FRAMING_LENGTH:
        cutting = cut_by_any_length(framing, cut, cutting);
        break;
    case FSK_FRAMING_VARINT:
        cutting = cut_by_varint(framing, cut, cutting);
        break;
    case FSK_FRAMING_DELIMITER:
        cutting = cut_by_delimiter(framing, cut, cutting);
        break;
    case FSK_FRAMING_FIXED:
        cutting = cut_by_size(framing, cut, cutting);
        break;
    default:
        return -EINVAL;
    }
    cut->offset += cutting.at - *start;
    *start = cutting.at;
    return cutting.count > 0 ? (ssize_t)cutting.count : cutting.error;
}

/* Whether the delimiter is in data. */
static bool has_delimiter(const struct fsk_framing *framing, const unsigned char *data,
                          size_t length) {
    struct delimiter delimiter = delimiter_of(framing, framing->delimiter_size - 1u);
    unsigned char last = delimiter.bytes[delimiter.before];
    for (size_t from = delimiter.before; from < length; from++) {
        const unsigned char *place = memchr(data + from, last, length - from);
        if (place == NULL)
            return false;
        if (is_end(delimiter, place))
            return true;
        from = (size_t)(place - data);
    }
    return false;
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
    return has_delimiter(framing, data, length) ? -EBADMSG : 0;
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

static size_t header_size(const struct fsk_framing *framing, size_t length) {
    size_t size = 1;
    if (framing->kind == FSK_FRAMING_LENGTH)
        return framing->header_size;
    if (framing->kind != FSK_FRAMING_VARINT)
        return 0;
    for (; length >= 0x80; length >>= 7)
        size++;
    return size;
}

size_t fsk_framing_header(const struct fsk_framing *framing, size_t length,
                          unsigned char header[FSK_FRAME_HEADER_MAX]) {
    size_t size = header_size(framing, length);
    if (framing->kind == FSK_FRAMING_LENGTH)
        write_number(header, (unsigned)size, framing->little_endian,
                     length + (framing->includes_header ? size : 0));
    else if (framing->kind == FSK_FRAMING_VARINT)
        for (size_t i = 0; i < size; i++, length >>= 7)
            header[i] = (unsigned char)(i < size - 1 ? length | 0x80 : length);
    return size;
}

static size_t trailer_size(const struct fsk_framing *framing) {
    bool is_added = framing->kind == FSK_FRAMING_DELIMITER && !framing->keeps_delimiter;
    return is_added ? framing->delimiter_size : 0;
}

size_t fsk_framing_encoded_size(const struct fsk_framing *framing, size_t length) {
    return header_size(framing, length) + length + trailer_size(framing);
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
