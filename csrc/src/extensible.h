/* SPDX-License-Identifier: MIT
 * Structures of the public headers that may grow: their first member is their size as the caller knows
 * it, and new members are appended, with 0 meaning what there was before. The rule is openat2(2)'s. New
 * members go behind the old size and fill multiples of 8 bytes: what a caller has not set, as the
 * padding at a structure's end, would be taken for members that this library does not know. Who looks
 * into a caller's structure without fski_extensible_read asks for its size before a newer member.
 */
#ifndef FASTSOCK_EXTENSIBLE_H
#define FASTSOCK_EXTENSIBLE_H

#include <stddef.h>

/* The least size of a structure: up to the last member that it had in its first release. */
#define FSKI_UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

/*
 * Whether a structure that a caller gave can be understood.
 *
 *   size   in  bytes that this library knows
 *   first  in  bytes that it had when it was first released, FSKI_UP_TO
 *
 * Returns 0, -EINVAL when its size is less than first or no size at all, or -E2BIG when it has something
 * other than 0 behind what this library knows.
 */
int fski_extensible_check(const void *given, size_t size, size_t first);

/* Take such a structure; members that the caller does not know are 0. Returns as the check. */
int fski_extensible_read(void *own, size_t size, size_t first, const void *given);

/*
 * Fill a structure of the caller's as far as it goes, with 0 behind what this library knows. Its size
 * stays. Returns 0 or -EINVAL, as the check.
 */
int fski_extensible_write(void *given, const void *own, size_t size, size_t first);

#endif
