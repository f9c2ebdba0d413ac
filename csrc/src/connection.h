/* SPDX-License-Identifier: MIT
 * One connection of a server: its bytes in both directions. What waits for it, and when it is due, is
 * the server's. */
#ifndef FASTSOCK_CONNECTION_H
#define FASTSOCK_CONNECTION_H

#include <stdbool.h>

#include <fastsock/server.h>

#include "store.h"

/* Bytes that a connection is received of at a time: so many at most, and fewer only when the batch is
 * empty. */
enum { FSKI_TURN = 65536, FSKI_LEAST_TURN = 4096 };

#define FSKI_NOBODY UINT32_MAX /* in place of the number of a connection */

/* Connections for which something is to be done. */
enum fski_list {
    FSKI_DUE,       /* output to send, or an end to come to */
    FSKI_CUT_SHORT, /* is_cut_short, or is_broken */
    FSKI_LISTS,
};

struct fski_connection {
    int fd;              /* -1: it has ended */
    uint32_t generation; /* of its number: tells an event of an old one */
    unsigned events;     /* that are waited for */
    bool has_ended;      /* the peer sends nothing more */
    bool is_closing;     /* nothing is received any more; it ends when the output has gone */
    bool is_reset;       /* its close resets the connection */
    bool is_broken;      /* nothing can be sent; it ends when all that has arrived is received */
    bool
        is_cut_short; /* input may hold whole frames, or an error, that the batch had no room for */
    bool is_told;     /* that it has ended */
    bool is_listed[FSKI_LISTS];
    enum fsk_close_reason reason; /* of is_closing, is_broken, or has_ended */
    struct fsk_cut cut;
    struct fski_store input;  /* of an unfinished frame */
    struct fski_store output; /* frames as they are in the stream */
    int64_t since_ns;         /* idle_timeout_ns runs from here */
    uint32_t older, newer;    /* by since_ns */
    uint32_t next[FSKI_LISTS];
    union { /* fsk_address, but only as long as an IP address is; of a Unix socket the kernel keeps it */
        struct sockaddr any;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
    } peer;
};

struct fski_receiving {
    const struct fsk_framing *framing;
    struct fsk_batch *batch;
    struct fski_budget *budget;
    struct fsk_server_stats *stats;
};

/*
 * Receive once, and add the frames that are whole to the batch.
 *
 * Returns the bytes received, 0 at the end of the stream, or
 *   -EAGAIN    there is nothing
 *   -ENOSPC    the batch has no room; nothing was received
 *   -EMSGSIZE, -EBADMSG  as fsk_framing_cut
 *   -ENOBUFS, -ENOMEM    the unfinished frame can't be kept
 *   other      the connection's error
 */
ssize_t fski_connection_receive(struct fski_connection *connection, uint32_t number,
                                const struct fski_receiving *receiving);

/* Add frames that the batch before had no room for: is_cut_short. Returns 0 or an error as above. */
int fski_connection_go_on(struct fski_connection *connection, uint32_t number,
                          const struct fski_receiving *receiving);

/* Append a frame that was checked, and takes size bytes encoded, to the output. Returns 0, -ENOBUFS or
 * -ENOMEM. */
int fski_connection_queue(struct fski_connection *connection, const struct fsk_framing *framing,
                          const void *data, size_t length, size_t size, struct fski_budget *budget);

/* Send of the output what the kernel takes. Returns 0 when all has gone, -EAGAIN, or the error. */
int fski_connection_send(struct fski_connection *connection, struct fski_budget *budget,
                         struct fsk_server_stats *stats);

/* End the stream towards the peer so that it gets all that was sent, though it may still be sending. */
void fski_connection_hang_up(struct fski_connection *connection);

#endif
