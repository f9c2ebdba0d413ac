/* SPDX-License-Identifier: MIT */
#ifndef FASTSOCK_VERSION_H
#define FASTSOCK_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

/* The version of these headers, and the one place that states it. */
#define FSK_VERSION_MAJOR 0
#define FSK_VERSION_MINOR 1
#define FSK_VERSION_PATCH 0

/* Marks what the shared library exports; everything else is hidden. */
#if defined(__GNUC__)
#define FSK_API __attribute__((visibility("default")))
#else
#define FSK_API
#endif

/*
 * The version of the library that is loaded, as major * 10000 + minor * 100 + patch.
 * It can differ from the headers' when a program runs with another build.
 */
FSK_API int fsk_version(void);

/*
 * The name of the engine in use: "linux" or "portable".
 *
 * It is chosen once, by the build and by the environment variable FASTSOCK_ENGINE (ignored in a
 * set-uid program). Returns NULL when FASTSOCK_ENGINE names no engine of this build; calls then use
 * the build's default. The string is static.
 */
FSK_API const char *fsk_engine_name(void);

#ifdef __cplusplus
}
#endif

#endif
