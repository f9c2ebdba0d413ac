/* SPDX-License-Identifier: MIT
 * Run with FASTSOCK_ENGINE in the environment and the name to find ("none" for NULL) as argument. The
 * contract of accept, engine by engine, is in test_socket.c.
 */
#include <fastsock/version.h>

#include "loopback.h"

static const char *expected_name; /* NULL when FASTSOCK_ENGINE names no engine */

static void test_engine_name_follows_the_environment(void) {
    CHECK_TEXT(fsk_engine_name(), expected_name);
    CHECK_TEXT(fsk_engine_name(), expected_name);
}

/* Also when FASTSOCK_ENGINE is wrong. */
static void test_engine_call_under_any_name_works(void) {
    int pair[2];
    char byte = 0;
    open_tcp_pair(AF_INET, pair);
    CHECK_INT(send(pair[0], "x", 1, 0), 1);
    CHECK_INT(recv(pair[1], &byte, 1, 0), 1);
    CHECK_INT(byte, 'x');
    close_pair(pair);
}

/* After the first call, which is why it runs last. */
static void test_engine_environment_changed_late_changes_nothing(void) {
    REQUIRE(setenv("FASTSOCK_ENGINE", "portable", 1) == 0);
    CHECK_TEXT(fsk_engine_name(), expected_name);
    REQUIRE(unsetenv("FASTSOCK_ENGINE") == 0);
    CHECK_TEXT(fsk_engine_name(), expected_name);
}

int main(int argc, char **argv) {
    REQUIRE(argc == 2);
    expected_name = strcmp(argv[1], "none") == 0 ? NULL : argv[1];
    RUN(test_engine_name_follows_the_environment);
    RUN(test_engine_call_under_any_name_works);
    RUN(test_engine_environment_changed_late_changes_nothing);
    return check_report();
}
