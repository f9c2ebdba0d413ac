/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SEGMENTATION_INTERNAL_H
#define FASTSOCK_SEGMENTATION_INTERNAL_H

#include <fastsock/segmentation.h>

#include <stdbool.h>

/* Whether sends on fd to destination (NULL: its peer) may be segmented. NULL: never. */
bool fski_segmentation_is_on(struct fsk_segmentation *segmentation, int fd,
                             const struct fsk_address *destination);

/* A segmented send to destination was refused, and passed one by one. */
void fski_segmentation_refuse(struct fsk_segmentation *segmentation,
                              const struct fsk_address *destination);

#endif
