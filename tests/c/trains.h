/* SPDX-License-Identifier: MIT
 * Trains of datagrams, which the test itself sends with UDP_SEGMENT, and a socket that reads ahead.
 */
#ifndef TRAINS_H
#define TRAINS_H

#include <fastsock/readahead.h>

#include "datagrams.h"

/* total bytes as datagrams of size bytes and a shorter last one. Returns what sendmsg did. */
static inline ssize_t try_train(const struct udp_pair *made, uint16_t size, size_t total) {
    static unsigned char bytes[65536];
    union {
        struct cmsghdr header;
        unsigned char room[CMSG_SPACE(sizeof size)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = total};
    struct msghdr message = {.msg_name = (void *)&made->to.name,
                             .msg_namelen = made->to.length,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    size_t before = ledger.sent;
    REQUIRE(total <= sizeof bytes);
    for (size_t start = 0; start < total; start += size)
        ledger_add(bytes + start, total - start < size ? total - start : size, total > size);
    memset(&control, 0, sizeof control);
    control.header.cmsg_level = SOL_UDP;
    control.header.cmsg_type = UDP_SEGMENT;
    control.header.cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(&control.header), &size, sizeof size);
    ssize_t sent = sendmsg(made->sender, &message, 0);
    if (sent < 0)
        ledger.sent = before;
    return sent;
}

static inline void send_train(const struct udp_pair *made, uint16_t size, size_t total) {
    REQUIRE(try_train(made, size, total) == (ssize_t)total);
}

/* A train; of no size: one datagram by itself. */
struct shape {
    uint16_t size;
    size_t total;
};

static inline void send_shape(const struct udp_pair *made, const struct shape *shape) {
    if (shape->size > 0)
        send_train(made, shape->size, shape->total);
    else
        send_plain(made, shape->total);
}

/* Rounds that fit in the default receive buffer, also as single datagrams. */
#define ROUND_SIZE 6
static const struct shape rounds[][ROUND_SIZE] = {
    {{0, 10}, {0, 0}, {100, 1000}, {0, 1}, {0, 0}, {100, 1001}},
    {{1, 64}, {1, 2}, {9, 571}, {700, 700}, {500, 501}, {0, 499}},
    {{0, 3000}, {1000, 5000}, {1000, 5999}, {0, 1000}, {1400, 2000}, {10, 639}},
    {{0, 20000}, {20000, 40001}, {0, 0}, {0, 0}, {2, 127}, {0, 5}},
    {{1, 64}, {2, 128}, {3, 192}, {0, 4}, {0, 5}, {0, 6}},
    {{1000, 64000}, {0, 1}, {0, 2}, {0, 3}, {0, 0}, {0, 0}},
    {{32000, 65000}, {0, 1}, {2, 3}, {0, 3}, {0, 0}, {0, 0}},
    {{0, 65000}, {0, 1}, {2, 3}, {0, 3}, {0, 0}, {0, 0}},
};
#define ROUNDS (sizeof rounds / sizeof *rounds)

static inline void send_round(const struct udp_pair *made, size_t number) {
    ledger_begin();
    for (size_t i = 0; i < ROUND_SIZE; i++)
        send_shape(made, &rounds[number][i]);
    settle();
}

struct reader {
    struct udp_pair pair;
    struct fsk_readahead *queue;
    bool has_gro;
};

static inline void open_reader(struct reader *made, int family, unsigned buffers) {
    open_udp(family, &made->pair);
    REQUIRE(fsk_readahead_new(&made->queue, buffers) == 0);
    made->has_gro = expects_offload(UDP_GRO);
    CHECK_INT(fsk_readahead_start(made->queue, made->pair.receiver), made->has_gro);
}

static inline void close_reader(struct reader *made) {
    fsk_readahead_free(made->queue);
    close_udp(&made->pair);
}

/* Takes count datagrams from the queue, which has them; all are the ledger's next. */
static inline void take_queued(const struct reader *reader, size_t count) {
    struct fsk_datagram datagram;
    size_t pending = fsk_readahead_pending(reader->queue);
    REQUIRE(pending >= count);
    while (count-- > 0) {
        REQUIRE(fsk_readahead_first(reader->queue, &datagram));
        REQUIRE(ledger.taken < ledger.sent);
        CHECK_INT(datagram.is_coalesced, reader->has_gro && ledger.in_train[ledger.taken]);
        CHECK_INT(datagram.flags, 0);
        CHECK(fsk_address_equal(datagram.source, &reader->pair.from));
        ledger_take(datagram.data, datagram.length);
        fsk_readahead_pop(reader->queue);
        CHECK_INT(fsk_readahead_pending(reader->queue), --pending);
    }
}

/* Takes plain datagrams from the socket until there is none. */
static inline void take_plain(int fd) {
    static unsigned char bytes[65536];
    ssize_t received;
    while ((received = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0)
        ledger_take(bytes, (size_t)received);
    CHECK_INT(errno, EAGAIN);
}

#endif
