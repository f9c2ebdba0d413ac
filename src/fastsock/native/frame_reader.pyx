# SPDX-License-Identifier: MIT
"""FrameReader: the frames of one stream, as bytes or in a Batch."""
cimport cython

from cpython.number cimport PyNumber_AsSsize_t
from libc.stdint cimport int64_t

from fastsock.native.arguments cimport seconds_to_ns
from fastsock.native.batch cimport Batch
from fastsock.native.frame_filler cimport FrameFiller
from fastsock.native.frame_source cimport FrameSource
from fastsock.libfastsock cimport FSK_FRAME_MAX
from fastsock.native.waiting cimport OWN_TIMEOUT


@cython.final
cdef class FrameReader:
    """Receives whole frames from a connected stream.

    ``for frame in reader`` gives each as bytes, ``recv_many`` those that are there as a list,
    ``recv_batch`` and ``next_batch`` many in one memory.

    Parameters
    ----------
    sock : socket.socket, fastsock.socket or ssl.SSLSocket
        A stream; not closed by the reader. Bytes that the reader holds (``pending()``) are no
        longer in it.
    framing : LengthPrefix, Delimiter or FixedSize
    max_frame : int, bytes, optional
        A longer frame is an error: before memory is allocated for it where a header tells the
        length, and once so much is held where a delimiter ends it.
    readahead : int, bytes, optional
        Read at a time, at most, beyond the frame that is waited for.

    Notes
    -----
    Waits as ``sock.recv`` does: the socket's timeout counts for the call as a whole; a closed
    socket is OSError(EBADF). After a TimeoutError, and a signal handler's exception while it waits,
    no byte is lost: the next call goes on. Frames as bytes that a call is about to return are lost
    when a handler raises in that moment; those in a batch are not.

    Nor is anything lost for want of memory, where there is a MemoryError and the next call tries
    again, but for bytes that a batch has received beyond its rows: from then on every call that has
    to receive is MemoryError.

    Ends and errors are the same for all calls. After the last frame the end of the stream is what
    each call tells; inside a frame it is an IncompleteFrameError, with ``partial`` and
    ``missing``. What is no frame is a FrameError, with its ``offset`` in the stream; frames before
    it are given first. Both are raised again by the next call.

    An SSLSocket is read by its own ``recv_into``, and its timeout changed for the moment when
    ``timeout=`` is another: let no other thread use the socket meanwhile. A signal handler that
    raises in the microseconds in which OpenSSL hands bytes over hides how many, and they are lost:
    every later call that has to receive is OSError(EIO). (Of a record of one byte that goes
    unnoticed once in 256 times.)

    One thread at a time: a second one gets RuntimeError.
    """

    cdef FrameSource source
    cdef bint is_busy
    cdef FrameFiller filler
    cdef Batch own  # of next_batch; or None

    def __cinit__(self, sock, framing, *, max_frame=1048576, readahead=262144):
        cdef Py_ssize_t ahead = PyNumber_AsSsize_t(readahead, ValueError)
        if not 1 <= ahead <= <Py_ssize_t>FSK_FRAME_MAX:
            raise ValueError(f"readahead must be 1 to {FSK_FRAME_MAX} bytes, not {readahead}")
        self.source = FrameSource(sock, framing, max_frame, ahead)
        self.filler = FrameFiller(self.source)

    cdef int enter(self) except -1:
        cdef bint was_busy
        with cython.critical_section(self):
            was_busy = self.is_busy
            self.is_busy = True
        if was_busy:
            raise RuntimeError("this FrameReader is in use, by another thread or by the call that "
                               "a signal handler has interrupted: let one thread read, and hand "
                               "the frames on")
        return 0

    cdef int leave(self) except -1:
        with cython.critical_section(self):
            self.is_busy = False
        return 0

    @property
    def sock(self):
        """The socket."""
        return self.source.sock

    def pending(self):
        """Return how many bytes the reader holds: of whole frames, and of an unfinished one."""
        self.enter()
        try:
            return self.source.held()
        finally:
            self.leave()

    def recv_many(self, count=1024):
        """Receive whole frames: waits for one, then gives what is there.

        Parameters
        ----------
        count : int, frames, optional
            The most to give; further ones are kept for the next call.

        Returns
        -------
        list of bytes
            At least one; empty at the end of the stream.

        Raises
        ------
        TimeoutError, BlockingIOError
            No frame was whole within the socket's timeout.
        FrameError, IncompleteFrameError
            See `FrameReader`.
        OSError
            As ``recv``.

        Notes
        -----
        A large frame of known length is received in place, into the bytes that is returned. As with
        ``recv``, what would be returned is lost when a signal handler raises in the moment of
        return; ``recv_batch`` keeps it. Source: recv(2).
        """
        cdef Py_ssize_t most = PyNumber_AsSsize_t(count, OverflowError)
        if most < 1:
            raise ValueError(f"count must be at least 1 frame, not {count}")
        self.enter()
        try:
            return self.source.frames(most)
        finally:
            self.leave()

    def __iter__(self):
        return self

    def __next__(self):
        cdef bytes frame
        cdef list frames
        self.enter()
        try:
            frame = self.source.cut_one()
            if frame is not None:
                return frame
            frames = self.source.frames(1)
        finally:
            self.leave()
        if not frames:
            raise StopIteration
        return frames[0]

    def recv_exactly(self, n, /):
        """Receive n bytes as they are in the stream, of whatever frames.

        For what precedes or follows the frames, such as a greeting; the next frame begins behind
        them.

        Parameters
        ----------
        n : int, bytes

        Raises
        ------
        IncompleteFrameError
            The stream ended before; what came can still be had, by asking for less.
        TimeoutError, BlockingIOError, OSError
            As ``recv_many``.
        """
        cdef Py_ssize_t size = PyNumber_AsSsize_t(n, OverflowError)
        if size < 0:
            raise ValueError(f"n must be at least 0 bytes, not {n}")
        self.enter()
        try:
            return self.source.raw(size)
        finally:
            self.leave()

    def recv_batch(self, Batch batch not None, *, timeout=...):
        """Receive whole frames into a batch: waits for one, then takes what is there.

        Parameters
        ----------
        batch : Batch
            Emptied first, then filled: a frame a row, without an address. A frame may be longer
            than ``batch.max_message``, and is never cut.
        timeout : float or None, seconds, optional
            Omitted (or ``...``): the socket's own. None: for ever. 0: don't wait.

        Returns
        -------
        int
            Frames, as ``len(batch)``; 0 at the end of the stream.

        Raises
        ------
        TimeoutError, BlockingIOError
            No frame was whole by the deadline; with a timeout of 0, none was there.
        RuntimeError
            Another thread uses the reader or the batch.
        FrameError, IncompleteFrameError
            See `FrameReader`.
        OSError
            ENOBUFS: a frame is longer than the batch's memory, capacity x max_message; nothing is
            lost. Otherwise as ``recv``.
        """
        cdef int64_t timeout_ns = as_timeout_ns(timeout)
        self.enter()
        try:
            return self.filler.fill(batch, timeout_ns)
        finally:
            self.leave()

    def next_batch(self, timeout=...):
        """Receive whole frames into a batch of the reader's own.

        Parameters
        ----------
        timeout : float or None, seconds, optional
            As of ``recv_batch``.

        Returns
        -------
        Batch
            At least one frame. The next call fills the same batch; views of it (``message.data``,
            columns) stay valid.

        Raises
        ------
        EOFError
            The end of the stream.
        TimeoutError, BlockingIOError, RuntimeError, FrameError, IncompleteFrameError, OSError
            As ``recv_batch``.
        """
        cdef int64_t timeout_ns = as_timeout_ns(timeout)
        self.enter()
        try:
            if self.own is None:
                self.own = self.filler.make_batch()
            if self.filler.fill(self.own, timeout_ns) == 0:
                raise EOFError("nothing more will come: the peer has closed, or the socket was "
                               "shut down")
            return self.own
        finally:
            self.leave()


cdef int64_t as_timeout_ns(object timeout) except? -3:
    return OWN_TIMEOUT if timeout is ... else seconds_to_ns(timeout)
