/* SPDX-License-Identifier: MIT
 * A server of stream connections.
 *
 * A connection comes to its end in steps. Its peer's end of stream (has_ended) leaves time for answers:
 * what is queued when fsk_server_next is called again still goes out. Each end, whatever its cause, is
 * told once, after the frames that came before it.
 */
#include <fastsock/server.h>

#include "server.h"

#include <errno.h>
#include <stdlib.h>

#include <fastsock/socket.h>

#include "engine.h"
#include "extensible.h"
#include "framing.h"
#include "kernel.h"

/* A hundred years, so that a time and a timeout can be added; more is none. */
#define LONGEST_IDLE_NS (INT64_C(36525) * 86400 * 1000000000)

int fski_server_set_accepting(struct fsk_server *server, bool is_accepting) {
    if (server->listener < 0 || is_accepting == server->is_accepting)
        return 0;
    int result = fski_engine()->watch(
        &server->poller, server->listener, is_accepting ? FSKI_UNWATCHED : FSKI_READABLE,
        is_accepting ? FSKI_READABLE : FSKI_UNWATCHED, FSKI_TOKEN_LISTENER);
    if (result == 0)
        server->is_accepting = is_accepting;
    return result;
}

/* Takes what the caller gave, and a framing that outlasts the call. */
static int read_options(struct fsk_server *server, const struct fsk_server_options *given) {
    struct fsk_server_options *options = &server->options;
    int result = fski_extensible_read(
        options, sizeof *options, FSKI_UP_TO(struct fsk_server_options, idle_timeout_ns), given);
    if (result < 0)
        return result;
    bool is_right = options->framing != NULL && options->max_connections >= 1 &&
                    options->max_connections < FSKI_NOBODY / 2 && options->max_pending >= 1 &&
                    options->memory <= PTRDIFF_MAX &&
                    (options->idle_timeout_ns > 0 || options->idle_timeout_ns == FSK_FOREVER);
    if (!is_right)
        return -EINVAL;
    if (options->idle_timeout_ns > LONGEST_IDLE_NS)
        options->idle_timeout_ns = FSK_FOREVER;
    result = fski_framing_read(&server->framing, options->framing);
    options->framing = &server->framing;
    return result;
}

static int check_listener(int listener) {
    int is_listening = 0, type = 0;
    int result = fsk_socket_option(listener, SOL_SOCKET, SO_ACCEPTCONN, &is_listening);
    if (result == 0)
        result = fsk_socket_option(listener, SOL_SOCKET, SO_TYPE, &type);
    return result < 0 || (is_listening && type == SOCK_STREAM) ? result : -EINVAL;
}

int fsk_server_open(struct fsk_server **server, int listener,
                    const struct fsk_server_options *options) {
    *server = NULL;
    struct fsk_server *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    int result = read_options(made, options);
    if (result == 0)
        result = check_listener(listener);
    if (result < 0)
        goto no_poller;
    made->budget.limit = made->options.memory;
    made->owner = getpid();
    made->listener = listener;
    made->accept_again_ns = FSK_FOREVER;
    fski_roster_init(&made->roster);
    result = fski_engine()->open_poller(&made->poller);
    if (result < 0)
        goto no_poller;
    result = fski_bell_open(&made->bell);
    if (result < 0)
        goto no_bell;
    result = fski_engine()->watch(&made->poller, made->bell.poll_fd, FSKI_UNWATCHED, FSKI_READABLE,
                                  FSKI_TOKEN_BELL);
    if (result == 0)
        result = fsk_socket_set_blocking(listener, false);
    if (result == 0)
        result = fski_server_set_accepting(made, true);
    if (result == 0) {
        *server = made;
        return 0;
    }
    fski_bell_close(&made->bell);
no_bell:
    fski_engine()->close_poller(&made->poller);
no_poller:
    free(made);
    return result;
}

size_t fsk_server_arena(const struct fsk_framing *framing) {
    return framing->max_frame + FSK_FRAME_HEADER_MAX + FSK_DELIMITER_MAX + 2 * (size_t)FSKI_TURN;
}

void fski_server_set_events(struct fsk_server *server, uint32_t number, unsigned events) {
    struct fski_connection *connection = fski_server_get(server, number);
    if (connection->events == events)
        return;
    fski_engine()->watch(&server->poller, connection->fd, connection->events, events,
                         fski_server_token(server, number));
    connection->events = events;
}

/* The peer must not take what it has for all there was. Unix sockets have no such end. */
static void end_with_reset(struct fski_connection *connection) {
    const struct linger at_once = {.l_onoff = 1};
    fski_setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    connection->is_reset = true;
}

/* What is queued will not be sent any more. */
static void drop_output(struct fsk_server *server, struct fski_connection *connection) {
    if (fski_store_size(&connection->output) == 0)
        return;
    server->stats.bytes_unsent += fski_store_size(&connection->output);
    fski_store_clear(&connection->output, &server->budget);
    end_with_reset(connection);
}

void fski_server_end(struct fsk_server *server, uint32_t number, enum fsk_close_reason reason) {
    struct fski_connection *connection = fski_server_get(server, number);
    size_t unfinished = fski_store_size(&connection->input);
    drop_output(server, connection);
    server->stats.bytes_unfinished += unfinished;
    server->stats.closed[reason]++;
    fski_store_clear(&connection->input, &server->budget);
    if (connection->events != FSKI_UNWATCHED)
        fski_engine()->watch(&server->poller, connection->fd, connection->events, FSKI_UNWATCHED,
                             0);
    if (reason == FSK_CLOSE_LOCAL && !connection->is_reset)
        fski_connection_hang_up(connection);
    fski_close(connection->fd);
    fski_roster_remove(&server->roster, number, reason, (uint32_t)unfinished);
    if (!server->is_accepting && server->listener >= 0 && server->failure == 0)
        server->accept_again_ns = 0;
}

void fski_server_come_to_end(struct fsk_server *server, uint32_t number) {
    const struct fski_connection *connection = fski_server_get(server, number);
    if ((connection->is_closing || connection->has_ended) && !connection->is_cut_short &&
        fski_store_size(&connection->output) == 0)
        fski_server_end(server, number, connection->reason);
}

/* The next turn sends, or ends. Who waits for that by the descriptor is to be told. */
static void make_due(struct fsk_server *server, uint32_t number) {
    if (server->is_watched && server->roster.lists[FSKI_DUE].first == FSKI_NOBODY)
        fski_bell_ring(&server->bell, true);
    fski_roster_enlist(&server->roster, FSKI_DUE, number);
}

/* Nothing more is received, or sent but what is queued. */
static void begin_end(struct fsk_server *server, uint32_t number, enum fsk_close_reason reason) {
    struct fski_connection *connection = fski_server_get(server, number);
    connection->is_closing = true;
    connection->reason = reason;
    fski_server_set_events(server, number, connection->events & FSKI_WRITABLE);
    make_due(server, number);
}

void fski_server_send_output(struct fsk_server *server, uint32_t number) {
    struct fski_connection *connection = fski_server_get(server, number);
    int result = fski_connection_send(connection, &server->budget, &server->stats);
    if (result < 0 && result != -EAGAIN && result != -EINTR) {
        drop_output(server, connection);
        /* It stands for as long as frames of it are to be delivered, and received: a peer that sends
         * and goes, without a look at the answers, has sent nonetheless. */
        connection->is_broken = true;
        connection->reason = FSK_CLOSE_RESET;
        fski_roster_enlist(&server->roster, FSKI_CUT_SHORT, number);
    }
    bool is_received = !connection->has_ended && !connection->is_closing;
    bool is_full = fski_store_size(&connection->output) > 0;
    fski_server_set_events(server, number,
                           (is_received ? FSKI_READABLE : 0) | (is_full ? FSKI_WRITABLE : 0));
}

void fski_server_send_due(struct fsk_server *server) {
    uint32_t number;
    while ((number = fski_roster_take(&server->roster, FSKI_DUE)) != FSKI_NOBODY) {
        fski_server_send_output(server, number);
        fski_server_come_to_end(server, number);
    }
}

/* A peer that takes too little: its connection ends, or the send fails with result. */
static int refuse(struct fsk_server *server, uint32_t number, int result) {
    if (!server->options.closes_slow)
        return result;
    drop_output(server, fski_server_get(server, number));
    end_with_reset(fski_server_get(server, number)); /* it lacks the frame at least */
    begin_end(server, number, FSK_CLOSE_SLOW);
    return -EPIPE;
}

static bool takes_output(const struct fski_connection *connection) {
    return connection != NULL && connection->fd >= 0 && !connection->is_closing &&
           !connection->is_broken;
}

int fsk_server_send(struct fsk_server *server, uint32_t connection, const void *data,
                    size_t length) {
    const struct fsk_framing *framing = &server->framing;
    size_t most = server->options.max_pending;
    struct fski_connection *to = fski_roster_find(&server->roster, connection);
    int result = fsk_framing_check_frame(framing, data, length);
    if (result < 0)
        return result;
    size_t size = fsk_framing_encoded_size(framing, length);
    if (size > most)
        return -EMSGSIZE;
    if (!takes_output(to))
        return -EPIPE;
    if (fski_store_size(&to->output) > most - size) {
        if (server->owner != getpid())
            return -ECHILD;
        fski_server_send_output(server, connection);
        if (!takes_output(to))
            return -EPIPE;
        if (fski_store_size(&to->output) > most - size)
            return refuse(server, connection, -EAGAIN);
    }
    result = fski_connection_queue(to, framing, data, length, size, &server->budget);
    if (result == -ENOBUFS) {
        result = fsk_server_flush(server);
        if (result == 0 && !takes_output(to))
            return -EPIPE;
        if (result == 0)
            result = fski_connection_queue(to, framing, data, length, size, &server->budget);
        if (result == -ENOBUFS)
            return refuse(server, connection, result);
    }
    if (result < 0)
        return result;
    server->stats.frames_queued++;
    make_due(server, connection);
    return 0;
}

/* An end is left to the next turn: the program may have more to send in this one. */
int fsk_server_flush(struct fsk_server *server) {
    if (server->owner != getpid())
        return -ECHILD;
    uint32_t last = server->roster.lists[FSKI_DUE].last;
    uint32_t number = FSKI_NOBODY;
    while (number != last &&
           (number = fski_roster_take(&server->roster, FSKI_DUE)) != FSKI_NOBODY) {
        const struct fski_connection *connection = fski_server_get(server, number);
        fski_server_send_output(server, number);
        if (connection->has_ended || connection->is_closing)
            fski_roster_enlist(&server->roster, FSKI_DUE, number);
    }
    return 0;
}

static int begin_local_end(struct fsk_server *server, uint32_t connection, bool at_once) {
    struct fski_connection *ending = fski_roster_find(&server->roster, connection);
    if (server->owner != getpid())
        return -ECHILD;
    if (ending == NULL || (ending->is_closing && !at_once))
        return -EPIPE;
    if (at_once) {
        drop_output(server, ending);
        end_with_reset(ending);
    }
    /* Frames that the batch had no room for are no longer wanted. */
    ending->is_cut_short = false;
    begin_end(server, connection, FSK_CLOSE_LOCAL);
    return 0;
}

int fsk_server_end(struct fsk_server *server, uint32_t connection) {
    return begin_local_end(server, connection, false);
}

int fsk_server_abort(struct fsk_server *server, uint32_t connection) {
    return begin_local_end(server, connection, true);
}

size_t fsk_server_pending(const struct fsk_server *server, uint32_t connection) {
    const struct fski_connection *asked = fski_roster_find(&server->roster, connection);
    return asked == NULL ? 0 : fski_store_size(&asked->output);
}

void fsk_server_peer(const struct fsk_server *server, uint32_t connection,
                     struct fsk_address *address) {
    address->length = 0;
    if (connection >= server->roster.numbers)
        return;
    const struct fski_connection *asked = fski_server_get(server, connection);
    int family = asked->peer.any.sa_family;
    if (family == AF_INET || family == AF_INET6) {
        address->length = family == AF_INET ? sizeof asked->peer.ip4 : sizeof asked->peer.ip6;
        memcpy(&address->name, &asked->peer, address->length);
    } else if (asked->fd >= 0) {
        fsk_socket_peer(asked->fd, address);
    }
}

int fsk_server_connection_fd(const struct fsk_server *server, uint32_t connection) {
    const struct fski_connection *asked = fski_roster_find(&server->roster, connection);
    return asked == NULL ? -EPIPE : asked->fd;
}

void fsk_server_stop(struct fsk_server *server, int64_t drain_ns) {
    if (server->owner != getpid())
        return; /* the bell is the parent's too */
    int64_t now = fski_now_ns();
    bool is_endless = drain_ns < 0 || drain_ns > INT64_MAX - now;
    atomic_store(&server->stop_at_ns, is_endless ? INT64_MAX : now + drain_ns);
    atomic_store(&server->is_stopping, true);
    fski_bell_ring(&server->bell, true);
}

void fsk_server_interrupt(struct fsk_server *server) {
    if (server->owner != getpid())
        return;
    atomic_store(&server->is_interrupted, true);
    fski_bell_ring(&server->bell, true);
}

int fsk_server_fd(struct fsk_server *server) {
    if (server->poller.fd < 0)
        return -EOPNOTSUPP;
    server->is_watched = true;
    return server->poller.fd;
}

int64_t fski_server_due(const struct fsk_server *server, int64_t now_ns) {
    int64_t due = server->accept_again_ns;
    uint32_t oldest = server->roster.by_age.first;
    if (atomic_load(&server->is_stopping) && atomic_load(&server->stop_at_ns) < INT64_MAX)
        due = fski_earlier(due, atomic_load(&server->stop_at_ns));
    if (server->options.idle_timeout_ns != FSK_FOREVER && oldest != FSKI_NOBODY)
        due = fski_earlier(due, fski_server_get(server, oldest)->since_ns +
                                    server->options.idle_timeout_ns);
    return due == FSK_FOREVER ? FSK_FOREVER : due > now_ns ? due - now_ns : 0;
}

int64_t fsk_server_due(struct fsk_server *server) {
    const struct fski_roster *roster = &server->roster;
    bool is_now = roster->lists[FSKI_DUE].first != FSKI_NOBODY ||
                  roster->lists[FSKI_CUT_SHORT].first != FSKI_NOBODY ||
                  roster->closed_count > roster->told_count ||
                  (server->failure < 0 && server->listener >= 0);
    return is_now ? 0 : fski_server_due(server, fski_now_ns());
}

const uint32_t *fsk_server_opened(const struct fsk_server *server, size_t *count) {
    *count = server->roster.opened_count;
    return server->roster.opened;
}

const struct fsk_closed *fsk_server_closed(const struct fsk_server *server, size_t *count) {
    *count = server->roster.told_count;
    return server->roster.closed;
}

int fsk_server_stats(const struct fsk_server *server, struct fsk_server_stats *stats) {
    if (server->owner != getpid())
        return -ECHILD;
    struct fsk_server_stats now = server->stats;
    now.connections = server->roster.open;
    now.memory = server->budget.used;
    now.memory_peak = server->budget.peak;
    return fski_extensible_write(stats, &now, sizeof now,
                                 FSKI_UP_TO(struct fsk_server_stats, memory_peak));
}

void fsk_server_free(struct fsk_server *server) {
    if (server == NULL)
        return;
    bool is_own = server->owner == getpid();
    for (uint32_t number = 0; number < server->roster.numbers; number++) {
        struct fski_connection *connection = fski_server_get(server, number);
        if (connection->fd < 0)
            continue;
        fski_store_clear(&connection->input, &server->budget);
        if (is_own)
            drop_output(server, connection); /* a child would reset what is the parent's */
        else
            fski_store_clear(&connection->output, &server->budget);
        fski_close(connection->fd);
    }
    if (server->listener >= 0)
        fski_close(server->listener);
    fski_engine()->close_poller(&server->poller);
    fski_bell_close(&server->bell);
    fski_roster_fini(&server->roster);
    fski_budget_fini(&server->budget);
    free(server);
}
