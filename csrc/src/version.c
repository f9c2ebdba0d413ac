/* SPDX-License-Identifier: MIT */
#include <fastsock/version.h>

int fsk_version(void) {
    return FSK_VERSION_MAJOR * 10000 + FSK_VERSION_MINOR * 100 + FSK_VERSION_PATCH;
}
