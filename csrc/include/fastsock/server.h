/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SERVER_H
#define FASTSOCK_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fastsock/address.h>
#include <fastsock/batch.h>
#include <fastsock/framing.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A server of stream connections: one call accepts, receives and cuts frames for all that are
 * ready, and sends what was queued. Its connections are told by number. A number is a new
 * connection's only after the call that told of the old one's end has been followed by another
 * fsk_server_next.
 *
 * One thread at a time, but fsk_server_stop and fsk_server_interrupt, which any thread may call.
 * After fork(2) it belongs to the process that opened it: in the child every call that would do
 * something gives -ECHILD, but that fsk_server_free lets go of the child's descriptors and memory.
 * (fsk_server_send may queue what nobody will send.)
 */
struct fsk_server;

/* Why a connection ended. */
enum fsk_close_reason {
    FSK_CLOSE_EOF,      /* the peer sent all it had to; what was queued for it went out */
    FSK_CLOSE_RESET,    /* the peer or the network broke it; what had arrived is given first */
    FSK_CLOSE_IDLE,     /* idle_timeout_ns passed */
    FSK_CLOSE_OVERSIZE, /* a frame longer than max_frame, or a header that is no length */
    FSK_CLOSE_SLOW,     /* what was queued for it came to more than max_pending, or memory */
    FSK_CLOSE_LOCAL,    /* fsk_server_end, or the server's stop */
    FSK_CLOSE_MEMORY,   /* its unfinished frame would have taken more than memory is left */
    FSK_CLOSE_REASONS,  /* how many there are */
};

/* Places that fsk_server_stats has for them, more than there are. */
#define FSK_CLOSE_PLACES 16

/* How a server works. All but closes_slow have to be set. */
struct fsk_server_options {
    size_t size;                       /* sizeof(struct fsk_server_options) */
    const struct fsk_framing *framing; /* max_frame is for both directions */
    size_t memory;            /* bytes of unfinished frames and queued output, all connections */
    size_t max_pending;       /* bytes queued for one connection, at least 1 */
    uint32_t max_connections; /* at least 1; more wait in the listener's backlog */
    bool closes_slow; /* a send beyond max_pending or memory ends the connection; else it fails */
    int64_t idle_timeout_ns; /* at least 1, or FSK_FOREVER: none. Since the last whole frame while
                              * one is unfinished, then since the last byte. A hundred years or
                              * more: none */
};

/*
 * Serve a listening socket.
 *
 *   server    out  freed with fsk_server_free; NULL after an error
 *   listener  in   the server's to close if this succeeds. It is made non-blocking
 *   options   in   copied, with its framing
 *
 * Returns 0, -EINVAL (options, or it does not listen for streams), -E2BIG (options of a later
 * version than the library's), -ENOMEM, -EMFILE, -ENFILE, or other as epoll_ctl(2).
 */
FSK_API int fsk_server_open(struct fsk_server **server, int listener,
                            const struct fsk_server_options *options);

/* The bytes that the arena of a batch for fsk_server_next must have at least with a framing, which
 * need not have been checked. They are capacity * max_message of fsk_batch_new: frames lie one after
 * the other there and none is cut at max_message. The batch's key is not used. */
FSK_API size_t fsk_server_arena(const struct fsk_framing *framing);

/*
 * Send what is queued, wait until something has happened, and take it. A connection gets 64 KiB a
 * turn at most, or what the kernel has of one long frame, so that none keeps the others waiting.
 *
 *   timeout_ns  in   nanoseconds; 0 does not wait, FSK_FOREVER waits
 *   batch       out  cleared first; a row for each frame. Its column source is the number of the
 *                    connection, not an index for fsk_batch_source. It has no metadata: the member
 *                    becomes 0
 *
 * Returns 1 when there are frames, or something to tell by fsk_server_opened and fsk_server_closed,
 * 0 when the server was stopped and all has been told, or
 *   -EAGAIN  nothing happened in time
 *   -EINTR   a signal came, or fsk_server_interrupt; or much has arrived and no frame is whole yet,
 *            so that the caller can look for signals. Nothing is lost: call again
 *   -EINVAL  the batch is too small (fsk_server_arena)
 *   -ECHILD  another process opened it
 *   other    poll(2); or accept(2): nobody can be accepted any more, which each call with nothing
 *            else to give tells at once, until fsk_server_stop
 */
FSK_API int fsk_server_next(struct fsk_server *server, int64_t timeout_ns, struct fsk_batch *batch);

/* The connections that the last fsk_server_next accepted: an array of count numbers, borrowed until
 * the next. */
FSK_API const uint32_t *fsk_server_opened(const struct fsk_server *server, size_t *count);

/* The end of a connection. */
struct fsk_closed {
    uint32_t connection;
    uint32_t unfinished; /* bytes of a frame that it left unfinished */
    enum fsk_close_reason reason;
};

/* What the last fsk_server_next tells of connections that have ended: an array of count, borrowed
 * until the next. Their frames are in this batch or were in an earlier one. */
FSK_API const struct fsk_closed *fsk_server_closed(const struct fsk_server *server, size_t *count);

/*
 * Queue a frame, to be sent by the next fsk_server_next or fsk_server_flush, or at once when the
 * queue is full. It does not wait, and raises no SIGPIPE where the system has MSG_NOSIGNAL.
 *
 *   data  in  length bytes, the frame without header or delimiter. They are copied, so they may be
 *             those of the batch that fsk_server_next filled
 *
 * Returns 0, or with nothing queued
 *   -EPIPE    the connection has ended or is being closed; fsk_server_closed tells why, or will
 *   -EAGAIN   max_pending would be exceeded; with closes_slow -EPIPE
 *   -ENOBUFS  memory would be exceeded; with closes_slow -EPIPE
 *   -EMSGSIZE, -EBADMSG  as fsk_framing_check_frame; -EMSGSIZE too for more than max_pending
 *   -ENOMEM, -ECHILD
 */
FSK_API int fsk_server_send(struct fsk_server *server, uint32_t connection, const void *data,
                            size_t length);

/* Send what was queued since the last call, as far as the kernel takes it; fsk_server_next goes on
 * with what it does not. Returns 0 or -ECHILD. */
FSK_API int fsk_server_flush(struct fsk_server *server);

/* Close a connection when what is queued for it has been sent, which takes as long as the peer does
 * (or idle_timeout_ns); nothing more of it is received. Returns 0, -EPIPE or -ECHILD. */
FSK_API int fsk_server_end(struct fsk_server *server, uint32_t connection);

/* Close a connection at once: what is queued is dropped, and the peer gets a reset. Otherwise as
 * fsk_server_end. */
FSK_API int fsk_server_abort(struct fsk_server *server, uint32_t connection);

/* Bytes queued for a connection and not yet taken by the kernel; 0 when it has ended. */
FSK_API size_t fsk_server_pending(const struct fsk_server *server, uint32_t connection);

/* The address of a connection's peer: told until the number is another connection's, of a Unix
 * socket while the connection is open. address->length is 0 when it is not known. */
FSK_API void fsk_server_peer(const struct fsk_server *server, uint32_t connection,
                             struct fsk_address *address);

/* The descriptor of a connection, to set its options with; borrowed until the connection's end.
 * -EPIPE when it has ended. */
FSK_API int fsk_server_connection_fd(const struct fsk_server *server, uint32_t connection);

/*
 * Stop accepting. Connections go on for at most drain_ns while a frame of theirs is unfinished or
 * output is queued, below 0 as long as that takes, and then end (FSK_CLOSE_LOCAL). Any thread, and
 * more than once: the last counts. A signal handler may call it; errno is kept. It must have
 * returned before fsk_server_free.
 */
FSK_API void fsk_server_stop(struct fsk_server *server, int64_t drain_ns);

/* Have fsk_server_next return -EINTR: the call that waits, or the next one. Called from where
 * fsk_server_stop may be called. */
FSK_API void fsk_server_interrupt(struct fsk_server *server);

/*
 * A descriptor that is readable when fsk_server_next has something to do, but for what
 * fsk_server_due tells, which is to be asked before each wait; not to be read. Borrowed until
 * fsk_server_free. Returns the descriptor, or -EOPNOTSUPP: the portable engine has none.
 */
FSK_API int fsk_server_fd(struct fsk_server *server);

/* Nanoseconds until fsk_server_next has something to do even if nothing arrives; FSK_FOREVER:
 * never. */
FSK_API int64_t fsk_server_due(struct fsk_server *server);

/* What has become of every connection. accepted == connections + the sum of closed. */
struct fsk_server_stats {
    size_t size; /* in: sizeof(struct fsk_server_stats) */
    uint64_t accepted;
    uint64_t connections;              /* open now */
    uint64_t closed[FSK_CLOSE_PLACES]; /* by enum fsk_close_reason */
    uint64_t frames_received;
    uint64_t bytes_received; /* of the streams */
    uint64_t frames_queued;
    uint64_t bytes_sent;
    uint64_t bytes_unsent;     /* that were queued when their connection ended */
    uint64_t bytes_unfinished; /* of frames that the end of their connection cut off */
    uint64_t accept_pauses;    /* no descriptor (EMFILE, ENFILE), no memory, or no permission */
    uint64_t memory;           /* bytes of unfinished frames and queued output now */
    uint64_t memory_peak;      /* the most that memory ever was */
};

/* Tell the counts up to now. Returns 0, -EINVAL (stats->size) or -ECHILD. */
FSK_API int fsk_server_stats(const struct fsk_server *server, struct fsk_server_stats *stats);

/* Close every connection and the listener without sending what is queued, and free all. A TCP peer
 * for whom something was queued gets a reset: it must not take what it has for all. NULL is
 * allowed. */
FSK_API void fsk_server_free(struct fsk_server *server);

#ifdef __cplusplus
}
#endif

#endif
