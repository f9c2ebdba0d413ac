/* SPDX-License-Identifier: MIT
 * What a server is made of, for server.c, which opens, sends and closes, and turn.c, which accepts and
 * receives. */
#ifndef FASTSOCK_SERVER_INTERNAL_H
#define FASTSOCK_SERVER_INTERNAL_H

#include <stdatomic.h>

#include <fastsock/server.h>
#include <fastsock/socket.h>

#include "bell.h"
#include "poller.h"
#include "roster.h"

enum { FSKI_READY_COUNT = 256 };

/* In place of the token of a connection. */
#define FSKI_TOKEN_LISTENER UINT64_MAX
#define FSKI_TOKEN_BELL (UINT64_MAX - 1)

struct fsk_server {
    struct fsk_server_options options; /* its framing is the next member */
    struct fsk_framing framing;
    struct fsk_server_stats stats;
    struct fski_budget budget;
    struct fski_roster roster;
    struct fski_poller poller;
    struct fski_bell bell;
    struct fski_ready ready[FSKI_READY_COUNT];
    int ready_count, ready_at; /* those from ready_at on are to be handled */
    int listener;              /* -1: the server was stopped */
    int failure;               /* the listener's, -errno */
    bool is_accepting;         /* the listener is waited for */
    bool is_watched;           /* the poller's descriptor has been handed out */
    int64_t accept_again_ns;   /* FSK_FOREVER: when a connection ends */
    pid_t owner;
    atomic_bool is_stopping;
    _Atomic int64_t stop_at_ns;
    atomic_bool is_interrupted;
};

static inline struct fski_connection *fski_server_get(const struct fsk_server *server,
                                                      uint32_t number) {
    return fski_roster_get(&server->roster, number);
}

/* What an event of the connection has: a number alone could be another connection's meanwhile. */
static inline uint64_t fski_server_token(const struct fsk_server *server, uint32_t number) {
    return (uint64_t)fski_server_get(server, number)->generation << 32 | number;
}

/* Of two times, either of which may be FSK_FOREVER. */
static inline int64_t fski_earlier(int64_t one_ns, int64_t other_ns) {
    return one_ns == FSK_FOREVER || (other_ns != FSK_FOREVER && other_ns < one_ns) ? other_ns
                                                                                   : one_ns;
}

/* Wait for the listener, or don't. Returns 0 or -errno. */
int fski_server_set_accepting(struct fsk_server *server, bool is_accepting);

/* Wait for these events of a connection. */
void fski_server_set_events(struct fsk_server *server, uint32_t number, unsigned events);

/* End a connection now; what is queued is dropped, and counted. */
void fski_server_end(struct fsk_server *server, uint32_t number, enum fsk_close_reason reason);

/* End a connection that has nothing left to give or to get. */
void fski_server_come_to_end(struct fsk_server *server, uint32_t number);

/* Send the output of a connection, as far as the kernel takes it. */
void fski_server_send_output(struct fsk_server *server, uint32_t number);

/* Send what is queued, as far as the kernel takes it, and end who has come to it. */
void fski_server_send_due(struct fsk_server *server);

/* Nanoseconds from now until something is due without an event; FSK_FOREVER. */
int64_t fski_server_due(const struct fsk_server *server, int64_t now_ns);

#endif
