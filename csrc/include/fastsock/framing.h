/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_FRAMING_H
#define FASTSOCK_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most bytes of a frame, of a delimiter, and of the header of a length prefix. */
#define FSK_FRAME_MAX ((size_t)INT32_MAX)
#define FSK_DELIMITER_MAX 64
#define FSK_FRAME_HEADER_MAX 10

/*
 * How a stream of bytes is cut into frames, and frames are made a stream. Nothing here does input
 * or output. A frame is what the user sends: without its header, and without the delimiter unless
 * that is kept.
 */
enum fsk_framing_kind {
    FSK_FRAMING_LENGTH,    /* each frame follows its length, an unsigned number of fixed size */
    FSK_FRAMING_VARINT,    /* the length is a varint: 7 bits a byte, lowest first (LEB128) */
    FSK_FRAMING_DELIMITER, /* each frame ends before, or with, the delimiter */
    FSK_FRAMING_FIXED,     /* all frames have the same length */
};

/* The rules. Of the members those of its kind count; leave the others 0. One may serve any number
 * of threads and streams. The functions below want rules that fsk_framing_check has found right;
 * what is made with them, a framer or a server, checks them itself. */
struct fsk_framing {
    size_t size; /* sizeof(struct fsk_framing) */
    enum fsk_framing_kind kind;
    uint32_t max_frame;     /* bytes, 1..FSK_FRAME_MAX; a longer frame is an error */
    uint8_t header_size;    /* LENGTH: 1, 2, 4 or 8 bytes */
    bool little_endian;     /* LENGTH: lowest byte first; else network order */
    bool includes_header;   /* LENGTH: the number counts the header's bytes too */
    bool keeps_delimiter;   /* DELIMITER: it is the end of the frame, and counts for max_frame */
    uint8_t delimiter_size; /* 1..FSK_DELIMITER_MAX */
    unsigned char delimiter[FSK_DELIMITER_MAX];
    uint32_t frame_size; /* FIXED: bytes of each frame, 1..max_frame */
};

/* Whether rules are right. Returns 0, -EINVAL when they contradict themselves or a number is out of
 * range, or -E2BIG when they have members set that only a later version of the library knows. */
FSK_API int fsk_framing_check(const struct fsk_framing *framing);

/* Where the cutting of one stream has come to. Zero-filled at its start. */
struct fsk_cut {
    uint64_t offset;  /* bytes of the stream before the frame that comes next */
    size_t searched;  /* bytes of that frame that are known to hold no delimiter */
    uint64_t missing; /* bytes, at least, that it still lacks; 0 after a cut that was full */
    uint64_t needed;  /* bytes from its beginning in the stream to its end; 0 while not known */
    size_t header;    /* bytes of them before the frame itself */
};

/*
 * Cut complete frames off the front of data.
 *
 *   framing   in      checked by fsk_framing_check
 *   cut       in/out  of this stream
 *   data      in      bytes *start to end are the stream from cut->offset on. A call that follows
 *                     gets what this one has left, at whatever address, and what has come since
 *   start     in/out  moved behind the last frame that was cut
 *   end       in      where the bytes end, counted from data
 *   offsets   out     where each frame begins in data, bytes
 *   lengths   out     bytes of each frame
 *   capacity  in      frames that offsets and lengths hold, at least 1
 *
 * Returns the frames cut; fewer than capacity: the rest is no whole frame. When no frame comes
 * before an error it returns the error, and so does every call after it
 *   -EMSGSIZE  the frame at cut->offset is longer than max_frame
 *   -EBADMSG   its header is no length: a varint of more than 64 bits, or a number that counts the
 *              header and is less than it
 */
FSK_API ssize_t fsk_framing_cut(const struct fsk_framing *framing, struct fsk_cut *cut,
                                const unsigned char *data, size_t *start, size_t end,
                                uint64_t *offsets, uint32_t *lengths, size_t capacity);

/*
 * Whether data can be sent as one frame, so that the receiver gets it as one.
 *
 * Returns 0, or
 *   -EMSGSIZE  it is longer than max_frame or than the header can tell, or not frame_size long
 *   -EBADMSG   a delimiter is inside, or would be found where data and delimiter meet; or, when the
 *              delimiter is kept, data does not end with it
 */
FSK_API int fsk_framing_check_frame(const struct fsk_framing *framing, const void *data,
                                    size_t length);

/* Bytes that a frame of length bytes takes in the stream: its header, itself and the delimiter. */
FSK_API size_t fsk_framing_encoded_size(const struct fsk_framing *framing, size_t length);

/* The header of a frame that was checked. Returns its bytes, 0 where there is none. */
FSK_API size_t fsk_framing_header(const struct fsk_framing *framing, size_t length,
                                  unsigned char header[FSK_FRAME_HEADER_MAX]);

/*
 * Write a frame that was checked as it is in the stream.
 *
 *   encoded  out  room for fsk_framing_encoded_size bytes
 *
 * Returns the bytes written.
 */
FSK_API size_t fsk_framing_encode(const struct fsk_framing *framing, const void *data,
                                  size_t length, unsigned char *encoded);

#ifdef __cplusplus
}
#endif

#endif
