/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_CMSG_H
#define FASTSOCK_CMSG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <fastsock/message.h>

/* The kernel's form of a message. The address length of a message that is received into is the room
 * for it; header borrows every pointer of message. */
void fski_message_header(const struct fsk_message *message, struct msghdr *header);

/* Whether an item's data are descriptors: SCM_RIGHTS, SCM_PIDFD. */
bool fski_control_brings_descriptors(const struct fsk_control *item);

/* Closes the descriptors of such an item. Returns how many there were. */
uint32_t fski_control_close(const struct fsk_control *item);

/* Removes an item of control data. Returns the length that is left of length. */
size_t fski_control_remove(void *control, size_t length, int level, int type);

#endif
