# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

from fastsock.native.libfastsock cimport fsk_batch
from fastsock.native.slab cimport Slab


cdef class Batch:
    cdef Slab slab           # of the last receive
    cdef list all_slabs
    cdef list known_sources  # addresses of the last receive, once asked for; else None
    cdef list known_destinations
    cdef uint64_t fill       # counts receives: a Message belongs to one
    cdef bint is_receiving

    cdef fsk_batch *begin(self, unsigned metadata) except NULL
    cdef void end(self) noexcept
    cdef Slab free_slab(self)
    cdef int check_idle(self) except -1
    cdef Slab now(self)
    cdef object column(self, const void *start, Py_ssize_t item_size, const char *item_format)
    cdef int need(self, unsigned metadata, str name, str option) except -1
