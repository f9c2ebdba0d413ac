# SPDX-License-Identifier: MIT
"""FrameWriter: frames onto one stream.

Facts
    A system call costs more than copying a small frame. A frame of which a part went must be
    followed by its rest, or the stream is worth nothing any more.
What follows
    Small frames are gathered in a buffer and leave together; a large one leaves from where it is,
    with its header behind what was gathered. What is left of a frame when a call fails is copied to
    the buffer and goes first the next time.
"""
cimport cython

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_RawFree, PyMem_RawMalloc
from libc.errno cimport EPIPE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from fastsock.native.arguments cimport pin_data
from fastsock.native.framing cimport Framing, check_frame
from fastsock.libfastsock cimport (
    FSK_FRAME_HEADER_MAX, FSK_FRAMING_DELIMITER, fsk_framing, fsk_framing_encode,
    fsk_framing_encoded_size, fsk_framing_header, iovec,
)
from fastsock.native.stream cimport RECORD, StreamCall, begin_send, check_stream, send_some

cdef enum:
    GATHERED = 262144  # bytes of the buffer
    LARGE = 65536  # bytes of a frame that is not copied, and of a buffer that the GIL is kept for


cdef struct Payload:
    const void *data
    size_t length


@cython.final
cdef class Payloads:
    """The frames of one call, pinned until this object dies."""
    cdef tuple frames
    cdef Payload *described
    cdef Py_buffer *views  # of those that are no bytes
    cdef Py_ssize_t view_count

    def __cinit__(self, tuple frames not None):
        cdef Py_ssize_t count = len(frames)
        self.frames = frames
        self.described = <Payload *>PyMem_Calloc(count, sizeof(Payload))
        if self.described == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.view_count):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.views)
        PyMem_Free(self.described)

    cdef int pin(self, const fsk_framing *rules) except -1:
        """Describe and check all."""
        cdef Py_buffer *view
        cdef Py_ssize_t place = 0
        for frame in self.frames:
            if PyBytes_CheckExact(frame):
                self.described[place].data = PyBytes_AS_STRING(frame)
                self.described[place].length = PyBytes_GET_SIZE(frame)
            else:
                if self.views == NULL:
                    self.views = <Py_buffer *>PyMem_Calloc(len(self.frames), sizeof(Py_buffer))
                    if self.views == NULL:
                        raise MemoryError
                view = &self.views[self.view_count]
                pin_data(frame, view)
                self.view_count += 1
                self.described[place].data = view.buf
                self.described[place].length = view.len
            check_frame(rules, self.described[place].data, self.described[place].length)
            place += 1
        return 0


# What is offered to the socket at once: the buffer, and after it a large frame where it is.
cdef struct Chunk:
    size_t earlier       # bytes of the buffer that are left of frames of earlier calls
    Py_ssize_t first     # of the frames that follow them, ...
    Py_ssize_t next      # ... and the one after them
    iovec parts[3]       # the buffer, a large frame (the last one), its delimiter
    size_t length        # bytes of all parts
    size_t gone          # bytes that were sent
    size_t in_doubt      # bytes after those that may have been sent too, and must follow


@cython.final
cdef class FrameWriter:
    """Sends whole frames on a connected stream.

    Parameters
    ----------
    sock : socket.socket, fastsock.socket or ssl.SSLSocket
        A stream; not closed by the writer.
    framing : LengthPrefix, Delimiter or FixedSize
    max_frame : int, bytes, optional
        A longer frame is refused.

    Attributes
    ----------
    sent : int
        Frames that were sent by all calls, right whatever a call has raised.

    Notes
    -----
    Waits as ``sock.sendall`` does, under one deadline for the whole call. A frame of which a byte
    went counts as sent. When the time is over or a signal handler raises inside it, its rest is
    kept (``pending()`` bytes) and goes first at the next call, or by ``flush()``: nothing ever
    breaks the stream inside a frame. Nothing else is kept.

    An SSLSocket is written by its own ``send``, a record (16 KiB) at a time; a record for which
    there was no room counts as sent and is kept, as OpenSSL wants the same bytes again. A signal
    handler that raises in the microseconds in which OpenSSL is at work, and an error of the
    connection, hide whether the record went: every later call is OSError(EPIPE).

    One thread at a time: a second one gets RuntimeError.
    """

    cdef object connection
    cdef fsk_framing rules
    cdef bint is_busy
    cdef unsigned char *buffer  # NULL until it is needed
    cdef size_t size            # bytes of it
    cdef size_t start           # what is left of frames that were sent: from here to end
    cdef size_t end
    cdef uint64_t total
    cdef bint is_broken         # the rest of a frame is lost

    def __cinit__(self, sock, Framing framing not None, *, max_frame=1048576):
        check_stream(sock, "FrameWriter")
        framing.limited(max_frame, &self.rules)
        self.connection = sock

    def __dealloc__(self):
        PyMem_RawFree(self.buffer)

    cdef int enter(self) except -1:
        cdef bint was_busy
        with cython.critical_section(self):
            was_busy = self.is_busy
            self.is_busy = True
        if was_busy:
            raise RuntimeError("this FrameWriter is in use, by another thread or by the call that "
                               "a signal handler has interrupted: let one thread write, or guard "
                               "it by a lock")
        return 0

    cdef int leave(self) except -1:
        with cython.critical_section(self):
            self.is_busy = False
        return 0

    @property
    def sock(self):
        """The socket."""
        return self.connection

    @property
    def sent(self):
        with cython.critical_section(self):
            return self.total

    def pending(self):
        """Return how many bytes are left of a frame that counts as sent."""
        self.enter()
        try:
            return self.end - self.start
        finally:
            self.leave()

    def send(self, frame, /):
        """Send a frame.

        Parameters
        ----------
        frame : bytes-like
            Not copied if it is large; pinned until the call returns.

        Raises
        ------
        ValueError
            It can't be a frame of this framing, or is longer than max_frame. Nothing was sent.
        TimeoutError, BlockingIOError
            There was no room for any of it within the socket's timeout. If there was room for a
            part the call returns, and ``pending()`` is not 0.
        RuntimeError
            Another thread uses the writer.
        OSError
            As ``sendall``, before any of it was sent.
        """
        cdef Payload payload
        cdef Py_buffer view
        pin_data(frame, &view)
        try:
            payload.data = view.buf
            payload.length = view.len
            check_frame(&self.rules, view.buf, view.len)
            self.enter()
            try:
                self.transmit(&payload, 1)
            finally:
                self.leave()
        finally:
            PyBuffer_Release(&view)

    def send_many(self, frames, /):
        """Send many frames, small ones with one system call for many: how many were sent.

        Parameters
        ----------
        frames : iterable of bytes-like
            Taken whole and checked before anything is sent. Large ones are not copied; all are
            pinned until the call returns. Give a sequence, to be able to send the rest.

        Returns
        -------
        int
            Fewer than all: there was no more room within the socket's timeout, or an error. Send
            ``frames[count:]``, and what persists is raised.

        Raises
        ------
        ValueError
            One of them can't be a frame. Nothing was sent; nor was when the iterable has raised.
        TimeoutError, BlockingIOError, OSError
            Nothing of the first one was sent. Otherwise as ``send``.

        Notes
        -----
        After a signal handler's exception ``sent`` tells how many went. Source: sendmsg(2).
        """
        cdef Payloads payloads = Payloads(tuple(frames))
        payloads.pin(&self.rules)
        self.enter()
        try:
            return self.transmit(payloads.described, len(payloads.frames))
        finally:
            self.leave()

    def flush(self):
        """Send what is left of a frame that counts as sent, under one deadline.

        Raises
        ------
        TimeoutError, BlockingIOError, OSError
            Not all of it went; what is left is kept.
        """
        self.enter()
        try:
            self.transmit(NULL, 0)
        finally:
            self.leave()

    cdef Py_ssize_t transmit(self, const Payload *payloads, Py_ssize_t count) except -1:
        """Send what is left, and count frames: those sent. Raises only if none was, or a signal
        handler did."""
        cdef StreamCall call
        cdef Chunk chunk
        cdef Py_ssize_t sent = 0
        if self.is_broken:
            raise OSError(EPIPE, "an earlier call was broken off inside a frame, in a way that "
                          "hides how much of it went: close the connection")
        begin_send(&call, self.connection)
        while sent < count or self.start < self.end:
            self.fill(&chunk, payloads, sent, count, call.is_plain)
            try:
                self.send_chunk(&call, &chunk)
            except BaseException as error:
                sent += self.keep_rest(&chunk, payloads)
                self.is_broken = self.is_broken or call.is_lost
                if sent == 0 or not call.has_failed or not isinstance(error, OSError):
                    raise
                return sent
            sent = chunk.next
            with cython.critical_section(self):
                self.total += chunk.next - chunk.first
            self.empty()
        return sent

    cdef int send_chunk(self, StreamCall *call, Chunk *chunk) except -1:
        cdef iovec *part = chunk.parts
        cdef size_t sent, step
        while chunk.gone < chunk.length:
            while part.iov_len == 0:
                part += 1
            # Until the call has returned.
            chunk.in_doubt = 0 if call.is_plain else min(part.iov_len, <size_t>RECORD)
            sent = send_some(self.connection, call, part, &chunk.parts[3] - part)
            chunk.in_doubt = 0
            chunk.gone += sent
            while sent > 0:
                step = min(sent, part.iov_len)
                part.iov_base = <char *>part.iov_base + step
                part.iov_len -= step
                sent -= step
                if part.iov_len == 0 and part < &chunk.parts[2]:
                    part += 1
            if chunk.gone < chunk.length:
                call.has_failed = False
                PyErr_CheckSignals()
        return 0

    cdef int fill(self, Chunk *chunk, const Payload *payloads, Py_ssize_t first, Py_ssize_t count,
                  bint is_plain) except -1:
        """Describe what is sent next: what is left, and what can go with it of the frames."""
        cdef const Payload *payload
        cdef size_t needed
        cdef Py_ssize_t place = first
        # All 0: of an empty part the kernel looks at the address too.
        memset(chunk, 0, sizeof(chunk[0]))
        chunk.earlier = self.end - self.start
        chunk.first = first
        # By TLS what is left goes alone: of more the next frames would be in doubt too.
        while place < count and (is_plain or chunk.earlier == 0):
            payload = &payloads[place]
            needed = FSK_FRAME_HEADER_MAX
            if payload.length < LARGE:
                needed = fsk_framing_encoded_size(&self.rules, payload.length)
            if not self.has_room(needed):
                break
            place += 1
            if payload.length >= LARGE:
                self.end += fsk_framing_header(&self.rules, payload.length, self.buffer + self.end)
                chunk.parts[1].iov_base = <void *>payload.data
                chunk.parts[1].iov_len = payload.length
                if (self.rules.kind == FSK_FRAMING_DELIMITER
                        and not self.rules.keeps_delimiter):
                    chunk.parts[2].iov_base = self.rules.delimiter
                    chunk.parts[2].iov_len = self.rules.delimiter_size
                break
            self.end += fsk_framing_encode(&self.rules, payload.data, payload.length,
                                           self.buffer + self.end)
        chunk.next = place
        chunk.parts[0].iov_base = self.buffer + self.start
        chunk.parts[0].iov_len = self.end - self.start
        chunk.length = (chunk.parts[0].iov_len + chunk.parts[1].iov_len + chunk.parts[2].iov_len)
        return 0

    cdef bint has_room(self, size_t needed) except -1:
        """Whether the buffer has room at its end; it always has when it is empty."""
        if self.buffer == NULL:
            self.buffer = <unsigned char *>PyMem_RawMalloc(GATHERED)
            if self.buffer == NULL:
                raise MemoryError
            self.size = GATHERED
        if self.start == self.end:
            self.start = self.end = 0
        return self.size - self.end >= needed

    cdef Py_ssize_t keep_rest(self, Chunk *chunk, const Payload *payloads) except -1:
        """Keep what must follow the bytes that went: the frames of the chunk that count as sent."""
        cdef size_t reach = chunk.gone + chunk.in_doubt
        cdef size_t kept = chunk.earlier  # bytes of the chunk up to which they are sent or kept
        cdef Py_ssize_t place = chunk.first
        while place < chunk.next and kept < reach:
            kept += fsk_framing_encoded_size(&self.rules, payloads[place].length)
            place += 1
        with cython.critical_section(self):
            self.total += place - chunk.first
        if kept <= self.end - self.start:
            self.end = self.start + kept
            self.start += chunk.gone
        else:
            self.keep_parts(chunk)
        return place - chunk.first

    cdef int keep_parts(self, Chunk *chunk) except -1:
        """Keep all of the chunk that did not go: it ends with a large frame that did in part."""
        cdef size_t size = chunk.length - chunk.gone
        cdef size_t filled = 0
        cdef unsigned char *kept = <unsigned char *>PyMem_RawMalloc(max(size, <size_t>GATHERED))
        if kept == NULL:
            self.is_broken = True
            raise MemoryError("no memory to keep the rest of a frame: close the connection")
        for part in chunk.parts:
            if part.iov_len > 0:
                memcpy(kept + filled, part.iov_base, part.iov_len)
                filled += part.iov_len
        PyMem_RawFree(self.buffer)
        self.buffer = kept
        self.size = max(size, <size_t>GATHERED)
        self.start, self.end = 0, size
        return 0

    cdef int empty(self) noexcept:
        """All of the buffer was sent."""
        self.start = self.end = 0
        if self.size > GATHERED:
            PyMem_RawFree(self.buffer)
            self.buffer = NULL
            self.size = 0
