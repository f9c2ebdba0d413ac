/* SPDX-License-Identifier: MIT
 * Where GSO works.
 *
 * Facts about Linux
 *   Kernels before 4.18 ignore the control message of UDP_SEGMENT and send the whole as one datagram.
 *   Whether a segmented send passes depends on the route: a device without checksum offload answers
 *   EIO, a size above the path's MTU EINVAL or EMSGSIZE, where plain datagrams would pass or be
 *   fragmented. Routes change.
 * What follows
 *   UDP_SEGMENT is asked for by getsockopt before it is used. A refusal is remembered by destination,
 *   for a minute.
 */
#include "segmentation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capability.h"
#include "kernel.h"
#include "socket.h"
#include "uapi.h"

enum { REMEMBERED = 256 };
#define FORGET_AFTER_NS INT64_C(60000000000)

struct refusal {
    struct fsk_address destination; /* length 0: the socket's peer */
    int64_t until_ns;
};

struct fsk_segmentation {
    int state; /* enum fski_capability_state, of this socket */
    uint64_t refusals;
    unsigned count;
    unsigned oldest;         /* the one that is overwritten when all are in use */
    struct refusal *refused; /* NULL before the first */
};

int fsk_segmentation_new(struct fsk_segmentation **segmentation) {
    *segmentation = calloc(1, sizeof **segmentation);
    return *segmentation == NULL ? -ENOMEM : 0;
}

void fsk_segmentation_free(struct fsk_segmentation *segmentation) {
    if (segmentation != NULL)
        free(segmentation->refused);
    free(segmentation);
}

void fsk_segmentation_forget(struct fsk_segmentation *segmentation) {
    segmentation->count = segmentation->oldest = 0;
}

uint64_t fsk_segmentation_refusals(const struct fsk_segmentation *segmentation) {
    return segmentation->refusals;
}

static bool is_same(const struct refusal *refusal, const struct fsk_address *destination) {
    if (destination == NULL)
        return refusal->destination.length == 0;
    return fsk_address_equal(&refusal->destination, destination);
}

static struct refusal *find(struct fsk_segmentation *segmentation,
                            const struct fsk_address *destination) {
    for (unsigned i = 0; i < segmentation->count; i++)
        if (is_same(&segmentation->refused[i], destination))
            return &segmentation->refused[i];
    return NULL;
}

static int probe(int fd) {
    int size = 0;
    socklen_t length = sizeof size;
    if (!fski_socket_is_udp(fd) || !fsk_capability_works(FSK_CAPABILITY_UDP_SEGMENT))
        return FSKI_REFUSED;
    int result = fski_getsockopt(fd, FSKI_SOL_UDP, FSKI_UDP_SEGMENT, &size, &length);
    if (result >= 0) {
        fski_capability_set(FSK_CAPABILITY_UDP_SEGMENT, FSKI_WORKS);
        return FSKI_WORKS;
    }
    if (result == -ENOPROTOOPT || result == -EOPNOTSUPP)
        fski_capability_set(FSK_CAPABILITY_UDP_SEGMENT, FSKI_REFUSED);
    return FSKI_REFUSED;
}

bool fski_segmentation_is_on(struct fsk_segmentation *segmentation, int fd,
                             const struct fsk_address *destination) {
    if (segmentation == NULL)
        return false;
    if (segmentation->state == FSKI_UNKNOWN)
        segmentation->state = probe(fd);
    if (segmentation->state != FSKI_WORKS || segmentation->count == 0)
        return segmentation->state == FSKI_WORKS;
    const struct refusal *refusal = find(segmentation, destination);
    return refusal == NULL || refusal->until_ns <= fski_now_ns();
}

void fski_segmentation_refuse(struct fsk_segmentation *segmentation,
                              const struct fsk_address *destination) {
    struct refusal *refusal = find(segmentation, destination);
    segmentation->refusals++;
    if (segmentation->refused == NULL)
        segmentation->refused = calloc(REMEMBERED, sizeof *segmentation->refused);
    if (segmentation->refused == NULL)
        return; /* it will be refused again */
    if (refusal == NULL && segmentation->count < REMEMBERED) {
        refusal = &segmentation->refused[segmentation->count++];
    } else if (refusal == NULL) {
        refusal = &segmentation->refused[segmentation->oldest];
        segmentation->oldest = (segmentation->oldest + 1) % REMEMBERED;
    }
    if (destination != NULL)
        refusal->destination = *destination;
    else
        refusal->destination.length = 0;
    refusal->until_ns = fski_now_ns() + FORGET_AFTER_NS;
}
