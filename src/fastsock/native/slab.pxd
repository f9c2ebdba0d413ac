# SPDX-License-Identifier: MIT
from fastsock.native.libfastsock cimport fsk_batch


cdef class Slab:
    cdef fsk_batch *filled
    cdef Py_ssize_t exports  # buffers handed out and not yet released

cdef Slab make_slab(Py_ssize_t capacity, Py_ssize_t max_message)
cdef list addresses_of(const fsk_batch *filled)
cdef object view_of(Slab slab, const void *start, Py_ssize_t count, Py_ssize_t item_size,
                    const char *item_format)
