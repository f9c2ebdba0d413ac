/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_FRAMER_H
#define FASTSOCK_FRAMER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <fastsock/framing.h>
#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes to read ahead unless told. */
#define FSK_FRAMER_READAHEAD ((size_t)256 * 1024)

/*
 * The bytes of one stream between their arrival and their being frames. Does no input or output:
 * bytes are stored where fsk_framer_room says, or copied in, and frames are cut off the front.
 *
 * The work is linear in the bytes, however small the pieces they come in, if all whole frames are
 * cut before room is asked for. Memory: readahead bytes, from the first use on; while a longer
 * frame is unfinished twice what came of it besides, and not what its header merely claims; what
 * was fed and not yet cut. One thread at a time.
 */
struct fsk_framer;

/*
 * Make a framer, for the beginning of a stream.
 *
 *   framer     out  freed with fsk_framer_free; NULL after an error
 *   framing    in   copied
 *   readahead  in   bytes, up to FSK_FRAME_MAX; 0 for FSK_FRAMER_READAHEAD
 *
 * Returns 0, -ENOMEM, -E2BIG or -EINVAL as fsk_framing_check, or -EINVAL (readahead is out of
 * range).
 */
FSK_API int fsk_framer_new(struct fsk_framer **framer, const struct fsk_framing *framing,
                           size_t readahead);

/* Free a framer with the bytes it holds. NULL is allowed. */
FSK_API void fsk_framer_free(struct fsk_framer *framer);

/*
 * Where the next bytes of the stream are to be stored; fsk_framer_put says how many were.
 *
 *   where  out  borrowed until the next call of room, feed, cut or free
 *   size   out  bytes, at least 1; mostly readahead less what is held. Of a frame that is longer
 *               than readahead, and its length known, no more than what it lacks: nothing behind it
 *               then needs to be copied
 *
 * Returns 0 or -ENOMEM; nothing is lost then. What fsk_framer_data gave is no longer valid.
 */
FSK_API int fsk_framer_room(struct fsk_framer *framer, unsigned char **where, size_t *size);

/* Count n bytes that were stored in the room; no more than its size. */
FSK_API void fsk_framer_put(struct fsk_framer *framer, size_t n);

/* Room and put in one: copy n bytes in, all or, with -ENOMEM, none. Returns 0. */
FSK_API int fsk_framer_feed(struct fsk_framer *framer, const void *data, size_t n);

/*
 * Take whole frames off the front, as fsk_framing_cut does, with its arguments and results.
 *
 *   offsets  out  from fsk_framer_data; the bytes stay there until the next room, feed or cut
 */
FSK_API ssize_t fsk_framer_next(struct fsk_framer *framer, uint64_t *offsets, uint32_t *lengths,
                                size_t capacity);

/*
 * Feed and next in one, which copies only what is no whole frame in data: for who has the bytes
 * elsewhere, in a buffer that many streams share. Nothing that was fed or put before may wait to be
 * cut but an unfinished frame; that is completed in the framer.
 *
 *   data     in      bytes *start to end come next in the stream
 *   start    in/out  moved behind what has been used
 *   base     out     what offsets count from: data, or memory that is valid until the next call of
 *                    cut, room or feed
 *
 * Returns the frames cut, to be called again; 0 when all of data is used and what is left of it is
 * stored; or an error as fsk_framing_cut, after which the framer is of no more use, or -ENOMEM.
 */
FSK_API ssize_t fsk_framer_cut(struct fsk_framer *framer, const unsigned char *data, size_t *start,
                               size_t end, const unsigned char **base, uint64_t *offsets,
                               uint32_t *lengths, size_t capacity);

/*
 * Put the last n bytes back that next or take has taken off the front, for who could not keep what
 * they held: the next frame begins at the first of them. Only before the next room, feed, cut or
 * leave.
 */
FSK_API void fsk_framer_back(struct fsk_framer *framer, size_t n);

/* What the offsets of fsk_framer_next count from. Changed by room, feed and cut; NULL before the
 * first of them. */
FSK_API const unsigned char *fsk_framer_data(const struct fsk_framer *framer);

/* Bytes of the stream before the frame that comes next; where an error of fsk_framer_next lies. */
FSK_API uint64_t fsk_framer_offset(const struct fsk_framer *framer);

/*
 * What is left when fsk_framer_next has given fewer frames than its capacity: an unfinished frame,
 * its header included.
 *
 *   data     out  borrowed until the next room, feed or cut
 *   size     out  bytes held; 0 between two frames
 *   missing  out  bytes that it lacks, or at least lacks while its length is not known. Between two
 *                 frames what the next one has at least
 */
FSK_API void fsk_framer_left(const struct fsk_framer *framer, const unsigned char **data,
                             size_t *size, uint64_t *missing);

/*
 * The length of the unfinished frame that fsk_framer_left gives, for who wants to receive the rest
 * of it elsewhere.
 *
 *   header  out  bytes before the frame itself, all of them held
 *   length  out  bytes of the frame itself
 *
 * Returns 1, or 0 with both as they were while the length is not known: the header is not whole, or
 * it has a delimiter.
 */
FSK_API int fsk_framer_begun(const struct fsk_framer *framer, size_t *header, uint64_t *length);

/*
 * Take the unfinished frame out: what is held of it is dropped, and what it lacks will be received
 * elsewhere. The next byte put or fed is the first one behind it. Only after fsk_framer_begun has
 * returned 1, and before anything more is put.
 */
FSK_API void fsk_framer_leave(struct fsk_framer *framer);

/*
 * Take raw bytes off the front, of whatever frame they are; the next frame begins behind them.
 *
 *   buffer  out  n bytes of room; NULL drops the bytes
 *
 * Returns the bytes taken: n, or all that is held.
 */
FSK_API size_t fsk_framer_take(struct fsk_framer *framer, void *buffer, size_t n);

#ifdef __cplusplus
}
#endif

#endif
