# SPDX-License-Identifier: MIT
"""Delivery: the messages of a batch, handed one by one to a function that may say stop.

What an event loop's protocol gets. Bytes and address are made when their turn has come, so what is
never handed over costs nothing.
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t

from fastsock.native.batch cimport Batch
from fastsock.libfastsock cimport FSK_NO_ADDRESS, fsk_batch
from fastsock.native.slab cimport Slab, sources_of, unpin
from fastsock.native.waiting cimport now_ns


cdef enum:
    QUICK_NS = 100000  # of the messages between two looks at the clock


@cython.final
cdef class Delivery:
    """Hands over what the last receive has brought into a batch. One thread at a time.

    Parameters
    ----------
    batch : Batch
        Received into only by the owner of this object, and only while ``left()`` is 0.
    """
    cdef Batch batch
    cdef uint32_t row  # the next one
    cdef bint is_stopped
    cdef bint is_running

    def __cinit__(self, Batch batch not None):
        self.batch = batch
        self.row = 0

    def begin(self):
        """Start again with the first message: the batch has received."""
        self.row = 0

    def skip(self):
        """Take all messages as handed over."""
        self.row = len(self.batch)

    def is_whole(self):
        """Return whether none of the messages has been handed over."""
        return self.row == 0

    def left(self):
        """Return how many messages have not been handed over."""
        return max(0, <Py_ssize_t>len(self.batch) - self.row)

    def stop(self):
        """Let a `run` that goes on, in the function it calls, hand over nothing more."""
        self.is_stopped = True

    def run(self, function, int64_t deadline_ns, /):
        """Call function(data, address) for each message that is left, in order.

        Ends when none is left, after ``stop()``, or at the deadline by ``time.monotonic_ns()``, but
        hands over one at least, and up to 8 that were quick before it looks at the clock. What
        function raises is raised here, and its message counts as handed over.
        """
        cdef Slab slab
        with cython.critical_section(self):
            if self.is_running:
                raise RuntimeError("messages are being delivered by another call")
            self.is_running = True
            self.is_stopped = False
        try:
            slab = self.batch.pinned(NULL)
            try:
                self.hand_over(slab, function, deadline_ns)
            finally:
                unpin(slab)
        finally:
            self.is_running = False

    cdef int hand_over(self, Slab slab, object function, int64_t deadline_ns) except -1:
        cdef const fsk_batch *filled = slab.filled
        cdef tuple sources = sources_of(slab)
        cdef uint32_t row = self.row
        cdef object address
        cdef int64_t now, before = 0
        cdef int unwatched = 1  # messages until the next look at the clock
        while row < filled.count and not self.is_stopped:
            self.row = row + 1
            address = None
            if filled.source[row] != FSK_NO_ADDRESS:
                address = sources[filled.source[row]]
            function(PyBytes_FromStringAndSize(<const char *>filled.arena + filled.offsets[row],
                                               filled.lengths[row]), address)
            unwatched -= 1
            if unwatched == 0:
                now = now_ns()
                if now >= deadline_ns:
                    break
                unwatched = 8 if now - before < QUICK_NS else 1
                before = now
            row = self.row
        return 0
