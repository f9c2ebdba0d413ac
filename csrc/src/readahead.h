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

#endif
