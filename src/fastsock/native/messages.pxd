# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

from fastsock.native.slab cimport Slab


cdef class Messages:
    cdef Slab slab           # of the last receive
    cdef uint64_t fill       # counts receives: a Message belongs to one
    cdef bint is_receiving

    cdef int check(self, uint64_t fill) except -1
    cdef Slab pinned(self, const uint64_t *fill)
