/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SEGMENTATION_H
#define FASTSOCK_SEGMENTATION_H

#include <stdint.h>

#include <fastsock/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What is known of GSO (UDP_SEGMENT) on one UDP socket: whether the kernel has it, and to which
 * destinations it can't be used. Some devices and paths refuse a segmented send with EIO, EINVAL or
 * EMSGSIZE where the same datagrams pass one by one; such a destination gets plain sends for a
 * minute. One thread at a time.
 */
struct fsk_segmentation;

/*
 * Begin with nothing known, for one socket.
 *
 *   segmentation  out  freed with fsk_segmentation_free; NULL after an error
 *
 * Returns 0 or -ENOMEM.
 */
FSK_API int fsk_segmentation_new(struct fsk_segmentation **segmentation);

/* Free what is known. NULL is allowed. */
FSK_API void fsk_segmentation_free(struct fsk_segmentation *segmentation);

/* Forget what was refused: the socket was connected to another peer, or the route has changed. */
FSK_API void fsk_segmentation_forget(struct fsk_segmentation *segmentation);

/* How often a segmented send was refused and its datagrams went one by one. */
FSK_API uint64_t fsk_segmentation_refusals(const struct fsk_segmentation *segmentation);

#ifdef __cplusplus
}
#endif

#endif
