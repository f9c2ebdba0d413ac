# SPDX-License-Identifier: MIT
"""recv_many, recvfrom_many and recv_batch, as methods of a socket class.

Facts
    A call that brings many messages costs what each of them costs the kernel, and next to nothing
    else: that is what makes it worth while.
What follows
    The first try keeps the GIL, as a plain receive does, unless it may bring more than about a
    millisecond's worth of messages. The lists are made from memory that is kept between calls.
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_AsSsize_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastsock.native.arguments cimport as_flags, seconds_to_ns
from fastsock.native.batch cimport Batch
from fastsock.native.descriptor cimport is_drop_in, message_kind, method_of
from fastsock.native.interpreter cimport FASTSOCK_CMSG_CLOEXEC
from fastsock.libfastsock cimport (
    FSK_BATCH_TRUNCATED, FSK_NO_ADDRESS, MSG_DONTWAIT, MSG_TRUNC, SOCK_SEQPACKET, fsk_batch,
    fsk_batch_reshape, fsk_receive_batch,
)
from fastsock.native.readahead cimport receive_ahead_batch
from fastsock.native.slab cimport Slab, make_slab, sources_of
from fastsock.native.state cimport State, found_state, need_state, reads_ahead
from fastsock.native.waiting cimport OWN_TIMEOUT, Operation, perform, prepare_receive
from fastsock.native.wakeup cimport Patience, begin_patience

cdef enum:
    KEEP_GIL_MESSAGES = 1024  # about a millisecond
    SPARE_SLABS = 4
    MOST_BYTES = 67108864  # of the messages of one list call
    USUAL_ROWS = 1024
    USUAL_BYTES = 4096
    LARGEST = 0x7fffffff


@cython.final
cdef class Spares:
    """Slabs of the list calls, kept for the next one. Any thread may call."""
    cdef list slabs

    def __cinit__(self):
        self.slabs = []

    cdef Slab take(self, Py_ssize_t count, Py_ssize_t bufsize):
        """A slab for up to count messages of bufsize bytes; fewer, where that is too much."""
        cdef Slab slab
        cdef Py_ssize_t i
        cdef Py_ssize_t rows = min(count, max(MOST_BYTES // bufsize, 1))
        with cython.critical_section(self):
            for i in range(len(self.slabs)):
                slab = self.slabs[i]
                if fsk_batch_reshape(slab.filled, rows, bufsize) == 0:
                    del self.slabs[i]
                    slab.sources = None
                    return slab
        # Of the usual size: the next call may want more than this one.
        if rows * bufsize <= USUAL_ROWS * USUAL_BYTES and rows <= USUAL_ROWS:
            slab = make_slab(USUAL_ROWS, USUAL_BYTES)
            fsk_batch_reshape(slab.filled, rows, bufsize)
            return slab
        return make_slab(rows, bufsize)

    cdef int give_back(self, Slab slab) except -1:
        with cython.critical_section(self):
            self.slabs.insert(0, slab)
            del self.slabs[SPARE_SLABS:]
        return 0


cdef Spares spares = Spares()


cdef int kind_of(object sock, str name) except -1:
    return message_kind(sock, name, "recvfrom", "receive with recv and cut them by a framing, such "
                        "as a length prefix")


cdef int check_flags(object flags) except? -1:
    cdef int bits = as_flags(flags)
    if bits & ~(MSG_DONTWAIT | MSG_TRUNC | FASTSOCK_CMSG_CLOEXEC):
        raise ValueError("of the flags only MSG_DONTWAIT, MSG_TRUNC and MSG_CMSG_CLOEXEC make "
                         "sense for many messages; call recv for the others")
    return bits


cdef int64_t as_timeout_ns(object timeout) except? -3:
    return OWN_TIMEOUT if timeout is ... else seconds_to_ns(timeout)


cdef ssize_t run_receive_batch(Operation *operation, int flags) noexcept nogil:
    return fsk_receive_batch(operation.fd, operation.kind, operation.flags | flags,
                             <fsk_batch *>operation.buffer)


cdef int prepare(Operation *operation, Patience *patience, object sock, fsk_batch *filled, int kind,
                 int flags, int64_t timeout) except -1:
    prepare_receive(operation, sock, 0, flags)
    operation.kind = kind
    operation.buffer = filled
    operation.release = filled.capacity > KEEP_GIL_MESSAGES
    operation.has_failed = False
    operation.timeout_ns = 0 if flags & MSG_DONTWAIT else timeout
    begin_patience(patience, operation.timeout_ns)
    return 0


cdef ssize_t receive_rows(object sock, Operation *operation, Patience *patience) except -1:
    """Append what one call brings: the rows, 0 at the end of a UDP socket after shutdown."""
    cdef ssize_t received = -2
    if reads_ahead(sock):
        received = receive_ahead_batch(sock, <fsk_batch *>operation.buffer, patience)
    if received == -2:
        received = perform(sock, operation, run_receive_batch)
        operation.streak.calls += <unsigned>received
    return received


cdef uint64_t truncated_rows(const fsk_batch *filled) noexcept:
    cdef uint64_t truncated = 0
    cdef uint32_t row
    for row in range(filled.count):
        truncated += filled.flags[row] & FSK_BATCH_TRUNCATED
    return truncated


cdef int count_truncated(object sock, uint64_t truncated) except -1:
    cdef State state
    if truncated > 0 and is_drop_in(sock):
        state = need_state(sock)
        with cython.critical_section(state):
            state.truncated += truncated
    return 0


cdef inline bytes bytes_of(const fsk_batch *filled, uint32_t row):
    return PyBytes_FromStringAndSize(<const char *>filled.arena + filled.offsets[row],
                                     filled.lengths[row])


cdef list messages_of(const fsk_batch *filled):
    cdef uint32_t row
    return [bytes_of(filled, row) for row in range(filled.count)]


cdef list pairs_of(Slab slab):
    cdef const fsk_batch *filled = slab.filled
    cdef tuple sources = sources_of(slab)
    cdef list pairs = []
    cdef uint32_t row
    for row in range(filled.count):
        address = None
        if filled.source[row] != FSK_NO_ADDRESS:
            address = sources[filled.source[row]]
        pairs.append((bytes_of(filled, row), address))
    return pairs


cdef Slab receive_slab(object sock, Py_ssize_t bufsize, Py_ssize_t count, object flags, str name):
    """A slab with what one call brings, for spares.give_back()."""
    cdef Operation operation
    cdef Patience patience
    cdef int kind = kind_of(sock, name)
    cdef int bits = check_flags(flags)
    cdef Slab slab
    if not 1 <= bufsize <= LARGEST:
        raise ValueError(f"{name}: bufsize must be 1 to {LARGEST} bytes, not {bufsize}")
    if count < 1:
        raise ValueError(f"{name}: count must be at least 1, not {count}")
    slab = spares.take(count, bufsize)
    try:
        prepare(&operation, &patience, sock, slab.filled, kind, bits, OWN_TIMEOUT)
        receive_rows(sock, &operation, &patience)
        count_truncated(sock, truncated_rows(slab.filled))
    except BaseException:
        spares.give_back(slab)
        raise
    return slab


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def recv_many(self, Py_ssize_t bufsize, Py_ssize_t count=64, flags=0, /):
        """Receive up to count messages of up to bufsize bytes each, with one system call for many.

        Returns as soon as one is there, with whatever else is queued. UDP, Unix datagram and
        SOCK_SEQPACKET.

        Parameters
        ----------
        bufsize : int, bytes
            What is longer is cut, and counted in ``truncated()``; ``recv_batch`` tells which.
        count : int, messages
            Of more than 64 MiB in all (bufsize x count) as many as are in that, at a time.
        flags : int
            MSG_DONTWAIT, MSG_TRUNC (without effect) and MSG_CMSG_CLOEXEC.

        Returns
        -------
        list of bytes
            At least one. Empty only for a UDP socket after shutdown. A SOCK_SEQPACKET list ends at
            the first empty message, which may be the end of the stream.

        Raises
        ------
        TimeoutError, BlockingIOError
            Nothing came within the socket's own timeout.
        OSError
            EOPNOTSUPP: a stream. Otherwise as ``recv``; an error that comes after a message is
            raised by the next call.

        Notes
        -----
        As with ``recv``, what was received is lost when a signal handler raises in the moment of
        return; ``recv_batch`` keeps it. Source: recvmmsg(2).
        """
        cdef Slab slab = receive_slab(self, bufsize, count, flags, "recv_many")
        messages = messages_of(slab.filled)
        spares.give_back(slab)
        return messages

    def recvfrom_many(self, Py_ssize_t bufsize, Py_ssize_t count=64, flags=0, /):
        """Receive up to count messages: a list of (bytes, address). As ``recv_many``."""
        cdef Slab slab = receive_slab(self, bufsize, count, flags, "recvfrom_many")
        pairs = pairs_of(slab)
        spares.give_back(slab)
        return pairs

    def recv_batch(self, Batch batch not None, flags=0, *, minimum=1, timeout=...):
        """Receive up to ``batch.capacity`` messages into a batch: their number.

        Parameters
        ----------
        batch : Batch
            Emptied first, then filled. Views of an earlier fill stay valid.
        flags : int
            MSG_DONTWAIT, MSG_TRUNC (always implied) and MSG_CMSG_CLOEXEC.
        minimum : int, messages, 1..capacity, optional
            Wait until so many are there.
        timeout : float or None, seconds, optional
            Omitted (or ``...``): the socket's own. None: for ever. 0: don't wait.

        Returns
        -------
        int
            As ``len(batch)``: at least minimum, or fewer by the deadline or the end of the stream.
            0 only for a UDP socket after shutdown.

        Raises
        ------
        TimeoutError, BlockingIOError
            Nothing came by the deadline; with a timeout of 0, nothing was there.
        RuntimeError
            Another thread receives into the batch.
        OSError
            EOPNOTSUPP: a stream. Otherwise as ``recv``.

        Notes
        -----
        Whatever is raised, a signal handler's exception included, the batch holds what was
        received until then. Source: recvmmsg(2), UDP_GRO (see set_readahead).
        """
        cdef Operation operation
        cdef Patience patience
        cdef int kind = kind_of(self, "recv_batch")
        cdef int bits = check_flags(flags)
        cdef int64_t timeout_ns = as_timeout_ns(timeout)
        cdef fsk_batch *filled
        cdef State state = found_state(self)
        cdef unsigned metadata = 0
        cdef ssize_t received
        cdef uint64_t cut
        cdef Py_ssize_t least = PyNumber_AsSsize_t(minimum, ValueError)
        if not 1 <= least <= batch.capacity:
            raise ValueError(f"minimum must be 1 to {batch.capacity}, the batch's capacity, not "
                             f"{minimum}")
        if state is not None:
            metadata = state.metadata
        filled = batch.begin(metadata)
        try:
            prepare(&operation, &patience, self, filled, kind, bits, timeout_ns)
            while filled.count < <uint32_t>least:
                try:
                    received = receive_rows(self, &operation, &patience)
                except (BlockingIOError, TimeoutError):
                    # The error of a wait that is over, not that of a signal handler.
                    if filled.count == 0 or not (operation.has_failed or patience.is_over):
                        raise
                    break
                if received == 0 or (kind == SOCK_SEQPACKET
                                     and filled.wire_lengths[filled.count - 1] == 0):
                    break
                operation.try_first = False  # nothing more was queued
        finally:
            # Read before another thread may receive into it.
            received = filled.count
            cut = truncated_rows(filled)
            batch.end()
            count_truncated(self, cut)
        return received

    def truncated(self, /):
        """Return how many messages were cut because they were longer than the room for them.

        Of this socket object, by the calls for many messages and by receives that read ahead; the
        kernel does not tell the others.
        """
        cdef State state = found_state(self)
        return 0 if state is None else state.truncated


recv_many = method_of(Methods, "recv_many")
recvfrom_many = method_of(Methods, "recvfrom_many")
recv_batch = method_of(Methods, "recv_batch")
truncated = method_of(Methods, "truncated")
