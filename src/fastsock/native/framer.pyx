# SPDX-License-Identifier: MIT
"""Framer: frames out of bytes, whoever receives them."""
cimport cython
from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EMSGSIZE, ENOMEM
from libc.stdint cimport uint32_t, uint64_t

from fastsock.native.errors import FrameError, IncompleteFrameError

from fastsock.native.arguments cimport pin_data
from fastsock.native.framing cimport Framing
from fastsock.libfastsock cimport (
    FSK_FRAMING_DELIMITER, fsk_framer, fsk_framer_cut, fsk_framer_free, fsk_framer_left,
    fsk_framer_new, fsk_framer_offset, fsk_framing,
)

cdef enum:
    ROWS = 256  # frames one cut gives
    KEEP_GIL = 65536  # bytes that are copied at most without releasing the GIL
    # Bytes of memory that are kept. What is fed is cut where it lies; only what is unfinished is
    # stored, so nothing is read ahead.
    READAHEAD = 4096


@cython.final
cdef class Framer:
    """Cuts a stream of bytes, fed in pieces of any size, into frames. Does no input or output.

    Parameters
    ----------
    framing : LengthPrefix, Delimiter or FixedSize
    max_frame : int, bytes, optional
        A longer frame is an error: before memory is allocated for it where a header tells the
        length, and once so much is held where a delimiter ends it.

    Notes
    -----
    What is held is one unfinished frame. For a socket take a FrameReader: it receives into the
    right place and copies less.

    One thread at a time: a second one gets RuntimeError.
    """

    cdef fsk_framer *framer
    cdef fsk_framing rules
    cdef ssize_t failure  # what ended the stream, -errno, or 0
    cdef bint is_busy  # a call is under way

    def __cinit__(self, Framing framing not None, *, max_frame=1 << 20):
        cdef int result
        framing.limited(max_frame, &self.rules)
        result = fsk_framer_new(&self.framer, &self.rules, READAHEAD)
        if result == -ENOMEM:
            raise MemoryError("no memory for a Framer")
        if result < 0:
            raise ValueError(f"{framing!r} contradicts itself")

    def __dealloc__(self):
        fsk_framer_free(self.framer)

    def feed(self, data, /):
        """Take the next bytes of the stream and return the frames that they complete.

        Parameters
        ----------
        data : bytes-like
            May be released or changed afterwards.

        Returns
        -------
        list of bytes
            In order; empty when no frame is complete yet.

        Raises
        ------
        FrameError
            The stream has no frame where one should begin. Frames before that place are returned
            first and the error is raised by the next call; from then on every call raises it.
        RuntimeError
            Another thread is in a call of this framer.
        """
        cdef Py_buffer view
        cdef list frames = []
        pin_data(data, &view)
        try:
            self.begin()
            try:
                self.check()
                self.cut(<const unsigned char *>view.buf, view.len, frames)
            finally:
                self.leave()
        finally:
            PyBuffer_Release(&view)
        return frames

    cdef int begin(self) except -1:
        """Keep other threads out until leave() is called."""
        with cython.critical_section(self):
            if self.is_busy:
                raise RuntimeError("another thread is in a call of this framer; give each stream "
                                   "one thread, or a lock")
            self.is_busy = True
        return 0

    cdef int leave(self) except -1:
        with cython.critical_section(self):
            self.is_busy = False
        return 0

    cdef int check(self) except -1:
        """Raise what ended the stream, as a new exception: one object would gather tracebacks."""
        if self.failure == 0:
            return 0
        if self.failure == -ENOMEM:
            raise MemoryError("there was no memory for a frame, which is lost; begin a new stream "
                              "with a new Framer")
        raise frame_error(&self.rules, self.failure, fsk_framer_offset(self.framer))

    cdef int cut(self, const unsigned char *data, size_t end, list frames) except -1:
        cdef uint64_t offsets[ROWS]
        cdef uint32_t lengths[ROWS]
        cdef const unsigned char *base
        cdef size_t start = 0
        cdef ssize_t count = 1
        cdef ssize_t i
        self.failure = -ENOMEM  # unless the end is reached: frames before an exception are gone
        while count > 0:
            if end - start > KEEP_GIL:
                with nogil:
                    count = fsk_framer_cut(self.framer, data, &start, end, &base, offsets, lengths,
                                           ROWS)
            else:
                count = fsk_framer_cut(self.framer, data, &start, end, &base, offsets, lengths,
                                       ROWS)
            for i in range(count):
                frames.append(PyBytes_FromStringAndSize(<const char *>base + offsets[i],
                                                        lengths[i]))
        self.failure = count
        if count < 0 and (count == -ENOMEM or not frames):
            self.check()
        return 0

    @property
    def unfinished(self):
        """Bytes held of the frame that has begun, its header included; 0 between two frames."""
        cdef const unsigned char *data
        cdef size_t size
        cdef uint64_t missing
        self.begin()
        fsk_framer_left(self.framer, &data, &size, &missing)
        self.leave()
        return size

    def end(self):
        """Tell that the stream has ended.

        Raises
        ------
        IncompleteFrameError
            It ended inside a frame.
        FrameError
            The error that the next ``feed`` would have raised.
        """
        cdef const unsigned char *data
        cdef size_t size
        cdef uint64_t missing
        self.begin()
        try:
            self.check()
            fsk_framer_left(self.framer, &data, &size, &missing)
            if size > 0:
                raise_incomplete("a frame", PyBytes_FromStringAndSize(<const char *>data, size),
                                 missing, self.rules.kind != FSK_FRAMING_DELIMITER)
        finally:
            self.leave()


cdef object frame_error(const fsk_framing *rules, ssize_t code, uint64_t offset):
    """The FrameError of a cut that failed at offset."""
    if code == -EMSGSIZE:
        text = (f"the frame at offset {offset} of the stream is longer than max_frame, "
                f"{rules.max_frame}; raise that if the peer may send such frames")
    else:
        text = (f"no length of a frame stands at offset {offset} of the stream; do both sides have "
                "the same framing?")
    return FrameError(-code, text, offset)


cdef int raise_incomplete(str what, bytes partial, uint64_t missing, bint is_exact) except -1:
    """Raise the IncompleteFrameError of an end inside what; not is_exact: missing at least."""
    verb = "is" if missing == 1 else "are"
    lack = f"{missing} more {verb} missing" if is_exact else "its delimiter is missing"
    came = "1 byte" if len(partial) == 1 else f"{len(partial)} bytes"
    raise IncompleteFrameError(f"the stream ended inside {what}: {came} of it came, and {lack}",
                               partial, missing)
