/* SPDX-License-Identifier: MIT */
#include <fastsock/version.h>

#include "check.h"

static void test_version_of_library_is_that_of_headers(void) {
    CHECK_INT(fsk_version(),
              FSK_VERSION_MAJOR * 10000 + FSK_VERSION_MINOR * 100 + FSK_VERSION_PATCH);
}

static void test_version_parts_fit_their_two_digits(void) {
    CHECK(FSK_VERSION_MINOR >= 0 && FSK_VERSION_MINOR < 100);
    CHECK(FSK_VERSION_PATCH >= 0 && FSK_VERSION_PATCH < 100);
    CHECK(fsk_version() > 0);
}

int main(void) {
    RUN(test_version_of_library_is_that_of_headers);
    RUN(test_version_parts_fit_their_two_digits);
    return check_report();
}
