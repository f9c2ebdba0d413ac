/* SPDX-License-Identifier: MIT
 * From reading ahead back to plain receives.
 *
 * Facts about Linux
 *   While UDP_GRO is off, a train that arrives is cut before it is queued. A processor that has looked
 *   at the option before may queue one a little later: udp_queue_rcv_skb.
 * What follows
 *   Switch off; while something is queued that may be a train, switch on again, take it with its size,
 *   and switch off. Then let every processor finish what it has begun, and look once more. It is done
 *   when that look finds no train; where trains don't stop coming it is given up.
 */
#include <errno.h>

#include "engine.h"
#include "kernel.h"
#include "readahead.h"
#include "socket.h"

enum { ROUNDS = 16 };

/* 1 when the kernel holds a datagram, 0 when it does not, or -errno of a pending error. */
static int has_more(int fd) {
    ssize_t result = fski_recv(fd, NULL, 0, MSG_PEEK | MSG_DONTWAIT);
    return result >= 0 ? 1 : result == -EAGAIN ? 0 : (int)result;
}

/* Moves what the kernel holds to the end of the queue; left is of buffers. */
static int drain(struct fsk_readahead *readahead, int fd, size_t *left) {
    const struct fski_readahead_counts *counts = fski_readahead_counts(readahead);
    ssize_t filled = 1;
    while (filled > 0) {
        uint64_t before = counts->buffers;
        if (fski_readahead_grow(readahead) < 0)
            return -ENOMEM;
        filled = fski_readahead_fill_last(readahead, fd, MSG_DONTWAIT);
        uint64_t more = counts->buffers - before;
        if (more > *left)
            return -EBUSY;
        *left -= more;
    }
    return filled == -EAGAIN ? 0 : (int)filled;
}

/* Take all that may be trains while UDP_GRO is off, and leave it off; on an error it is on. */
static int take_trains(struct fsk_readahead *readahead, int fd, size_t *left) {
    int result = has_more(fd);
    while (result > 0) {
        fski_readahead_set_gro(readahead, fd, 1);
        result = drain(readahead, fd, left);
        if (result >= 0)
            result = fski_readahead_set_gro(readahead, fd, 0);
        if (result < 0)
            return result;
        result = has_more(fd);
    }
    if (result < 0)
        fski_readahead_set_gro(readahead, fd, 1);
    return result;
}

int fsk_readahead_stop(struct fsk_readahead *readahead, int fd) {
    size_t left = fski_socket_queue_limit(fd);
    if (!fski_readahead_has_gro(readahead))
        return 0; /* plain datagrams may wait in the kernel, behind the queue's */
    int result = fski_readahead_set_gro(readahead, fd, 0);
    if (result < 0)
        return result;
    result = take_trains(readahead, fd, &left);
    for (int round = 0; result >= 0 && round < ROUNDS; round++) {
        uint64_t trains = fski_readahead_counts(readahead)->trains;
        fski_engine()->settle();
        result = take_trains(readahead, fd, &left);
        if (result >= 0 && fski_readahead_counts(readahead)->trains == trains)
            return 0;
    }
    if (result < 0)
        return result;
    fski_readahead_set_gro(readahead, fd, 1);
    return -EBUSY;
}
