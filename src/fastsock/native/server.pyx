# SPDX-License-Identifier: MIT
"""Server: stream connections, whose frames come in batches.

The thread that waits in the C library has given up the GIL, or there is none. Meanwhile nobody
else touches the C server, but to stop or interrupt it: a close from another thread is left to the
one that waits, and numbers are told as of the last batch.
"""
import os

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_GET_ITEM
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.errno cimport EAGAIN, EBADF, ECHILD, EINTR, ENOBUFS
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from fastsock.native.arguments cimport seconds_to_ns
from fastsock.native.connection cimport Connection
from fastsock.native.errors cimport raise_error
from fastsock.native.framing cimport Framing
from fastsock.native.interpreter cimport fastsock_count
from fastsock.libfastsock cimport (
    FSK_CLOSE_REASONS, fsk_batch_size, fsk_closed, fsk_server, fsk_server_arena, fsk_server_closed,
    fsk_server_due, fsk_server_fd, fsk_server_flush, fsk_server_free, fsk_server_interrupt,
    fsk_server_next, fsk_server_open, fsk_server_opened, fsk_server_options, fsk_server_stats,
    fsk_server_stats_t, fsk_server_stop,
)
from fastsock.native.server_batch cimport ServerBatch
from fastsock.native.serving cimport Serving
from fastsock.native.slab cimport Slab, make_slab, pin
from fastsock.native.waiting cimport make_way, now_ns, saturating_add

cdef enum:
    ROWS = 8192
    MORE_ARENA = 1 << 20  # bytes of a batch beside what one connection may need
    LEAST_SLABS = 3  # what a loop holds: its last frame, its batch, and the next one
    MOST_SLABS = 8


cdef class Server:
    # Of the C library: opened by fastsock.StreamServer, which tells the rest.
    cdef Serving serving
    cdef tuple reasons          # CloseReason's members, by number
    cdef list connections       # by number; None: nobody's
    cdef list slabs
    cdef Py_ssize_t most_slabs
    cdef bint is_waiting        # a thread takes a batch
    cdef bint must_close        # when it comes back
    cdef fsk_server_stats_t counts  # when it came back last

    def __cinit__(self, *arguments, **options):
        self.serving = Serving.__new__(Serving)

    def _open(self, list listeners, Framing framing not None, max_frame, Py_ssize_t max_pending,
              Py_ssize_t memory, uint32_t max_connections, int64_t idle_timeout_ns,
              bint closes_slow, tuple reasons):
        """Serve the one listener, which is the server's then: the list is empty."""
        cdef fsk_server_options options
        cdef Py_ssize_t of_slab
        cdef Slab slab
        cdef int result
        if self.serving.owner != 0:
            raise RuntimeError("a StreamServer is opened once")
        memset(&options, 0, sizeof(options))
        options.size = sizeof(options)
        framing.limited(max_frame, &self.serving.rules)
        options.framing = &self.serving.rules
        slab = self.new_slab()
        of_slab = fsk_batch_size(slab.filled)
        if memory < 2 * LEAST_SLABS * of_slab:
            raise ValueError(f"memory must be at least {2 * LEAST_SLABS * of_slab} bytes for "
                             f"frames of up to {self.serving.rules.max_frame}, not {memory}")
        self.most_slabs = min(memory // 2 // of_slab, MOST_SLABS)
        options.memory = memory - self.most_slabs * of_slab
        options.max_pending = max_pending
        options.max_connections = max_connections
        options.idle_timeout_ns = idle_timeout_ns
        options.closes_slow = closes_slow
        self.serving.max_pending = max_pending
        self.reasons = reasons
        self.connections = []
        self.slabs = [slab]
        result = fsk_server_open(&self.serving.server, listeners[0], &options)
        if result < 0:
            raise_error(result)
        self.serving.owner = os.getpid()
        listeners.clear()

    cdef Slab new_slab(self):
        cdef Py_ssize_t arena = fsk_server_arena(&self.serving.rules) + MORE_ARENA
        return make_slab(ROWS, (arena + ROWS - 1) // ROWS)

    cdef Slab free_slab(self):
        cdef Slab slab
        for slab in self.slabs:
            if fastsock_count(&slab.exports) == 0:
                return slab
        if len(self.slabs) >= self.most_slabs:
            raise OSError(ENOBUFS, "batches taken earlier, or views of their frames, hold all the "
                          "memory for receiving; let go of them, copy what is kept with "
                          "bytes(frame), or give the server more memory")
        slab = self.new_slab()
        self.slabs.append(slab)
        return slab

    cdef int check_open(self) except -1:
        if self.serving.server == NULL or self.must_close:
            raise_error(-EBADF)
        if not self.serving.is_own():
            self.serving.fail(-ECHILD)
        return 0

    cdef int check_alone(self) except -1:
        self.check_open()
        if self.is_waiting:
            raise RuntimeError("another thread is in next_batch; one server has one thread, open "
                               "another with reuse_port=True for more")
        return 0

    cdef int enter(self) except -1:
        with cython.critical_section(self.serving):
            self.check_alone()
            self.is_waiting = True
            self.serving.thread = PyThread_get_thread_ident()
        return 0

    cdef int leave(self) except -1:
        with cython.critical_section(self.serving):
            self.is_waiting = False
            self.take_counts()
            if self.must_close:
                self.free()
        return 0

    cdef int take_counts(self) except -1:
        self.counts.size = sizeof(self.counts)
        fsk_server_stats(self.serving.server, &self.counts)
        return 0

    cdef int free(self) except -1:
        cdef fsk_server *server = self.serving.server
        cdef Connection connection
        self.serving.server = NULL
        self.must_close = False
        for connection in self.connections:
            if connection is not None:
                connection.is_over = True
        self.connections = []
        fsk_server_free(server)
        return 0

    cdef ServerBatch take(self, int64_t timeout_ns):
        """What has happened, or None when the server was stopped and all is told."""
        cdef ServerBatch batch = None
        cdef Slab slab
        cdef int64_t deadline = -1
        cdef int result = -EINTR
        make_way()
        self.enter()
        try:
            slab = self.free_slab()
            if timeout_ns > 0:
                deadline = saturating_add(now_ns(), timeout_ns)
            while result == -EINTR:
                PyErr_CheckSignals()
                if self.must_close:
                    result = -EBADF
                    break
                with nogil:
                    result = fsk_server_next(self.serving.server, timeout_ns, slab.filled)
                if deadline >= 0:
                    timeout_ns = max(0, deadline - now_ns())
            if result > 0:
                try:
                    batch = self.told(slab)
                except BaseException:
                    # No memory: connections that the program never hears of can't be served.
                    self.must_close = True
                    raise
        finally:
            self.leave()
        if result < 0:
            if result == -EAGAIN and deadline >= 0:
                raise TimeoutError("timed out")
            self.serving.fail(result)
        return batch

    cdef ServerBatch told(self, Slab slab):
        cdef ServerBatch batch = ServerBatch.__new__(ServerBatch)
        cdef Connection connection
        cdef const uint32_t *numbers
        cdef const fsk_closed *ended
        cdef size_t count, i
        cdef object rows
        batch.opened = []
        batch.closed = []
        numbers = fsk_server_opened(self.serving.server, &count)
        for i in range(count):
            connection = Connection.__new__(Connection)
            connection.serving = self.serving
            connection.number = numbers[i]
            while <size_t>len(self.connections) <= numbers[i]:
                self.connections.append(None)
            self.connections[numbers[i]] = connection
            batch.opened.append(connection)
        rows = PyTuple_New(slab.filled.count)
        for i in range(slab.filled.count):
            connection = <Connection>PyList_GET_ITEM(self.connections, slab.filled.source[i])
            Py_INCREF(connection)
            PyTuple_SET_ITEM(rows, i, connection)
        batch.connections = rows
        ended = fsk_server_closed(self.serving.server, &count)
        for i in range(count):
            connection = self.connections[ended[i].connection]
            connection.learn_peer()
            connection.is_over = True
            connection.unfinished = ended[i].unfinished
            self.connections[ended[i].connection] = None
            batch.closed.append((connection, self.reasons[<int>ended[i].reason]))
        pin(slab)
        batch.slab = slab
        return batch

    def next_batch(self, timeout=None):
        """Send what is queued, then take what has happened since.

        Parameters
        ----------
        timeout : float or None, seconds, optional
            None: wait for ever. 0: don't wait.

        Returns
        -------
        ServerBatch
            Frames, connections opened, or connections closed: at least one of all.

        Raises
        ------
        TimeoutError
            Nothing happened by the deadline.
        BlockingIOError
            Nothing has happened and timeout is 0.
        EOFError
            The server was stopped, and everything has been told.
        OSError
            EBADF: the server is closed. ENOBUFS: views of earlier frames hold the memory.
        RuntimeError
            Another thread is in this call, or another process opened the server.
        """
        cdef ServerBatch batch = self.take(seconds_to_ns(timeout))
        if batch is None:
            raise EOFError("the server was stopped")
        return batch

    def __iter__(self):
        return self

    def __next__(self):
        cdef ServerBatch batch
        try:
            batch = self.take(-1)
        except OSError as error:
            if error.errno != EBADF:
                raise
            batch = None
        if batch is None:
            raise StopIteration
        return batch

    def flush(self):
        """Send what was queued since the last call, as far as the kernel takes it now.

        ``next_batch`` does it too, and goes on with what the kernel has not taken; this is for a
        program that works long on one batch.
        """
        cdef int result
        with cython.critical_section(self.serving):
            self.check_open()
            if self.serving.thread != 0:
                self.serving.check_thread()
            result = fsk_server_flush(self.serving.server)
        if result < 0:
            self.serving.fail(result)

    def fileno(self):
        """Return a descriptor that is readable when ``next_batch`` has something to do.

        For select and the like; not to be read. It says nothing of frames that were queued since:
        flush first. What is only due later, such as an idle timeout, makes it readable not. Only
        the portable engine lacks it: OSError(EOPNOTSUPP).
        """
        cdef int result
        with cython.critical_section(self.serving):
            self.check_open()
            result = fsk_server_fd(self.serving.server)
        if result < 0:
            self.serving.fail(result)
        return result

    def _due(self):
        """Seconds until there is something to do without an event, or None."""
        cdef int64_t due
        with cython.critical_section(self.serving):
            self.check_alone()
            due = fsk_server_due(self.serving.server)
        return None if due < 0 else due / 1e9

    def _stop(self, int64_t drain_ns):
        cdef bint is_own = self.serving.is_own()
        with cython.critical_section(self.serving):
            if self.serving.server == NULL:
                return
            if not is_own:
                self.serving.fail(-ECHILD)
            fsk_server_stop(self.serving.server, drain_ns)

    def _close(self):
        """Close everything; when a thread waits, it does that itself."""
        cdef bint is_own = self.serving.is_own()
        with cython.critical_section(self.serving):
            if self.serving.server == NULL:
                return
            if self.is_waiting and is_own:
                self.must_close = True
                fsk_server_interrupt(self.serving.server)
            else:
                self.free()

    def _is_open(self):
        with cython.critical_section(self.serving):
            return self.serving.server != NULL and not self.must_close

    def _is_own(self):
        """Whether this process opened it."""
        return self.serving.is_own()

    def _counts(self):
        """The numbers of ServerStats, in its order; any thread."""
        cdef fsk_server_stats_t stats
        cdef bint is_own = self.serving.is_own()
        cdef int i
        with cython.critical_section(self.serving):
            if not is_own:
                self.serving.fail(-EBADF if self.serving.owner == 0 else -ECHILD)
            if self.serving.server != NULL and not self.is_waiting:
                self.take_counts()
            stats = self.counts
        closed = {self.reasons[i]: stats.closed[i] for i in range(<int>FSK_CLOSE_REASONS)}
        return (stats.accepted, stats.connections, closed, stats.frames_received,
                stats.bytes_received, stats.frames_queued, stats.bytes_sent, stats.bytes_unsent,
                stats.bytes_unfinished, stats.accept_pauses, stats.memory, stats.memory_peak)
