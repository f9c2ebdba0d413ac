/* SPDX-License-Identifier: MIT
 * The queue of datagrams that were received ahead.
 *
 * Facts about Linux
 *   With UDP_GRO a train of datagrams from one sender, all of one size but a shorter last one, comes
 *   as one buffer of up to 64 KiB with that size as control data. The train was made before it was
 *   queued; the size is told to whoever receives it while the option is on. Received after it is off,
 *   the train comes as one datagram and nobody knows how to cut it.
 * What follows
 *   Every buffer needs 64 KiB, or a train would be truncated. How to stop: readahead_stop.c.
 */
#include <fastsock/readahead.h>

#include <errno.h>
#include <stdlib.h>

#include "arrivals.h"
#include "batch.h"
#include "capability.h"
#include "cmsg.h"
#include "kernel.h"
#include "readahead.h"
#include "socket.h"
#include "uapi.h"

enum {
    BUFFER_SIZE = FSKI_READAHEAD_BUFFER,
    SHORT = 2048, /* bytes of a datagram */
};

struct train {
    const unsigned char *data; /* of its first datagram that is left */
    size_t length;             /* bytes left; of a Unix datagram that did not fit, all it had */
    size_t stride;             /* bytes of each datagram but the last */
    uint32_t left;             /* datagrams left, 1 or more; an empty datagram is one */
    int flags;                 /* the kernel's */
    bool is_coalesced;
    size_t control_length;
    struct fsk_address source;
    _Alignas(struct cmsghdr) unsigned char control[FSKI_CONTROL_SIZE];
};

/* Trains and the memory they lie in, in one mapping. */
struct block {
    struct block *next;
    size_t mapped;
    unsigned buffers;
    unsigned count; /* trains */
    unsigned first; /* that is not used up */
    struct train trains[FSK_READAHEAD_BUFFERS];
    unsigned char memory[]; /* BUFFER_SIZE each */
};

struct fsk_readahead {
    unsigned buffers;    /* one call takes; the blocks that stopping adds have more */
    bool has_gro;        /* UDP_GRO is on */
    size_t pending;      /* datagrams in all blocks */
    uint32_t per_train;  /* datagrams in the last train, 1 or more */
    size_t train_bytes;  /* of the last train */
    struct block *first; /* the block that datagrams are taken from; the last one is never freed */
    struct block *last;
    struct fski_readahead_counts counts;
};

static struct block *new_block(unsigned buffers) {
    size_t size = sizeof(struct block) + (size_t)buffers * BUFFER_SIZE;
    struct block *block = fski_map(size);
    if (block != NULL) {
        block->mapped = size;
        block->buffers = buffers;
    }
    return block;
}

size_t fski_readahead_size(unsigned buffers) {
    return sizeof(struct fsk_readahead) + sizeof(struct block) + (size_t)buffers * BUFFER_SIZE;
}

const struct fski_readahead_counts *fski_readahead_counts(const struct fsk_readahead *readahead) {
    return &readahead->counts;
}

int fsk_readahead_new(struct fsk_readahead **readahead, unsigned buffers) {
    *readahead = NULL;
    if (buffers == 0 || buffers > FSK_READAHEAD_BUFFERS)
        return -EINVAL;
    struct fsk_readahead *queue = calloc(1, sizeof *queue);
    struct block *block = new_block(buffers);
    if (queue == NULL || block == NULL) {
        free(queue);
        if (block != NULL)
            fski_unmap(block, block->mapped);
        return -ENOMEM;
    }
    queue->buffers = buffers;
    queue->per_train = 1;
    queue->first = queue->last = block;
    *readahead = queue;
    return 0;
}

void fsk_readahead_free(struct fsk_readahead *readahead) {
    if (readahead == NULL)
        return;
    fsk_readahead_clear(readahead);
    fski_unmap(readahead->first, readahead->first->mapped);
    free(readahead);
}

size_t fsk_readahead_pending(const struct fsk_readahead *readahead) {
    return readahead->pending;
}

void fsk_readahead_clear(struct fsk_readahead *readahead) {
    while (readahead->first != readahead->last) {
        struct block *block = readahead->first;
        readahead->first = block->next;
        fski_unmap(block, block->mapped);
    }
    readahead->last->count = readahead->last->first = 0;
    readahead->pending = 0;
}

static struct train *first_train(const struct fsk_readahead *readahead) {
    return &readahead->first->trains[readahead->first->first];
}

static size_t first_length(const struct train *train) {
    return train->left > 1 ? train->stride : train->length;
}

bool fsk_readahead_first(const struct fsk_readahead *readahead, struct fsk_datagram *datagram) {
    if (readahead->pending == 0)
        return false;
    const struct train *train = first_train(readahead);
    datagram->data = train->data;
    datagram->length = first_length(train);
    datagram->source = &train->source;
    datagram->control = train->control;
    datagram->control_length = train->control_length;
    datagram->flags = train->flags;
    datagram->is_coalesced = train->is_coalesced;
    return true;
}

/* The first train is used up. */
static void drop_train(struct fsk_readahead *readahead) {
    struct block *block = readahead->first;
    if (++block->first < block->count)
        return;
    if (block == readahead->last) {
        block->first = block->count = 0;
    } else {
        readahead->first = block->next;
        fski_unmap(block, block->mapped);
    }
}

/* The first datagram of a train is used up. */
static void advance(struct train *train) {
    size_t length = first_length(train);
    train->data += length;
    train->length -= length;
    train->left--;
}

void fsk_readahead_pop(struct fsk_readahead *readahead) {
    struct train *train = first_train(readahead);
    advance(train);
    readahead->pending--;
    if (train->left == 0)
        drop_train(readahead);
}

/* Cuts what came in one buffer: how many datagrams of what size. */
static void measure_train(struct train *train, size_t length, uint32_t segment_size) {
    train->length = length;
    train->is_coalesced = segment_size > 0 && segment_size < length;
    train->stride = train->is_coalesced ? segment_size : length;
    train->left = train->is_coalesced ? (uint32_t)((length + segment_size - 1) / segment_size) : 1;
}

/* Fills in what arrival i brought beside its bytes. Returns false when the socket has ended. */
static bool read_train(struct fsk_readahead *readahead, struct train *train,
                       struct fski_arrivals *arrivals, int i, int fd,
                       struct fski_metadata *metadata) {
    const struct msghdr *header = &arrivals->packets[i].header;
    if (fski_arrival_is_end(arrivals, i, fd))
        return false;
    fski_metadata_read(arrivals->control[i], header->msg_controllen, metadata);
    train->data = header->msg_iov->iov_base;
    train->flags = header->msg_flags & MSG_CTRUNC;
    measure_train(train, arrivals->packets[i].length, metadata->segment_size);
    readahead->per_train = train->left;
    readahead->train_bytes = train->length;
    readahead->counts.buffers++;
    readahead->counts.trains += train->is_coalesced;
    readahead->counts.datagrams += train->left;
    readahead->counts.bytes += train->length;
    readahead->counts.truncated += train->length > BUFFER_SIZE;
    readahead->counts.control_truncated += train->flags != 0;
    readahead->counts.descriptors += metadata->descriptors;
    if (metadata->descriptors > 0)
        train->flags |= MSG_CTRUNC; /* what came has not been kept */
    return true;
}

/* Keep a train, whose bytes are in the last block, in the queue. */
static void put_train(struct fsk_readahead *readahead, const struct train *train,
                      struct fski_arrivals *arrivals, int i) {
    struct block *block = readahead->last;
    struct train *kept = &block->trains[block->count++];
    memcpy(kept, train, offsetof(struct train, source));
    kept->source.length = arrivals->sources[i].length;
    memcpy(&kept->source.name, &arrivals->sources[i].name, arrivals->sources[i].length);
    kept->control_length =
        fski_control_remove(arrivals->control[i], arrivals->packets[i].header.msg_controllen,
                            FSKI_SOL_UDP, FSKI_UDP_GRO);
    memcpy(kept->control, arrivals->control[i], kept->control_length);
    readahead->pending += kept->left;
}

ssize_t fski_readahead_fill_last(struct fsk_readahead *readahead, int fd, int flags) {
    struct fski_arrivals arrivals;
    struct fski_metadata metadata;
    struct train train;
    size_t before = readahead->pending;
    struct fski_slots slots = {.memory = readahead->last->memory,
                               .size = BUFFER_SIZE,
                               .count = readahead->last->buffers,
                               .has_control = true};
    int received = fski_arrivals_receive(&arrivals, fd, &slots, flags);
    readahead->counts.system_calls++;
    if (received < 0)
        return received;
    for (int i = 0; i < received; i++) {
        if (!read_train(readahead, &train, &arrivals, i, fd, &metadata))
            break;
        put_train(readahead, &train, &arrivals, i);
    }
    return (ssize_t)(readahead->pending - before);
}

int fski_readahead_grow(struct fsk_readahead *readahead) {
    if (readahead->last->count == 0)
        return 0;
    struct block *block = new_block(FSK_READAHEAD_BUFFERS);
    if (block == NULL)
        return -ENOMEM;
    readahead->last->next = block;
    readahead->last = block;
    return 0;
}

ssize_t fsk_readahead_fill(struct fsk_readahead *readahead, int fd, int flags) {
    if (readahead->pending > 0)
        return (ssize_t)readahead->pending;
    return fski_readahead_fill_last(readahead, fd, flags);
}

/* What the rows of a train have in common. */
struct rows {
    uint32_t flags;
    uint32_t source;
    const struct fski_metadata *metadata; /* NULL: not wanted */
};

/* Make rows of a train's datagrams until the batch or the train is used up. With is_copied the bytes
 * go to the end of the arena as long as it has room, else they are in it. Returns the datagrams
 * taken. */
static uint32_t take_rows(struct train *train, struct fsk_batch *batch, const struct rows *rows,
                          bool is_copied) {
    uint32_t taken = 0;
    uint32_t flags = rows->flags | (train->is_coalesced ? FSK_BATCH_COALESCED : 0);
    while (train->left > 0 && batch->count < batch->capacity) {
        size_t length = first_length(train);
        if (is_copied && !fski_batch_fits(batch, length))
            break;
        uint32_t row = is_copied
                           ? fski_batch_add_copy(batch, train->data, length, flags, rows->source)
                           : fski_batch_add(batch, (size_t)(train->data - batch->arena), length,
                                            flags, rows->source);
        if (rows->metadata != NULL)
            fski_batch_set_metadata(batch, row, rows->metadata);
        advance(train);
        taken++;
    }
    return taken;
}

/* Copies all that is left of a train to the end of the arena, at once. Returns false when the batch has
 * no room for it, or keeps less of each datagram. */
static bool copy_train(struct train *train, struct fsk_batch *batch) {
    unsigned char *end = batch->arena + batch->used;
    if (train->left > batch->capacity - batch->count || first_length(train) > batch->max_message ||
        !fski_batch_has_room(batch, train->length))
        return false;
    memcpy(end, train->data, train->length);
    train->data = end;
    return true;
}

uint32_t fski_readahead_move(struct fsk_readahead *readahead, struct fsk_batch *batch) {
    struct fski_metadata metadata;
    uint32_t before = batch->count;
    while (readahead->pending > 0 && batch->count < batch->capacity &&
           fski_batch_fits(batch, first_length(first_train(readahead)))) {
        struct train *train = first_train(readahead);
        struct rows rows = {
            .flags = fski_flags_of(train->flags),
            .source = fski_batch_add_source(batch, &train->source),
        };
        if (batch->metadata != 0) {
            fski_metadata_read(train->control, train->control_length, &metadata);
            rows.metadata = &metadata;
        }
        bool is_copied = !copy_train(train, batch);
        readahead->pending -= take_rows(train, batch, &rows, is_copied);
        if (train->left == 0)
            drop_train(readahead);
    }
    return batch->count - before;
}

static void move_queue(struct fsk_readahead *readahead, struct fsk_batch *batch) {
    if (readahead->pending == 0)
        return;
    fski_batch_make_room(batch);
    fski_readahead_move(readahead, batch);
}

/* The rest of a train that the batch has no row for, copied to the queue. */
static void carry_over(struct fsk_readahead *readahead, struct train *train,
                       struct fski_arrivals *arrivals, int i) {
    struct block *block = readahead->last;
    unsigned char *memory = block->memory + (size_t)block->count * BUFFER_SIZE;
    memcpy(memory, train->data, train->length);
    train->data = memory;
    put_train(readahead, train, arrivals, i);
}

/* Receives straight into the arena, which has room for slots; the queue is empty. */
static int receive_straight(struct fsk_readahead *readahead, int fd, int flags,
                            struct fsk_batch *batch, unsigned buffers, bool *is_last) {
    struct fski_arrivals arrivals;
    struct fski_metadata metadata;
    struct train train;
    uint32_t before = batch->count;
    struct fski_slots slots = {.memory = batch->arena + batch->used,
                               .size = BUFFER_SIZE,
                               .count = buffers,
                               .has_control = true};
    int received = fski_arrivals_receive(&arrivals, fd, &slots, flags);
    *is_last = received < (int)buffers;
    for (int i = 0; i < received; i++) {
        if (!read_train(readahead, &train, &arrivals, i, fd, &metadata))
            break;
        if (batch->count < batch->capacity) {
            struct rows rows = {
                .flags = fski_flags_of(train.flags),
                .source = fski_batch_add_source(batch, &arrivals.sources[i]),
                .metadata = batch->metadata != 0 ? &metadata : NULL,
            };
            take_rows(&train, batch, &rows, false);
        }
        if (train.left > 0)
            carry_over(readahead, &train, &arrivals, i);
    }
    return received < 0 ? received : (int)(batch->count - before);
}

/* How many buffers to receive straight into the batch; 0: its arena has no room for one, or copying is
 * cheaper, as datagrams that are short and come singly would lie in a page each. */
static unsigned buffers_for(const struct fsk_readahead *readahead, struct fsk_batch *batch) {
    if (readahead->per_train == 1 && readahead->train_bytes < SHORT)
        return 0;
    uint32_t rows = batch->capacity - batch->count;
    uint32_t trains = (rows + readahead->per_train - 1) / readahead->per_train;
    unsigned wanted = trains < readahead->buffers ? trains : readahead->buffers;
    if (fski_batch_room(batch) / BUFFER_SIZE < wanted)
        fski_batch_compact(batch);
    size_t room = fski_batch_room(batch) / BUFFER_SIZE;
    return room < wanted ? (unsigned)room : wanted;
}

/* One system call's worth; the queue is empty. is_last is out: nothing more was queued. */
static int receive_some(struct fsk_readahead *readahead, int fd, int flags, struct fsk_batch *batch,
                        bool *is_last) {
    unsigned buffers = buffers_for(readahead, batch);
    uint32_t before = batch->count;
    if (buffers > 0)
        return receive_straight(readahead, fd, flags, batch, buffers, is_last);
    ssize_t filled = fski_readahead_fill_last(readahead, fd, flags);
    if (filled < 0)
        return (int)filled;
    *is_last = readahead->last->count < readahead->last->buffers;
    move_queue(readahead, batch);
    return (int)(batch->count - before);
}

int fsk_readahead_receive(struct fsk_readahead *readahead, int fd, int flags,
                          struct fsk_batch *batch) {
    uint32_t before = batch->count;
    bool is_last = false;
    if (before == batch->capacity)
        return -EINVAL;
    move_queue(readahead, batch);
    while (!is_last && batch->count - before < FSK_READAHEAD_ROWS) {
        int received = -EAGAIN;
        if (batch->count > 0)
            flags |= MSG_DONTWAIT;
        if (batch->count == 0 || fski_may_go_on(batch, fd))
            received = receive_some(readahead, fd, flags, batch, &is_last);
        if (received <= 0)
            return batch->count > before ? (int)(batch->count - before) : received;
    }
    return (int)(batch->count - before);
}

int fski_readahead_set_gro(struct fsk_readahead *readahead, int fd, int value) {
    int result = fski_setsockopt(fd, FSKI_SOL_UDP, FSKI_UDP_GRO, &value, sizeof value);
    if (result >= 0)
        readahead->has_gro = value != 0;
    return result;
}

bool fski_readahead_has_gro(const struct fsk_readahead *readahead) {
    return readahead->has_gro;
}

int fsk_readahead_start(struct fsk_readahead *readahead, int fd) {
    if (!fski_socket_is_udp(fd))
        return -EOPNOTSUPP;
    if (!fsk_capability_works(FSK_CAPABILITY_UDP_GRO))
        return 0;
    int result = fski_readahead_set_gro(readahead, fd, 1);
    if (result >= 0)
        fski_capability_set(FSK_CAPABILITY_UDP_GRO, FSKI_WORKS);
    else if (fski_is_refusal(result) || result == -ENOPROTOOPT || result == -EOPNOTSUPP)
        fski_capability_set(FSK_CAPABILITY_UDP_GRO, FSKI_REFUSED);
    return readahead->has_gro;
}
