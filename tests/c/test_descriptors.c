/* SPDX-License-Identifier: MIT
 * Descriptors that come along with a message. Each is the writing end of one pipe, so that the reading
 * end tells when none is open any more.
 */
#include <fastsock/message.h>
#include <fastsock/receive.h>
#include <fastsock/send.h>

#include <errno.h>

#include "loopback.h"

#define MOST 20

struct passage {
    int pair[2];
    int reader;
    int writer;
};

static void begin(struct passage *made) {
    int ends[2];
    open_unix_pair(SOCK_SEQPACKET, made->pair);
    REQUIRE(pipe(ends) == 0);
    made->reader = ends[0];
    made->writer = ends[1];
    REQUIRE(fcntl(made->reader, F_SETFL, O_NONBLOCK) == 0);
}

static void end(struct passage *made) {
    close_pair(made->pair);
    close(made->reader);
    if (made->writer >= 0)
        close(made->writer);
}

static bool is_writer_open(const struct passage *made) {
    char byte;
    return read(made->reader, &byte, 1) < 0;
}

/* The writing end count times; the original is closed. */
static void pass(struct passage *made, int count) {
    char control[256];
    int fds[MOST];
    struct iovec part = {.iov_base = (char[]){'x'}, .iov_len = 1};
    struct fsk_message message = {.buffers = &part, .buffer_count = 1, .control = control};
    for (int i = 0; i < count; i++)
        fds[i] = made->writer;
    struct fsk_control item = {.level = SOL_SOCKET,
                               .type = SCM_RIGHTS,
                               .data = fds,
                               .length = (size_t)count * sizeof *fds};
    REQUIRE(fsk_control_put(&message, sizeof control, &item) == 0);
    REQUIRE(fsk_send_message(made->pair[0], &message, 0) == 1);
    close(made->writer);
    made->writer = -1;
}

static void receive(struct passage *made, struct fsk_message *message) {
    static char byte;
    static struct iovec part = {.iov_base = &byte, .iov_len = 1};
    message->buffers = &part;
    message->buffer_count = 1;
    REQUIRE(fsk_receive_message(made->pair[1], message, MSG_CMSG_CLOEXEC) == 1);
    CHECK_INT(message->flags & MSG_CTRUNC, 0);
}

/* Of what count arrives with when there is room for room. */
static void check_descriptors(int count, int room) {
    struct passage made;
    char control[256];
    struct fsk_message message = {.control = control, .control_length = sizeof control};
    int fds[MOST];
    int refused = 99;
    int expected = count < room ? count : room;
    begin(&made);
    pass(&made, count);
    receive(&made, &message);
    CHECK_INT(fsk_control_descriptors(&message, room > 0 ? fds : NULL, room, &refused), expected);
    CHECK_INT(refused, count - expected);
    CHECK(is_writer_open(&made) == (expected > 0));
    for (int i = 0; i < expected; i++) {
        CHECK_INT(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(fds[i]);
    }
    CHECK(!is_writer_open(&made));
    end(&made);
}

static void test_descriptors_within_the_room_are_taken(void) {
    check_descriptors(1, 1);
    check_descriptors(3, 5);
    check_descriptors(MOST, MOST);
}

static void test_descriptors_beyond_the_room_are_closed_and_counted(void) {
    check_descriptors(2, 1);
    check_descriptors(MOST, 3);
    check_descriptors(5, 0);
}

static void test_descriptors_without_a_wish_for_their_number_are_closed(void) {
    struct passage made;
    char control[256];
    struct fsk_message message = {.control = control, .control_length = sizeof control};
    begin(&made);
    pass(&made, 4);
    receive(&made, &message);
    CHECK_INT(fsk_control_descriptors(&message, NULL, 0, NULL), 0);
    CHECK(!is_writer_open(&made));
    end(&made);
}

static void test_descriptors_of_a_message_without_any_are_none(void) {
    struct fsk_message message = {.control = NULL, .control_length = 0};
    int refused = 99;
    CHECK_INT(fsk_control_descriptors(&message, NULL, 0, &refused), 0);
    CHECK_INT(refused, 0);
}

static void test_descriptors_beside_other_items_are_found(void) {
    struct passage made;
    char control[256];
    struct fsk_message message = {.control = control, .control_length = sizeof control};
    int on = 1;
    int fd = -1;
    begin(&made);
    REQUIRE(setsockopt(made.pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    pass(&made, 1);
    receive(&made, &message);
    CHECK_INT(fsk_control_descriptors(&message, &fd, 1, NULL), 1);
    CHECK(is_writer_open(&made));
    close(fd);
    CHECK(!is_writer_open(&made));
    end(&made);
}

int main(void) {
    RUN(test_descriptors_within_the_room_are_taken);
    RUN(test_descriptors_beyond_the_room_are_closed_and_counted);
    RUN(test_descriptors_without_a_wish_for_their_number_are_closed);
    RUN(test_descriptors_of_a_message_without_any_are_none);
    RUN(test_descriptors_beside_other_items_are_found);
    return check_report();
}
