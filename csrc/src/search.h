/* SPDX-License-Identifier: MIT
 * Where a byte stands in memory, many places at a time.
 *
 * memchr finds one place a call, which for lines of 16 to 64 bytes costs more than the search. With
 * SSE2, which every x86-64 has, 64 bytes are compared at once; elsewhere memchr does it all.
 */
#ifndef FASTSOCK_SEARCH_H
#define FASTSOCK_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <emmintrin.h>

enum { FSKI_SEARCH_BLOCK = 64 };

static inline uint64_t fski_search_quarter(const unsigned char *from, __m128i wanted) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted));
}

/* Bit n is set where from[n] is byte, for the FSKI_SEARCH_BLOCK bytes from on. */
static inline uint64_t fski_search_block(const unsigned char *from, unsigned char byte) {
    __m128i wanted = _mm_set1_epi8((char)byte);
    return fski_search_quarter(from, wanted) | fski_search_quarter(from + 16, wanted) << 16 |
           fski_search_quarter(from + 32, wanted) << 32 |
           fski_search_quarter(from + 48, wanted) << 48;
}

#else
enum { FSKI_SEARCH_BLOCK = 0 };

static inline uint64_t fski_search_block(const unsigned char *from, unsigned char byte) {
    (void)from, (void)byte;
    return 0;
}
#endif

/* The number of the lowest bit that is set; there is one. */
static inline unsigned fski_search_lowest(uint64_t bits) {
    return (unsigned)__builtin_ctzll(bits);
}
#endif
