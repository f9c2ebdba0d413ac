/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_RECEIVER_H
#define FASTSOCK_RECEIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <fastsock/batch.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sockets that one receiver reads at most. */
#define FSK_RECEIVER_SHARDS 64

/* The least memory of each socket of a receiver: its messages, and what they are received into. */
#define FSK_RECEIVER_MEMORY ((size_t)1 << 20)

/*
 * Threads that take messages from sockets, one each, as fast as the kernel has them, into bounded
 * memory, from where one consumer takes them in batches. UDP, and of Unix sockets SOCK_DGRAM and
 * SOCK_SEQPACKET. Nothing is allocated after it is open, and every message is accounted for.
 *
 * After fork(2) it belongs to the process that opened it: in the child every call gives -ECHILD,
 * but that fsk_receiver_close and fsk_receiver_free let go of the child's descriptors and memory.
 */
struct fsk_receiver;

/* What becomes of messages when the consumer is so slow that the memory is full. */
enum fsk_overflow {
    FSK_OVERFLOW_DROP_NEWEST, /* what arrives is dropped, and counted */
    FSK_OVERFLOW_DROP_OLDEST, /* the oldest that wait are dropped, a block at a time, and counted */
    FSK_OVERFLOW_BLOCK, /* nothing is received until there is room: the kernel's queue fills up,
                         * and then drops (UDP) or holds up the sender (Unix) */
};

/* How a receiver works. Besides size only memory has to be set. */
struct fsk_receiver_options {
    size_t size;   /* sizeof(struct fsk_receiver_options) */
    size_t memory; /* bytes in all, FSK_RECEIVER_MEMORY a socket at least */
    enum fsk_overflow overflow;
    bool gro;           /* use UDP_GRO where it is to be had */
    bool keeps_sockets; /* others use them too: they are left as they were, with their messages */
    unsigned metadata;  /* bits of fsk_metadata to fill columns of; fsk_metadata_enable first */
    const int *cpus;    /* for each socket the CPU its thread runs on, below 0: any; NULL: any */
    int priority;       /* of SCHED_FIFO for the threads, 1 and up; 0: as the caller's */
    uint32_t busy_poll_us; /* microseconds a thread asks again and again before it sleeps */
    uint64_t key;          /* a random number, as for fsk_batch_new */
};

/*
 * Begin to receive.
 *
 *   receiver  out  closed with fsk_receiver_close, then freed with fsk_receiver_free; NULL after an
 *                  error
 *   fds       in   count sockets, bound or connected, blocking or not; on success they are the
 *                  receiver's to close, on an error still the caller's. Until the receiver is closed
 *                  the caller may send with them, set options and shut them down, not receive
 *   count     in   1..FSK_RECEIVER_SHARDS
 *   options   in   copied, with the numbers of cpus
 *
 * Returns 0, or with nothing changed
 *   -EINVAL      a size or number is out of range
 *   -E2BIG       options has members set that only a later version of the library knows
 *   -EOPNOTSUPP  a socket has no messages; this system can't bind a thread to a CPU
 *   -EPERM       the priority is not allowed
 *   -ENOMEM, -EMFILE, -ENFILE, -EAGAIN (threads)
 */
FSK_API int fsk_receiver_open(struct fsk_receiver **receiver, const int *fds, unsigned count,
                              const struct fsk_receiver_options *options);

/*
 * Take the oldest block of messages that wait; of several sockets in turn. One thread at a time.
 *
 *   timeout_ns  in   nanoseconds; 0 does not wait, FSK_FOREVER waits
 *   batch       out  borrowed until fsk_receiver_release, for reading only; its bytes lie one after
 *                    the other. The receiver has less memory meanwhile. NULL without messages
 *
 * Returns the messages in batch, 0 at the end of all sockets (shutdown(2), or the peer has closed;
 * the empty messages that a SOCK_SEQPACKET peer sent last can't be told from it), or
 *   -EAGAIN  nothing came in time
 *   -EINTR   a signal came before any message
 *   -EBADF   the receiver is closed, maybe by another thread in the course of this call
 *   -ECHILD  another process opened it
 *   other    the error that ended a thread, as recvmsg(2), when nothing else is left
 */
FSK_API int fsk_receiver_next(struct fsk_receiver *receiver, int64_t timeout_ns,
                              struct fsk_batch **batch);

/* Give a batch back. Any thread, also after fsk_receiver_close. */
FSK_API void fsk_receiver_release(struct fsk_receiver *receiver, struct fsk_batch *batch);

/*
 * A descriptor that is readable while messages wait, for poll(2) and the like; not to be read. It
 * may be readable though nothing waits; fsk_receiver_next with timeout 0 then gives -EAGAIN and
 * makes it right. Borrowed until fsk_receiver_close. Returns the descriptor, -EBADF or -ECHILD.
 */
FSK_API int fsk_receiver_fd(struct fsk_receiver *receiver);

/* What has become of every message. received == delivered + ring_drops + queued + discarded. */
struct fsk_receiver_stats {
    size_t size;             /* in: sizeof(struct fsk_receiver_stats) */
    uint64_t received;       /* messages taken from the kernel */
    uint64_t delivered;      /* given to the consumer */
    uint64_t queued;         /* wait for the consumer */
    uint64_t ring_drops;     /* dropped as the memory was full, by enum fsk_overflow */
    uint64_t discarded;      /* left when it was closed, in memory and in the kernel's queue */
    uint64_t bytes;          /* of the messages received */
    uint64_t system_calls;   /* that received, or tried to */
    uint64_t largest_batch;  /* messages one system call brought at most */
    uint64_t high_water;     /* messages that ever waited at once, of several sockets the sum */
    uint64_t kernel_drops;   /* by the kernel since it was opened, as fsk_socket_drops */
    bool kernel_drops_exact; /* false: the kernel does not tell, or may have dropped whole trains */
    uint64_t truncated;      /* messages longer than 64 KiB, which were cut */
    uint64_t control_truncated; /* messages with FSK_BATCH_CONTROL_TRUNCATED */
    uint64_t descriptors;       /* that came along and were closed */
    uint64_t errors; /* that a socket told: ICMP's, after which receiving goes on, or its last */
    unsigned pinned; /* batches not yet given back */
};

/* Tell the counts up to now. Any thread, also after fsk_receiver_close. Returns 0, -EINVAL
 * (stats->size) or -ECHILD. */
FSK_API int fsk_receiver_stats(struct fsk_receiver *receiver, struct fsk_receiver_stats *stats);

/*
 * End the threads and every wait, count what is left as discarded, and close the sockets. Any
 * thread, more than once; a second call does not wait for the first to end. Batches stay valid. Not
 * for signal handlers: there fsk_socket_shutdown makes fsk_receiver_next return 0.
 *
 * Returns 0, or -EBUSY when the sockets are kept and trains came so fast that UDP_GRO could not be
 * switched off in order: a train that is on its way will be received as one datagram.
 */
FSK_API int fsk_receiver_close(struct fsk_receiver *receiver);

/* Free a closed receiver and all its batches, which nobody uses any more. NULL is allowed. */
FSK_API void fsk_receiver_free(struct fsk_receiver *receiver);

#ifdef __cplusplus
}
#endif

#endif
