/* SPDX-License-Identifier: MIT
 * Messages to send with fsk_send_batch, each in memory of its own, and what must arrive of them. */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <fastsock/send.h>

#include "datagrams.h"

#define OUTBOX_ROOM 2048

static struct {
    size_t count;
    struct fsk_outgoing messages[OUTBOX_ROOM];
} outbox;

static inline void outbox_begin(void) {
    for (size_t i = 0; i < outbox.count; i++)
        free((void *)outbox.messages[i].data);
    outbox.count = 0;
}

static inline void outbox_add(size_t length, const struct fsk_address *destination) {
    unsigned char *data = malloc(length > 0 ? length : 1);
    REQUIRE(data != NULL && outbox.count < OUTBOX_ROOM);
    write_numbered(data, outbox.count, length);
    outbox.messages[outbox.count++] =
        (struct fsk_outgoing){.data = data, .length = length, .destination = destination};
}

static inline void outbox_add_run(size_t count, size_t length,
                                  const struct fsk_address *destination) {
    while (count-- > 0)
        outbox_add(length, destination);
}

/* Sends messages from first on. */
static inline ssize_t outbox_send(int fd, size_t first, int flags,
                                  struct fsk_segmentation *segmentation) {
    return fsk_send_batch(fd, outbox.messages + first, outbox.count - first, flags, segmentation,
                          &(int){0});
}

/* Bytes are those of message number. */
static inline void outbox_check(size_t number, const unsigned char *data, size_t length) {
    REQUIRE(number < outbox.count);
    CHECK_INT(length, outbox.messages[number].length);
    if (length == outbox.messages[number].length)
        CHECK_BYTES(data, outbox.messages[number].data, length);
}

/* Message number is next in a receiver's queue, in a buffer of its own. */
static inline void outbox_arrived(int receiver, size_t number) {
    static unsigned char data[1 << 17];
    ssize_t length = recv(receiver, data, sizeof data, MSG_DONTWAIT);
    REQUIRE(length >= 0);
    outbox_check(number, data, (size_t)length);
}

static inline void outbox_nothing_more(int receiver) {
    char byte;
    CHECK_INT(recv(receiver, &byte, 1, MSG_DONTWAIT), -1);
    CHECK_INT(errno, EAGAIN);
}

/* Those of the messages first to last that go to destination are a receiver's next, and all it has.
 * */
static inline void outbox_all_arrived(int receiver, const struct fsk_address *destination,
                                      size_t first, size_t last) {
    settle();
    for (size_t i = first; i < last; i++)
        if (outbox.messages[i].destination == destination)
            outbox_arrived(receiver, i);
    outbox_nothing_more(receiver);
}

static inline struct fsk_segmentation *new_segmentation(void) {
    struct fsk_segmentation *segmentation = NULL;
    REQUIRE(fsk_segmentation_new(&segmentation) == 0);
    return segmentation;
}

#endif
