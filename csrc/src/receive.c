/* SPDX-License-Identifier: MIT */
#include <fastsock/receive.h>

#include "cmsg.h"
#include "kernel.h"

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
