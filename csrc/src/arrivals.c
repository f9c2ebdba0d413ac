/* SPDX-License-Identifier: MIT */
#include "arrivals.h"

#include "kernel.h"
#include "socket.h"
#include "uapi.h"

int fski_arrivals_receive(struct fski_arrivals *arrivals, int fd, const struct fski_slots *slots,
                          int flags) {
    for (unsigned i = 0; i < slots->count; i++) {
        struct msghdr *header = &arrivals->packets[i].header;
        arrivals->parts[i].iov_base = slots->memory + i * slots->size;
        arrivals->parts[i].iov_len = slots->size;
        memset(header, 0, sizeof *header);
        header->msg_name = &arrivals->sources[i].name;
        header->msg_namelen = sizeof arrivals->sources[i].name;
        header->msg_iov = &arrivals->parts[i];
        header->msg_iovlen = 1;
        if (slots->has_control) {
            header->msg_control = arrivals->control[i];
            header->msg_controllen = FSKI_CONTROL_SIZE;
        }
    }
    int received =
        fski_engine()->receive(fd, arrivals->packets, slots->count, flags | FSKI_MSG_REAL_LENGTH);
    for (int i = 0; i < received; i++) {
        socklen_t length = arrivals->packets[i].header.msg_namelen;
        socklen_t room = sizeof arrivals->sources[i].name;
        arrivals->sources[i].length = length < room ? length : room;
    }
    return received;
}

bool fski_arrival_is_end(const struct fski_arrivals *arrivals, int i, int fd) {
    if (arrivals->packets[i].length != 0 || arrivals->sources[i].length != 0)
        return false;
    return fski_socket_is_internet(fd); /* a Unix sender may have no name, and send nothing */
}

bool fski_may_go_on(const struct fsk_batch *batch, int fd) {
    return batch->count < batch->capacity && !fski_has_error(fd);
}
