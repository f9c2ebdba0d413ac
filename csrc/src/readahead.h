/* SPDX-License-Identifier: MIT
 * The queue of datagrams as the receive thread uses it: for every kind of socket that has messages. */
#ifndef FASTSOCK_READAHEAD_INTERNAL_H
#define FASTSOCK_READAHEAD_INTERNAL_H

#include <fastsock/readahead.h>

/* Bytes of one of the buffers that the kernel fills. What is longer, of a Unix socket, is cut. */
enum { FSKI_READAHEAD_BUFFER = 65536 };

/* Sums since the queue was made. */
struct fski_readahead_counts {
    uint64_t datagrams;
    uint64_t bytes; /* that the datagrams had */
    uint64_t system_calls;
    uint64_t truncated; /* datagrams that were longer than a buffer */
    uint64_t control_truncated;
    uint64_t descriptors; /* that were sent along, and have been closed */
    uint64_t buffers;     /* filled by the kernel */
    uint64_t trains;      /* of them those with several datagrams */
};

/* Bytes of memory of a queue. */
size_t fski_readahead_size(unsigned buffers);

/* Borrowed from the queue. */
const struct fski_readahead_counts *fski_readahead_counts(const struct fsk_readahead *readahead);

/*
 * Append the queue's datagrams to a batch, one after the other without gaps, until the batch has no
 * row or the arena no room for the next. What is longer than batch->max_message is cut.
 *
 * Returns the rows appended.
 */
uint32_t fski_readahead_move(struct fsk_readahead *readahead, struct fsk_batch *batch);

/* Receive into the last block, which is empty. Returns datagrams, 0 at the end, or -errno. */
ssize_t fski_readahead_fill_last(struct fsk_readahead *readahead, int fd, int flags);

/* Make the last block an empty one. Returns 0 or -ENOMEM. */
int fski_readahead_grow(struct fsk_readahead *readahead);

/* Switch UDP_GRO on or off, and know it. Returns 0 or -errno. */
int fski_readahead_set_gro(struct fsk_readahead *readahead, int fd, int value);
bool fski_readahead_has_gro(const struct fsk_readahead *readahead);

#endif
