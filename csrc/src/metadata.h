/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_METADATA_INTERNAL_H
#define FASTSOCK_METADATA_INTERNAL_H

#include <fastsock/message.h>
#include <fastsock/metadata.h>

/* What the control data of one message says; 0 where it says nothing. */
struct fski_metadata {
    int64_t timestamp_ns;
    struct fsk_address destination;
    uint32_t interface;
    uint8_t hop_limit;
    uint8_t tos;
    uint32_t segment_size; /* bytes of each datagram of a train (UDP_GRO) */
    uint32_t descriptors;  /* that were sent along (SCM_RIGHTS), and have been closed */
};

/*
 * Nobody asked for descriptors that were sent along: they are closed.
 *
 *   control   in   length bytes, as recvmsg left them
 *   metadata  out
 */
void fski_metadata_read(void *control, size_t length, struct fski_metadata *metadata);

#endif
