/* SPDX-License-Identifier: MIT
 * One connection of a server.
 *
 * It is received straight into the batch, behind what is there of its unfinished frame; what is
 * unfinished then is kept here. So a connection that waits for its peer takes no memory, and a short
 * frame is copied by the kernel only. Of a long frame the rest is received behind what is kept, and all
 * of it copied to the batch when it is whole: a batch has not the room to be kept open for it.
 */
#include "connection.h"

#include <errno.h>
#include <string.h>

#include "batch.h"
#include "kernel.h"

/* Adds the rows of whole frames in data between start, which is moved behind them, and end; offsets are
 * those in data. Returns how many, or an error. */
static ssize_t cut_rows(struct fski_connection *connection, uint32_t number,
                        const struct fski_receiving *receiving, const unsigned char *data,
                        size_t *start, size_t end) {
    struct fsk_batch *batch = receiving->batch;
    uint32_t row = batch->count;
    ssize_t frames =
        fsk_framing_cut(receiving->framing, &connection->cut, data, start, end,
                        batch->offsets + row, batch->lengths + row, batch->capacity - row);
    if (frames < 0)
        return frames;
    batch->count += (uint32_t)frames;
    receiving->stats->frames_received += (uint64_t)frames;
    for (; row < batch->count; row++) {
        batch->wire_lengths[row] = batch->lengths[row];
        batch->flags[row] = 0;
        batch->source[row] = number;
    }
    connection->is_cut_short = *start < end && connection->cut.missing == 0;
    return frames;
}

/* Adds the rows of whole frames between start and end of the arena, and keeps the rest. */
static int cut(struct fski_connection *connection, uint32_t number,
               const struct fski_receiving *receiving, size_t start, size_t end) {
    struct fsk_batch *batch = receiving->batch;
    ssize_t frames = cut_rows(connection, number, receiving, batch->arena, &start, end);
    if (frames < 0)
        return (int)frames;
    batch->used = start;
    fski_store_clear(&connection->input, receiving->budget);
    if (start == end)
        return 0;
    return fski_store_append(&connection->input, batch->arena + start, end - start,
                             receiving->budget);
}

/* Whether the batch has a row and room for size bytes; an empty one always has. */
static bool has_room(const struct fsk_batch *batch, size_t size) {
    return batch->count < batch->capacity && fski_batch_has_room(batch, size);
}

int fski_connection_go_on(struct fski_connection *connection, uint32_t number,
                          const struct fski_receiving *receiving) {
    struct fsk_batch *batch = receiving->batch;
    struct fski_store *input = &connection->input;
    size_t held = fski_store_size(input);
    if (!has_room(batch, held))
        return -ENOSPC;
    /* Only what is cut is copied: of many short frames a batch of few rows takes few at a time. */
    size_t start = input->start, used = batch->used;
    ssize_t frames = cut_rows(connection, number, receiving, input->data, &start, input->end);
    if (frames < 0)
        return (int)frames;
    memcpy(batch->arena + used, input->data + input->start, start - input->start);
    for (uint32_t row = batch->count - (uint32_t)frames; row < batch->count; row++)
        batch->offsets[row] = used + (batch->offsets[row] - input->start);
    batch->used = used + (start - input->start);
    fski_store_skip(input, start - input->start, receiving->budget);
    /* What waits for its peer then may be little, in the memory of a long frame. */
    if (!connection->is_cut_short)
        fski_store_fit(input, receiving->budget);
    return 0;
}

/* Whether the bytes that are held have a whole frame, or an error; else how much they lack is known. */
static bool holds_whole(struct fski_connection *connection, const struct fsk_framing *framing) {
    struct fsk_cut tried = connection->cut;
    uint64_t offset;
    uint32_t length;
    size_t start = connection->input.start;
    if (fsk_framing_cut(framing, &tried, connection->input.data, &start, connection->input.end,
                        &offset, &length, 1) != 0)
        return true;
    connection->cut = tried;
    return false;
}

/* Receives behind what is held, so that no byte is copied before its frame is whole: a peer that sends
 * a long frame in small pieces does not have us copy it again and again. */
static ssize_t receive_behind(struct fski_connection *connection, uint32_t number,
                              const struct fski_receiving *receiving) {
    struct fski_store *input = &connection->input;
    size_t wanted =
        connection->cut.missing > FSKI_TURN ? (size_t)connection->cut.missing : FSKI_TURN;
    if (input->capacity == input->end) {
        int result = fski_store_reserve(input, FSKI_LEAST_TURN, receiving->budget);
        if (result < 0)
            return result;
    }
    size_t room = input->capacity - input->end;
    if (room > wanted)
        room = wanted;
    if (!has_room(receiving->batch, fski_store_size(input) + room))
        return -ENOSPC;
    ssize_t received = fski_recv(connection->fd, input->data + input->end, room, MSG_DONTWAIT);
    if (received <= 0)
        return received;
    input->end += (size_t)received;
    receiving->stats->bytes_received += (uint64_t)received;
    if (!holds_whole(connection, receiving->framing))
        return received;
    int result = fski_connection_go_on(connection, number, receiving);
    return result < 0 ? result : received;
}

static ssize_t receive_into_batch(struct fski_connection *connection, uint32_t number,
                                  const struct fski_receiving *receiving) {
    struct fsk_batch *batch = receiving->batch;
    size_t held = fski_store_size(&connection->input);
    if (!has_room(batch, held + FSKI_LEAST_TURN))
        return -ENOSPC;
    size_t start = batch->used;
    size_t room = fski_batch_of(batch)->arena_size - start - held;
    unsigned char *behind = batch->arena + start + held;
    ssize_t received =
        fski_recv(connection->fd, behind, room < FSKI_TURN ? room : FSKI_TURN, MSG_DONTWAIT);
    if (received <= 0)
        return received;
    receiving->stats->bytes_received += (uint64_t)received;
    if (held > 0)
        memcpy(batch->arena + start, connection->input.data + connection->input.start, held);
    int result = cut(connection, number, receiving, start, start + held + (size_t)received);
    return result < 0 ? result : received;
}

ssize_t fski_connection_receive(struct fski_connection *connection, uint32_t number,
                                const struct fski_receiving *receiving) {
    bool is_long = fski_store_size(&connection->input) >= FSKI_LEAST_TURN;
    return is_long ? receive_behind(connection, number, receiving)
                   : receive_into_batch(connection, number, receiving);
}

int fski_connection_queue(struct fski_connection *connection, const struct fsk_framing *framing,
                          const void *data, size_t length, size_t size,
                          struct fski_budget *budget) {
    struct fski_store *output = &connection->output;
    int result = fski_store_reserve(output, size, budget);
    if (result < 0)
        return result;
    output->end += fsk_framing_encode(framing, data, length, output->data + output->end);
    return 0;
}

int fski_connection_send(struct fski_connection *connection, struct fski_budget *budget,
                         struct fsk_server_stats *stats) {
    struct fski_store *output = &connection->output;
    while (fski_store_size(output) > 0) {
        ssize_t sent = fski_send(connection->fd, output->data + output->start,
                                 fski_store_size(output), MSG_DONTWAIT | FSKI_MSG_NOSIGNAL);
        if (sent < 0)
            return (int)sent;
        stats->bytes_sent += (uint64_t)sent;
        fski_store_skip(output, (size_t)sent, budget);
    }
    return 0;
}

void fski_connection_hang_up(struct fski_connection *connection) {
    /* A close with bytes unread sends a reset, and at that the peer's kernel throws away what it has
     * of ours. */
    unsigned char unwanted[4096];
    fski_shutdown(connection->fd, SHUT_WR);
    for (int i = 0; i < 64; i++)
        if (fski_recv(connection->fd, unwanted, sizeof unwanted, MSG_DONTWAIT) <= 0)
            break;
}
