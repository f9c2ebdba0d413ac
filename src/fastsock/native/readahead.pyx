# SPDX-License-Identifier: MIT
"""Read-ahead: receives come from a queue of datagrams that one system call has filled.

Facts
    The queue is used by one thread at a time, and its datagrams are borrowed until the next pop.
    A receive that waits can't fill it: other threads must get at what is queued meanwhile.
What follows
    The queue is touched only in critical sections, in which nothing waits: it is filled without
    waiting. A call that finds nothing waits outside, for the kernel or for what another thread has
    read ahead (wakeup.pyx), and looks again.
"""
cimport cython

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBADF, EBUSY, EINTR, EOPNOTSUPP
from libc.string cimport memcpy

import os

from fastsock.native.descriptor cimport method_of, number, refuse, timeout_ns
from fastsock.native.errors cimport raise_error
from fastsock.native.interpreter cimport (
    FASTSOCK_CMSG_CLOEXEC, FASTSOCK_ERRQUEUE, fastsock_count,
)
from fastsock.libfastsock cimport (
    FSK_READAHEAD_BUFFERS, FSK_READAHEAD_ROWS, MSG_CTRUNC, MSG_DONTWAIT, MSG_OOB, MSG_PEEK,
    MSG_TRUNC, fsk_batch, fsk_control, fsk_control_next, fsk_control_put, fsk_control_space,
    fsk_datagram, fsk_readahead, fsk_readahead_clear, fsk_readahead_fill, fsk_readahead_first,
    fsk_readahead_free, fsk_readahead_new, fsk_readahead_pending, fsk_readahead_pop,
    fsk_readahead_receive, fsk_readahead_start, fsk_readahead_stop,
)
from fastsock.native.state cimport found_state, need_state
from fastsock.native.waiting cimport OWN_TIMEOUT, make_way
from fastsock.native.wakeup cimport (
    Patience, begin_patience, pass_on, release, wait_for_datagram,
)

cdef enum:
    ENDED = -100000  # in place of a -errno: the socket will give no datagram any more
    CONTROL_MAXIMUM = 512  # bytes, more than a datagram's control data in the queue

cdef unsigned forks = 0  # that made this process, since the module was loaded


def _count_fork():
    global forks
    forks += 1


os.register_at_fork(after_in_child=_count_fork)


cdef bint has_queue(State state) noexcept:
    """True when there is a queue, be it empty, of this process; in a critical section on state."""
    if state.queue == NULL:
        return False
    if state.forks != forks:
        # What is queued was the parent's to receive; the kernel's queue is shared.
        fsk_readahead_clear(state.queue)
        state.close_pipe()
        state.waiting = 0
        state.forks = forks
    if state.buffers == 0 and fsk_readahead_pending(state.queue) == 0:
        fsk_readahead_free(state.queue)
        state.queue = NULL
        return False
    return True


cdef ssize_t fill_queue(State state, int fd) noexcept:
    """Make the first datagram ready, in a critical section on state.

    Returns the datagrams queued, 0 when there is no queue (any more), or -errno of a receive that
    does not wait.
    """
    cdef ssize_t filled
    if not has_queue(state):
        return 0
    filled = fsk_readahead_pending(state.queue)
    if filled == 0:
        filled = fsk_readahead_fill(state.queue, fd, MSG_DONTWAIT)
        state.has_filled = filled > 0
    # 0 is what systems other than Linux give after shutdown.
    return filled if filled != 0 else ENDED


cdef inline int make_way_after_fill(State state) except -1:
    if state.has_filled:
        state.has_filled = False
        make_way()
    return 0


cdef int prepare_wait(Patience *patience, object sock, int flags) except -1:
    cdef bint is_try = flags & MSG_DONTWAIT and timeout_ns(sock) < 0
    begin_patience(patience, 0 if is_try else OWN_TIMEOUT)
    return 0


cdef inline void copy_source(const fsk_datagram *datagram, fsk_address *source) noexcept:
    if source != NULL:
        source.length = datagram.source.length
        memcpy(&source.name, &datagram.source.name, datagram.source.length)


cdef inline void finish(State state, const fsk_datagram *datagram, size_t room,
                        int flags) noexcept:
    """datagram has been copied into room bytes."""
    if not flags & MSG_PEEK:
        if datagram.length > room:
            state.truncated += 1
        fsk_readahead_pop(state.queue)


cdef bint has_ended(object sock, State state, ssize_t status, Patience *patience) except -1:
    """Act on a -errno of the queue: raise it, or wait. True: the socket has ended."""
    if status == ENDED:
        return True
    if status == -EINTR:
        PyErr_CheckSignals()
        return False
    if status != -EAGAIN:
        raise_error(status)
    return not wait_for_datagram(sock, state, patience)


cdef bytes receive_ahead(object sock, size_t bufsize, int flags, fsk_address *source):
    """The next datagram, cut at bufsize. None: the call is one for the kernel after all."""
    cdef State state = found_state(sock)
    cdef Patience patience
    cdef fsk_datagram datagram
    cdef ssize_t status
    cdef bytes data
    if flags & (FASTSOCK_ERRQUEUE | MSG_OOB):
        return None
    prepare_wait(&patience, sock, flags)
    while True:
        with cython.critical_section(state):
            status = fill_queue(state, number(sock))
            if status > 0:
                fsk_readahead_first(state.queue, &datagram)
                data = PyBytes_FromStringAndSize(<const char *>datagram.data,
                                                 min(datagram.length, bufsize))
                copy_source(&datagram, source)
                finish(state, &datagram, bufsize, flags)
                pass_on(state)
        if status > 0:
            make_way_after_fill(state)
            return data
        if status == 0:
            return None
        if has_ended(sock, state, status, &patience):
            if source != NULL:
                source.length = 0
            return b""


cdef void copy_control(const fsk_datagram *datagram, fsk_message *message) noexcept:
    """As the kernel's put_cmsg: an item without room is cut, and flagged."""
    cdef fsk_message queued, whole
    cdef fsk_control item
    cdef size_t cursor = 0
    cdef size_t room = message.control_length
    cdef size_t left
    cdef char memory[CONTROL_MAXIMUM]
    queued.control = <void *>datagram.control
    queued.control_length = datagram.control_length
    message.control_length = 0
    while fsk_control_next(&queued, &cursor, &item) > 0:
        left = room - message.control_length
        if fsk_control_space(0) + item.length > left:
            message.flags |= MSG_CTRUNC
            if fsk_control_space(0) > left:
                return
            item.length = left - fsk_control_space(0)
        whole.control = memory
        whole.control_length = 0
        if fsk_control_put(&whole, sizeof(memory), &item) == 0:
            left = min(left, whole.control_length)  # the last one's padding needs no room
            memcpy(<char *>message.control + message.control_length, memory, left)
            message.control_length += left


cdef ssize_t copy_message(State state, fsk_message *message, int flags) noexcept:
    cdef fsk_datagram datagram
    cdef size_t copied = 0, part
    cdef size_t i
    fsk_readahead_first(state.queue, &datagram)
    for i in range(message.buffer_count):
        part = min(message.buffers[i].iov_len, datagram.length - copied)
        memcpy(message.buffers[i].iov_base, <const char *>datagram.data + copied, part)
        copied += part
    copy_source(&datagram, message.address)
    message.flags = (datagram.flags | flags & FASTSOCK_CMSG_CLOEXEC
                     | (MSG_TRUNC if copied < datagram.length else 0))
    copy_control(&datagram, message)
    finish(state, &datagram, copied, flags)
    return datagram.length if flags & MSG_TRUNC else copied


cdef ssize_t receive_ahead_message(object sock, fsk_message *message, int flags) except -1:
    """As fsk_receive_message, from the queue, waiting as sock does. sock reads ahead.

    Returns -2 when the call is one for the kernel after all.
    """
    cdef State state = found_state(sock)
    cdef Patience patience
    cdef ssize_t status, received = 0
    if flags & (FASTSOCK_ERRQUEUE | MSG_OOB):
        return -2
    prepare_wait(&patience, sock, flags)
    while True:
        with cython.critical_section(state):
            status = fill_queue(state, number(sock))
            if status > 0:
                received = copy_message(state, message, flags)
                pass_on(state)
        if status > 0:
            make_way_after_fill(state)
            return received
        if status == 0:
            return -2
        if has_ended(sock, state, status, &patience):
            message.control_length = 0
            message.flags = 0
            if message.address != NULL:
                message.address.length = 0
            return 0


cdef ssize_t receive_ahead_batch(object sock, fsk_batch *filled, Patience *patience) except -1:
    """Append to filled, waiting as patience says: the rows appended, 0 at the end after shutdown.

    Returns -2 when there is no queue any more.
    """
    cdef State state = found_state(sock)
    cdef ssize_t status, received = 0
    while True:
        with cython.critical_section(state):
            if not has_queue(state):
                return received if received > 0 else -2
            status = fsk_readahead_receive(state.queue, number(sock), MSG_DONTWAIT, filled)
            pass_on(state)
        if status > 0:
            make_way()  # after a thousand rows or so
            received += status
            if status < FSK_READAHEAD_ROWS or filled.count == filled.capacity:
                return received
        elif received > 0:
            return received
        elif has_ended(sock, state, status if status != 0 else ENDED, patience):
            return 0


cdef int start(object sock, State state, unsigned buffers) except -1:
    """Read ahead from now on; in a critical section on state."""
    cdef fsk_readahead *queue = NULL
    cdef int result
    if state.buffers == buffers:
        return 0
    if has_queue(state) and fsk_readahead_pending(state.queue) == 0:
        stop(sock, state)
    if has_queue(state):
        raise OSError(EBUSY, "datagrams that were read ahead are queued: call set_readahead(0) and "
                      "receive until pending() is 0 first")
    if fastsock_count(&state.receiving) > 0:
        raise OSError(EBUSY, "another thread is in a receive on this socket, and would get a train "
                      "of datagrams as one: set read-ahead before the threads start")
    result = fsk_readahead_new(&queue, buffers)
    if result < 0:
        raise_error(result)
    result = fsk_readahead_start(queue, number(sock))
    if result < 0:
        fsk_readahead_free(queue)
        raise OSError(EOPNOTSUPP, "only UDP sockets can read ahead; call recv_many or recv_batch")
    state.queue = queue
    state.buffers = buffers
    state.forks = forks
    return 0


cdef int stop(object sock, State state) except -1:
    """What is read ahead stays in the queue; in a critical section on state."""
    cdef int result
    if not has_queue(state) or state.buffers == 0:
        return 0
    result = fsk_readahead_stop(state.queue, number(sock))
    if result == -EBUSY:
        raise OSError(EBUSY, "datagrams come faster than the kernel's queue can be emptied; "
                      "read-ahead goes on: receive some, and try again")
    if result < 0:
        raise_error(result)
    state.buffers = 0
    has_queue(state)  # frees an empty one
    pass_on(state)
    return 0


def discard(sock, /):
    """Drop the queue of a socket that is being closed, and count what was in it."""
    cdef State state = found_state(sock)
    if state is None:
        return
    with cython.critical_section(state):
        if state.queue != NULL:
            if state.forks == forks:
                state.discarded += fsk_readahead_pending(state.queue)
            fsk_readahead_free(state.queue)
            state.queue = NULL
            state.buffers = 0
            pass_on(state)
        release(state)


def discarded(sock, /):
    """Datagrams that were in the queue when the socket was closed."""
    cdef State state = found_state(sock)
    return 0 if state is None else state.discarded


def refuse_sharing(sock, what, /):
    """Raise while sock reads ahead: another descriptor would get trains of datagrams as one."""
    cdef State state = found_state(sock)
    cdef bint is_busy = False
    if state is not None:
        with cython.critical_section(state):
            is_busy = has_queue(state)
    if is_busy:
        raise OSError(EBUSY, f"{what}: the socket reads ahead; call set_readahead(0) and receive "
                      "until pending() is 0 first")


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def set_readahead(self, Py_ssize_t buffers, /):
        """Receive ahead: one system call takes up to so many kernel buffers into a queue.

        The loop that calls ``recv`` stays as it is; a receive of any kind takes from the queue
        first. Where the kernel has UDP_GRO a buffer is a train of up to 64 KiB of datagrams from
        one sender, and each datagram still arrives by itself, in order. ``select`` and asyncio know
        nothing of the queue: wait with ``fastsock.wait_readable``.

        Parameters
        ----------
        buffers : int, 1..64, or 0
            0 goes back to plain receives: what the kernel holds moves to the queue, which stays
            readable until it is empty.

        Raises
        ------
        OSError
            EOPNOTSUPP: not a UDP socket. EBUSY: another thread is in a receive; or datagrams come
            faster than they can be moved, or an old queue is not empty, where nothing is lost. Or a
            pending error of the socket.
        ValueError
            buffers is not 0..64.

        Notes
        -----
        Memory: buffers x 64 KiB, untouched until it is filled. While it is on, ``dup``, ``detach``
        and pickling raise OSError(EBUSY); after a fork the child's copy of the queue is dropped.
        Source: udp(7), UDP_GRO, Linux 5.0.
        """
        refuse(self)
        if number(self) < 0:
            raise_error(-EBADF)
        if buffers < 0 or buffers > FSK_READAHEAD_BUFFERS:
            raise ValueError(f"buffers must be 0 to {FSK_READAHEAD_BUFFERS}, not {buffers}")
        cdef State state = need_state(self)
        with cython.critical_section(state):
            if buffers == 0:
                stop(self, state)
            else:
                start(self, state, buffers)

    def get_readahead(self, /):
        """Return the kernel buffers that one receive takes ahead; 0: receives are plain."""
        cdef State state = found_state(self)
        return 0 if state is None else state.buffers

    def pending(self, /):
        """Return the number of datagrams in the read-ahead queue (SSLSocket's counts bytes)."""
        cdef State state = found_state(self)
        if state is None:
            return 0
        with cython.critical_section(state):
            if state.queue == NULL or state.forks != forks:
                return 0
            return fsk_readahead_pending(state.queue)


set_readahead = method_of(Methods, "set_readahead")
get_readahead = method_of(Methods, "get_readahead")
pending = method_of(Methods, "pending")
