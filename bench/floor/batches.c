/* SPDX-License-Identifier: MIT */
/*
 * The floor of the calls on many messages: the same recvmmsg and sendmmsg, prepared once and made
 * again and again. What a program does with the messages is not in it.
 *
 * Memory that a function named _new gave is freed by the one named _free. Otherwise as in floor.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* Linux 4.18 */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 /* Linux 5.0 */
#endif

/* fastsock offers as many bytes for control data; with few the kernel writes no less. */
enum { CONTROL_SIZE = 256, NAME_SIZE = 128, MOST_SEGMENTS = 64 };

static int64_t outcome(int64_t done, ssize_t last) {
    return done > 0 || last >= 0 ? done : -errno;
}

/* What one recvmmsg fills: count messages of room bytes, with their senders. */
struct slots {
    unsigned count;
    int has_control;
    size_t mapped;
    unsigned char *memory;
    struct mmsghdr *headers;
    struct iovec *parts;
    unsigned char (*names)[NAME_SIZE];
    unsigned char (*control)[CONTROL_SIZE];
};

void floor_slots_free(struct slots *slots) {
    if (slots->memory != MAP_FAILED)
        munmap(slots->memory, slots->mapped);
    free(slots->headers);
    free(slots->parts);
    free(slots->names);
    free(slots->control);
    free(slots);
}

/* NULL when there is no memory. */
struct slots *floor_slots_new(unsigned count, size_t room, int has_control) {
    struct slots *slots = calloc(1, sizeof *slots);
    if (slots == NULL)
        return NULL;
    slots->count = count;
    slots->has_control = has_control;
    slots->mapped = count * room;
    /* Mapped as a batch's arena is, so that the pages are of the same kind. */
    slots->memory =
        mmap(NULL, slots->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    slots->headers = calloc(count, sizeof *slots->headers);
    slots->parts = calloc(count, sizeof *slots->parts);
    slots->names = calloc(count, sizeof *slots->names);
    slots->control = calloc(count, sizeof *slots->control);
    if (slots->memory == MAP_FAILED || slots->headers == NULL || slots->parts == NULL ||
        slots->names == NULL || slots->control == NULL) {
        floor_slots_free(slots);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++) {
        slots->parts[i] = (struct iovec){.iov_base = slots->memory + i * room, .iov_len = room};
        struct msghdr *header = &slots->headers[i].msg_hdr;
        header->msg_iov = &slots->parts[i];
        header->msg_iovlen = 1;
        header->msg_name = slots->names[i];
        header->msg_control = has_control ? slots->control[i] : NULL;
    }
    return slots;
}

/* Datagrams that one received message is: a train of equal ones, the last one perhaps shorter. */
static int64_t datagrams_of(struct msghdr *header, size_t length) {
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL;
         item = CMSG_NXTHDR(header, item)) {
        int size = 0;
        if (item->cmsg_level != SOL_UDP || item->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(item), sizeof size);
        if (size > 0 && length > 0)
            return (int64_t)((length + (size_t)size - 1) / (size_t)size);
    }
    return 1;
}

/* Receive until count datagrams came. An error that comes after one ends the loop. */
int64_t floor_recvmmsg(int fd, struct slots *slots, int64_t count) {
    int64_t done = 0;
    while (done < count) {
        for (unsigned i = 0; i < slots->count; i++) {
            slots->headers[i].msg_hdr.msg_namelen = NAME_SIZE;
            slots->headers[i].msg_hdr.msg_controllen = slots->has_control ? CONTROL_SIZE : 0;
        }
        int received = recvmmsg(fd, slots->headers, slots->count, MSG_WAITFORONE | MSG_TRUNC, NULL);
        if (received < 0)
            return outcome(done, received);
        if (!slots->has_control) {
            done += received;
            continue;
        }
        for (int i = 0; i < received; i++)
            done += datagrams_of(&slots->headers[i].msg_hdr, slots->headers[i].msg_len);
    }
    return done;
}

/* What one call of a program sends, as sendmmsg wants it. */
struct outgoing {
    unsigned count; /* packets */
    struct mmsghdr *packets;
    struct iovec *parts;
    unsigned char (*control)[CMSG_SPACE(sizeof(uint16_t))];
};

void floor_outgoing_free(struct outgoing *outgoing) {
    free(outgoing->packets);
    free(outgoing->parts);
    free(outgoing->control);
    free(outgoing);
}

static void set_segment_size(struct msghdr *header, void *control, uint16_t size) {
    header->msg_control = control;
    header->msg_controllen = CMSG_SPACE(sizeof size);
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    item->cmsg_level = SOL_UDP;
    item->cmsg_type = UDP_SEGMENT;
    item->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(item), &size, sizeof size);
}

/*
 * Describe count messages, which lie in data one after another, in packets of up to segments messages.
 *
 *   data     in  borrowed until floor_outgoing_free, as are the names
 *   lengths  in  bytes of each; equal ones where segments is above 1
 *   names    in  name_count destinations of name_length bytes, which take turns; none when 0
 *   is_one   in  a packet's messages are one piece of memory, not a piece each
 * Returns NULL when there is no memory.
 */
struct outgoing *floor_outgoing_new(unsigned char *data, const uint32_t *lengths, unsigned count,
                                    unsigned char *names, uint32_t name_length, unsigned name_count,
                                    unsigned segments, int is_one) {
    struct outgoing *outgoing = calloc(1, sizeof *outgoing);
    if (outgoing == NULL)
        return NULL;
    outgoing->packets = calloc(count, sizeof *outgoing->packets);
    outgoing->parts = calloc(count, sizeof *outgoing->parts);
    outgoing->control = calloc(count, sizeof *outgoing->control);
    if (outgoing->packets == NULL || outgoing->parts == NULL || outgoing->control == NULL) {
        floor_outgoing_free(outgoing);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++) {
        outgoing->parts[i] = (struct iovec){.iov_base = data, .iov_len = lengths[i]};
        data += lengths[i];
    }
    for (unsigned first = 0; first < count; first += segments) {
        unsigned number = outgoing->count++;
        unsigned length = count - first < segments ? count - first : segments;
        struct msghdr *header = &outgoing->packets[number].msg_hdr;
        header->msg_iov = &outgoing->parts[first];
        header->msg_iovlen = is_one ? 1 : length;
        if (is_one)
            outgoing->parts[first].iov_len *= length;
        if (name_count > 0) {
            header->msg_name = names + number % name_count * name_length;
            header->msg_namelen = name_length;
        }
        if (length > 1)
            set_segment_size(header, outgoing->control[number], (uint16_t)lengths[first]);
    }
    return outgoing;
}

/* Send it all, times times. Returns how many times all of it left. */
int64_t floor_send_outgoing(int fd, struct outgoing *outgoing, int64_t times) {
    int64_t done = 0;
    for (; done < times; done++) {
        ssize_t sent;
        if (outgoing->count == 1)
            sent = sendmsg(fd, &outgoing->packets->msg_hdr, 0) < 0 ? -1 : 1;
        else
            sent = sendmmsg(fd, outgoing->packets, outgoing->count, 0);
        if (sent != (ssize_t)outgoing->count)
            return outcome(done, sent < 0 ? sent : 0);
    }
    return done;
}

/*
 * Fill a queue: send count messages of size bytes without waiting, in trains of up to segments ones
 * (at most 64), as many as fit. data holds segments messages, one after another.
 */
int64_t floor_fill_trains(int fd, void *data, size_t size, unsigned segments, int64_t count) {
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec part = {.iov_base = data};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    int64_t done = 0;
    if (segments > MOST_SEGMENTS)
        return -EINVAL;
    set_segment_size(&header, control, (uint16_t)size);
    while (done < count) {
        int64_t length = count - done < segments ? count - done : segments;
        part.iov_len = (size_t)length * size;
        ssize_t sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent != (ssize_t)part.iov_len)
            return outcome(done, sent);
        done += length;
    }
    return done;
}

/* As floor_empty of floor.c for a UDP socket, which may have UDP_GRO on: returns datagrams. */
int64_t floor_empty_trains(int fd, void *buffer, size_t room, int64_t expected, int timeout_ms) {
    _Alignas(struct cmsghdr) unsigned char control[CONTROL_SIZE];
    struct iovec part = {.iov_base = buffer, .iov_len = room};
    int64_t taken = 0;
    for (;;) {
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = control,
                                .msg_controllen = sizeof control};
        ssize_t received = recvmsg(fd, &header, MSG_DONTWAIT);
        if (received >= 0) {
            taken += datagrams_of(&header, (size_t)received);
            continue;
        }
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (errno != EAGAIN || taken >= expected || poll(&ready, 1, timeout_ms) <= 0)
            return taken;
    }
}
