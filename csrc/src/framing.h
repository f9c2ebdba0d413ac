/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_SRC_FRAMING_H
#define FASTSOCK_SRC_FRAMING_H

#include <fastsock/framing.h>

/* Take rules that a caller gave, of whatever age, and check them. Returns as fsk_framing_check. */
int fski_framing_read(struct fsk_framing *own, const struct fsk_framing *given);

#endif
