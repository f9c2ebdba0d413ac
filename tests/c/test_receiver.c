/* SPDX-License-Identifier: MIT
 * A receiver over loopback: what is delivered, what is counted, and how it ends. */
#include <fastsock/receiver.h>

#include "loopback.h"

static struct fsk_receiver_options usual(void) {
    return (struct fsk_receiver_options){
        .size = sizeof(struct fsk_receiver_options),
        .memory = 4 * FSK_RECEIVER_MEMORY,
        .gro = true,
        .key = 1,
    };
}

static int udp_socket(struct fsk_address *name) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, (struct sockaddr *)&any, sizeof any) == 0);
    bound_name(fd, name);
    return fd;
}

static struct fsk_receiver_stats stats_of(struct fsk_receiver *receiver) {
    struct fsk_receiver_stats stats = {.size = sizeof stats};
    CHECK_INT(fsk_receiver_stats(receiver, &stats), 0);
    CHECK_INT(stats.received, stats.delivered + stats.ring_drops + stats.queued + stats.discarded);
    return stats;
}

static void delivers_in_order_and_counts(void) {
    enum { MESSAGES = 1000 };
    struct fsk_address name;
    struct fsk_receiver *receiver;
    struct fsk_receiver_options options = usual();
    int fd = udp_socket(&name);
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    REQUIRE(fsk_receiver_open(&receiver, &fd, 1, &options) == 0);
    uint32_t expected = 0;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        REQUIRE(sendto(sender, &i, sizeof i, 0, &name.name.any, name.length) == sizeof i);
        if (i % 100 != 99)
            continue;
        while (expected <= i) {
            struct fsk_batch *batch;
            int count = fsk_receiver_next(receiver, 5000000000, &batch);
            REQUIRE(count > 0);
            CHECK_INT(count, batch->count);
            for (uint32_t row = 0; row < batch->count; row++) {
                uint32_t number;
                CHECK_INT(batch->lengths[row], sizeof number);
                memcpy(&number, batch->arena + batch->offsets[row], sizeof number);
                CHECK_INT(number, expected++);
            }
            fsk_receiver_release(receiver, batch);
        }
    }
    struct fsk_batch *none;
    CHECK_INT(fsk_receiver_next(receiver, 0, &none), -EAGAIN);
    CHECK_INT(fsk_receiver_next(receiver, 1000000, &none), -EAGAIN);
    CHECK_INT(fsk_receiver_close(receiver), 0);
    struct fsk_receiver_stats stats = stats_of(receiver);
    CHECK_INT(stats.received, MESSAGES);
    CHECK_INT(stats.delivered, MESSAGES);
    CHECK_INT(stats.bytes, MESSAGES * sizeof expected);
    CHECK_INT(stats.kernel_drops, 0);
    CHECK_INT(stats.pinned, 0);
    CHECK_INT(fsk_receiver_next(receiver, 0, &none), -EBADF);
    CHECK_INT(fsk_receiver_fd(receiver), -EBADF);
    CHECK_INT(fsk_receiver_close(receiver), 0);
    fsk_receiver_free(receiver);
    close(sender);
}

int main(void) {
    RUN(delivers_in_order_and_counts);
    return check_report();
}
