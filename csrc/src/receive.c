/* SPDX-License-Identifier: MIT */
#include <fastsock/receive.h>

#include <errno.h>

#include "arrivals.h"
#include "batch.h"
#include "cmsg.h"
#include "kernel.h"
#include "uapi.h"

ssize_t fsk_receive(int fd, void *buffer, size_t length, int flags) {
    return fski_recv(fd, buffer, length, flags);
}

ssize_t fsk_receive_from(int fd, void *buffer, size_t length, int flags,
                         struct fsk_address *source) {
    socklen_t source_length = sizeof source->name;
    ssize_t received = fski_recvfrom(fd, buffer, length, flags, &source->name.any, &source_length);
    /* The kernel reports the length it would have liked to store. */
    if (source_length > sizeof source->name)
        source_length = sizeof source->name;
    source->length = received < 0 ? 0 : source_length;
    return received;
}

ssize_t fsk_receive_message(int fd, struct fsk_message *message, int flags) {
    struct msghdr header;
    if (message->address != NULL)
        message->address->length = sizeof message->address->name;
    fski_message_header(message, &header);
    ssize_t received = fski_recvmsg(fd, &header, flags);
    if (received < 0)
        return received;
    if (message->address != NULL) {
        socklen_t room = sizeof message->address->name;
        message->address->length = header.msg_namelen < room ? header.msg_namelen : room;
    }
    message->control_length = header.msg_controllen;
    message->flags = header.msg_flags;
    return received;
}

/* Makes rows of what was received. Returns false when the socket has ended. */
static bool add_rows(struct fsk_batch *batch, struct fski_arrivals *arrivals, int received, int fd,
                     size_t start) {
    struct fski_metadata metadata;
    for (int i = 0; i < received; i++) {
        struct fski_packet *packet = &arrivals->packets[i];
        if (fski_arrival_is_end(arrivals, i, fd))
            return false;
        uint32_t source = fski_batch_add_source(batch, &arrivals->sources[i]);
        uint32_t row = fski_batch_add(batch, start + (size_t)i * batch->max_message, packet->length,
                                      fski_flags_of(packet->header.msg_flags), source);
        /* Where the system does not tell the real length, its flag is what is known. */
        if ((packet->header.msg_flags & MSG_TRUNC) != 0)
            batch->flags[row] |= FSK_BATCH_TRUNCATED;
        if (batch->metadata != 0) {
            fski_metadata_read(arrivals->control[i], packet->header.msg_controllen, &metadata);
            fski_batch_set_metadata(batch, row, &metadata);
            if (metadata.descriptors > 0)
                batch->flags[row] |= FSK_BATCH_CONTROL_TRUNCATED;
        }
    }
    return true;
}

int fsk_receive_batch(int fd, int type, int flags, struct fsk_batch *batch) {
    struct fski_arrivals arrivals;
    uint32_t before = batch->count;
    /* What follows an empty SOCK_SEQPACKET message is for another call: it must not be taken. */
    unsigned limit = type == SOCK_SEQPACKET ? 1 : FSKI_ARRIVALS;
    if (type != SOCK_DGRAM && type != SOCK_SEQPACKET)
        return -EOPNOTSUPP;
    if (before == batch->capacity || (flags & ~(MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC)) != 0)
        return -EINVAL;
    do {
        uint32_t left = batch->capacity - batch->count;
        fski_batch_make_room(batch);
        size_t start = batch->used;
        struct fski_slots slots = {
            .memory = batch->arena + start,
            .size = batch->max_message,
            .count = left < limit ? left : limit,
            .has_control = batch->metadata != 0,
        };
        int received = fski_arrivals_receive(&arrivals, fd, &slots, flags & ~MSG_TRUNC);
        if (received < 0)
            return batch->count > before ? (int)(batch->count - before) : received;
        if (!add_rows(batch, &arrivals, received, fd, start))
            break;
        if (received < (int)slots.count || (limit == 1 && arrivals.packets[0].length == 0))
            break;
        flags |= MSG_DONTWAIT;
    } while (fski_may_go_on(batch, fd));
    return (int)(batch->count - before);
}
