/* SPDX-License-Identifier: MIT
 * Ancillary data in and out: the only file that uses the CMSG macros.
 *
 * Facts
 *   An item is a struct cmsghdr followed by data, each padded to the alignment of the header.
 *   cmsg_len includes the header and not the padding after the data.
 *   CMSG_NXTHDR of glibc reads the next header's length, which in memory that is being filled must
 *   therefore be zero; and it trusts cmsg_len, which in cut-off memory may claim too much.
 * What we do
 *   Walk and fill by our own offsets; every length is compared with the bytes that remain before it
 *   is added to anything.
 */
#include "cmsg.h"

#include <errno.h>
#include <string.h>

#include "kernel.h"
#include "uapi.h"

void fski_message_header(const struct fsk_message *message, struct msghdr *header) {
    memset(header, 0, sizeof *header);
    if (message->address != NULL) {
        header->msg_name = &message->address->name;
        header->msg_namelen = message->address->length;
    }
    header->msg_iov = message->buffers;
    header->msg_iovlen = message->buffer_count; /* size_t on Linux, int elsewhere */
    if (message->control_length > 0) {
        header->msg_control = message->control;
        header->msg_controllen = message->control_length;
    }
}

int fsk_control_next(const struct fsk_message *message, size_t *cursor, struct fsk_control *item) {
    if (message->control_length < *cursor || message->control_length - *cursor < CMSG_LEN(0))
        return 0;
    size_t remaining = message->control_length - *cursor;
    const char *start = (const char *)message->control + *cursor;
    struct cmsghdr header;
    memcpy(&header, start, sizeof header);
    if (header.cmsg_len < CMSG_LEN(0))
        return 0;
    item->level = header.cmsg_level;
    item->type = header.cmsg_type;
    item->data = start + CMSG_LEN(0);
    if (header.cmsg_len > remaining) {
        item->length = remaining - CMSG_LEN(0);
        *cursor = message->control_length;
        return -EBADMSG;
    }
    item->length = header.cmsg_len - CMSG_LEN(0);
    size_t space = CMSG_SPACE(item->length);
    *cursor += space < remaining ? space : remaining;
    return 1;
}

size_t fsk_control_space(size_t length) {
    return CMSG_SPACE(length);
}

int fsk_control_put(struct fsk_message *message, size_t room, const struct fsk_control *item) {
    /* First the bound without the padding: CMSG_SPACE of a huge length would wrap. */
    if (message->control_length > room || item->length > room)
        return -ENOSPC;
    size_t space = CMSG_SPACE(item->length);
    if (space > room - message->control_length)
        return -ENOSPC;
    struct cmsghdr header;
    memset(&header, 0, sizeof header);
    header.cmsg_level = item->level;
    header.cmsg_type = item->type;
    header.cmsg_len = CMSG_LEN(item->length);
    char *start = (char *)message->control + message->control_length;
    memset(start, 0, space); /* padding goes to the kernel too */
    memcpy(start, &header, sizeof header);
    if (item->length > 0)
        memcpy(start + CMSG_LEN(0), item->data, item->length);
    message->control_length += space;
    return 0;
}

bool fski_control_brings_descriptors(const struct fsk_control *item) {
    return item->level == SOL_SOCKET && (item->type == SCM_RIGHTS || item->type == FSKI_SCM_PIDFD);
}

static size_t descriptor_count(const struct fsk_control *item) {
    return item->length / sizeof(int);
}

static int descriptor_at(const struct fsk_control *item, size_t index) {
    int fd;
    memcpy(&fd, (const char *)item->data + index * sizeof fd, sizeof fd);
    return fd;
}

uint32_t fski_control_close(const struct fsk_control *item) {
    size_t count = descriptor_count(item);
    for (size_t i = 0; i < count; i++)
        if (descriptor_at(item, i) >= 0)
            fski_close(descriptor_at(item, i));
    return (uint32_t)count;
}

int fsk_control_descriptors(const struct fsk_message *message, int *fds, int room, int *refused) {
    struct fsk_control item;
    size_t cursor = 0;
    int taken = 0;
    int closed = 0;
    while (fsk_control_next(message, &cursor, &item) != 0) {
        if (!fski_control_brings_descriptors(&item))
            continue;
        if (item.type != SCM_RIGHTS) {
            fski_control_close(&item);
            continue;
        }
        for (size_t i = 0; i < descriptor_count(&item); i++) {
            int fd = descriptor_at(&item, i);
            if (taken == room) {
                fski_close(fd);
                closed++;
                continue;
            }
            if (MSG_CMSG_CLOEXEC == 0)
                fski_fcntl_set(fd, F_SETFD, FD_CLOEXEC);
            fds[taken++] = fd;
        }
    }
    if (refused != NULL)
        *refused = closed;
    return taken;
}

size_t fski_control_remove(void *control, size_t length, int level, int type) {
    struct fsk_message message = {.control = control, .control_length = length};
    struct fsk_control item;
    size_t cursor = 0;
    size_t start = 0;
    while (fsk_control_next(&message, &cursor, &item) > 0) {
        if (item.level == level && item.type == type) {
            memmove((char *)control + start, (char *)control + cursor, length - cursor);
            return start + (length - cursor);
        }
        start = cursor;
    }
    return length;
}
