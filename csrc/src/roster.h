/* SPDX-License-Identifier: MIT
 * The connections of a server, by number, and in the order in which something is to be done for them. */
#ifndef FASTSOCK_ROSTER_H
#define FASTSOCK_ROSTER_H

#include "connection.h"

/* Numbers in a list that is linked through the connections. */
struct fski_queue {
    uint32_t first, last; /* FSKI_NOBODY: it is empty */
};

struct fski_roster {
    struct fski_connection **blocks; /* of FSKI_ROSTER_BLOCK each; they never move */
    uint32_t block_count;
    uint32_t numbers; /* given so far */
    uint32_t open;    /* connections that have not ended */
    uint32_t *free;   /* numbers to be given again: block_count blocks of room */
    uint32_t free_count;
    struct fski_queue lists[FSKI_LISTS];
    struct fski_queue by_age; /* all that are open, the one longest without a whole frame first */
    uint32_t *opened;         /* in this turn */
    size_t opened_count, opened_room;
    struct fsk_closed *closed; /* the first told_count were told in the last turn */
    size_t closed_count, told_count, closed_room;
};

enum { FSKI_ROSTER_BLOCK = 256 };

static inline struct fski_connection *fski_roster_get(const struct fski_roster *roster,
                                                      uint32_t number) {
    return &roster->blocks[number / FSKI_ROSTER_BLOCK][number % FSKI_ROSTER_BLOCK];
}

/* The connection of a number that a caller gives, or NULL: there is none, or it has ended. */
static inline struct fski_connection *fski_roster_find(const struct fski_roster *roster,
                                                       uint32_t number) {
    if (number >= roster->numbers)
        return NULL;
    struct fski_connection *connection = fski_roster_get(roster, number);
    return connection->fd < 0 ? NULL : connection;
}

void fski_roster_init(struct fski_roster *roster);

/* Free the memory; the connections have none any more. */
void fski_roster_fini(struct fski_roster *roster);

/* A number for a new connection, whose members are as for a new one; told as opened. Everything that its
 * end will need is there. Returns it, or FSKI_NOBODY: there is no memory. */
uint32_t fski_roster_add(struct fski_roster *roster, int fd, int64_t now_ns);

/* The connection has ended, as will be told. Its descriptor and memory are released already. */
void fski_roster_remove(struct fski_roster *roster, uint32_t number, enum fsk_close_reason reason,
                        uint32_t unfinished);

/* Take back what was said to be opened in the last turn, and give the numbers of those whose end has been
 * told to others. */
void fski_roster_begin_turn(struct fski_roster *roster);

/* At the end of a list; once in each. */
void fski_roster_enlist(struct fski_roster *roster, enum fski_list list, uint32_t number);

/* At the start of a list again, which it has just left. */
void fski_roster_put_back(struct fski_roster *roster, enum fski_list list, uint32_t number);

/* The first of a list that has not ended, which leaves it, or FSKI_NOBODY. */
uint32_t fski_roster_take(struct fski_roster *roster, enum fski_list list);

/* The time of idleness begins again. */
void fski_roster_touch(struct fski_roster *roster, uint32_t number, int64_t now_ns);

#endif
