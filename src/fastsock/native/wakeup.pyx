# SPDX-License-Identifier: MIT
"""Waiting for a datagram that may come by the kernel or by another thread's read-ahead.

Facts
    A thread that waits in the kernel does not notice what another one has put into the queue.
    poll tells a shutdown, and is wrong for good about a filled error queue: ready, with nothing to
    receive.
What follows
    Who waits polls a pipe beside the socket. It is readable while the queue holds something and
    somebody waits; both change in critical sections on the State only.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport int64_t
from posix.time cimport timeval
from posix.unistd cimport read, write

import _socket
import os

from fastsock.native.descriptor cimport number, timeout_ns
from fastsock.native.errors cimport raise_error
from fastsock.native.interpreter cimport fastsock_streak
from fastsock.libfastsock cimport (
    FSK_HUNG_UP, SOL_SOCKET, fsk_readahead_pending, fsk_socket_wait_either,
)
from fastsock.native.waiting cimport (
    FOR_EVER, MILLISECOND_NS, OWN_TIMEOUT, end_streak, now_ns, saturating_add, sleep_ns,
)

cdef object native_getsockopt = _socket.socket.getsockopt


cdef int change_signal(State state) except -1:
    # Plain calls, not os.read and os.write: those give up the GIL, and with it the critical
    # section, between the look and the change. Neither can wait.
    cdef char byte = 0
    cdef bint is_due = (state.waiting > 0 and state.queue != NULL
                        and fsk_readahead_pending(state.queue) > 0)
    if is_due != state.is_signalled:
        if is_due:
            write(state.wake_by, &byte, 1)
        else:
            read(state.woken_by, &byte, 1)
        state.is_signalled = is_due
    return 0


cdef int begin(State state) except -1:
    """Count who waits; in a critical section, the queue is empty."""
    if state.woken_by < 0:
        ends = os.pipe()  # gives up the GIL: another thread may have been here meanwhile
        os.set_blocking(ends[0], False)
        os.set_blocking(ends[1], False)
        if state.woken_by < 0:
            state.woken_by, state.wake_by = ends
        else:
            os.close(ends[0])
            os.close(ends[1])
    state.waiting += 1
    return pass_on(state)  # what has come meanwhile


cdef int release(State state) except -1:
    """Close the pipe when nobody needs it any more; in a critical section."""
    if state.waiting == 0 and state.queue == NULL and state.woken_by >= 0:
        state.close_pipe()
    return 0


cdef int64_t receive_timeout_ns(object sock) except -2:
    """SO_RCVTIMEO, which the system call of a blocking socket would obey: -1 for none."""
    cdef bytes option = native_getsockopt(sock, SOL_SOCKET, _socket.SO_RCVTIMEO, sizeof(timeval))
    cdef const timeval *time = <const timeval *>PyBytes_AS_STRING(option)
    if time.tv_sec == 0 and time.tv_usec == 0:
        return -1
    return <int64_t>time.tv_sec * 1000000000 + time.tv_usec * 1000


cdef bint set_deadline(object sock, Patience *patience) except -1:
    """True when the socket itself waits for ever, and so ends at a shutdown."""
    cdef int64_t own = timeout_ns(sock)
    cdef int64_t timeout = own if patience.timeout_ns == OWN_TIMEOUT else patience.timeout_ns
    if timeout == 0:
        patience.is_over = True
        raise_error(-EAGAIN)
    if patience.deadline_ns == 0:
        if timeout < 0 and own < 0:
            timeout = receive_timeout_ns(sock)
        patience.deadline_ns = FOR_EVER if timeout < 0 else saturating_add(now_ns(), timeout)
    return timeout < 0 or own < 0


cdef bint wait_for_datagram(object sock, State state, Patience *patience) except -1:
    """Wait until it is worth while to look again. False: the end after shutdown.

    The caller has looked and found neither the queue nor the kernel to hold anything.
    """
    cdef bint ends_at_shutdown = set_deadline(sock, patience)
    cdef int64_t started = now_ns()
    cdef int64_t remaining = patience.deadline_ns - started
    cdef int fd = number(sock)
    cdef int other, ready
    if remaining <= 0:
        patience.is_over = True
        if timeout_ns(sock) < 0 and patience.timeout_ns == OWN_TIMEOUT:
            raise_error(-EAGAIN)  # SO_RCVTIMEO is over
        raise TimeoutError("timed out")
    with cython.critical_section(state):
        if state.queue != NULL and fsk_readahead_pending(state.queue) > 0:
            return True
        begin(state)
        other = state.woken_by
    end_streak(fastsock_streak())
    with nogil:
        ready = fsk_socket_wait_either(fd, other, remaining)
        # Ready at once, and yet there was nothing last time: poll may be wrong for good.
        if patience.refusals >= 2 and ready > 0:
            sleep_ns(min(remaining, MILLISECOND_NS))
    with cython.critical_section(state):
        state.waiting -= 1
        pass_on(state)
        release(state)
    patience.refusals = patience.refusals + 1 if now_ns() - started < 2 * MILLISECOND_NS else 0
    if ready < 0 and ready != -EINTR:
        raise_error(ready)
    PyErr_CheckSignals()
    return not (ready > 0 and ready & FSK_HUNG_UP and ends_at_shutdown and patience.refusals > 1)
