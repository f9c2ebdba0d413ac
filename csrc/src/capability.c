/* SPDX-License-Identifier: MIT */
#include "capability.h"

#include "engine.h"

atomic_int fski_capabilities[FSK_CAPABILITY_COUNT];

bool fsk_capability_works(enum fsk_capability capability) {
    if ((int)capability < 0 || capability >= FSK_CAPABILITY_COUNT)
        return false;
    return fski_engine()->has(capability) && fski_capability(capability) != FSKI_REFUSED;
}
