# SPDX-License-Identifier: MIT
"""ServerBatch: what one call of a stream server gives."""
cimport cython
from cpython.tuple cimport PyTuple_GET_ITEM

from fastsock.native.slab cimport Slab, unpin, view_of


@cython.final
@cython.no_gc_clear  # or a slab would stay pinned
cdef class ServerBatch:
    """What has happened at a `StreamServer` since the batch before.

    ``for connection, frame in batch`` gives the frames, in each connection's order, as read-only
    memoryviews. A view keeps its memory, which the server then lacks: copy what is kept for long.

    Attributes
    ----------
    opened : list of Connection
        Accepted; frames of theirs may be in this batch.
    closed : list of (Connection, CloseReason)
        Ended; their last frames are in this batch or were in an earlier one.
    connections : tuple of Connection
        Whose frame each row is.
    data : memoryview of uint8
        The memory the frames are in; offsets and lengths (memoryviews of uint64 and uint32) say
        where. NumPy takes them without a copy.
    """
    def __dealloc__(self):
        if self.slab is not None:
            unpin(self.slab)

    cdef Slab filled(self):
        if self.slab is None:
            raise TypeError("a ServerBatch comes from a StreamServer")
        return self.slab

    @property
    def data(self):
        cdef Slab slab = self.filled()
        return view_of(slab, slab.filled.arena, slab.filled.used, 1, b"B")

    @property
    def offsets(self):
        cdef Slab slab = self.filled()
        return view_of(slab, slab.filled.offsets, slab.filled.count, 8, b"Q")

    @property
    def lengths(self):
        cdef Slab slab = self.filled()
        return view_of(slab, slab.filled.lengths, slab.filled.count, 4, b"I")

    cdef tuple row(self, Py_ssize_t index):
        cdef Slab slab = self.slab
        frame = view_of(slab, slab.filled.arena + slab.filled.offsets[index],
                        slab.filled.lengths[index], 1, b"B")
        return <object>PyTuple_GET_ITEM(self.connections, index), frame

    def __len__(self):
        return self.filled().filled.count

    def __getitem__(self, Py_ssize_t index):
        cdef Py_ssize_t count = self.filled().filled.count
        if index < 0:
            index += count
        if not 0 <= index < count:
            raise IndexError("batch index out of range")
        return self.row(index)

    def __iter__(self):
        self.filled()
        return RowIterator.__new__(RowIterator, self)

    def __repr__(self):
        return (f"<fastsock.ServerBatch of {len(self)} frames, {len(self.opened)} opened, "
                f"{len(self.closed)} closed>")


@cython.final
cdef class RowIterator:
    cdef ServerBatch batch
    cdef Py_ssize_t next_row

    def __cinit__(self, ServerBatch batch not None):
        self.batch = batch

    def __iter__(self):
        return self

    def __next__(self):
        cdef Py_ssize_t row
        with cython.critical_section(self):
            row = self.next_row  # here, as other threads may share this iterator
            if row >= <Py_ssize_t>self.batch.slab.filled.count:
                raise StopIteration
            self.next_row = row + 1
        return self.batch.row(row)
