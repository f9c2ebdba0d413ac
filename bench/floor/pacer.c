/* SPDX-License-Identifier: MIT */
/*
 * A sender that keeps to a rate: pacer FD SIZE SEGMENTS CPU, FD a connected UDP socket.
 *
 * Reads lines "RATE COUNT" from its standard input and sends COUNT datagrams of SIZE bytes, RATE a
 * second, SEGMENTS of them with one system call; answers "START ELAPSED SENT": when the first one left,
 * and how long it took, in nanoseconds of CLOCK_MONOTONIC. What is late is sent at once, so a rate that
 * can't be reached is sent as fast as can be. Ends at the end of its input.
 *
 * The first datagram of a system call begins with the time, by the same clock, if 8 bytes fit.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* Linux 4.18 */
#endif

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Returns the datagrams sent. A send waits for room, as the descriptor does; an error ends it. */
static int64_t send_paced(int fd, void *data, size_t size, int64_t segments, double rate,
                          int64_t count) {
    int64_t start = now();
    int64_t sent = 0;
    while (sent < count) {
        int64_t due = start + (int64_t)((double)sent / rate * 1e9);
        int64_t length = count - sent < segments ? count - sent : segments;
        /* Sleeping would be late by 50 us. The CPU is this program's own. */
        int64_t time = now();
        while (time < due)
            time = now();
        if (size >= sizeof time)
            memcpy(data, &time, sizeof time);
        if (send(fd, data, (size_t)length * size, 0) < 0)
            break;
        sent += length;
    }
    return sent;
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    int fd = atoi(argv[1]);
    size_t size = (size_t)atoi(argv[2]);
    int segments = atoi(argv[3]);
    int segment_size = (int)size;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)atoi(argv[4]), &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus);
    unsigned char *data = calloc((size_t)segments, size);
    if (data == NULL || (segments > 1 && setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment_size,
                                                    sizeof segment_size) < 0)) {
        perror("pacer");
        return 1;
    }
    double rate;
    int64_t count;
    while (scanf("%lf %" SCNd64, &rate, &count) == 2) {
        int64_t start = now();
        int64_t sent = send_paced(fd, data, size, segments, rate, count);
        printf("%" PRId64 " %" PRId64 " %" PRId64 "\n", start, now() - start, sent);
        fflush(stdout);
    }
    free(data);
    return 0;
}
