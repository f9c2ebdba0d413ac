/* SPDX-License-Identifier: MIT */
#include "bell.h"

#include "engine.h"
#include "kernel.h"

int fski_bell_open(struct fski_bell *bell) {
    atomic_init(&bell->is_armed, false);
    return fski_engine()->open_bell(&bell->poll_fd, &bell->write_fd);
}

void fski_bell_close(struct fski_bell *bell) {
    fski_close(bell->poll_fd);
    if (bell->write_fd != bell->poll_fd)
        fski_close(bell->write_fd);
}

void fski_bell_arm(struct fski_bell *bell) {
    atomic_exchange_explicit(&bell->is_armed, true, memory_order_acq_rel);
}

void fski_bell_ring(struct fski_bell *bell, bool is_forced) {
    /* An eventfd takes exactly these bytes; a pipe that is full is readable already. */
    const uint64_t once = 1;
    if (atomic_exchange_explicit(&bell->is_armed, false, memory_order_acq_rel) || is_forced)
        fski_write(bell->write_fd, &once, sizeof once);
}

void fski_bell_silence(struct fski_bell *bell) {
    uint64_t rung[64];
    while (fski_read(bell->poll_fd, rung, sizeof rung) == (ssize_t)sizeof rung) {
    }
}

void fski_bell_wait(struct fski_bell *bell) {
    struct pollfd watched = {.fd = bell->poll_fd, .events = POLLIN};
    fski_poll(&watched, 1, -1);
    fski_bell_silence(bell);
}
