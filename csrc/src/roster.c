/* SPDX-License-Identifier: MIT */
#include "roster.h"

#include <stdlib.h>
#include <string.h>

static const struct fski_queue nobody = {FSKI_NOBODY, FSKI_NOBODY};

void fski_roster_init(struct fski_roster *roster) {
    memset(roster, 0, sizeof *roster);
    roster->lists[FSKI_DUE] = roster->lists[FSKI_CUT_SHORT] = roster->by_age = nobody;
}

void fski_roster_fini(struct fski_roster *roster) {
    for (uint32_t i = 0; i < roster->block_count; i++)
        free(roster->blocks[i]);
    free(roster->blocks);
    free(roster->free);
    free(roster->opened);
    free(roster->closed);
}

/* Have an array of more than count items. */
static bool grow(void **array, size_t *room, size_t count, size_t size) {
    if (count < *room)
        return true;
    size_t more = *room == 0 ? 64 : 2 * *room;
    void *grown = realloc(*array, more * size);
    if (grown == NULL)
        return false;
    *array = grown;
    *room = more;
    return true;
}

static bool add_block(struct fski_roster *roster) {
    size_t count = roster->block_count + 1u;
    void *blocks = realloc(roster->blocks, count * sizeof *roster->blocks);
    if (blocks == NULL)
        return false;
    roster->blocks = blocks;
    void *numbers = realloc(roster->free, count * FSKI_ROSTER_BLOCK * sizeof *roster->free);
    if (numbers == NULL)
        return false;
    roster->free = numbers;
    struct fski_connection *block = calloc(FSKI_ROSTER_BLOCK, sizeof *block);
    if (block == NULL)
        return false;
    for (size_t i = 0; i < FSKI_ROSTER_BLOCK; i++)
        block[i].fd = -1;
    roster->blocks[roster->block_count++] = block;
    return true;
}

static void append_by_age(struct fski_roster *roster, uint32_t number) {
    struct fski_connection *connection = fski_roster_get(roster, number);
    connection->older = roster->by_age.last;
    connection->newer = FSKI_NOBODY;
    if (roster->by_age.last == FSKI_NOBODY)
        roster->by_age.first = number;
    else
        fski_roster_get(roster, roster->by_age.last)->newer = number;
    roster->by_age.last = number;
}

static void unlink_by_age(struct fski_roster *roster, uint32_t number) {
    const struct fski_connection *connection = fski_roster_get(roster, number);
    if (connection->older == FSKI_NOBODY)
        roster->by_age.first = connection->newer;
    else
        fski_roster_get(roster, connection->older)->newer = connection->newer;
    if (connection->newer == FSKI_NOBODY)
        roster->by_age.last = connection->older;
    else
        fski_roster_get(roster, connection->newer)->older = connection->older;
}

uint32_t fski_roster_add(struct fski_roster *roster, int fd, int64_t now_ns) {
    size_t room = (size_t)roster->block_count * FSKI_ROSTER_BLOCK;
    /* An end is told even when there is no memory: of all that are open. */
    if (!grow((void **)&roster->opened, &roster->opened_room, roster->opened_count,
              sizeof *roster->opened) ||
        !grow((void **)&roster->closed, &roster->closed_room, roster->closed_count + roster->open,
              sizeof *roster->closed))
        return FSKI_NOBODY;
    if (roster->free_count == 0 && roster->numbers == room && !add_block(roster))
        return FSKI_NOBODY;
    uint32_t number =
        roster->free_count > 0 ? roster->free[--roster->free_count] : roster->numbers++;
    struct fski_connection *connection = fski_roster_get(roster, number);
    uint32_t generation = connection->generation + 1;
    memset(connection, 0, sizeof *connection);
    connection->generation = generation;
    connection->fd = fd;
    connection->since_ns = now_ns;
    append_by_age(roster, number);
    roster->opened[roster->opened_count++] = number;
    roster->open++;
    return number;
}

void fski_roster_remove(struct fski_roster *roster, uint32_t number, enum fsk_close_reason reason,
                        uint32_t unfinished) {
    struct fski_connection *connection = fski_roster_get(roster, number);
    connection->fd = -1;
    unlink_by_age(roster, number);
    roster->open--;
    roster->closed[roster->closed_count++] = (struct fsk_closed){number, unfinished, reason};
}

/* The number may be another's, once its end has been told and no list has it any more. */
static void release(struct fski_roster *roster, uint32_t number) {
    const struct fski_connection *connection = fski_roster_get(roster, number);
    if (connection->is_told && !connection->is_listed[FSKI_DUE] &&
        !connection->is_listed[FSKI_CUT_SHORT])
        roster->free[roster->free_count++] = number;
}

void fski_roster_begin_turn(struct fski_roster *roster) {
    for (size_t i = 0; i < roster->told_count; i++) {
        fski_roster_get(roster, roster->closed[i].connection)->is_told = true;
        release(roster, roster->closed[i].connection);
    }
    roster->closed_count -= roster->told_count;
    if (roster->closed_count > 0)
        memmove(roster->closed, roster->closed + roster->told_count,
                roster->closed_count * sizeof *roster->closed);
    roster->told_count = 0;
    roster->opened_count = 0;
}

void fski_roster_enlist(struct fski_roster *roster, enum fski_list list, uint32_t number) {
    struct fski_connection *connection = fski_roster_get(roster, number);
    struct fski_queue *queue = &roster->lists[list];
    if (connection->is_listed[list])
        return;
    connection->is_listed[list] = true;
    connection->next[list] = FSKI_NOBODY;
    if (queue->first == FSKI_NOBODY)
        queue->first = number;
    else
        fski_roster_get(roster, queue->last)->next[list] = number;
    queue->last = number;
}

void fski_roster_put_back(struct fski_roster *roster, enum fski_list list, uint32_t number) {
    struct fski_connection *connection = fski_roster_get(roster, number);
    struct fski_queue *queue = &roster->lists[list];
    connection->is_listed[list] = true;
    connection->next[list] = queue->first;
    if (queue->first == FSKI_NOBODY)
        queue->last = number;
    queue->first = number;
}

uint32_t fski_roster_take(struct fski_roster *roster, enum fski_list list) {
    struct fski_queue *queue = &roster->lists[list];
    while (queue->first != FSKI_NOBODY) {
        uint32_t number = queue->first;
        struct fski_connection *connection = fski_roster_get(roster, number);
        queue->first = connection->next[list];
        connection->is_listed[list] = false;
        if (connection->fd >= 0)
            return number;
        release(roster, number);
    }
    return FSKI_NOBODY;
}

void fski_roster_touch(struct fski_roster *roster, uint32_t number, int64_t now_ns) {
    fski_roster_get(roster, number)->since_ns = now_ns;
    if (roster->by_age.last == number)
        return;
    unlink_by_age(roster, number);
    append_by_age(roster, number);
}
