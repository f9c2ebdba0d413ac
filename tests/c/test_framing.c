/* SPDX-License-Identifier: MIT
 * Framings: what is cut out of a stream, and that it can be made again. */
#include <fastsock/framing.h>

#include "check.h"

static void test_check_refuses_an_empty_structure(void) {
    struct fsk_framing framing = {0};
    CHECK_INT(fsk_framing_check(&framing), -EINVAL);
}

int main(void) {
    RUN(test_check_refuses_an_empty_structure);
    return check_report();
}
