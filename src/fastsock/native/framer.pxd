# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

from fastsock.libfastsock cimport fsk_framing

cdef object frame_error(const fsk_framing *rules, ssize_t code, uint64_t offset)
cdef int raise_incomplete(str what, bytes partial, uint64_t missing, bint is_exact) except -1
