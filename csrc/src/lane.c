/* SPDX-License-Identifier: MIT
 * One socket of a receiver.
 *
 * The thread receives into the buffers of a read-ahead queue, as a train of datagrams needs 64 KiB
 * whatever it holds, and moves the messages from there to the open block, one after the other.
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

/* Cuts the memory into what is received into and what waits for the consumer. */
static int cut_memory(struct fski_lane *lane, size_t memory) {
    size_t buffers = memory / 16 / FSKI_READAHEAD_BUFFER;
    if (lane->type == SOCK_SEQPACKET || buffers == 0)
        buffers = 1; /* what follows an empty message may be the end */
    if (buffers > FSK_READAHEAD_BUFFERS)
        buffers = FSK_READAHEAD_BUFFERS;
    size_t rest = memory - fski_readahead_size((unsigned)buffers);
    lane->blocks.metadata = lane->options->metadata;
    lane->blocks.has_long_names = lane->is_unix;
    int result = fski_blocks_map(&lane->blocks, rest, lane, lane->options->key);
    if (result < 0)
        return result;
    result = fsk_readahead_new(&lane->readahead, (unsigned)buffers);
    if (result < 0)
        fski_blocks_unmap(&lane->blocks);
    return result;
}

/* Finds out what the socket is. */
static int examine(struct fski_lane *lane) {
    int family = fski_socket_family(lane->fd);
    if (family < 0)
        return family;
    lane->is_unix = family == AF_UNIX;
    lane->type = fski_socket_type(lane->fd);
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
    int result = examine(lane);
    if (result >= 0)
        result = fski_bell_open(&lane->bell);
    if (result < 0)
        return result;
    result = cut_memory(lane, memory);
    if (result < 0) {
        fski_bell_close(&lane->bell);
        return result;
    }
    lane->tells_drops = lane->is_unix || fsk_socket_drops(fd, &drops) >= 0;
    lane->drops_before = drops;
    set(&lane->drops, lane->drops_before);
    return 0;
}

/* Waits until the consumer gives a block back. Returns it, or -1 when the lane is to stop. */
static int wait_for_block(struct fski_lane *lane) {
    while (!atomic_load_explicit(&lane->is_stopping, memory_order_relaxed)) {
        fski_bell_arm(&lane->bell);
        int block = fski_ring_take(&lane->blocks.ring);
        if (block >= 0)
            return block;
        fski_bell_wait(&lane->bell);
    }
    return -1;
}

/* A block to fill when none is free, as the options say; -1: there is none. */
static int make_way(struct fski_lane *lane) {
    if (lane->options->overflow == FSK_OVERFLOW_BLOCK)
        return wait_for_block(lane);
    if (lane->options->overflow == FSK_OVERFLOW_DROP_NEWEST)
        return -1;
    int oldest = fski_ring_pop(&lane->blocks.ring);
    if (oldest < 0) /* the consumer has had them all, and may be done */
        return fski_ring_take(&lane->blocks.ring);
    count(&lane->ring_drops, fski_blocks_batch(&lane->blocks, oldest)->count);
    return oldest;
}

/* The block to append to; NULL: there is none. */
static struct fsk_batch *open_block(struct fski_lane *lane) {
    const struct fski_readahead_counts *now = fski_readahead_counts(lane->readahead);
    struct fsk_batch *batch = fski_blocks_open(&lane->blocks, now);
    if (batch != NULL)
        return batch;
    int number = make_way(lane);
    return number < 0 ? NULL : fski_blocks_open_this(&lane->blocks, number, now);
}

/* Moves what was received into blocks. What finds no room is dropped, but left when stopping. */
static void store(struct fski_lane *lane) {
    while (fsk_readahead_pending(lane->readahead) > 0) {
        struct fsk_batch *batch = open_block(lane);
        if (batch == NULL)
            break;
        fski_readahead_move(lane->readahead, batch);
        fski_blocks_push(&lane->blocks);
        fski_bell_ring(lane->consumer, false);
        if (fsk_readahead_pending(lane->readahead) > 0)
            fski_blocks_seal(&lane->blocks);
    }
    if (lane->options->overflow == FSK_OVERFLOW_BLOCK)
        return;
    count(&lane->ring_drops, fsk_readahead_pending(lane->readahead));
    fsk_readahead_clear(lane->readahead);
}

/* Of SOCK_SEQPACKET: whether the empty message that was received is the end. The peer has closed, and
 * no byte is left: empty messages just before the end look like it. */
static bool is_end(const struct fski_lane *lane) {
    struct fsk_datagram first;
    struct pollfd watched = {.fd = lane->fd, .events = FSKI_POLLRDHUP};
    if (lane->type != SOCK_SEQPACKET || !fsk_readahead_first(lane->readahead, &first))
        return false;
    return first.length == 0 && fski_poll(&watched, 1, 0) > 0 &&
           (watched.revents & (FSKI_POLLRDHUP | POLLHUP)) != 0 && fski_queued_bytes(lane->fd) <= 0;
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
    return received;
}

static void add_most(fski_counter *most, uint64_t value) {
    if (value > get(most))
        set(most, value);
}

/* The same, and stores what came. */
static ssize_t receive_some(struct fski_lane *lane) {
    ssize_t received = fetch(lane);
    if (received > 0) {
        /* Before they are published, so that no more wait than ever waited; storing them may take long. */
        uint64_t all = fski_readahead_counts(lane->readahead)->datagrams - lane->ends;
        add_most(&lane->largest_batch, (uint64_t)received);
        add_most(&lane->high_water, all - get(&lane->ring_drops) - get(&lane->delivered));
    }
    publish_counts(lane);
    if (received > 0)
        store(lane);
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

static void wait_for_messages(struct fski_lane *lane) {
    struct pollfd watched[2] = {
        {.fd = lane->fd, .events = POLLIN | FSKI_POLLRDHUP},
        {.fd = lane->bell.poll_fd, .events = POLLIN},
    };
    if (fski_poll(watched, 2, -1) > 0 && watched[1].revents != 0)
        fski_bell_silence(&lane->bell);
    lane->events = watched[0].revents;
}

/* What lasts must not keep a CPU busy: errors, or that the socket is ready and there is nothing, as
 * with messages in its error queue. */
static void slow_down(struct fski_lane *lane, ssize_t received) {
    const struct timespec pause = {.tv_nsec = 1000000};
    bool is_in_vain = received < 0 && (received != -EAGAIN || lane->events != 0);
    if (is_in_vain && lane->was_in_vain)
        fski_sleep(&pause);
    lane->was_in_vain = is_in_vain;
}

/* One turn of the thread. Returns false at the end. */
static bool take_turn(struct fski_lane *lane) {
    ssize_t received = receive_some(lane);
    if (received == -EAGAIN && lane->options->busy_poll_us > 0)
        received = receive_busily(lane);
    if (received == -EAGAIN && (lane->events & FSKI_POLLRDHUP) != 0)
        received = 0; /* all that recv tells of a Unix SOCK_DGRAM that was shut down */
    slow_down(lane, received);
    if (received == -EAGAIN) {
        wait_for_messages(lane);
        return true;
    }
    lane->events = 0;
    if (received > 0 || received == -EINTR)
        return true;
    if (received < 0)
        count(&lane->errors, 1);
    if (is_passing(received))
        return true;
    atomic_store(&lane->result, received == 0 ? FSKI_LANE_END : (int)received);
    fski_bell_ring(lane->consumer, true);
    return false;
}

/* Waits until all lanes have been opened. */
static void wait_for_start(struct fski_lane *lane) {
    while (!atomic_load(&lane->may_receive) && !atomic_load(&lane->is_stopping))
        fski_bell_wait(&lane->bell);
}

static void *run(void *argument) {
    struct fski_lane *lane = argument;
    wait_for_start(lane);
    while (!atomic_load_explicit(&lane->is_stopping, memory_order_relaxed) && take_turn(lane)) {
    }
    return NULL;
}

/* A thread that asks all the time may have the driver polled too. It takes a privilege and a driver
 * that can; without them the thread asks the socket alone. */
static void poll_driver(const struct fski_lane *lane) {
    if (lane->options->busy_poll_us > 0 && !lane->options->keeps_sockets)
        fsk_socket_set_option(lane->fd, SOL_SOCKET, SO_BUSY_POLL, (int)lane->options->busy_poll_us);
}

int fski_lane_start(struct fski_lane *lane, int cpu) {
    const struct fski_schedule schedule = {.cpu = cpu, .priority = lane->options->priority};
    int result = fski_thread_start(&lane->thread, &schedule, run, lane);
    lane->has_thread = result >= 0;
    return result;
}

void fski_lane_go(struct fski_lane *lane) {
    poll_driver(lane);
    if (lane->options->gro && !lane->is_unix)
        lane->has_gro = fsk_readahead_start(lane->readahead, lane->fd) > 0;
    atomic_store(&lane->may_receive, true);
    fski_bell_ring(&lane->bell, true);
}

struct fsk_batch *fski_lane_pop(struct fski_lane *lane) {
    int number = fski_ring_pop(&lane->blocks.ring);
    if (number < 0)
        return NULL;
    struct fsk_batch *batch = fski_blocks_batch(&lane->blocks, number);
    count(&lane->delivered, batch->count);
    count(&lane->taken, 1);
    return batch;
}

void fski_lane_release(struct fski_lane *lane, struct fsk_batch *batch, bool may_ring) {
    fski_blocks_release(&lane->blocks, batch);
    atomic_fetch_add_explicit(&lane->returned, 1, memory_order_release);
    if (may_ring && lane->options->overflow == FSK_OVERFLOW_BLOCK)
        fski_bell_ring(&lane->bell, false);
}

/* Counts the messages of the queue as discarded. */
static void discard(struct fski_lane *lane) {
    publish_counts(lane);
    count(&lane->discarded, fsk_readahead_pending(lane->readahead));
    fsk_readahead_clear(lane->readahead);
}

/* Switches UDP_GRO off. An error of the network may stand before any message. */
static int stop_gro(struct fski_lane *lane) {
    int result = fsk_readahead_stop(lane->readahead, lane->fd);
    for (size_t left = fski_socket_queue_limit(lane->fd); left > 0 && is_passing(result); left--)
        result = fsk_readahead_stop(lane->readahead, lane->fd);
    return result;
}

/* Takes what the kernel holds out of its queue, unless others use the socket: they get the rest, but no
 * trains. */
static int drain(struct fski_lane *lane) {
    if (lane->options->keeps_sockets) {
        int result = lane->has_gro ? stop_gro(lane) : 0;
        discard(lane);
        return result;
    }
    discard(lane);
    for (size_t left = fski_socket_queue_limit(lane->fd); left > 0; left--) {
        ssize_t received = fetch(lane);
        discard(lane);
        if (received <= 0 && !is_passing(received))
            break;
    }
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
    struct fski_blocks *blocks = &lane->blocks;
    int left;
    atomic_store_explicit(&lane->is_stopping, true, memory_order_relaxed);
    fski_bell_ring(&lane->bell, true);
    if (lane->has_thread)
        fski_thread_join(lane->thread);
    lane->has_thread = false;
    int result = drain(lane);
    update_drops(lane);
    while ((left = fski_ring_pop(&blocks->ring)) >= 0) {
        count(&lane->discarded, fski_blocks_batch(blocks, left)->count);
        fski_ring_release(&blocks->ring, left);
    }
    return result;
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
    uint64_t largest = get(&lane->largest_batch);
    stats->largest_batch = largest > stats->largest_batch ? largest : stats->largest_batch;
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
    fski_blocks_discard(&lane->blocks);
    fski_bell_close(&lane->bell);
    fsk_readahead_free(lane->readahead);
    lane->readahead = NULL;
}

void fski_lane_free(struct fski_lane *lane) {
    fski_blocks_unmap(&lane->blocks);
}
