/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_RECEIVE_H
#define FASTSOCK_RECEIVE_H

#include <sys/types.h>

#include <fastsock/batch.h>
#include <fastsock/message.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Receive one message, or what a stream has ready, with one system call. Any number of threads may
 * call these on one descriptor.
 *
 * Each waits as the descriptor's own mode says (O_NONBLOCK, SO_RCVTIMEO), and not at all with
 * MSG_DONTWAIT in flags. Each returns the bytes received, 0 at the end of a stream, or
 *   -EAGAIN  nothing is there and the call does not wait
 *   -EINTR   a signal came before any byte
 *   other    as recvmsg(2)
 * With MSG_TRUNC in flags a datagram's full length is returned, which may exceed what was stored.
 */

/*
 * Receive into one buffer.
 *
 *   buffer  out  length bytes
 *
 * Source: recv(2).
 */
FSK_API ssize_t fsk_receive(int fd, void *buffer, size_t length, int flags);

/*
 * Receive into one buffer, and tell from whom.
 *
 *   buffer  out  length bytes
 *   source  out  the sender; length 0 when the protocol names none (TCP, an unnamed Unix socket),
 *                and after an error
 *
 * Source: recvfrom(2).
 */
FSK_API ssize_t fsk_receive_from(int fd, void *buffer, size_t length, int flags,
                                 struct fsk_address *source);

/*
 * Receive into several buffers, with control data.
 *
 *   message  in/out  flags, address and control_length are replaced by what the kernel gave; after
 *                    an error flags and control_length are as before, and the call can be repeated
 *
 * Source: recvmsg(2). Descriptors that SCM_RIGHTS brings belong to the caller.
 */
FSK_API ssize_t fsk_receive_message(int fd, struct fsk_message *message, int flags);

/*
 * Append messages to a batch: waits for one as the descriptor's mode says, unless flags hold
 * MSG_DONTWAIT, then takes what else is queued without waiting. On a socket with UDP_GRO a train of
 * datagrams would be one message, cut at max_message: there it is fsk_readahead_receive's task.
 *
 *   type   in      the socket's own, SOCK_DGRAM or SOCK_SEQPACKET
 *   flags  in      MSG_DONTWAIT, MSG_TRUNC (always implied), MSG_CMSG_CLOEXEC
 *   batch  in/out  its rows from count on are filled; fsk_batch_clear starts anew. Descriptors sent
 *                  along are closed, and FSK_BATCH_CONTROL_TRUNCATED tells of them
 *
 * Ends at an empty SOCK_SEQPACKET message, which is appended (it may be the end of the stream), and
 * before the empty datagram without a sender that a UDP socket gives after shutdown(2).
 *
 * Returns the rows appended, 0 for that end of a UDP socket, or
 *   -EAGAIN      nothing is there and the call does not wait
 *   -EINTR       a signal came before any message
 *   -EINVAL      the batch is full, or a flag makes no sense for many messages
 *   -EOPNOTSUPP  of a stream: its bytes have no messages
 *   other        as recvmsg(2)
 * An error that comes after a message is left for the next receive. Source: recvmmsg(2).
 */
FSK_API int fsk_receive_batch(int fd, int type, int flags, struct fsk_batch *batch);

#ifdef __cplusplus
}
#endif

#endif
