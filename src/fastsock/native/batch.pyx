# SPDX-License-Identifier: MIT
"""Batch: reusable memory for many messages.

Facts
    A view (memoryview, NumPy array) may live as long as its owner likes. An error when memory with
    live views is to be filled again would break the plainest loop: the name of the last view is
    still bound when the next receive comes.
What follows
    A slab with live views is left to them, and the receive takes another one, which is kept for the
    next time.
"""
cimport cython
from cpython.number cimport PyNumber_AsSsize_t

from fastsock.native.interpreter cimport fastsock_count
from fastsock.libfastsock cimport fsk_batch, fsk_batch_clear, fsk_batch_size
from fastsock.native.messages cimport Messages
from fastsock.native.slab cimport Slab, make_slab

cdef enum:
    FREE_SLABS = 2  # without views that are kept: a loop that holds its last view uses two in turn


@cython.final
cdef class Batch(Messages):
    """Reusable memory for many received messages, filled by ``recv_batch``.

    ``for m in batch`` gives a `Message` for each; the columns give all rows at once, as read-only
    memoryviews of length ``len(batch)``, which NumPy takes without a copy.

    Parameters
    ----------
    capacity : int, messages, optional
    max_message : int, bytes, optional
        What is longer is cut, and flagged.

    Attributes
    ----------
    offsets : memoryview of uint64
        Where each message begins in ``data``, bytes.
    lengths, wire_lengths : memoryview of uint32
        Bytes stored, and bytes the message really had.
    flags : memoryview of uint32
        Bits: ``Batch.TRUNCATED``, ``Batch.CONTROL_TRUNCATED`` and ``Batch.COALESCED`` (it came in a
        train of datagrams, by UDP_GRO).
    source : memoryview of uint32
        Index into ``sources``; ``Batch.NO_ADDRESS`` for a sender without a name.
    timestamps_ns, destination, interface, hop_limit, tos : memoryview
        After ``sock.set_metadata(...)``: int64 nanoseconds since 1970, uint32 index into
        ``destinations``, uint32 interface index (``socket.if_indextoname``), uint8, uint8.

    Notes
    -----
    Memory: capacity x (max_message + 64) bytes a slab (``nbytes`` says), mapped and zero-filled, no
    allocation while receiving. A view stays valid, and its bytes unchanged, as long as it lives:
    then the next receive fills another slab. ``slabs`` counts them, normally 1 or 2.

    One thread at a time: a second one gets RuntimeError.
    """

    def __cinit__(self, capacity=1024, max_message=2048):
        self.slab = make_slab(PyNumber_AsSsize_t(capacity, ValueError),
                              PyNumber_AsSsize_t(max_message, ValueError))
        self.capacity = self.slab.filled.capacity
        self.max_message = self.slab.filled.max_message
        self.all_slabs = [self.slab]

    cdef fsk_batch *begin(self, unsigned metadata) except NULL:
        """Begin a receive: an empty slab without views. end() is to follow."""
        cdef Slab slab
        with cython.critical_section(self):
            self.check(self.fill)
            if fastsock_count(&self.slab.exports) != 0 or len(self.all_slabs) > FREE_SLABS:
                self.slab = self.free_slab()
            slab = self.slab
            self.is_receiving = True
            self.fill += 1
            slab.sources = slab.hosts = None
        fsk_batch_clear(slab.filled)
        slab.filled.metadata = metadata
        return slab.filled

    cdef int end(self) except -1:
        with cython.critical_section(self):
            self.is_receiving = False
        return 0

    cdef Slab free_slab(self):
        """A slab without views; of more than a few such the rest is let go."""
        cdef Slab slab, found = None
        cdef int free = 0
        cdef list kept = []
        for slab in self.all_slabs:
            if fastsock_count(&slab.exports) == 0:
                free += 1
                if free > FREE_SLABS:
                    continue
                found = slab
            kept.append(slab)
        if found is None:
            found = make_slab(self.capacity, self.max_message)
            kept.append(found)
        self.all_slabs = kept
        return found

    @property
    def slabs(self):
        """Slabs of memory in use: one, and one for each whose views outlived a later receive."""
        with cython.critical_section(self):
            return len(self.all_slabs)

    @property
    def nbytes(self):
        """Bytes of memory that all slabs together may occupy."""
        cdef Slab slab
        cdef size_t total = 0
        with cython.critical_section(self):
            for slab in self.all_slabs:
                total += fsk_batch_size(slab.filled)
        return total

    def __repr__(self):
        return (f"<fastsock.Batch of {len(self)} messages, capacity {self.capacity}, "
                f"max_message {self.max_message}>")
