/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_READAHEAD_H
#define FASTSOCK_READAHEAD_H

#include <stdbool.h>
#include <sys/types.h>

#include <fastsock/batch.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kernel buffers that one system call takes at most. */
#define FSK_READAHEAD_BUFFERS 64

/* Rows, or a few more, after which fsk_readahead_receive returns though more may be queued: about a
 * millisecond, as callers may hold a lock. */
#define FSK_READAHEAD_ROWS 1024

/*
 * A queue of datagrams that were taken from a UDP socket ahead of the calls that ask for them, with
 * UDP_GRO where the kernel has it: trains of datagrams come in one buffer and are given one by one.
 * From start to stop all receives on the socket go through its queue, and no other descriptor of
 * the same kernel socket may be read: it would get whole trains as one datagram. One thread at a
 * time.
 */
struct fsk_readahead;

/* A datagram in the queue. */
struct fsk_datagram {
    const void *data; /* borrowed until the queue changes or is freed; so are source and control */
    size_t length;    /* bytes, all there are: never truncated */
    const struct fsk_address *source;
    const void *control; /* as the kernel gave it, without what UDP_GRO adds */
    size_t control_length;
    int flags;         /* of recvmsg: MSG_CTRUNC */
    bool is_coalesced; /* came in a train of several */
};

/*
 * Make an empty queue.
 *
 *   readahead  out  freed with fsk_readahead_free; NULL after an error
 *   buffers    in   1..FSK_READAHEAD_BUFFERS; each takes 64 KiB of memory, mapped and untouched
 *                   until it is filled
 *
 * Returns 0, -EINVAL or -ENOMEM.
 */
FSK_API int fsk_readahead_new(struct fsk_readahead **readahead, unsigned buffers);

/* Free a queue with what is in it. NULL is allowed. The socket stays as it is. */
FSK_API void fsk_readahead_free(struct fsk_readahead *readahead);

/*
 * Begin to read ahead on a UDP socket: switch UDP_GRO on where it is to be had.
 *
 * Returns 1 with UDP_GRO, 0 without (the queue then saves system calls only), or -EOPNOTSUPP when
 * fd is no UDP socket.
 */
FSK_API int fsk_readahead_start(struct fsk_readahead *readahead, int fd);

/*
 * Go back to plain receives: what the kernel holds moves to the queue, then UDP_GRO is off. The
 * queue stays readable until it is empty; it may grow in this call.
 *
 * Returns 0, or when reading ahead goes on with nothing lost, and may be stopped again:
 *   -EBUSY   datagrams came faster than they were moved
 *   -ENOMEM
 *   other    an error that was pending on the socket, as recvmsg(2)
 */
FSK_API int fsk_readahead_stop(struct fsk_readahead *readahead, int fd);

/*
 * Take what the kernel has when the queue is empty; else do nothing.
 *
 *   flags  in  MSG_DONTWAIT, or 0 to wait for the first as the descriptor's mode says
 *
 * Returns the datagrams now queued, 0 at the end after shutdown(2), or -errno as recvmsg(2).
 */
FSK_API ssize_t fsk_readahead_fill(struct fsk_readahead *readahead, int fd, int flags);

/* The first datagram of the queue, which stays there. Returns false when the queue is empty. */
FSK_API bool fsk_readahead_first(const struct fsk_readahead *readahead,
                                 struct fsk_datagram *datagram);

/* Drop the first datagram of the queue, which must not be empty. */
FSK_API void fsk_readahead_pop(struct fsk_readahead *readahead);

/* Datagrams in the queue. */
FSK_API size_t fsk_readahead_pending(const struct fsk_readahead *readahead);

/* Drop all datagrams of the queue. */
FSK_API void fsk_readahead_clear(struct fsk_readahead *readahead);

/*
 * Append datagrams to a batch: the queue's first, then the kernel's, which go straight into the
 * batch where its arena has 64 KiB for each buffer. What exceeds the batch stays in the queue.
 *
 *   flags  in  MSG_DONTWAIT, or 0 to wait as fsk_readahead_fill; waits only while batch is empty
 *
 * Returns the rows appended, 0 at the end after shutdown(2), or -errno when there is none: -EINVAL
 * for a full batch, else as recvmsg(2). Returns after FSK_READAHEAD_ROWS at the latest. While batch
 * holds rows, an error of the socket is left for a call with an empty one.
 */
FSK_API int fsk_readahead_receive(struct fsk_readahead *readahead, int fd, int flags,
                                  struct fsk_batch *batch);

#ifdef __cplusplus
}
#endif

#endif
