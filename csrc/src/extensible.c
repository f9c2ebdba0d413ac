/* SPDX-License-Identifier: MIT */
#include "extensible.h"

#include <errno.h>
#include <string.h>

/* No structure will be longer: a size beyond is a number that nobody has set. */
#define LONGEST 4096

static size_t size_of(const void *given) {
    size_t size;
    memcpy(&size, given, sizeof size);
    return size;
}

int fski_extensible_check(const void *given, size_t size, size_t first) {
    size_t of_given = size_of(given);
    if (of_given < first || of_given > LONGEST)
        return -EINVAL;
    for (size_t i = size; i < of_given; i++)
        if (((const char *)given)[i] != 0)
            return -E2BIG;
    return 0;
}

int fski_extensible_read(void *own, size_t size, size_t first, const void *given) {
    int result = fski_extensible_check(given, size, first);
    if (result < 0)
        return result;
    size_t of_given = size_of(given);
    memset(own, 0, size);
    memcpy(own, given, of_given < size ? of_given : size);
    memcpy(own, &size, sizeof size);
    return 0;
}

int fski_extensible_write(void *given, const void *own, size_t size, size_t first) {
    size_t of_given = size_of(given);
    if (of_given < first || of_given > LONGEST)
        return -EINVAL;
    memset(given, 0, of_given);
    memcpy(given, own, of_given < size ? of_given : size);
    memcpy(given, &of_given, sizeof of_given);
    return 0;
}
