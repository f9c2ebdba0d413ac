/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_MESSAGE_H
#define FASTSOCK_MESSAGE_H

#include <stddef.h>
#include <sys/uio.h>

#include <fastsock/address.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What one recvmsg or sendmsg carries: buffers, an address, control data and flags. All memory is
 * the caller's, and is used only during the call it is passed to.
 */
struct fsk_message {
    struct iovec *buffers;       /* in: filled or read in order */
    size_t buffer_count;         /* at most IOV_MAX (1024 on Linux), else -EMSGSIZE */
    struct fsk_address *address; /* out when receiving, in when sending; NULL: not wanted, none */
    void *control;               /* aligned as struct cmsghdr; NULL: none */
    size_t control_length; /* bytes, 0 with none; a receive sets it to what the kernel wrote */
    int flags;             /* out when receiving: MSG_TRUNC, MSG_CTRUNC, MSG_EOR, ... */
};

/* One item of control data. */
struct fsk_control {
    int level;        /* SOL_SOCKET, IPPROTO_IP, ... */
    int type;         /* SCM_RIGHTS, IP_PKTINFO, ... */
    const void *data; /* borrowed until the message's control memory is reused */
    size_t length;    /* bytes of data that are really there */
};

/*
 * The next item of a received message's control data.
 *
 *   message  in
 *   cursor   in/out  bytes consumed; start with 0
 *   item     out     points into the message's control memory
 *
 * Returns 1 with an item, 0 at the end (or at what is no item), or -EBADMSG with an item whose
 * header claims more bytes than the kernel wrote: item then holds what is there, and it is the
 * last. No read goes past control_length, whatever the bytes say. Source: cmsg(3).
 */
FSK_API int fsk_control_next(const struct fsk_message *message, size_t *cursor,
                             struct fsk_control *item);

/* Bytes of control memory that an item with length bytes of data takes, padding included. */
FSK_API size_t fsk_control_space(size_t length);

/*
 * Append an item to the control data of a message that is to be sent.
 *
 *   message  in/out  control_length, 0 before the first item, grows by
 *                    fsk_control_space(item->length)
 *   room     in      bytes at message->control
 *   item     in      data is copied
 *
 * Returns 0, or -ENOSPC when room is too small (nothing is written then).
 */
FSK_API int fsk_control_put(struct fsk_message *message, size_t room,
                            const struct fsk_control *item);

/*
 * Take the descriptors that a received message brought (SCM_RIGHTS); once a message.
 *
 *   message  in   received with MSG_CMSG_CLOEXEC where the system has it; elsewhere the descriptors
 *                 are set to be closed on exec here
 *   fds      out  the first room of them, which are the caller's now; NULL with no room
 *   room     in   ints at fds
 *   refused  out  how many there were beyond room; they are closed. NULL: not wanted
 *
 * The descriptor of the sender's process (SCM_PIDFD) is closed and not counted. Descriptors that
 * the kernel itself had no room for are in neither number: MSG_CTRUNC tells of them.
 *
 * Returns how many are in fds. Source: unix(7).
 */
FSK_API int fsk_control_descriptors(const struct fsk_message *message, int *fds, int room,
                                    int *refused);

#ifdef __cplusplus
}
#endif

#endif
