/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_BATCH_H
#define FASTSOCK_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include <fastsock/address.h>
#include <fastsock/metadata.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In the columns of indexes: no address was given. */
#define FSK_NO_ADDRESS UINT32_MAX

/* Bits of the flags column. */
enum fsk_batch_flag {
    FSK_BATCH_TRUNCATED = 1,         /* the message was longer than max_message */
    FSK_BATCH_CONTROL_TRUNCATED = 2, /* the kernel had more control data than there was room for, or
                                      * it brought descriptors, which were closed */
    FSK_BATCH_COALESCED = 4,         /* arrived in a train of several (UDP_GRO) */
};

/*
 * Memory for many received messages: one arena for their bytes, and a column for each thing that is
 * known of them. Row i of every column describes message i. Members are for reading, metadata
 * excepted; the library's functions fill them. The pointers stay the same until fsk_batch_free.
 * What they point to is valid until the batch is cleared, reshaped or filled anew; to append more
 * to it may move the messages that are there, which changes their offsets. One thread at a time.
 */
struct fsk_batch {
    uint32_t capacity;    /* rows */
    uint32_t max_message; /* bytes of a message that are kept */
    uint32_t count;       /* rows filled */
    uint32_t metadata;    /* in: bits of fsk_metadata, the columns a receive fills, 0 at first; must
                           * be 0 for a socket that is not UDP */
    unsigned char *arena; /* capacity * max_message bytes, all 0 at first */
    size_t used;          /* bytes of the arena up to the end of the last message */
    uint64_t *offsets;    /* bytes into the arena */
    uint32_t *lengths;    /* bytes stored */
    uint32_t *wire_lengths;     /* bytes the message had; lengths, where the system does not tell */
    uint32_t *flags;            /* bits of fsk_batch_flag */
    uint32_t *source;           /* index for fsk_batch_source; FSK_NO_ADDRESS: unnamed sender */
    uint32_t source_count;      /* distinct senders of this fill */
    int64_t *timestamps_ns;     /* nanoseconds since 1970 when the kernel took it; 0: not told */
    uint32_t *destination;      /* index for fsk_batch_destination, or FSK_NO_ADDRESS */
    uint32_t destination_count; /* distinct local addresses of this fill */
    uint32_t *interface;        /* index of the network interface it came in by; 0: not told */
    uint8_t *hop_limit;         /* IPv4 TTL or IPv6 hop limit; 0: not told */
    uint8_t *tos;               /* IPv4 TOS or IPv6 traffic class: DSCP << 2 | ECN */
};

/*
 * Make a batch.
 *
 *   batch        out  freed with fsk_batch_free; NULL after an error
 *   capacity     in   rows, 1 to 2^31 - 1
 *   max_message  in   bytes, at least 1
 *   key          in   a random number that peers don't know: it keeps them from choosing addresses
 *                     that make the table of senders slow
 *
 * Returns 0, -EINVAL (a number out of range, or more than the address space has), or -ENOMEM. The
 * memory is mapped, and untouched until it is filled.
 */
FSK_API int fsk_batch_new(struct fsk_batch **batch, uint32_t capacity, uint32_t max_message,
                          uint64_t key);

/* Free a batch and everything its columns point to. NULL is allowed. */
FSK_API void fsk_batch_free(struct fsk_batch *batch);

/*
 * Cut the memory of a batch anew, and forget its messages.
 *
 *   capacity     in   rows, at least 1 and at most those it was made with
 *   max_message  in   bytes, at least 1; capacity * max_message at most as it was made with
 *
 * Returns 0, -EINVAL (a size of 0) or -ENOSPC (more than it was made with); on an error the batch
 * is as before.
 */
FSK_API int fsk_batch_reshape(struct fsk_batch *batch, uint32_t capacity, uint32_t max_message);

/* Forget the messages; metadata stays as it is. */
FSK_API void fsk_batch_clear(struct fsk_batch *batch);

/*
 * Bytes of memory a batch may occupy: capacity * (max_message + 64), and per row 64 more once
 * metadata has been received and 132 more once a sender's name was longer than an IP address.
 */
FSK_API size_t fsk_batch_size(const struct fsk_batch *batch);

/*
 * A distinct sender, by its number in the column source.
 *
 *   address  out  length 0 when index is not below source_count
 */
FSK_API void fsk_batch_source(const struct fsk_batch *batch, uint32_t index,
                              struct fsk_address *address);

/*
 * A distinct local address that messages were sent to, by its number in the column destination. Its
 * port is 0.
 *
 *   address  out  length 0 when index is not below destination_count
 */
FSK_API void fsk_batch_destination(const struct fsk_batch *batch, uint32_t index,
                                   struct fsk_address *address);

#ifdef __cplusplus
}
#endif

#endif
