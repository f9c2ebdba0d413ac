/* SPDX-License-Identifier: MIT
 * One socket of a receiver.
 *
 * The thread receives into the buffers of a read-ahead queue, as a train of datagrams needs 64 KiB
 * whatever it holds, and moves the messages from there to the open block, one after the other. Around
 * each receive the open block is pulled out of the queue and pushed again, so that the consumer can
 * have at any time what has arrived; when it takes the block, the next message opens another one.
 *
 * How many rows a block has is decided when it is opened, by the mean length of late messages: the
 * memory is then full of bytes when the rows are used up.
 *
 * The counters are written so that a message is counted as received before it is counted as anything
 * else, and read in the opposite order: what is queued, the difference, is never negative.
 */
#include "lane.h"

#include <errno.h>

#include <fastsock/socket.h>

#include "kernel.h"
#include "socket.h"
#include "uapi.h"

enum {
    ALIGNMENT = 64,
    LEAST_BLOCK = 128 * 1024, /* room for the longest message, and rows for many short ones */
    LEAST_ROWS = 64,
    FIRST_MEAN = 512,   /* bytes of a message, as long as nothing is known */
    LEAST_CHARGE = 256, /* bytes of a receive buffer that any message takes, and more (truesize) */
};

static void count(fski_counter *counter, uint64_t more) {
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_release);
}

static void set(fski_counter *counter, uint64_t value) {
    atomic_store_explicit(counter, value, memory_order_release);
}

static uint64_t get(const fski_counter *counter) {
    return atomic_load_explicit(counter, memory_order_acquire);
}

static struct fski_layout layout_of(const struct fski_lane *lane) {
    return (struct fski_layout){
        .has_metadata = lane->options->metadata != 0,
        .has_long_names = lane->is_unix,
    };
}

/* Lays out a block for messages like the last ones. */
static void lay_out(struct fski_lane *lane, int number) {
    const struct fski_readahead_counts *now = fski_readahead_counts(lane->readahead);
    uint64_t datagrams = now->datagrams - lane->laid_out.datagrams;
    struct fski_layout layout = layout_of(lane);
    size_t row_size = fski_layout_row_size(&layout);
    size_t most = (lane->block_size - fski_layout_size(&layout) - FSKI_READAHEAD_BUFFER) / row_size;
    if (datagrams > 0)
        lane->mean_bytes = (lane->mean_bytes + (now->bytes - lane->laid_out.bytes) / datagrams) / 2;
    lane->laid_out = *now;
    size_t rows = lane->block_size / (lane->mean_bytes + row_size);
    layout.rows = (uint32_t)(rows < LEAST_ROWS ? LEAST_ROWS : rows > most ? most : rows);
    layout.arena_size = 0;
    layout.arena_size = (lane->block_size - fski_layout_size(&layout)) / ALIGNMENT * ALIGNMENT;
    struct fski_batch *whole = &lane->blocks[number].whole;
    fski_batch_lay_out(whole, lane->memory + (size_t)number * lane->block_size, &layout,
                       FSKI_READAHEAD_BUFFER);
    whole->batch.metadata = lane->options->metadata;
}

static struct fsk_batch *batch_of(struct fski_lane *lane, int number) {
    return &lane->blocks[number].whole.batch;
}

static int cut_memory(struct fski_lane *lane, size_t memory) {
    unsigned buffers = (unsigned)(memory / 16 / FSKI_READAHEAD_BUFFER);
    if (lane->type == SOCK_SEQPACKET || buffers == 0)
        buffers = 1; /* what follows an empty message may be the end */
    if (buffers > FSK_READAHEAD_BUFFERS)
        buffers = FSK_READAHEAD_BUFFERS;
    size_t rest = memory - fski_readahead_size(buffers);
    lane->block_size = rest / FSKI_RING_BLOCKS / 4096 * 4096;
    if (lane->block_size < LEAST_BLOCK)
        lane->block_size = LEAST_BLOCK;
    lane->block_count = (unsigned)(rest / lane->block_size);
    if (lane->block_count > FSKI_RING_BLOCKS)
        lane->block_count = FSKI_RING_BLOCKS;
    lane->memory = fski_map(lane->block_count * lane->block_size);
    if (lane->memory == NULL)
        return -ENOMEM;
    return fsk_readahead_new(&lane->readahead, buffers);
}

/* Finds out what the socket is. */
static int examine(struct fski_lane *lane) {
    lane->is_unix = !fski_socket_is_internet(lane->fd);
    lane->type = fski_socket_type(lane->fd);
    if (lane->type < 0)
        return lane->type;
    bool has_messages = lane->is_unix ? lane->type == SOCK_DGRAM || lane->type == SOCK_SEQPACKET
                                      : fski_socket_is_udp(lane->fd);
    return has_messages ? 0 : -EOPNOTSUPP;
}

int fski_lane_open(struct fski_lane *lane, int fd, size_t memory,
                   const struct fsk_receiver_options *options, struct fski_bell *consumer) {
    uint32_t drops = 0;
    lane->fd = fd;
    lane->options = options;
    lane->consumer = consumer;
    lane->open = -1;
    lane->mean_bytes = FIRST_MEAN;
    int result = examine(lane);
    if (result >= 0)
        result = fski_bell_open(&lane->bell);
    if (result < 0)
        return result;
    result = cut_memory(lane, memory);
    if (result < 0) {
        fski_bell_close(&lane->bell);
        if (lane->memory != NULL)
            fski_lane_free(lane);
        return result;
    }
    fski_ring_init(&lane->ring, lane->block_count);
    for (unsigned i = 0; i < lane->block_count; i++) {
        lane->blocks[i].lane = lane;
        lane->blocks[i].whole.sources.key = lane->blocks[i].whole.destinations.key = options->key;
    }
    lane->tells_drops = lane->is_unix || fsk_socket_drops(fd, &drops) >= 0;
    lane->drops_before = drops;
    set(&lane->drops, lane->drops_before);
    return 0;
}

/* Lets the consumer have the open block. */
static void push_open(struct fski_lane *lane) {
    if (lane->open < 0 || lane->is_pushed)
        return;
    fski_ring_push(&lane->ring, lane->open);
    lane->is_pushed = true;
    fski_bell_ring(lane->consumer, false);
}

/* Waits until the consumer gives a block back. Returns it, or -1 when the lane is to stop. */
static int wait_for_block(struct fski_lane *lane) {
    struct pollfd watched = {.fd = lane->bell.poll_fd, .events = POLLIN};
    while (!atomic_load_explicit(&lane->is_stopping, memory_order_relaxed)) {
        fski_bell_arm(&lane->bell);
        int block = fski_ring_take(&lane->ring);
        if (block >= 0)
            return block;
        fski_poll(&watched, 1, -1);
        fski_bell_silence(&lane->bell);
    }
    return -1;
}

/* A block to fill when none is free, as the options say; -1: there is none. */
static int make_way(struct fski_lane *lane) {
    if (lane->options->overflow == FSK_OVERFLOW_BLOCK)
        return wait_for_block(lane);
    if (lane->options->overflow == FSK_OVERFLOW_DROP_NEWEST)
        return -1;
    int oldest = fski_ring_pop(&lane->ring);
    if (oldest >= 0)
        count(&lane->ring_drops, batch_of(lane, oldest)->count);
    return oldest;
}

/* The block to append to, in nobody else's hands; NULL: there is none. */
static struct fsk_batch *open_block(struct fski_lane *lane) {
    if (lane->open >= 0 && lane->is_pushed && !fski_ring_pull(&lane->ring))
        lane->open = -1; /* the consumer has it */
    lane->is_pushed = false;
    if (lane->open < 0) {
        lane->open = fski_ring_take(&lane->ring);
        if (lane->open < 0)
            lane->open = make_way(lane);
        if (lane->open < 0)
            return NULL;
        lay_out(lane, lane->open);
    }
    return batch_of(lane, lane->open);
}

/* Moves what was received into blocks. What finds no room is dropped, but left when stopping. */
static void store(struct fski_lane *lane) {
    while (fsk_readahead_pending(lane->readahead) > 0) {
        struct fsk_batch *batch = open_block(lane);
        if (batch == NULL)
            break;
        fski_readahead_move(lane->readahead, batch);
        push_open(lane);
        if (fsk_readahead_pending(lane->readahead) > 0)
            lane->open = -1; /* the block is full */
    }
    if (lane->options->overflow == FSK_OVERFLOW_BLOCK)
        return;
    count(&lane->ring_drops, fsk_readahead_pending(lane->readahead));
    fsk_readahead_clear(lane->readahead);
}

/* Of SOCK_SEQPACKET: whether the empty message that was received is the end. The peer has closed, and
 * what comes next is empty too. */
static bool is_end(const struct fski_lane *lane) {
    struct fsk_datagram first;
    struct pollfd watched = {.fd = lane->fd, .events = FSKI_POLLRDHUP};
    if (lane->type != SOCK_SEQPACKET || !fsk_readahead_first(lane->readahead, &first))
        return false;
    return first.length == 0 && fski_poll(&watched, 1, 0) > 0 &&
           (watched.revents & (FSKI_POLLRDHUP | POLLHUP)) != 0 &&
           fski_recv(lane->fd, NULL, 0, MSG_PEEK | MSG_DONTWAIT | FSKI_MSG_REAL_LENGTH) == 0;
}

/* Tells what the queue has counted. */
static void publish_counts(struct fski_lane *lane) {
    const struct fski_readahead_counts *now = fski_readahead_counts(lane->readahead);
    set(&lane->received, now->datagrams - lane->ends);
    set(&lane->bytes, now->bytes);
    set(&lane->system_calls, now->system_calls);
    set(&lane->truncated, now->truncated);
    set(&lane->control_truncated, now->control_truncated);
    set(&lane->descriptors, now->descriptors);
}

/* Fills the queue by one system call. Returns messages, 0 at the end, or -errno. */
static ssize_t fetch(struct fski_lane *lane) {
    ssize_t received =
        fsk_readahead_fill(lane->readahead, lane->fd, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received > 0 && is_end(lane)) {
        fsk_readahead_clear(lane->readahead);
        lane->ends++;
        received = 0;
    }
    publish_counts(lane);
    return received;
}

/* The same, and stores what came. */
static ssize_t receive_some(struct fski_lane *lane) {
    ssize_t received = fetch(lane);
    if (received <= 0)
        return received;
    if ((uint64_t)received > get(&lane->largest_batch))
        set(&lane->largest_batch, (uint64_t)received);
    uint64_t delivered = get(&lane->delivered);
    store(lane);
    uint64_t waited = get(&lane->received) - get(&lane->ring_drops) - delivered;
    if (waited > get(&lane->high_water))
        set(&lane->high_water, waited);
    return received;
}

/* Errors that say something of the network or a peer, not of the socket; the others come again. */
static bool is_passing(ssize_t error) {
    switch (error) {
    case -ECONNREFUSED:
    case -ECONNRESET:
    case -EHOSTUNREACH:
    case -EHOSTDOWN:
    case -ENETUNREACH:
    case -ENETDOWN:
    case -ENETRESET:
    case -EMSGSIZE:
    case -EPROTO:
    case -EOPNOTSUPP:
    case -ENOPROTOOPT:
    case -EACCES:
    case -EPERM:
    case -ETIMEDOUT:
    case -ENOMEM:
    case -ENOBUFS:
        return true;
    default:
        return false;
    }
}

/* Asks again and again for the time that the options say. Returns as receive_some. */
static ssize_t receive_busily(struct fski_lane *lane) {
    int64_t until = fski_now_ns() + (int64_t)lane->options->busy_poll_us * 1000;
    ssize_t received = -EAGAIN;
    while (received == -EAGAIN && fski_now_ns() < until &&
           !atomic_load_explicit(&lane->is_stopping, memory_order_relaxed))
        received = receive_some(lane);
    return received;
}

/* Returns what poll tells of the socket. */
static int wait_for_messages(struct fski_lane *lane) {
    struct pollfd watched[2] = {
        {.fd = lane->fd, .events = POLLIN | FSKI_POLLRDHUP},
        {.fd = lane->bell.poll_fd, .events = POLLIN},
    };
    if (fski_poll(watched, 2, -1) <= 0)
        return 0;
    if (watched[1].revents != 0)
        fski_bell_silence(&lane->bell);
    return watched[0].revents;
}

/* The thread's work, until it is to stop or nothing more will come. */
static void *run(void *argument) {
    struct fski_lane *lane = argument;
    const struct timespec pause = {.tv_nsec = 1000000};
    int readiness = 0; /* that poll told, as long as nothing was received since */
    while (!atomic_load_explicit(&lane->is_stopping, memory_order_relaxed)) {
        ssize_t received = receive_some(lane);
        if (received == -EAGAIN && lane->options->busy_poll_us > 0)
            received = receive_busily(lane);
        /* Shut down, a socket of datagrams is readable for ever, but without waiting gives EAGAIN. */
        if (received == -EAGAIN && (readiness & (FSKI_POLLRDHUP | POLLHUP)) != 0)
            received = 0;
        if (received == -EAGAIN) {
            if (readiness != 0)
                fski_sleep(&pause); /* an error queue that nobody reads must not keep a CPU busy */
            readiness = wait_for_messages(lane);
        } else if (received < 0 && is_passing(received)) {
            count(&lane->errors, 1);
            if (lane->has_failed)
                fski_sleep(&pause); /* one that lasts must not keep a CPU busy */
        } else if (received <= 0 && received != -EINTR) {
            atomic_store(&lane->result, received == 0 ? FSKI_LANE_END : (int)received);
            fski_bell_ring(lane->consumer, true);
            break;
        }
        if (received != -EAGAIN)
            readiness = 0;
        lane->has_failed = received < 0 && received != -EAGAIN;
    }
    return NULL;
}

int fski_lane_start(struct fski_lane *lane, int cpu) {
    const struct fski_schedule schedule = {.cpu = cpu, .priority = lane->options->priority};
    if (lane->options->gro && !lane->is_unix && fsk_readahead_start(lane->readahead, lane->fd) > 0)
        lane->has_gro = true;
    int result = fski_thread_start(&lane->thread, &schedule, run, lane);
    lane->has_thread = result >= 0;
    return result;
}

struct fsk_batch *fski_lane_pop(struct fski_lane *lane) {
    int block = fski_ring_pop(&lane->ring);
    if (block < 0)
        return NULL;
    count(&lane->delivered, batch_of(lane, block)->count);
    count(&lane->taken, 1);
    return batch_of(lane, block);
}

void fski_lane_release(struct fski_lane *lane, struct fsk_batch *batch, bool may_ring) {
    const struct fski_block *block = (const struct fski_block *)batch;
    fski_ring_release(&lane->ring, (int)(block - lane->blocks));
    atomic_fetch_add_explicit(&lane->returned, 1, memory_order_relaxed);
    if (may_ring && lane->options->overflow == FSK_OVERFLOW_BLOCK)
        fski_bell_ring(&lane->bell, false);
}

/* Buffers after which what is in the kernel's queue must have come during the call. */
static size_t drain_limit(int fd) {
    int bytes = 0;
    socklen_t size = sizeof bytes;
    fski_getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size);
    return (size_t)bytes / LEAST_CHARGE + 4096;
}

/* Counts the messages of the queue as discarded. */
static void discard(struct fski_lane *lane) {
    publish_counts(lane);
    count(&lane->discarded, fsk_readahead_pending(lane->readahead));
    fsk_readahead_clear(lane->readahead);
}

/* Takes what the kernel holds out of its queue, unless others use the socket: they get the rest, but no
 * trains. */
static int drain(struct fski_lane *lane) {
    if (lane->options->keeps_sockets) {
        int result = lane->has_gro ? fsk_readahead_stop(lane->readahead, lane->fd) : 0;
        discard(lane);
        return result;
    }
    discard(lane);
    for (size_t left = drain_limit(lane->fd); left > 0 && fetch(lane) > 0; left--)
        discard(lane);
    return 0;
}

/* The kernel's count now. Threads may ask at once, and one that was asked earlier may come later. */
static void update_drops(struct fski_lane *lane) {
    uint32_t now = 0;
    if (lane->is_unix || fsk_socket_drops(lane->fd, &now) < 0)
        return;
    uint64_t known = get(&lane->drops);
    while ((int32_t)(now - (uint32_t)known) > 0 &&
           !atomic_compare_exchange_weak(&lane->drops, &known, known + (now - (uint32_t)known))) {
    }
}

int fski_lane_stop(struct fski_lane *lane) {
    int block;
    atomic_store_explicit(&lane->is_stopping, true, memory_order_relaxed);
    fski_bell_ring(&lane->bell, true);
    if (lane->has_thread)
        fski_thread_join(lane->thread);
    lane->has_thread = false;
    int result = drain(lane);
    update_drops(lane);
    while ((block = fski_ring_pop(&lane->ring)) >= 0) {
        count(&lane->discarded, batch_of(lane, block)->count);
        fski_ring_release(&lane->ring, block);
    }
    return result;
}

static void add_most(uint64_t *most, uint64_t value) {
    if (value > *most)
        *most = value;
}

void fski_lane_count(struct fski_lane *lane, struct fsk_receiver_stats *stats, bool is_open) {
    uint64_t gone[3] = {get(&lane->delivered), get(&lane->ring_drops), get(&lane->discarded)};
    uint64_t received = get(&lane->received); /* after them */
    if (is_open)
        update_drops(lane);
    uint64_t drops = get(&lane->drops) - lane->drops_before;
    stats->delivered += gone[0];
    stats->ring_drops += gone[1];
    stats->discarded += gone[2];
    stats->received += received;
    stats->queued += received - gone[0] - gone[1] - gone[2];
    stats->bytes += get(&lane->bytes);
    stats->system_calls += get(&lane->system_calls);
    add_most(&stats->largest_batch, get(&lane->largest_batch));
    stats->high_water += get(&lane->high_water);
    stats->kernel_drops += drops;
    if (!lane->tells_drops || (lane->has_gro && drops > 0))
        stats->kernel_drops_exact = false;
    stats->truncated += get(&lane->truncated);
    stats->control_truncated += get(&lane->control_truncated);
    stats->descriptors += get(&lane->descriptors);
    stats->errors += get(&lane->errors);
    uint64_t returned = get(&lane->returned);
    stats->pinned += (unsigned)(get(&lane->taken) - returned);
}

void fski_lane_close(struct fski_lane *lane) {
    /* Blocks that nobody has are memory that nobody needs. */
    for (int block = fski_ring_take(&lane->ring); block >= 0; block = fski_ring_take(&lane->ring))
        fski_discard(lane->memory + (size_t)block * lane->block_size, lane->block_size);
    fski_bell_close(&lane->bell);
    fsk_readahead_free(lane->readahead);
    lane->readahead = NULL;
}

void fski_lane_free(struct fski_lane *lane) {
    fski_unmap(lane->memory, lane->block_count * lane->block_size);
}
