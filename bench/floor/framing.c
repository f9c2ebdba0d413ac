/* SPDX-License-Identifier: MIT */
/*
 * The floor of cutting a stream into frames: large receives into one buffer, and a row of offset and
 * length for each frame, which is what a program in C would work on.
 *
 * The rows of a receive overwrite those of the one before. Otherwise as in floor.c.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

struct row {
    uint32_t offset;
    uint32_t length;
};

/* What is in the buffer: frames were cut up to start, bytes are there up to end. */
struct held {
    unsigned char *buffer;
    size_t room;
    size_t start;
    size_t end;
};

/* Move the unfinished frame to the front and receive behind it. Returns bytes or -errno. */
static ssize_t receive_more(int fd, struct held *held) {
    size_t rest = held->end - held->start;
    memmove(held->buffer, held->buffer + held->start, rest);
    held->start = 0;
    held->end = rest;
    ssize_t received = recv(fd, held->buffer + rest, held->room - rest, 0);
    if (received < 0)
        return -errno;
    if (received == 0)
        return -ECONNRESET;
    held->end += (size_t)received;
    return received;
}

static int64_t cut_prefixed(struct held *held, struct row *rows, int64_t most) {
    int64_t done = 0;
    while (done < most && held->end - held->start >= 4) {
        uint32_t length;
        memcpy(&length, held->buffer + held->start, sizeof length);
        length = ntohl(length);
        if (held->end - held->start - 4 < length)
            break;
        rows[done++] = (struct row){(uint32_t)held->start + 4, length};
        held->start += 4 + (size_t)length;
    }
    return done;
}

static int64_t cut_lines(struct held *held, struct row *rows, int64_t most) {
    int64_t done = 0;
    while (done < most) {
        const unsigned char *begin = held->buffer + held->start;
        const unsigned char *found = memchr(begin, '\n', held->end - held->start);
        if (found == NULL)
            break;
        rows[done++] = (struct row){(uint32_t)held->start, (uint32_t)(found - begin)};
        held->start += (size_t)(found - begin) + 1;
    }
    return done;
}

/*
 * Receive until count frames came, in pieces of up to room bytes.
 *
 *   is_prefixed  in   a big-endian length of 4 bytes goes before each frame; else '\n' ends it
 *   buffer       out  room bytes, more than a frame has
 *   rows         out  of count frames
 * Returns the frames, or -errno when there was none. Bytes behind the last frame are lost.
 */
int64_t floor_cut(int fd, int is_prefixed, void *buffer, size_t room, struct row *rows,
                  int64_t count) {
    struct held held = {.buffer = buffer, .room = room};
    int64_t done = 0;
    while (done < count) {
        ssize_t received = receive_more(fd, &held);
        if (received < 0)
            return done > 0 ? done : received;
        if (is_prefixed)
            done += cut_prefixed(&held, rows, count - done);
        else
            done += cut_lines(&held, rows, count - done);
    }
    return done;
}
