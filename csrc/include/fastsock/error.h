/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_ERROR_H
#define FASTSOCK_ERROR_H

#include <stddef.h>

#include <fastsock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * How every function of this library that can fail reports it: it returns an int or a ssize_t,
 * which is 0 or more on success (often a count, a length or a descriptor) and -errno when it is
 * negative. errno itself is not meant to be read.
 */

/*
 * The system's text for an error.
 *
 *   code  in   an errno value, positive or negative
 *   text  out  NUL-terminated, cut at size
 *   size  in   bytes of text; 128 hold every text of glibc
 *
 * Returns 0, or -EINVAL for a code the system does not know (text is then "Unknown error N").
 * Source: strerror_r(3), the POSIX form.
 */
FSK_API int fsk_error_text(int code, char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
