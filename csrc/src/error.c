/* SPDX-License-Identifier: MIT */
#include <fastsock/error.h>

#include <limits.h>
#include <stdio.h>

#include "kernel.h"

static void copy_cut(const char *whole, char *text, size_t size) {
    if (size == 0)
        return;
    size_t length = strnlen(whole, size - 1);
    memcpy(text, whole, length);
    text[length] = '\0';
}

/* strerror_r comes in two forms under one name; overloading on the result's type picks the reading.
 * POSIX (musl, macOS): fills room, returns an error number. */
static int read_posix_form(int result, const char *room, char *text, size_t size) {
    copy_cut(room, text, size);
    return -result;
}

/* glibc: gives its own string for a code it knows, and writes into room for one it does not. The
 * text does not tell them apart: it is translated. */
static int read_gnu_form(const char *result, const char *room, char *text, size_t size) {
    copy_cut(result, text, size);
    return result == room ? -EINVAL : 0;
}

static int system_text(int number, char *text, size_t size) {
    /* Of our own, as a cut text would be an error of its own (ERANGE) in the POSIX form. */
    char room[128] = "";
    return _Generic(strerror_r(number, room, sizeof room),
        int: read_posix_form,
        char *: read_gnu_form)(strerror_r(number, room, sizeof room), room, text, size);
}

/* musl has a text for every number, the same one for all that it does not know, and calls that
 * success. No system knows INT_MAX. */
static bool is_text_of_unknown(const char *text) {
    char unknown[128];
    return system_text(INT_MAX, unknown, sizeof unknown) == 0 && strcmp(text, unknown) == 0;
}

int fsk_error_text(int code, char *text, size_t size) {
    char whole[128];
    int number = code < 0 && code != INT_MIN ? -code : code;
    int result = system_text(number, whole, sizeof whole);
    if (result == 0 && number != 0 && is_text_of_unknown(whole)) {
        snprintf(whole, sizeof whole, "Unknown error %d", number);
        result = -EINVAL;
    }
    copy_cut(whole, text, size);
    return result;
}
