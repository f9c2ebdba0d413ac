/* SPDX-License-Identifier: MIT */
#include <fastsock/send.h>

#include "cmsg.h"
#include "kernel.h"

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
