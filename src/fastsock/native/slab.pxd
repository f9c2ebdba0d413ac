# SPDX-License-Identifier: MIT
from fastsock.native.interpreter cimport fastsock_add
from fastsock.libfastsock cimport fsk_batch, fsk_receiver


cdef class Lender:
    cdef fsk_receiver *receiver


cdef class Slab:
    cdef Lender lender       # None: the memory is its own
    cdef fsk_batch *filled
    cdef Py_ssize_t exports  # buffers handed out and not yet released, and calls that read
    cdef tuple sources       # of this fill, once asked for; else None
    cdef tuple hosts

cdef Slab make_slab(Py_ssize_t capacity, Py_ssize_t max_message)
cdef Slab lent_slab(Lender lender, fsk_batch *filled)
cdef tuple sources_of(Slab slab)
cdef tuple hosts_of(Slab slab)


cdef inline void pin(Slab slab) noexcept:
    """Keep slab from being filled again, until unpin()."""
    fastsock_add(&slab.exports, 1)


cdef inline void unpin(Slab slab) noexcept:
    fastsock_add(&slab.exports, -1)


cdef object view_of(Slab slab, const void *start, Py_ssize_t count, Py_ssize_t item_size,
                    const char *item_format)
