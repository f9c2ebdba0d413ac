# SPDX-License-Identifier: MIT
"""Connection: one of a stream server's.

A connection's number is given to another once its end has been told. So a Connection knows when
that was, and never uses its number again.
"""
cimport cython
from cpython.buffer cimport Py_buffer, PyBuffer_Release
from libc.errno cimport EAGAIN, EMSGSIZE, ENOBUFS, EPIPE

from fastsock.native.address cimport to_python
from fastsock.native.arguments cimport pin_data
from fastsock.native.framing cimport check_frame, refuse_single
from fastsock.libfastsock cimport (
    fsk_address, fsk_server_abort, fsk_server_connection_fd, fsk_server_end, fsk_server_peer,
    fsk_server_pending, fsk_server_send,
)
from fastsock.native.serving cimport Serving
from fastsock.native.unix cimport credentials_of


@cython.final
cdef class Connection:
    """A connection of a `StreamServer`. Made by the server alone.

    Only the thread that takes the server's batches may use it; any other gets RuntimeError.

    Attributes
    ----------
    context : object
        The program's own, None at first.
    unfinished : int, bytes
        Of a frame that the peer had begun when the connection ended; 0 before.
    """
    cdef bint lives(self) except -1:
        if self.serving is None:
            raise TypeError("a Connection comes from a StreamServer")
        return not self.is_over

    def send(self, frame, /):
        """Queue a frame; the next ``next_batch`` or ``flush`` sends it.

        Parameters
        ----------
        frame : bytes-like
            Copied.

        Returns
        -------
        bool
            False: the connection has ended, and the frame is not sent. ``ServerBatch.closed`` says
            why, in this batch or the next.

        Raises
        ------
        ValueError
            It can't be a frame of the server's framing, or is longer than ``max_frame`` or
            ``max_pending``. Catch it where a peer decides how long the answer is.
        BlockingIOError
            With overflow="raise": the peer takes too little, and ``max_pending`` bytes wait for it.
        OSError
            ENOBUFS, with overflow="raise": the output of all connections has taken the memory.
        RuntimeError
            It is another thread.
        """
        cdef Serving serving = self.serving
        cdef Py_buffer view
        cdef int result = -EPIPE
        self.lives()
        pin_data(frame, &view)
        try:
            with cython.critical_section(serving):
                serving.check_thread()
                if not self.is_over and serving.server != NULL:
                    result = fsk_server_send(serving.server, self.number, view.buf, view.len)
            if result == 0:
                return True
            if result == -EPIPE:
                return False
            return self.refuse(result, &view)
        finally:
            PyBuffer_Release(&view)

    cdef bint refuse(self, int result, const Py_buffer *view) except -1:
        cdef Serving serving = self.serving
        check_frame(&serving.rules, view.buf, view.len)
        if result == -EMSGSIZE:
            raise ValueError(f"a frame of {view.len} bytes is longer than max_pending, "
                             f"{serving.max_pending}")
        if result == -EAGAIN:
            raise BlockingIOError(EAGAIN, f"the peer takes too little: {serving.max_pending} bytes "
                                  "(max_pending) wait for it; send later, or close the connection")
        if result == -ENOBUFS:
            raise OSError(ENOBUFS, "the output that waits for slow peers has taken all memory; "
                          "send later, close connections, or give the server more memory")
        serving.fail(result)

    def send_many(self, frames, /):
        """Queue several frames, as ``send``.

        Returns
        -------
        int
            Frames queued. Fewer than there are: the connection has ended, or a later one met an
            error, which the next send of it raises. An error of the first is raised, and nothing
            is queued when the iterable itself raises.
        """
        cdef Py_ssize_t count = 0
        refuse_single(frames, "send_many")
        for frame in tuple(frames):
            try:
                if not self.send(frame):
                    break
            except Exception:
                if count == 0:
                    raise
                break
            count += 1
        return count

    def close(self):
        """Close the connection once what is queued has been sent; receive nothing more of it.

        That takes as long as the peer does, or ``idle_timeout``; ``abort()`` does not wait.
        """
        cdef Serving serving = self.serving
        if not self.lives():
            return
        with cython.critical_section(serving):
            serving.check_thread()
            if serving.server != NULL:
                fsk_server_end(serving.server, self.number)

    def abort(self):
        """Close the connection at once: what is queued is dropped, and the peer gets a reset."""
        cdef Serving serving = self.serving
        if not self.lives():
            return
        with cython.critical_section(serving):
            serving.check_thread()
            if serving.server != NULL:
                fsk_server_abort(serving.server, self.number)

    def fileno(self):
        """Return the descriptor, for socket options; -1 when the connection has ended."""
        cdef Serving serving = self.serving
        cdef int fd
        if not self.lives():
            return -1
        with cython.critical_section(serving):
            serving.check_thread()
            if serving.server == NULL:
                return -1
            fd = fsk_server_connection_fd(serving.server, self.number)
        return max(fd, -1)

    @property
    def closed(self):
        """Whether the connection has ended, as far as batches have told."""
        return not self.lives()

    @property
    def pending(self):
        """Bytes that are queued and that the kernel has not taken."""
        cdef Serving serving = self.serving
        if not self.lives():
            return 0
        with cython.critical_section(serving):
            serving.check_thread()
            return 0 if serving.server == NULL else fsk_server_pending(serving.server, self.number)

    @property
    def peer(self):
        """The peer's address, as ``getpeername``; None if it is asked for too late.

        That is for the first time after the server was closed, or of a Unix socket after the end.
        """
        cdef Serving serving = self.serving
        if self.peer_address is None and self.lives():
            with cython.critical_section(serving):
                serving.check_thread()
                if serving.server != NULL:
                    self.learn_peer()
        return self.peer_address

    @property
    def credentials(self):
        """Who the peer of a Unix socket is, as ``socket.peer_credentials``; while it is open."""
        return credentials_of(self.fileno())
    cdef int learn_peer(self) except -1:
        cdef fsk_address address
        if self.peer_address is not None:
            return 0
        fsk_server_peer(self.serving.server, self.number, &address)
        if address.length > 0:
            self.peer_address = to_python(&address)
        return 0

    def __repr__(self):
        state = "closed" if self.is_over else "open"
        return f"<fastsock.Connection {state} from {self.peer_address!r}>"
