/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_CMSG_H
#define FASTSOCK_CMSG_H

#include <sys/socket.h>

#include <fastsock/message.h>

/* The kernel's form of a message. The address length of a message that is received into is the room
 * for it; header borrows every pointer of message. */
void fski_message_header(const struct fsk_message *message, struct msghdr *header);

/* Removes an item of control data. Returns the length that is left of length. */
size_t fski_control_remove(void *control, size_t length, int level, int type);

#endif
