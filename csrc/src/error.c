/* SPDX-License-Identifier: MIT */
#include <fastsock/error.h>

#include "kernel.h"

/* strerror_r comes in two forms under one name; overloading on the result's type picks the reading.
 * POSIX (musl, macOS): fills text, returns an error number. GNU: may return a string of its own. */
static int read_posix_form(int result, char *text, size_t size) {
    (void)text;
    (void)size;
    return -result;
}

static int read_gnu_form(const char *result, char *text, size_t size) {
    if (result != text && size > 0) {
        size_t length = strlen(result);
        if (length >= size)
            length = size - 1;
        memcpy(text, result, length);
        text[length] = '\0';
    }
    return strncmp(text, "Unknown error", 13) == 0 ? -EINVAL : 0;
}

int fsk_error_text(int code, char *text, size_t size) {
    int number = code < 0 ? -code : code;
    return _Generic(strerror_r(number, text, size), int: read_posix_form, char *: read_gnu_form)(
        strerror_r(number, text, size), text, size);
}
