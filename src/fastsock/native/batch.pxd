# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastsock.libfastsock cimport fsk_batch
from fastsock.native.messages cimport Messages
from fastsock.native.slab cimport Slab


cdef class Batch(Messages):
    cdef readonly uint32_t capacity
    cdef readonly uint32_t max_message
    cdef list all_slabs

    cdef fsk_batch *begin(self, unsigned metadata) except NULL
    cdef int end(self) except -1
    cdef Slab free_slab(self)
