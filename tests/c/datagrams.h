/* SPDX-License-Identifier: MIT
 * Datagrams that can be told apart, so that order and "exactly once" are seen from their bytes:
 * each begins with its number and goes on with a pattern made of it. What has been sent is written
 * down in a ledger, and whatever is received is compared with the ledger's next entry.
 *
 * Loopback delivers within the sending call, or soon after on a busy machine: settle waits for
 * that.
 */
#ifndef DATAGRAMS_H
#define DATAGRAMS_H

#include <sched.h>
#include <sys/uio.h>

#include <netinet/udp.h>

#include <fastsock/batch.h>
#include <fastsock/version.h>

#include "loopback.h"

/* linux/udp.h, for the headers of an older C library. */
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define LEDGER_ROOM 8192
#define LARGEST_DATAGRAM 65507 /* over IPv4 */
#define PLAIN_BUFFER 212992    /* bytes an unprivileged socket may ask for on any host */
#define DATAGRAM_OVERHEAD                                                                          \
    1024 /* bytes of a receive buffer that a datagram takes at most, beside twice
                                  its own: seen are 768 for a small one */

static struct {
    size_t sent;
    size_t taken;
    uint32_t lengths[LEDGER_ROOM];
    bool in_train[LEDGER_ROOM]; /* sent with others as one buffer */
} ledger;

/* The bytes of a datagram; of one shorter than 4 bytes, the beginning of its number. */
static inline void write_numbered(unsigned char *bytes, size_t number, size_t length) {
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(i < 4 ? number >> (8 * i) : number * 31 + i * 7 + (i >> 8));
}

static inline void ledger_begin(void) {
    ledger.sent = ledger.taken = 0;
}

/* Writes a datagram down and its bytes out. */
static inline void ledger_add(unsigned char *bytes, size_t length, bool in_train) {
    REQUIRE(ledger.sent < LEDGER_ROOM);
    write_numbered(bytes, ledger.sent, length);
    ledger.lengths[ledger.sent] = (uint32_t)length;
    ledger.in_train[ledger.sent++] = in_train;
}

/* The next datagram, of which stored bytes were kept. */
static inline void ledger_take_cut(const void *data, size_t stored, size_t length) {
    static unsigned char expected[65536];
    REQUIRE(ledger.taken < ledger.sent);
    REQUIRE(stored <= length);
    CHECK_INT(length, ledger.lengths[ledger.taken]);
    write_numbered(expected, ledger.taken, stored);
    CHECK_BYTES(data, expected, stored);
    ledger.taken++;
}

static inline void ledger_take(const void *data, size_t length) {
    ledger_take_cut(data, length, length);
}

static inline void ledger_end(void) {
    CHECK_INT(ledger.taken, ledger.sent);
}

/* Rows from first on are the ledger's next entries, and lie apart in the arena. With gro the flag
 * for trains is looked for. */
static inline void ledger_take_rows(const struct fsk_batch *batch, uint32_t first, bool gro) {
    size_t end = first == 0 ? 0 : batch->offsets[first - 1] + batch->lengths[first - 1];
    for (uint32_t row = first; row < batch->count; row++) {
        uint32_t stored = batch->lengths[row];
        uint32_t length = batch->wire_lengths[row];
        uint32_t flags = length > batch->max_message ? FSK_BATCH_TRUNCATED : 0;
        REQUIRE(ledger.taken < ledger.sent);
        if (gro && ledger.in_train[ledger.taken])
            flags |= FSK_BATCH_COALESCED;
        CHECK(batch->offsets[row] >= end);
        CHECK_INT(stored, length < batch->max_message ? length : batch->max_message);
        CHECK_INT(batch->flags[row], flags);
        end = batch->offsets[row] + stored;
        REQUIRE(end <= (size_t)batch->capacity * batch->max_message);
        ledger_take_cut(batch->arena + batch->offsets[row], stored, length);
    }
    CHECK_INT(batch->used, end);
}

static inline struct fsk_batch *new_batch(uint32_t capacity, uint32_t max_message) {
    struct fsk_batch *batch = NULL;
    REQUIRE(fsk_batch_new(&batch, capacity, max_message, UINT64_C(0x1234567890abcdef)) == 0);
    return batch;
}

/* Two UDP sockets, each with the other's name. */
struct udp_pair {
    int sender;
    int receiver;
    struct fsk_address from;
    struct fsk_address to;
};

static inline void open_udp(int family, struct udp_pair *made) {
    made->sender = open_bound(family, SOCK_DGRAM, &made->from);
    made->receiver = open_bound(family, SOCK_DGRAM, &made->to);
    ledger_begin();
}

static inline void close_udp(struct udp_pair *made) {
    close(made->sender);
    close(made->receiver);
}

/* The next datagram, sent by itself. */
static inline void send_plain(const struct udp_pair *made, size_t length) {
    static unsigned char bytes[65536];
    ledger_add(bytes, length, false);
    REQUIRE(sendto(made->sender, bytes, length, 0, &made->to.name.any, made->to.length) ==
            (ssize_t)length);
}

/* Everything sent before over loopback is in its receiver's queue afterwards: the last of one CPU
 * is delivered last. */
static inline void settle(void) {
    struct fsk_address own;
    char byte = 0;
    int fd = open_bound(AF_INET, SOCK_DGRAM, &own);
    REQUIRE(sendto(fd, &byte, 1, 0, &own.name.any, own.length) == 1);
    REQUIRE(recv(fd, &byte, 1, 0) == 1);
    close(fd);
}

/* For what settle says; the first call of main. */
static inline void stay_on_one_cpu(void) {
    cpu_set_t one;
    int cpu = sched_getcpu();
    REQUIRE(cpu >= 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
}

/* Ask for a receive buffer that holds more than the default; returns whether it will hold count
 * datagrams of length bytes. */
static inline bool has_room_for(int fd, size_t count, size_t length) {
    int bytes = (int)(count * (DATAGRAM_OVERHEAD + 2 * length));
    int half = bytes / 2 + 1; /* the kernel doubles what it is asked for */
    int got = 0;
    socklen_t size = sizeof got;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &half, sizeof half) < 0)
        REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof half) == 0);
    REQUIRE(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &size) == 0);
    return got >= bytes;
}

/* Whether the engine in use is for Linux and a socket takes the option of UDP. */
static inline bool expects_offload(int option) {
    int value = 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    bool taken = setsockopt(fd, SOL_UDP, option, &value, sizeof value) == 0;
    close(fd);
    return taken && strcmp(fsk_engine_name(), "linux") == 0;
}

#endif
