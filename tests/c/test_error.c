/* SPDX-License-Identifier: MIT */
#include <fastsock/error.h>

#include <limits.h>

#include "check.h"

#define UNKNOWN_CODE 99999

static void test_error_known_gives_the_system_text(void) {
    static const int codes[] = {EAGAIN, EBADF, EINTR, EMFILE, ECONNREFUSED, ENOBUFS, EMSGSIZE};
    char text[128];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        CHECK_INT(fsk_error_text(codes[i], text, sizeof text), 0);
        CHECK_TEXT(text, strerror(codes[i]));
    }
}

static void test_error_negative_gives_the_same_text(void) {
    char text[128];
    CHECK_INT(fsk_error_text(-ECONNREFUSED, text, sizeof text), 0);
    CHECK_TEXT(text, strerror(ECONNREFUSED));
}

static void test_error_zero_is_known(void) {
    char text[128];
    CHECK_INT(fsk_error_text(0, text, sizeof text), 0);
    CHECK_TEXT(text, strerror(0));
}

static void test_error_unknown_is_refused_with_its_number(void) {
    char text[128];
    CHECK_INT(fsk_error_text(UNKNOWN_CODE, text, sizeof text), -EINVAL);
    CHECK(strstr(text, "99999") != NULL);
    CHECK_INT(fsk_error_text(-UNKNOWN_CODE, text, sizeof text), -EINVAL);
    CHECK(strstr(text, "99999") != NULL);
    CHECK(strchr(text, '-') == NULL);
}

static void test_error_second_text_leaves_the_first(void) {
    char one[128];
    char other[128];
    CHECK_INT(fsk_error_text(EPIPE, one, sizeof one), 0);
    CHECK_INT(fsk_error_text(EACCES, other, sizeof other), 0);
    CHECK_TEXT(one, strerror(EPIPE));
    CHECK_TEXT(other, strerror(EACCES));
}

/* At every size up to that of the whole text, in memory of exactly that size. */
static void check_cut(int code) {
    char whole[128];
    fsk_error_text(code, whole, sizeof whole);
    for (size_t size = 1; size <= strlen(whole) + 1; size++) {
        char *text = malloc(size);
        REQUIRE(text != NULL);
        memset(text, 'x', size);
        fsk_error_text(code, text, size);
        CHECK_BYTES(text, whole, size - 1);
        CHECK_INT(text[size - 1], '\0');
        free(text);
    }
}

static void test_error_known_in_small_room_is_cut_and_ended(void) {
    char text[5];
    check_cut(EAGAIN);
    CHECK_INT(fsk_error_text(EAGAIN, text, sizeof text), 0);
}

static void test_error_unknown_in_small_room_is_cut_and_ended(void) {
    check_cut(UNKNOWN_CODE);
}

static void test_error_unknown_in_small_room_is_refused(void) {
    for (size_t size = 0; size < 32; size++) {
        char *text = malloc(size);
        REQUIRE(text != NULL || size == 0);
        CHECK_INT(fsk_error_text(UNKNOWN_CODE, text, size), -EINVAL);
        free(text);
    }
}

static void test_error_lowest_code_is_refused(void) {
    char text[128];
    CHECK_INT(fsk_error_text(INT_MIN, text, sizeof text), -EINVAL);
    CHECK_INT(fsk_error_text(INT_MAX, text, sizeof text), -EINVAL);
}

static void test_error_known_without_room_writes_nothing(void) {
    char text[4] = "abc";
    fsk_error_text(EAGAIN, text, 0);
    CHECK_TEXT(text, "abc");
}

int main(void) {
    RUN(test_error_known_gives_the_system_text);
    RUN(test_error_negative_gives_the_same_text);
    RUN(test_error_zero_is_known);
    RUN(test_error_unknown_is_refused_with_its_number);
    RUN(test_error_second_text_leaves_the_first);
    RUN(test_error_known_in_small_room_is_cut_and_ended);
    RUN(test_error_unknown_in_small_room_is_cut_and_ended);
    RUN(test_error_unknown_in_small_room_is_refused);
    RUN(test_error_lowest_code_is_refused);
    RUN(test_error_known_without_room_writes_nothing);
    return check_report();
}
