# SPDX-License-Identifier: MIT
"""Server: stream connections, whose frames come in batches.

Facts
    The thread that waits in the C library has given up the GIL, or there is none. A connection's
    number is given to another once its end has been told.
What follows
    All that touches the C server but the waiting call is done in a critical section, and refused to
    other threads than the one that takes the batches; a close from another thread is left to it.
    A Connection knows that its end has been told, and never uses its number again.
"""
import os

cimport cython
from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, EBADF, ECHILD, EINTR, EMSGSIZE, ENOBUFS, EPIPE
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from fastsock.native.address cimport to_python
from fastsock.native.arguments cimport pin_data, seconds_to_ns
from fastsock.native.errors cimport raise_error
from fastsock.native.framing cimport Framing, check_frame
from fastsock.native.interpreter cimport fastsock_count
from fastsock.native.libfastsock cimport (
    FSK_CLOSE_REASONS, fsk_address, fsk_batch_size, fsk_closed, fsk_framing, fsk_server,
    fsk_server_arena, fsk_server_closed, fsk_server_connection_fd, fsk_server_due, fsk_server_end,
    fsk_server_fd, fsk_server_flush, fsk_server_free, fsk_server_interrupt, fsk_server_next,
    fsk_server_open, fsk_server_opened, fsk_server_options, fsk_server_peer, fsk_server_pending,
    fsk_server_send, fsk_server_stats, fsk_server_stats_t, fsk_server_stop,
)
from fastsock.native.slab cimport Slab, make_slab, pin, unpin, view_of
from fastsock.native.waiting cimport make_way, now_ns, saturating_add

cdef enum:
    ROWS = 8192
    MORE_ARENA = 1 << 20  # bytes of a batch beside what one connection may need
    MOST_SLABS = 8


cdef class Server:
    # Of the C library: opened by fastsock.StreamServer, which tells the rest.
    cdef fsk_server *server     # NULL: not open
    cdef fsk_framing rules
    cdef tuple reasons          # CloseReason's members, by number
    cdef list connections       # by number; None: nobody's
    cdef list slabs
    cdef Py_ssize_t most_slabs
    cdef Py_ssize_t max_pending
    cdef int owner              # the process that opened it
    cdef unsigned long thread   # that takes the batches
    cdef bint is_waiting        # it does so now
    cdef bint must_close        # when it comes back
    cdef fsk_server_stats_t counts  # when it came back last

    def _open(self, list listeners, Framing framing not None, max_frame, Py_ssize_t max_pending,
              Py_ssize_t memory, uint32_t max_connections, int64_t idle_timeout_ns,
              bint closes_slow, tuple reasons):
        """Serve the one listener, which is the server's then: the list is empty."""
        cdef fsk_server_options options
        cdef Py_ssize_t of_slab
        cdef Slab slab
        cdef int result
        if self.owner != 0:
            raise RuntimeError("a StreamServer is opened once")
        memset(&options, 0, sizeof(options))
        options.size = sizeof(options)
        framing.limited(max_frame, &options.framing)
        self.rules = options.framing
        slab = self.new_slab()
        of_slab = fsk_batch_size(slab.filled)
        if memory < 4 * of_slab:
            raise ValueError(f"memory must be at least {4 * of_slab} bytes for frames of up to "
                             f"{self.rules.max_frame}, not {memory}")
        self.most_slabs = min(memory // 2 // of_slab, MOST_SLABS)
        options.memory = memory - self.most_slabs * of_slab
        options.max_pending = max_pending
        options.max_connections = max_connections
        options.idle_timeout_ns = idle_timeout_ns
        options.closes_slow = closes_slow
        self.max_pending = max_pending
        self.reasons = reasons
        self.connections = []
        self.slabs = [slab]
        result = fsk_server_open(&self.server, listeners[0], &options)
        if result < 0:
            raise_error(result)
        self.owner = os.getpid()
        listeners.clear()

    def __dealloc__(self):
        fsk_server_free(self.server)

    cdef Slab new_slab(self):
        cdef Py_ssize_t arena = fsk_server_arena(&self.rules) + MORE_ARENA
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
        if self.server == NULL or self.must_close:
            raise_error(-EBADF)
        if not self.is_own():
            self.fail(-ECHILD)
        return 0

    cdef bint is_own(self) except -1:
        return self.owner == os.getpid()

    cdef int fail(self, int result) except -1:
        if result == -ECHILD:
            raise RuntimeError(f"this StreamServer was opened by process {self.owner}; open another "
                               "one in a process that was forked off, with reuse_port=True")
        raise_error(result)

    cdef int check_thread(self) except -1:
        """Connections belong to the thread that takes the batches."""
        if PyThread_get_thread_ident() != self.thread:
            raise RuntimeError("only the thread that takes the server's batches may use its "
                               "connections; hand what is to be sent to that thread")
        return 0

    cdef int enter(self) except -1:
        with cython.critical_section(self):
            self.check_open()
            if self.is_waiting:
                raise RuntimeError("another thread is in next_batch; one server has one thread, "
                                   "open another with reuse_port=True for more")
            self.is_waiting = True
            self.thread = PyThread_get_thread_ident()
        return 0

    cdef int leave(self) except -1:
        with cython.critical_section(self):
            self.is_waiting = False
            self.take_counts()
            if self.must_close:
                self.free()
        return 0

    cdef int take_counts(self) except -1:
        self.counts.size = sizeof(self.counts)
        fsk_server_stats(self.server, &self.counts)
        return 0

    cdef int free(self) except -1:
        cdef fsk_server *server = self.server
        cdef Connection connection
        self.server = NULL
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
                    result = fsk_server_next(self.server, timeout_ns, slab.filled)
                if deadline >= 0:
                    timeout_ns = max(0, deadline - now_ns())
            if result > 0:
                batch = self.told(slab)
        finally:
            self.leave()
        if result < 0:
            if result == -EAGAIN and deadline >= 0:
                raise TimeoutError("timed out")
            self.fail(result)
        return batch

    cdef ServerBatch told(self, Slab slab):
        cdef ServerBatch batch = ServerBatch.__new__(ServerBatch)
        cdef Connection connection
        cdef const uint32_t *numbers
        cdef const fsk_closed *ended
        cdef size_t count, i
        cdef list rows = []
        batch.opened = []
        batch.closed = []
        numbers = fsk_server_opened(self.server, &count)
        for i in range(count):
            connection = Connection.__new__(Connection)
            connection.server = self
            connection.number = numbers[i]
            while <size_t>len(self.connections) <= numbers[i]:
                self.connections.append(None)
            self.connections[numbers[i]] = connection
            batch.opened.append(connection)
        for i in range(slab.filled.count):
            rows.append(self.connections[slab.filled.source[i]])
        batch.connections = rows
        ended = fsk_server_closed(self.server, &count)
        for i in range(count):
            connection = self.connections[ended[i].connection]
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
        """Send what is queued for all connections, as far as the kernel takes it now.

        ``next_batch`` does it too; this is for a program that works long on one batch.
        """
        cdef int result
        with cython.critical_section(self):
            self.check_open()
            if self.connections:
                self.check_thread()
            result = fsk_server_flush(self.server)
        if result < 0:
            self.fail(result)

    def fileno(self):
        """Return a descriptor that is readable when ``next_batch`` has something to do.

        For select and the like; not to be read. It says nothing of frames that were queued since:
        flush first. What is only due later, such as an idle timeout, makes it readable not. Only
        the portable engine lacks it: OSError(EOPNOTSUPP).
        """
        cdef int result
        with cython.critical_section(self):
            self.check_open()
            result = fsk_server_fd(self.server)
        if result < 0:
            self.fail(result)
        return result

    def _due(self):
        """Seconds until there is something to do without an event, or None."""
        cdef int64_t due
        with cython.critical_section(self):
            self.check_open()
            due = fsk_server_due(self.server)
        return None if due < 0 else due / 1e9

    def _stop(self, int64_t drain_ns):
        cdef bint is_own = self.is_own()
        with cython.critical_section(self):
            if self.server != NULL and is_own:
                fsk_server_stop(self.server, drain_ns)

    def _close(self):
        """Close everything; when a thread waits, it does that itself."""
        cdef bint is_own = self.is_own()
        with cython.critical_section(self):
            if self.server == NULL:
                return
            if self.is_waiting and is_own:
                self.must_close = True
                fsk_server_interrupt(self.server)
            else:
                self.free()

    def _is_open(self):
        with cython.critical_section(self):
            return self.server != NULL and not self.must_close

    def _is_own(self):
        """Whether this process opened it."""
        return self.is_own()

    def _counts(self):
        """The numbers of ServerStats, in its order; any thread."""
        cdef fsk_server_stats_t stats
        cdef bint is_own = self.is_own()
        cdef int i
        with cython.critical_section(self):
            if not is_own:
                self.fail(-EBADF if self.owner == 0 else -ECHILD)
            if self.server != NULL and not self.is_waiting:
                self.take_counts()
            stats = self.counts
        closed = {self.reasons[i]: stats.closed[i] for i in range(<int>FSK_CLOSE_REASONS)}
        return (stats.accepted, stats.connections, closed, stats.frames_received,
                stats.bytes_received, stats.frames_queued, stats.bytes_sent, stats.bytes_unsent,
                stats.bytes_unfinished, stats.accept_pauses, stats.memory, stats.memory_peak)


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
    cdef Server server
    cdef uint32_t number
    cdef bint is_over           # its end has been told: the number is not its own
    cdef object peer_address    # once asked for
    cdef public object context
    cdef readonly uint32_t unfinished

    cdef bint lives(self) except -1:
        if self.server is None:
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
            It can't be a frame of the server's framing, or is longer than ``max_pending``.
        BlockingIOError
            With overflow="raise": the peer takes too little, and ``max_pending`` bytes wait for it.
        OSError
            ENOBUFS, with overflow="raise": the output of all connections has taken the memory.
        RuntimeError
            It is another thread.
        """
        cdef Server server = self.server
        cdef Py_buffer view
        cdef int result = -EPIPE
        cdef bint lives = self.lives()
        pin_data(frame, &view)
        try:
            with cython.critical_section(server):
                server.check_thread()
                if lives and server.server != NULL:
                    result = fsk_server_send(server.server, self.number, view.buf, view.len)
            if result == 0:
                return True
            if result == -EPIPE:
                return False
            return self.refuse(result, &view)
        finally:
            PyBuffer_Release(&view)

    cdef bint refuse(self, int result, const Py_buffer *view) except -1:
        cdef Server server = self.server
        check_frame(&server.rules, view.buf, view.len)
        if result == -EMSGSIZE:
            raise ValueError(f"a frame of {view.len} bytes is longer than max_pending, "
                             f"{server.max_pending}")
        if result == -EAGAIN:
            raise BlockingIOError(EAGAIN, f"the peer takes too little: {server.max_pending} bytes "
                                  "(max_pending) wait for it; send later, or close the connection")
        if result == -ENOBUFS:
            raise OSError(ENOBUFS, "the output that waits for slow peers has taken all memory; send "
                          "later, close connections, or give the server more memory")
        server.fail(result)

    def send_many(self, frames, /):
        """Queue several frames, as ``send``.

        Returns
        -------
        int
            Frames queued. Fewer than there are: the connection has ended, or a later one met an
            error, which the next send of it raises. An error of the first is raised.
        """
        cdef Py_ssize_t count = 0
        for frame in frames:
            try:
                if not self.send(frame):
                    break
            except (OSError, ValueError):
                if count == 0:
                    raise
                break
            count += 1
        return count

    def close(self):
        """Close the connection once what is queued has been sent; receive nothing more of it."""
        cdef Server server = self.server
        if not self.lives():
            return
        with cython.critical_section(server):
            server.check_thread()
            if server.server != NULL:
                fsk_server_end(server.server, self.number)

    def fileno(self):
        """Return the descriptor, for socket options; -1 when the connection has ended."""
        cdef Server server = self.server
        cdef int fd
        if not self.lives():
            return -1
        with cython.critical_section(server):
            server.check_thread()
            fd = -1 if server.server == NULL else fsk_server_connection_fd(server.server, self.number)
        return max(fd, -1)

    @property
    def closed(self):
        """Whether the connection has ended, as far as batches have told."""
        return self.is_over

    @property
    def pending(self):
        """Bytes that are queued and that the kernel has not taken."""
        cdef Server server = self.server
        if not self.lives():
            return 0
        with cython.critical_section(server):
            server.check_thread()
            return 0 if server.server == NULL else fsk_server_pending(server.server, self.number)

    @property
    def peer(self):
        """The peer's address, as ``getpeername``; of a Unix socket asked for while it is open."""
        cdef Server server = self.server
        cdef fsk_address address
        if self.peer_address is None and self.lives():
            with cython.critical_section(server):
                server.check_thread()
                if server.server != NULL:
                    fsk_server_peer(server.server, self.number, &address)
                    if address.length > 0:
                        self.peer_address = to_python(&address)
        return self.peer_address

    def __repr__(self):
        state = "closed" if self.is_over else "open"
        return f"<fastsock.Connection {state} from {self.peer_address!r}>"


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
    connections : list of Connection
        Whose frame each row is.
    data : memoryview of uint8
        The memory the frames are in; offsets and lengths (memoryviews of uint64 and uint32) say
        where. NumPy takes them without a copy.
    """
    cdef Slab slab
    cdef readonly list opened
    cdef readonly list closed
    cdef readonly list connections

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
        return self.connections[index], frame

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
        cdef Py_ssize_t i
        for i in range(self.filled().filled.count):
            yield self.row(i)

    def __repr__(self):
        return (f"<fastsock.ServerBatch of {len(self)} frames, {len(self.opened)} opened, "
                f"{len(self.closed)} closed>")
