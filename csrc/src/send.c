/* SPDX-License-Identifier: MIT */
#include <fastsock/send.h>

#include <errno.h>
#include <string.h>

#include "cmsg.h"
#include "engine.h"
#include "kernel.h"
#include "segmentation.h"
#include "uapi.h"

enum {
    PACKETS = 64, /* messages or trains of one system call */
    PARTS = 512,  /* messages of one system call */
    /* udp(7) takes 65,507 bytes at most, and headers of other protocols below must fit too. */
    TRAIN_BYTES = 65000,
};

ssize_t fsk_send(int fd, const void *data, size_t length, int flags) {
    return fski_send(fd, data, length, flags);
}

ssize_t fsk_send_to(int fd, const void *data, size_t length, int flags,
                    const struct fsk_address *destination) {
    return fski_sendto(fd, data, length, flags, &destination->name.any, destination->length);
}

ssize_t fsk_send_message(int fd, const struct fsk_message *message, int flags) {
    struct msghdr header;
    fski_message_header(message, &header);
    return fski_sendmsg(fd, &header, flags);
}

/* What one system call sends. */
struct departure {
    struct fski_packet packets[PACKETS];
    unsigned lengths[PACKETS]; /* in messages: 1, or those of a train */
    struct iovec parts[PARTS];
    _Alignas(struct cmsghdr) unsigned char control[PACKETS][32]; /* UDP_SEGMENT's item takes 24 */
    unsigned packet_count;
    unsigned part_count;
    bool is_cut; /* the last call sent fewer packets: a signal, no room, or an error */
};

static bool have_same_destination(const struct fsk_outgoing *one,
                                  const struct fsk_outgoing *other) {
    if (one->destination == other->destination)
        return true;
    return one->destination != NULL && other->destination != NULL &&
           fsk_address_equal(one->destination, other->destination);
}

/*
 * How many of the first messages can leave as one train: all of the first one's size, but for the last,
 * which may be shorter. An empty message is none of a train: it would not be sent at all.
 */
static unsigned train_length(const struct fsk_outgoing *messages, size_t count) {
    size_t size = messages[0].length;
    size_t bytes = size;
    unsigned length = 1;
    while (size > 0 && length < count && length < FSKI_UDP_MAX_SEGMENTS) {
        const struct fsk_outgoing *next = &messages[length];
        if (next->length > size || next->length == 0 || bytes + next->length > TRAIN_BYTES ||
            !have_same_destination(&messages[0], next))
            break;
        bytes += next->length;
        length++;
        if (next->length < size)
            break;
    }
    return length;
}

static void add_segment_size(struct departure *departure, struct msghdr *header, size_t size) {
    uint16_t segment_size = (uint16_t)size;
    struct fsk_control item = {
        .level = FSKI_SOL_UDP,
        .type = FSKI_UDP_SEGMENT,
        .data = &segment_size,
        .length = sizeof segment_size,
    };
    struct fsk_message message = {.control = departure->control[departure->packet_count]};
    fsk_control_put(&message, sizeof departure->control[0], &item);
    header->msg_control = message.control;
    header->msg_controllen = message.control_length;
}

/* Adds the first length messages as one packet. */
static void add_packet(struct departure *departure, const struct fsk_outgoing *messages,
                       unsigned length) {
    struct msghdr *header = &departure->packets[departure->packet_count].header;
    memset(header, 0, sizeof *header);
    if (messages->destination != NULL) {
        header->msg_name = (void *)&messages->destination->name;
        header->msg_namelen = messages->destination->length;
    }
    header->msg_iov = &departure->parts[departure->part_count];
    header->msg_iovlen = length;
    for (unsigned i = 0; i < length; i++) {
        struct iovec *part = &departure->parts[departure->part_count++];
        part->iov_base = (void *)messages[i].data;
        part->iov_len = messages[i].length;
    }
    if (length > 1)
        add_segment_size(departure, header, messages->length);
    departure->lengths[departure->packet_count++] = length;
}

static void plan(struct departure *departure, int fd, const struct fsk_outgoing *messages,
                 size_t count, unsigned packets, struct fsk_segmentation *segmentation) {
    departure->packet_count = departure->part_count = 0;
    while (count > 0 && departure->packet_count < packets) {
        unsigned length = 1;
        if (fski_segmentation_is_on(segmentation, fd, messages->destination))
            length = train_length(messages, count);
        if (departure->part_count + length > PARTS)
            break;
        add_packet(departure, messages, length);
        messages += length;
        count -= length;
    }
}

static bool is_refusal_of_segments(ssize_t result) {
    return result == -EIO || result == -EINVAL || result == -EMSGSIZE;
}

/* What the sends of one call have in common. */
struct route {
    int fd;
    int flags;
    unsigned packets; /* of one system call */
    struct fsk_segmentation *segmentation;
};

/* The first train of a departure, which was refused, one by one. */
static ssize_t send_one_by_one(struct departure *departure, const struct route *route,
                               const struct fsk_outgoing *messages) {
    unsigned count = departure->lengths[0];
    unsigned packets = count < route->packets ? count : route->packets;
    plan(departure, route->fd, messages, count, packets, NULL);
    ssize_t sent =
        fski_engine()->send(route->fd, departure->packets, departure->packet_count, route->flags);
    departure->is_cut = sent < (ssize_t)departure->packet_count;
    if (sent > 0)
        fski_segmentation_refuse(route->segmentation, messages->destination);
    return sent;
}

/* One system call's worth. Returns the messages sent, or -errno when none was. */
static ssize_t send_some(struct departure *departure, const struct route *route,
                         const struct fsk_outgoing *messages, size_t count) {
    plan(departure, route->fd, messages, count, route->packets, route->segmentation);
    int packets =
        fski_engine()->send(route->fd, departure->packets, departure->packet_count, route->flags);
    if (is_refusal_of_segments(packets) && departure->lengths[0] > 1)
        return send_one_by_one(departure, route, messages);
    departure->is_cut = packets < (int)departure->packet_count;
    ssize_t sent = packets;
    for (int i = 0; i < packets; i++)
        sent += departure->lengths[i] - 1;
    return sent;
}

/*
 * A connected socket is told asynchronously that its peer is gone. A send takes that error from the
 * socket, and sendmmsg keeps it to itself when it has sent something before: then one packet a call,
 * which with GSO is up to 64 messages.
 */
static bool is_connected(int fd, const struct fsk_outgoing *messages) {
    struct fsk_address peer;
    peer.length = sizeof peer.name;
    return messages->destination == NULL || fski_getpeername(fd, &peer.name.any, &peer.length) >= 0;
}

ssize_t fsk_send_batch(int fd, const struct fsk_outgoing *messages, size_t count, int flags,
                       struct fsk_segmentation *segmentation, int *error) {
    struct departure departure;
    struct route route = {
        .fd = fd,
        .flags = flags,
        .packets = count > 1 && !is_connected(fd, messages) ? PACKETS : 1,
        .segmentation = segmentation,
    };
    size_t sent = 0;
    *error = 0;
    while (sent < count) {
        ssize_t more = send_some(&departure, &route, messages + sent, count - sent);
        if (more < 0) {
            *error = (int)more;
            return sent > 0 ? (ssize_t)sent : more;
        }
        sent += (size_t)more;
        /* A signal may have cut it, which the caller must see before a call waits again. */
        route.flags = departure.is_cut ? flags | MSG_DONTWAIT : flags;
    }
    return (ssize_t)sent;
}
