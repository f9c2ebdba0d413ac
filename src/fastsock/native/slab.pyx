# SPDX-License-Identifier: MIT
"""Slab: the memory of one fill of a batch, and the views of it.

A slab counts the buffers that it has handed out. While there are any it must not be filled again.
"""
cimport cython
from cpython.buffer cimport Py_buffer, PyBUF_FORMAT, PyBUF_WRITABLE
from libc.stdint cimport uint32_t

from fastsock.native.address cimport to_python
from fastsock.libfastsock cimport (
    fsk_address, fsk_batch_destination, fsk_batch_free, fsk_batch_new, fsk_batch_source,
    fsk_receiver_close, fsk_receiver_free, fsk_receiver_release,
)
from fastsock.native.state cimport random_key

cdef enum:
    LARGEST = 0x7fffffff


@cython.final
@cython.no_gc  # in no cycle; and a lender must not be cleared before what it has lent
cdef class Slab:
    # One arena with its columns, shared by a Batch and the views of it.

    def __dealloc__(self):
        if self.lender is None:
            fsk_batch_free(self.filled)
        else:
            fsk_receiver_release(self.lender.receiver, self.filled)


cdef Slab make_slab(Py_ssize_t capacity, Py_ssize_t max_message):
    cdef Slab slab = Slab()
    cdef int result
    for name, value in (("capacity", capacity), ("max_message", max_message)):
        if not 1 <= value <= LARGEST:
            raise ValueError(f"{name} must be 1 to {LARGEST}, not {value}")
    result = fsk_batch_new(&slab.filled, capacity, max_message, random_key())
    if result < 0:
        raise MemoryError(f"no memory for {capacity} messages of {max_message} bytes")
    return slab


@cython.final
cdef class Lender:
    # A receiver of the C library, which lives as long as anybody has memory of it.

    def __dealloc__(self):
        if self.receiver != NULL:  # it could be opened
            fsk_receiver_close(self.receiver)
            fsk_receiver_free(self.receiver)


cdef Slab lent_slab(Lender lender, fsk_batch *filled):
    """The memory of a batch that the lender's receiver has given; it goes back with the slab."""
    cdef Slab slab = Slab.__new__(Slab)
    slab.filled = filled
    slab.lender = lender
    return slab


cdef tuple sources_of(Slab slab):
    """The distinct senders, as Python has them, in the order of their numbers. slab is pinned."""
    cdef fsk_address address
    cdef uint32_t i
    with cython.critical_section(slab):
        if slab.sources is None:
            found = []
            for i in range(slab.filled.source_count):
                fsk_batch_source(slab.filled, i, &address)
                found.append(to_python(&address))
            slab.sources = tuple(found)
        return slab.sources


cdef tuple hosts_of(Slab slab):
    """The distinct local hosts that messages were sent to, as str. slab is pinned."""
    cdef fsk_address address
    cdef uint32_t i
    with cython.critical_section(slab):
        if slab.hosts is None:
            found = []
            for i in range(slab.filled.destination_count):
                fsk_batch_destination(slab.filled, i, &address)
                found.append(to_python(&address)[0])
            slab.hosts = tuple(found)
        return slab.hosts


@cython.final
@cython.freelist(64)
cdef class Region:
    # A part of a slab, which exports it: the owner of every memoryview.
    cdef Slab slab
    cdef void *start
    cdef Py_ssize_t count
    cdef Py_ssize_t item_size
    cdef char *item_format

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.slab is None:
            raise BufferError("only the columns and messages of a Batch have memory")
        if flags & PyBUF_WRITABLE:
            raise BufferError("received messages are read-only")
        pin(self.slab)
        view.obj = self
        view.buf = self.start
        view.len = self.count * self.item_size
        view.readonly = 1
        view.itemsize = self.item_size
        view.format = self.item_format if flags & PyBUF_FORMAT else NULL
        view.ndim = 1
        view.shape = &self.count
        view.strides = &self.item_size
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer *view):
        unpin(self.slab)


cdef object view_of(Slab slab, const void *start, Py_ssize_t count, Py_ssize_t item_size,
                    const char *item_format):
    cdef Region region = Region.__new__(Region)
    region.slab = slab
    region.start = <void *>start
    region.count = count
    region.item_size = item_size
    region.item_format = <char *>item_format
    return memoryview(region)
