/* SPDX-License-Identifier: MIT
 * The assertions of the C tests.
 *
 * A check that fails prints where it stands, its expression and both values, is counted, and lets
 * the test go on; a REQUIRE that fails ends the program, for what a test cannot go on without.
 * check_report gives main's result: 1 after a failure, else 77 after a skip (SKIP_RETURN_CODE of
 * CTest), else 0. A test that checks nothing is a failure. Any thread may check.
 */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_int check_count;
static atomic_int check_failures;
static atomic_int check_skips;
static const char *check_test = "main";

#define CHECK(expression) check_true(__FILE__, __LINE__, #expression, (expression))
#define CHECK_INT(actual, expected)                                                                \
    check_int(__FILE__, __LINE__, #actual " == " #expected, (intmax_t)(actual),                    \
              (intmax_t)(expected))
#define CHECK_TEXT(actual, expected)                                                               \
    check_text(__FILE__, __LINE__, #actual " == " #expected, (actual), (expected))
#define CHECK_BYTES(actual, expected, length)                                                      \
    check_bytes(__FILE__, __LINE__, #actual " == " #expected, (actual), (expected), (length))
#define REQUIRE(expression) check_required(__FILE__, __LINE__, #expression, (expression))
#define RUN(test) check_run(#test, test)

static inline bool check_true(const char *file, int line, const char *expression, bool holds) {
    check_count++;
    if (!holds) {
        check_failures++;
        fprintf(stderr, "%s:%d: %s: %s is false\n", file, line, check_test, expression);
    }
    return holds;
}

static inline void check_int(const char *file, int line, const char *expression, intmax_t actual,
                             intmax_t expected) {
    check_count++;
    if (actual == expected)
        return;
    check_failures++;
    fprintf(stderr, "%s:%d: %s: %s: %jd is not %jd\n", file, line, check_test, expression, actual,
            expected);
}

/* Both may be NULL, which equals NULL alone. */
static inline void check_text(const char *file, int line, const char *expression,
                              const char *actual, const char *expected) {
    check_count++;
    if (actual == expected || (actual != NULL && expected != NULL && strcmp(actual, expected) == 0))
        return;
    check_failures++;
    fprintf(stderr, "%s:%d: %s: %s: \"%s\" is not \"%s\"\n", file, line, check_test, expression,
            actual == NULL ? "(null)" : actual, expected == NULL ? "(null)" : expected);
}

static inline void check_bytes(const char *file, int line, const char *expression,
                               const void *actual, const void *expected, size_t length) {
    const unsigned char *one = (const unsigned char *)actual;
    const unsigned char *other = (const unsigned char *)expected;
    check_count++;
    for (size_t i = 0; i < length; i++) {
        if (one[i] == other[i])
            continue;
        check_failures++;
        fprintf(stderr, "%s:%d: %s: %s: byte %zu of %zu: 0x%02x is not 0x%02x\n", file, line,
                check_test, expression, i, length, one[i], other[i]);
        return;
    }
}

/* The errno is that of the system call the expression made last, if it made one. */
static inline void check_required(const char *file, int line, const char *expression, bool holds) {
    int code = errno;
    if (check_true(file, line, expression, holds))
        return;
    fprintf(stderr, "%s: ended here; errno is %d (%s)\n", check_test, code, strerror(code));
    exit(1);
}

/* Says what was tried and what came back; the caller then returns from its test. */
__attribute__((format(printf, 1, 2))) static inline void check_skip(const char *format, ...) {
    va_list arguments;
    check_skips++;
    fprintf(stderr, "%s: skipped: ", check_test);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static inline void check_run(const char *name, void (*test)(void)) {
    int before = check_count;
    int skipped = check_skips;
    check_test = name;
    test();
    if (check_count == before && check_skips == skipped) {
        check_failures++;
        fprintf(stderr, "%s: checked nothing\n", name);
    }
}

static inline int check_report(void) {
    fprintf(stderr, "%d checks, %d failed, %d tests skipped\n", check_count, check_failures,
            check_skips);
    if (check_failures > 0)
        return 1;
    return check_skips > 0 ? 77 : 0;
}

#endif
