/* SPDX-License-Identifier: MIT */
/*
 * The floor of cutting a stream into frames: large receives into one buffer, and a row of offset and
 * length for each frame, which is what a program in C would work on.
 *
 * The rows of a receive overwrite those of the one before. Otherwise as in floor.c.
 *
 * Facts
 *     The kernel copies with "rep movsb". On some CPUs, AMD's Zen among them, that is five times slower
 *     where the destination's offset in its page is up to 15 bytes beyond the source's: measured here,
 *     3 GB/s instead of 17. What a large send has queued begins at the begin of a page.
 * What follows
 *     A receive behind an unfinished frame of a few bytes is slow, and the next ones are too.
 * What we do
 *     Receive at one place, 64 bytes behind the begin of a page, always the same number of bytes, and
 *     move the unfinished frame in front of it.
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

enum { PIECE = 256 * 1024, PAGE = 4096, BEHIND = 64 };

/* What is in the buffer: frames were cut up to start, bytes are there up to end. */
struct held {
    unsigned char *buffer;
    size_t place; /* where is received */
    size_t start;
    size_t end;
};

/* Returns bytes or -errno. */
static ssize_t receive_more(int fd, struct held *held) {
    size_t rest = held->end - held->start;
    if (rest > held->place)
        return -EMSGSIZE;
    memmove(held->buffer + held->place - rest, held->buffer + held->start, rest);
    held->start = held->place - rest;
    held->end = held->place;
    ssize_t received = recv(fd, held->buffer + held->place, PIECE, 0);
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
 * Receive until count frames came, in pieces of up to 256 KiB.
 *
 *   is_prefixed  in   a big-endian length of 4 bytes goes before each frame; else '\n' ends it
 *   buffer       out  room bytes: 264 KiB and what a frame has
 *   rows         out  of count frames
 * Returns the frames, or -errno when there was none. Bytes behind the last frame are lost.
 */
int64_t floor_cut(int fd, int is_prefixed, void *buffer, size_t room, struct row *rows,
                  int64_t count) {
    size_t into_page = (uintptr_t)((unsigned char *)buffer + room - PIECE) % PAGE;
    size_t place = room - PIECE - into_page + BEHIND - (into_page < BEHIND ? PAGE : 0);
    struct held held = {.buffer = buffer, .place = place, .start = place, .end = place};
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
