# SPDX-License-Identifier: MIT
"""A socket, and what has been received from it and not been given: where a FrameReader's bytes are.

Facts
    Bytes that a call has received are gone from the kernel: a timeout or a signal's exception
    must leave them where the next call looks.
    A copy of a large frame costs as much as its receiving.
What follows
    Bytes go into a framer. Only what is large and of known length is received in place, into the
    bytes object that is returned; unfinished it is kept here, and put back into the framer by a
    call that wants it otherwise.
"""
cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EIO, ENOMEM
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastsock.native.framer cimport frame_error, raise_incomplete
from fastsock.native.framing cimport Framing
from fastsock.libfastsock cimport (
    FSK_FRAMING_DELIMITER, fsk_framer_back, fsk_framer_begun, fsk_framer_data, fsk_framer_feed,
    fsk_framer_free, fsk_framer_leave, fsk_framer_left, fsk_framer_new, fsk_framer_next,
    fsk_framer_offset, fsk_framer_put, fsk_framer_room, fsk_framer_take,
)
from fastsock.native.stream cimport begin_receive, check_stream, receive_some
from fastsock.native.waiting cimport OWN_TIMEOUT

cdef enum:
    ROWS = 256  # frames that are cut at a time
    IN_PLACE = 65536  # bytes that a frame lacks from which on it is received in place


@cython.final
cdef class FrameSource:
    # One thread at a time: its FrameReader sees to that.

    def __cinit__(self, sock, Framing framing not None, max_frame, size_t readahead):
        check_stream(sock, "FrameReader")
        framing.limited(max_frame, &self.rules)
        self.sock = sock
        self.readahead = readahead
        if fsk_framer_new(&self.framer, &self.rules, readahead) < 0:
            raise MemoryError

    def __dealloc__(self):
        fsk_framer_free(self.framer)

    cdef uint64_t position(self) noexcept:
        """Bytes of the stream before the frame that comes next out of the framer."""
        return fsk_framer_offset(self.framer) + self.beside

    cdef size_t held(self) noexcept:
        cdef const unsigned char *data
        cdef size_t size
        cdef uint64_t missing
        fsk_framer_left(self.framer, &data, &size, &missing)
        if self.whole is not None:
            size += self.header_size + self.filled
        return size

    cdef int put(self, const void *data, size_t size) except -1:
        if fsk_framer_feed(self.framer, data, size) < 0:
            raise MemoryError
        return 0

    cdef int keep(self, const void *data, size_t size) except -1:
        """put, of bytes that are lost if there is no memory: then the stream ends before them."""
        if fsk_framer_feed(self.framer, data, size) < 0:
            self.loss = ENOMEM
            self.check()
        return 0

    cdef int check(self) except -1:
        """Raise if bytes are lost: what comes next would be taken for them."""
        if self.loss == 0:
            return 0
        if self.loss == ENOMEM:
            raise MemoryError("there was no memory for bytes that had been received, which are "
                              "lost: close the connection")
        raise OSError(self.loss, "a signal handler has raised while TLS was giving bytes, which "
                      "are lost: close the connection")

    cdef size_t receive_into(self, StreamCall *call, void *where, size_t room) except? -1:
        self.check()
        try:
            return receive_some(self.sock, call, where, room)
        except BaseException:
            if call.is_lost:
                self.loss = EIO
            raise

    cdef size_t receive(self, StreamCall *call) except? -1:
        """Receive into the framer, from which all whole frames have been cut; 0: the end."""
        cdef unsigned char *where
        cdef size_t room, received
        if fsk_framer_room(self.framer, &where, &room) < 0:
            raise MemoryError
        received = self.receive_into(call, where, room)
        fsk_framer_put(self.framer, received)
        return received

    cdef bytes cut_one(self):
        """A whole frame that is there, or None."""
        cdef uint64_t offset
        cdef uint32_t length
        cdef ssize_t count
        cdef uint64_t before
        if self.whole is not None:
            return None
        before = self.position()
        count = fsk_framer_next(self.framer, &offset, &length, 1)
        if count < 0:
            self.fail(count)
        if count == 0:
            return None
        try:
            return PyBytes_FromStringAndSize(
                <const char *>fsk_framer_data(self.framer) + offset, length)
        except BaseException:
            fsk_framer_back(self.framer, self.position() - before)
            raise

    cdef list cut_many(self, Py_ssize_t most):
        """The whole frames that are there, up to most; fewer if there is no memory for more."""
        cdef uint64_t offsets[ROWS]
        cdef uint32_t lengths[ROWS]
        cdef const char *data
        cdef uint64_t before
        cdef ssize_t i, count = ROWS
        cdef list frames = []
        while count == ROWS and most > 0:
            before = self.position()
            count = fsk_framer_next(self.framer, offsets, lengths, min(most, <Py_ssize_t>ROWS))
            if count < 0:
                if frames:
                    break  # the next call meets it
                self.fail(count)
            data = <const char *>fsk_framer_data(self.framer)
            i = 0
            try:
                while i < count:
                    frames.append(PyBytes_FromStringAndSize(data + offsets[i], lengths[i]))
                    i += 1
            except BaseException:
                # From the end of the frame before it; what follows each frame is as long.
                fsk_framer_back(self.framer, self.position() - before if i == 0 else
                                offsets[count - 1] + lengths[count - 1]
                                - offsets[i - 1] - lengths[i - 1])
                if frames:
                    break
                raise
            most -= count
        return frames

    cdef list frames(self, Py_ssize_t most):
        """Up to most frames, at least one; none at the end of the stream."""
        cdef StreamCall call
        cdef list frames
        cdef bint has_begun = False
        if self.is_raw:
            self.put_back()
        while True:
            if self.whole is None:
                frames = self.cut_many(most)
                if frames:
                    return frames
                self.begin_whole()
            if not has_begun:
                begin_receive(&call, self.sock, OWN_TIMEOUT)
                has_begun = True
            if self.whole is not None:
                frames = [None]  # made before: without memory the frame would be lost
                frames[0] = self.receive_whole(&call)
                return frames if frames[0] is not None else []
            if self.receive(&call) == 0:
                self.end(0)
                return frames

    cdef int begin_whole(self) except -1:
        """Receive the rest of the unfinished frame in place, if that is worth while."""
        cdef const unsigned char *data
        cdef size_t size, header
        cdef uint64_t missing, length
        fsk_framer_left(self.framer, &data, &size, &missing)
        if missing < IN_PLACE or not fsk_framer_begun(self.framer, &header, &length):
            return 0
        # max_frame bounds the length.
        whole = PyBytes_FromStringAndSize(NULL, length)
        if size > 0:  # of a frame without header nothing may be there, and data NULL
            memcpy(self.header, data, header)
            memcpy(PyBytes_AS_STRING(whole), data + header, size - header)
        fsk_framer_leave(self.framer)
        self.beside -= header + length  # until it is whole
        self.whole, self.whole_size = whole, length
        self.filled, self.header_size = size - header, header
        return 0

    cdef bytes receive_whole(self, StreamCall *call):
        """What is received in place, or None at the end of the stream, just before it."""
        cdef size_t received
        while self.filled < self.whole_size:
            received = self.receive_into(call, PyBytes_AS_STRING(self.whole) + self.filled,
                                         self.whole_size - self.filled)
            if received == 0:
                self.end(0)
                return None
            self.filled += received
        whole = self.whole
        self.beside += self.header_size + self.whole_size
        self.forget_whole()
        return whole

    cdef int forget_whole(self) noexcept:
        self.whole = None
        self.is_raw = False
        self.filled = self.whole_size = self.header_size = 0

    cdef int put_back(self) except -1:
        """Have what was received in place in the framer, which is empty meanwhile."""
        if self.whole is None:
            return 0
        if self.header_size + self.filled > 0:
            if self.header_size > 0:
                self.put(self.header, self.header_size)
            try:
                self.put(PyBytes_AS_STRING(self.whole), self.filled)
            except MemoryError:
                fsk_framer_take(self.framer, NULL, self.header_size)
                self.beside -= self.header_size
                raise
        self.forget_whole()
        return 0

    cdef bytes raw(self, Py_ssize_t size):
        """So many bytes, of whatever frames."""
        cdef StreamCall call
        cdef size_t held
        if self.whole is not None and not (self.is_raw and self.whole_size == <size_t>size):
            self.put_back()
        begin_receive(&call, self.sock, OWN_TIMEOUT)
        while self.whole is None:
            held = self.held()
            if held >= <size_t>size:
                break
            if size - held >= IN_PLACE:
                self.whole = PyBytes_FromStringAndSize(NULL, size)
                self.whole_size = size
                self.is_raw = True
                self.filled = fsk_framer_take(self.framer, PyBytes_AS_STRING(self.whole), held)
                self.beside -= held  # until it is whole
            elif self.receive(&call) == 0:
                self.end(size - held)
        if self.whole is not None:
            return self.receive_whole(&call)
        data = PyBytes_FromStringAndSize(NULL, size)
        fsk_framer_take(self.framer, PyBytes_AS_STRING(data), size)
        return data

    cdef int fail(self, ssize_t result) except -1:
        """Raise what the framing has found."""
        raise frame_error(&self.rules, result, self.position())

    cdef int end(self, uint64_t missing) except -1:
        """The end of the stream: raise if it is inside a frame. missing: of what is no frame."""
        cdef const unsigned char *data
        cdef size_t size
        cdef uint64_t lacked, offset
        cdef uint32_t length
        cdef bint is_exact = True
        if missing == 0:
            fsk_framer_next(self.framer, &offset, &length, 1)  # there is none: what does it lack?
        fsk_framer_left(self.framer, &data, &size, &lacked)
        if self.whole is not None and (self.is_raw or self.header_size + self.filled > 0):
            partial = self.header[:self.header_size] + self.whole[:self.filled]
            lacked = self.whole_size - self.filled
        elif size > 0 or missing > 0:
            partial = PyBytes_FromStringAndSize(<const char *>data, size)
            if missing > 0:
                lacked = missing
            elif self.rules.kind == FSK_FRAMING_DELIMITER:
                is_exact = False
        else:
            return 0
        what = "the bytes asked for" if missing > 0 or self.is_raw else "a frame"
        raise_incomplete(what, partial, lacked, is_exact)
