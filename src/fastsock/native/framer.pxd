# SPDX-License-Identifier: MIT
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from fastsock.native.libfastsock cimport fsk_framer, fsk_framing


cdef class Framer:
    cdef fsk_framer *framer
    cdef fsk_framing rules
    cdef ssize_t failure  # what ended the stream, -errno, or 0
    cdef bint is_busy  # a call is under way

    cdef int begin(self) except -1
    cdef int leave(self) except -1
    cdef int check(self) except -1
    cdef int cut(self, const unsigned char *data, size_t end, list frames) except -1

cdef object frame_error(const fsk_framing *rules, ssize_t code, uint64_t offset)
cdef int check_end(const fsk_framer *framer, const fsk_framing *rules) except -1
