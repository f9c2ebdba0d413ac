# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t, uint64_t

from fastsock.native.libfastsock cimport fsk_batch
from fastsock.native.slab cimport Slab


cdef class Batch:
    cdef readonly uint32_t capacity
    cdef readonly uint32_t max_message
    cdef Slab slab           # of the last receive
    cdef list all_slabs
    cdef uint64_t fill       # counts receives: a Message belongs to one
    cdef bint is_receiving

    cdef fsk_batch *begin(self, unsigned metadata) except NULL
    cdef int end(self) except -1
    cdef Slab free_slab(self)
    cdef int check(self, uint64_t fill) except -1
    cdef Slab pinned(self, const uint64_t *fill)
