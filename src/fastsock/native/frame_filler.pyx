# SPDX-License-Identifier: MIT
"""How a batch is filled with the frames of a stream.

Facts
    A batch's arena can hold the stream itself: rows tell where in it the frames are.
    What is received there beyond the rows, or of a frame that is unfinished when the call fails,
    has to be copied to the source.
    The kernel copies with "rep movsb". On some CPUs, AMD's Zen among them, that is five times
    slower where the destination's offset in its page is up to 15 bytes beyond the source's
    (measured: 3 GB/s, not 17), as behind the few bytes of an unfinished frame it often is.
What follows
    A call reads no more than its rows took the last time. An unfinished frame that made a call fail
    is collected by the source and copied once, when it is whole.
"""
cimport cython

from libc.errno cimport ENOBUFS
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastsock.native.batch cimport Batch
from fastsock.native.frame_source cimport FrameSource
from fastsock.libfastsock cimport (
    FSK_FRAME_HEADER_MAX, FSK_FRAMING_DELIMITER, FSK_FRAMING_FIXED, fsk_batch, fsk_framer_left,
    fsk_framer_next, fsk_framer_take, fsk_framing_cut,
)
from fastsock.native.stream cimport StreamCall, begin_receive

cdef enum:
    ROWS = 4096  # of a reader's own batch: what one system call brings of small frames
    LEAST_READ = 4096  # bytes


@cython.final
cdef class FrameFiller:
    # Of one FrameReader, and of one thread at a time.

    def __cinit__(self, FrameSource source not None):
        self.source = source
        self.most = source.readahead

    cdef Batch make_batch(self):
        """A batch that holds the longest frame there may be; most of its memory stays untouched."""
        cdef size_t arena = max(<size_t>self.source.rules.max_frame, self.source.readahead)
        return Batch(ROWS, (arena + overhead(self.source)) // ROWS + 1)

    cdef Py_ssize_t fill(self, Batch batch, int64_t timeout_ns) except -1:
        """Empty the batch and fill it: its rows, 0 at the end of the stream."""
        cdef fsk_batch *filled
        self.source.put_back()
        filled = batch.begin(0)
        try:
            return self.fill_rows(filled, timeout_ns)
        finally:
            batch.end()

    cdef Py_ssize_t fill_rows(self, fsk_batch *filled, int64_t timeout_ns) except -1:
        """Rows filled; 0 at the end of the stream."""
        cdef StreamCall call
        cdef FrameSource source = self.source
        cdef const unsigned char *data
        cdef size_t size
        cdef uint64_t missing, offset
        cdef uint32_t length
        cdef Py_ssize_t rows
        cdef bint has_begun = False
        while True:
            fsk_framer_left(source.framer, &data, &size, &missing)
            rows = self.copy_rows(filled, data, size)
            if rows != 0:
                return rows
            if not has_begun:
                begin_receive(&call, source.sock, timeout_ns)
                has_begun = True
            if not self.is_slow:
                rows = self.receive_rows(filled, &call, data, size)
                if rows >= 0:
                    return rows
            # No frame is whole: for the framer to know what this one lacks.
            fsk_framer_next(source.framer, &offset, &length, 1)
            if source.receive(&call) == 0:
                source.end(0)
                return 0

    cdef Py_ssize_t cut_rows(self, fsk_batch *filled, const unsigned char *data, size_t size,
                             uint32_t most, size_t *taken) except -1:
        """Cut data, which begins at the source's position: up to most rows, of taken bytes."""
        cdef ssize_t rows
        cdef uint64_t position = self.source.position()
        if self.cut.offset != position or self.cut.searched > size:
            memset(&self.cut, 0, sizeof(self.cut))
            self.cut.offset = position
        rows = fsk_framing_cut(&self.source.rules, &self.cut, data, taken, size, filled.offsets,
                               filled.lengths, most)
        if rows < 0:
            self.source.fail(rows)
        return rows

    cdef int set_rows(self, fsk_batch *filled, Py_ssize_t rows) except -1:
        """Fill the other columns of rows that were cut."""
        memcpy(filled.wire_lengths, filled.lengths, rows * sizeof(uint32_t))
        memset(filled.flags, 0, rows * sizeof(uint32_t))
        memset(filled.source, 0xff, rows * sizeof(uint32_t))  # FSK_NO_ADDRESS
        filled.count = rows
        filled.used = filled.offsets[rows - 1] + filled.lengths[rows - 1]
        self.is_slow = False
        return 0

    cdef Py_ssize_t copy_rows(self, fsk_batch *filled, const unsigned char *data,
                              size_t size) except -1:
        """Give the whole frames that the source holds, as many as fit."""
        cdef size_t taken, first
        cdef size_t arena = arena_of(filled)
        cdef Py_ssize_t rows
        if size == 0:
            return 0
        taken = 0
        rows = self.cut_rows(filled, data, min(size, arena), filled.capacity, &taken)
        if rows == 0 and size > arena:
            # A frame that fits may not fit together with its header.
            taken = 0
            rows = self.cut_rows(filled, data, size, 1, &taken)
            if rows == 1 and filled.lengths[0] > arena:
                self.cut.offset = self.source.position() - 1  # of nothing: it is not taken
                raise_too_long(filled)
        if rows == 0:
            self.check_fits(filled, size)
            return 0
        if taken > arena:
            first = filled.offsets[0]
            filled.offsets[0] = 0
            memcpy(filled.arena, data + first, filled.lengths[0])
        else:
            memcpy(filled.arena, data, taken)
        fsk_framer_take(self.source.framer, NULL, taken)
        self.set_rows(filled, rows)
        return rows

    cdef int check_fits(self, fsk_batch *filled, size_t size) except -1:
        """Of an unfinished frame of which size bytes were cut and found to lack more."""
        cdef size_t arena = arena_of(filled)
        cdef uint64_t whole = size + self.cut.missing
        cdef size_t around = overhead(self.source)
        if whole > arena:
            if whole > arena + around:
                raise_too_long(filled)
            self.is_slow = True  # it may fit when its header is off
        return 0

    cdef Py_ssize_t receive_rows(self, fsk_batch *filled, StreamCall *call,
                                 const unsigned char *begun, size_t size) except -2:
        """Receive into the arena, behind what is held of the unfinished frame.

        Returns the rows, 0 at the end, or -1 when the source has to collect the frame.
        """
        cdef FrameSource source = self.source
        cdef size_t arena = arena_of(filled)
        cdef size_t have = size
        cdef size_t missing = 1
        cdef size_t received, taken, want
        cdef size_t gap = 0
        cdef Py_ssize_t rows
        cdef bint is_taken = False
        if size > 0:
            if size + LEAST_READ < arena:
                # Receive at a multiple of 64, and always as much: the distance of the offsets then
                # is a multiple of 64 too, if the sender's pieces are.
                gap = (64 - size % 64) % 64
                arena -= gap
            memcpy(filled.arena + gap, begun, size)
            missing = self.cut.missing
        try:
            while True:
                want = max(self.most, missing)
                received = source.receive_into(call, filled.arena + gap + have,
                                               min(want, arena - have))
                have += received
                if received == 0:
                    break
                taken = gap
                rows = self.cut_rows(filled, filled.arena, gap + have, filled.capacity, &taken)
                taken -= gap
                if rows > 0:
                    is_taken = True
                    break
                self.check_fits(filled, have)
                if self.is_slow:
                    return -1
                missing = self.cut.missing
        finally:
            if not is_taken:
                # The framer has the bytes before these.
                source.keep(filled.arena + gap + size, have - size)
                self.is_slow = self.is_slow or have > LEAST_READ
        if not is_taken:
            source.end(0)
            return 0
        fsk_framer_take(source.framer, NULL, size)
        source.beside += taken - size
        try:
            source.keep(filled.arena + gap + taken, have - taken)
        except MemoryError:
            pass  # the rows are whole; the next call tells
        self.adapt(taken, <uint32_t>rows == filled.capacity and have > taken)
        self.set_rows(filled, rows)
        return rows

    cdef void adapt(self, size_t taken, bint is_full) noexcept:
        """Read so much the next time as filled the rows, or more when they were not full."""
        if is_full:
            self.most = max(taken, min(self.source.readahead, <size_t>LEAST_READ))
        else:
            self.most = min(2 * self.most, self.source.readahead)


cdef size_t arena_of(const fsk_batch *filled) noexcept:
    return <size_t>filled.capacity * filled.max_message


cdef size_t overhead(FrameSource source) noexcept:
    """The most bytes that the stream has of a frame beside the frame itself."""
    if source.rules.kind == FSK_FRAMING_DELIMITER:
        return source.rules.delimiter_size
    return 0 if source.rules.kind == FSK_FRAMING_FIXED else FSK_FRAME_HEADER_MAX


cdef int raise_too_long(const fsk_batch *filled) except -1:
    raise OSError(ENOBUFS, f"a frame is longer than the batch, which has {arena_of(filled)} "
                  "bytes: receive into one with more capacity x max_message, "
                  "or by recv_many")
