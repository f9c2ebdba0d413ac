/* SPDX-License-Identifier: MIT
 * A turn of a server: fsk_server_next.
 *
 * Facts
 *   Of a set of descriptors the kernel tells those that are ready in turn, but a caller that handles only
 *   the first of what it was told finds the same ones first again.
 *   accept gives a connection's own error (accept(2) has the list), and EMFILE again and again while the
 *   connection waits: the listener stays readable.
 *   On Linux and the BSDs an accepted connection has the options of its listener.
 * What follows
 *   What was told and not handled, as the batch was full, is handled before the kernel is asked again.
 *   Without a descriptor to be had the listener is not waited for, until one is closed or some time has
 *   passed.
 *   TCP_NODELAY and the like are the caller's to set, on the listener.
 */
#include "server.h"

#include <errno.h>
#include <limits.h>

#include <fastsock/socket.h>

#include "batch.h"
#include "engine.h"
#include "kernel.h"

enum {
    ACCEPT_COUNT = 64, /* connections accepted before others have their turn */
    ACCEPT_PAUSE_NS = 100000000,
    MOST_BACKLOG = 65536, /* net.core.somaxconn is mostly 4096 */
    MOST_HURRIED = 4,
    MOST_PASSES = 64, /* at most a second's work: each handles 256 connections, 64 KiB of each */
};

/* What a receive, or the cutting of what was received, has come to. */
static void handle(struct fsk_server *server, uint32_t number, ssize_t result, bool has_begun,
                   uint64_t frames_before, int64_t now_ns) {
    struct fski_connection *connection = fski_server_get(server, number);
    if (result == -EINTR || result == -ENOSPC || (result == -EAGAIN && !connection->is_broken))
        return;
    if (result == 0 && !connection->is_broken) {
        connection->has_ended = true;
        connection->reason = FSK_CLOSE_EOF;
        fski_server_set_events(server, number, connection->events & FSKI_WRITABLE);
        fski_roster_enlist(&server->roster, FSKI_DUE, number);
    } else if (result <= 0) {
        fski_server_end(server, number,
                        result == -EMSGSIZE || result == -EBADMSG ? FSK_CLOSE_OVERSIZE
                        : result == -ENOBUFS || result == -ENOMEM ? FSK_CLOSE_MEMORY
                                                                  : FSK_CLOSE_RESET);
    } else {
        if (has_begun || server->stats.frames_received > frames_before)
            fski_roster_touch(&server->roster, number, now_ns);
        if (connection->is_cut_short)
            fski_roster_enlist(&server->roster, FSKI_CUT_SHORT, number);
    }
}

/* False: the batch has no room, and nothing was done. */
static bool go_on_with(struct fsk_server *server, uint32_t number,
                       const struct fski_receiving *receiving, int64_t now_ns) {
    struct fski_connection *connection = fski_server_get(server, number);
    uint64_t frames = server->stats.frames_received;
    bool was_cut_short = connection->is_cut_short;
    ssize_t result;
    if (was_cut_short)
        result = fski_connection_go_on(connection, number, receiving);
    else if (connection->is_broken && !connection->is_closing)
        result = fski_connection_receive(connection, number, receiving);
    else
        return true; /* they are no longer wanted */
    if (was_cut_short && result == 0)
        result = 1; /* it is not the end of the stream */
    handle(server, number, result, false, frames, now_ns);
    if (result == -ENOSPC)
        return false;
    if (connection->fd >= 0)
        fski_server_come_to_end(server, number);
    if (connection->fd >= 0 && connection->is_broken)
        fski_roster_enlist(&server->roster, FSKI_CUT_SHORT, number);
    return true;
}

/* Frames for which the batch before had no room, and what has arrived from those that are broken. False:
 * the batch is full. */
static bool go_on(struct fsk_server *server, const struct fski_receiving *receiving,
                  int64_t now_ns) {
    /* Those that have more still come to the end of the list, and are not to be met again. */
    uint32_t last = server->roster.lists[FSKI_CUT_SHORT].last;
    uint32_t number = FSKI_NOBODY;
    while (number != last &&
           (number = fski_roster_take(&server->roster, FSKI_CUT_SHORT)) != FSKI_NOBODY) {
        if (!go_on_with(server, number, receiving, now_ns)) {
            fski_roster_put_back(&server->roster, FSKI_CUT_SHORT, number);
            return false;
        }
    }
    return true;
}

/* Whether the connection's own error, and not the listener's, came out of accept(2). */
static bool is_passing(int result) {
    return result == -EINTR || result == -ECONNABORTED || result == -EPROTO ||
           result == -ENETDOWN || result == -ENETUNREACH || result == -EHOSTUNREACH ||
           result == -EHOSTDOWN || result == -ENOPROTOOPT || result == -EOPNOTSUPP ||
           result == -EPERM || result == -ETIMEDOUT || result == -ECONNRESET;
}

static void pause_accepting(struct fsk_server *server, int64_t until_ns) {
    fski_server_set_accepting(server, false);
    server->accept_again_ns = until_ns;
}

static bool take_in(struct fsk_server *server, int fd, const struct fsk_address *peer,
                    int64_t now_ns) {
    uint32_t number = fski_roster_add(&server->roster, fd, now_ns);
    if (number == FSKI_NOBODY)
        return false;
    struct fski_connection *connection = fski_server_get(server, number);
    if (peer->length > 0 && peer->length <= sizeof connection->peer)
        memcpy(&connection->peer, &peer->name, peer->length);
    connection->events = FSKI_UNWATCHED;
    server->stats.accepted++;
    if (fski_engine()->watch(&server->poller, fd, FSKI_UNWATCHED, FSKI_READABLE,
                             fski_server_token(server, number)) == 0)
        connection->events = FSKI_READABLE;
    else
        fski_server_end(server, number, FSK_CLOSE_MEMORY);
    return true;
}

static void accept_connections(struct fsk_server *server, unsigned count, int64_t now_ns) {
    struct fsk_address peer;
    unsigned most = count, failed = 0;
    while (count-- > 0) {
        if (server->roster.open >= server->options.max_connections) {
            pause_accepting(server, FSK_FOREVER);
            return;
        }
        peer.length = sizeof peer.name;
        peer.name.any.sa_family = AF_UNSPEC;
        int fd = fski_engine()->accept(server->listener, &peer.name.any, &peer.length);
        if (is_passing(fd) && ++failed < most)
            continue;
        if (fd == -EAGAIN)
            return;
        /* A sandbox refuses for ever what a firewall refuses now and then. */
        bool is_short =
            fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM || is_passing(fd);
        if (fd < 0 && !is_short) {
            server->failure = fd;
            pause_accepting(server, FSK_FOREVER);
            return;
        }
        if (fd < 0 || !take_in(server, fd, &peer, now_ns)) {
            if (fd >= 0)
                fski_close(fd);
            server->stats.accept_pauses++;
            pause_accepting(server, now_ns + ACCEPT_PAUSE_NS);
            return;
        }
    }
}

static bool is_received(const struct fski_connection *connection) {
    return connection->fd >= 0 && !connection->is_closing && !connection->has_ended &&
           !connection->is_cut_short;
}

/* Receives once and handles that. Returns as fski_connection_receive. */
static ssize_t receive(struct fsk_server *server, uint32_t number,
                       const struct fski_receiving *receiving, int64_t now_ns) {
    struct fski_connection *connection = fski_server_get(server, number);
    bool has_begun = fski_store_size(&connection->input) == 0;
    uint64_t frames = server->stats.frames_received;
    ssize_t result = fski_connection_receive(connection, number, receiving);
    handle(server, number, result, has_begun, frames, now_ns);
    return result;
}

/* False: the batch is full. */
static bool handle_event(struct fsk_server *server, uint64_t token, unsigned events,
                         const struct fski_receiving *receiving, int64_t now_ns) {
    uint32_t number = (uint32_t)token;
    struct fski_connection *connection = fski_server_get(server, number);
    if (connection->fd < 0 || connection->generation != token >> 32)
        return true;
    if ((events & (FSKI_WRITABLE | FSKI_BROKEN)) != 0 &&
        (connection->events & FSKI_WRITABLE) != 0) {
        fski_server_send_output(server, number);
        fski_server_come_to_end(server, number);
    }
    if (!is_received(connection) || (events & (FSKI_READABLE | FSKI_BROKEN)) == 0)
        return true;
    return receive(server, number, receiving, now_ns) != -ENOSPC;
}

/* Handles what the poller has told. */
static void handle_ready(struct fsk_server *server, const struct fski_receiving *receiving,
                         int64_t now_ns) {
    for (; server->ready_at < server->ready_count; server->ready_at++) {
        const struct fski_ready *ready = &server->ready[server->ready_at];
        if (ready->token == FSKI_TOKEN_LISTENER) {
            if (server->is_accepting)
                accept_connections(server, ACCEPT_COUNT, now_ns);
        } else if (ready->token == FSKI_TOKEN_BELL) {
            fski_bell_silence(&server->bell);
        } else if (!handle_event(server, ready->token, ready->events, receiving, now_ns)) {
            return;
        }
    }
}

/* A peer is not idle because the caller was long away: what it has sent meanwhile is received first. */
static void end_idle(struct fsk_server *server, const struct fski_receiving *receiving,
                     int64_t now_ns) {
    int64_t timeout = server->options.idle_timeout_ns;
    uint32_t number;
    while (timeout != FSK_FOREVER && (number = server->roster.by_age.first) != FSKI_NOBODY &&
           fski_server_get(server, number)->since_ns <= now_ns - timeout) {
        const struct fski_connection *connection = fski_server_get(server, number);
        ssize_t result = 1;
        for (int i = 0; i < MOST_HURRIED && result > 0 && connection->since_ns <= now_ns - timeout;
             i++)
            result = is_received(connection) ? receive(server, number, receiving, now_ns) : -EAGAIN;
        if (result == -ENOSPC)
            return; /* to be looked at again when a batch has room */
        if (connection->fd < 0 || connection->since_ns > now_ns - timeout)
            continue;
        if (connection->is_cut_short || result == 0)
            fski_roster_touch(&server->roster, number, now_ns); /* it waits for us */
        else
            fski_server_end(server, number, FSK_CLOSE_IDLE);
    }
}

/* Ends the connections that have nothing left to finish, or all. */
static void end_all(struct fsk_server *server, bool with_unfinished) {
    uint32_t number = server->roster.by_age.first;
    while (number != FSKI_NOBODY) {
        const struct fski_connection *connection = fski_server_get(server, number);
        uint32_t newer = connection->newer;
        if (with_unfinished ||
            (fski_store_size(&connection->input) == 0 && fski_store_size(&connection->output) == 0))
            fski_server_end(server, number, FSK_CLOSE_LOCAL);
        number = newer;
    }
}

/* Nobody is let in any more but who had connected before. */
static void close_listener(struct fsk_server *server, int64_t now_ns) {
    if (server->failure == 0)
        accept_connections(server, MOST_BACKLOG, now_ns);
    fski_server_set_accepting(server, false);
    fski_close(server->listener);
    server->listener = -1;
    server->accept_again_ns = FSK_FOREVER;
}

static bool has_news(const struct fsk_server *server, const struct fsk_batch *batch) {
    return batch->count > 0 || server->roster.opened_count > 0 || server->roster.closed_count > 0;
}

static void resume_accepting(struct fsk_server *server, int64_t now_ns) {
    if (server->accept_again_ns == FSK_FOREVER || server->accept_again_ns > now_ns)
        return;
    server->accept_again_ns = FSK_FOREVER;
    if (fski_server_set_accepting(server, true) < 0)
        server->accept_again_ns = now_ns + ACCEPT_PAUSE_NS;
}

static int milliseconds(int64_t timeout_ns) {
    int64_t rounded_up = timeout_ns / 1000000 + (timeout_ns % 1000000 > 0);
    return timeout_ns == FSK_FOREVER ? -1 : rounded_up < INT_MAX ? (int)rounded_up : INT_MAX;
}

/* Waits and handles what is ready. Returns the number of those, 0 when none was, or -errno. */
static int poll_once(struct fsk_server *server, const struct fski_receiving *receiving,
                     int64_t timeout_ns) {
    if (server->ready_at == server->ready_count) {
        int found = fski_engine()->poll(&server->poller, server->ready, FSKI_READY_COUNT,
                                        milliseconds(timeout_ns));
        if (found < 0)
            return found;
        server->ready_at = 0;
        server->ready_count = found;
    }
    int found = server->ready_count - server->ready_at;
    handle_ready(server, receiving, fski_now_ns());
    return found;
}

/* What a server that was stopped does before it waits. Returns the number of those that were ready, all of
 * which are to be looked at first, or -errno. */
static int wind_up(struct fsk_server *server, const struct fski_receiving *receiving,
                   int64_t now_ns) {
    if (server->listener >= 0)
        close_listener(server, now_ns);
    bool is_over = now_ns >= atomic_load(&server->stop_at_ns);
    int found = is_over ? 0 : poll_once(server, receiving, 0);
    if (found == 0 && (is_over || receiving->batch->count == 0))
        end_all(server, is_over);
    return found;
}

/* One pass: everything that can be done, waiting for at most timeout_ns if there is nothing. */
static int pass(struct fsk_server *server, const struct fski_receiving *receiving,
                int64_t timeout_ns) {
    int64_t now = fski_now_ns();
    fski_server_send_due(server);
    bool has_room = go_on(server, receiving, now);
    end_idle(server, receiving, now);
    resume_accepting(server, now);
    int found = atomic_load(&server->is_stopping) ? wind_up(server, receiving, now) : 0;
    if (!has_room || found != 0)
        return found;
    bool is_over = atomic_load(&server->is_stopping) && server->roster.open == 0;
    bool has_failed = server->failure < 0 && server->listener >= 0;
    if (has_news(server, receiving->batch) || is_over || has_failed)
        timeout_ns = 0;
    return poll_once(server, receiving, fski_earlier(timeout_ns, fski_server_due(server, now)));
}

/* What is left to do without an event makes the descriptor readable. */
static int told(struct fsk_server *server, int result) {
    server->roster.told_count = result > 0 ? server->roster.closed_count : 0;
    if (server->is_watched && fsk_server_due(server) == 0)
        fski_bell_ring(&server->bell, true);
    return result;
}

int fsk_server_next(struct fsk_server *server, int64_t timeout_ns, struct fsk_batch *batch) {
    const struct fski_receiving receiving = {&server->framing, batch, &server->budget,
                                             &server->stats};
    if (server->owner != getpid())
        return -ECHILD;
    if (fski_batch_of(batch)->arena_size < fsk_server_arena(receiving.framing))
        return -EINVAL;
    int64_t now = fski_now_ns();
    int64_t deadline = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
    unsigned hurried = 0; /* passes that found something to do */
    if (timeout_ns < 0)
        timeout_ns = FSK_FOREVER;
    fsk_batch_clear(batch);
    batch->metadata = 0;
    fski_roster_begin_turn(&server->roster);
    for (;;) {
        if (atomic_exchange(&server->is_interrupted, false))
            return told(server, -EINTR);
        int result = pass(server, &receiving, timeout_ns);
        if (has_news(server, batch))
            return told(server, 1);
        if (result < 0)
            return told(server, result);
        if (server->failure < 0 && server->listener >= 0)
            return told(server, server->failure);
        if (atomic_load(&server->is_stopping) && server->roster.open == 0)
            return told(server, 0);
        /* What was found may be but a part of a frame; more is looked for a few times. */
        hurried += result > 0;
        if (timeout_ns == 0 && (result == 0 || hurried >= MOST_HURRIED))
            return told(server, -EAGAIN);
        /* A signal does not end a wait that finds something: the caller is to look for one. */
        if (hurried >= MOST_PASSES)
            return told(server, -EINTR);
        if (timeout_ns > 0) {
            timeout_ns = deadline - fski_now_ns();
            if (timeout_ns < 0)
                timeout_ns = 0;
        }
    }
}
