/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SEND_H
#define FASTSOCK_SEND_H

#include <sys/types.h>

#include <fastsock/message.h>
#include <fastsock/segmentation.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Send one message, or the beginning of the bytes for a stream, with one system call. Any number of
 * threads may call these on one descriptor (but not with one fsk_segmentation); a datagram is sent
 * whole or not at all.
 *
 * Each waits as the descriptor's own mode says (O_NONBLOCK, SO_SNDTIMEO), and not at all with
 * MSG_DONTWAIT in flags. Each returns the bytes the kernel took, or
 *   -EAGAIN  there is no room and the call does not wait
 *   -EINTR   a signal came before any byte was taken
 *   -EPIPE   the peer is gone; the process also gets SIGPIPE unless flags hold MSG_NOSIGNAL
 *   other    as sendmsg(2)
 */

/*
 * Send one buffer to the socket's peer.
 *
 *   data  in  length bytes
 *
 * Source: send(2).
 */
FSK_API ssize_t fsk_send(int fd, const void *data, size_t length, int flags);

/*
 * Send one buffer to an address.
 *
 *   data         in  length bytes
 *   destination  in  not NULL: fsk_send does without
 *
 * Source: sendto(2).
 */
FSK_API ssize_t fsk_send_to(int fd, const void *data, size_t length, int flags,
                            const struct fsk_address *destination);

/*
 * Send several buffers as one message, with control data.
 *
 *   message  in  its flags member is not read
 *
 * Source: sendmsg(2).
 */
FSK_API ssize_t fsk_send_message(int fd, const struct fsk_message *message, int flags);

/* One of many messages to send. */
struct fsk_outgoing {
    const void *data;
    size_t length;
    const struct fsk_address *destination; /* NULL: the socket's peer */
};

/*
 * Send many messages, each a datagram of its own, in order.
 *
 *   messages      in      count of them; nothing is copied
 *   flags         in      as fsk_send, for all
 *   segmentation  in/out  of this UDP socket: runs of equal size and destination leave as one
 *                         segmented send (GSO); NULL: never
 *   error         out     -errno that the next message met; 0: all were sent. -EAGAIN also where
 *                         the descriptor waits, when a signal has cut a wait short
 *
 * Returns how many were sent, from the first on, or when none was, *error. An error is not kept:
 * the next message meets it again if it persists. Returns 0 only for a count of 0.
 * Source: sendmmsg(2), udp(7).
 */
FSK_API ssize_t fsk_send_batch(int fd, const struct fsk_outgoing *messages, size_t count, int flags,
                               struct fsk_segmentation *segmentation, int *error);

#ifdef __cplusplus
}
#endif

#endif
