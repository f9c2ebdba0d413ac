# SPDX-License-Identifier: MIT
"""How a call is made and how it waits: the one place that gives up the GIL.

Facts
    A system call that finds its data copies it in about a microsecond. Giving up the GIL around it
    lets a CPU-bound thread take it for a whole switch interval (5 ms), so a receive loop beside
    such a thread runs at a fraction of its speed.
    CPython polls before every call on a socket with a timeout: two system calls where one will do.
    poll and the blocking call do not wait for the same: SO_RCVTIMEO, shutdown, a pending error and
    a full Unix datagram queue end or hold the one and not the other.
What follows
    The first try does not wait and keeps the GIL. Only what finds nothing gives it up, and then
    waits as CPython does: in the blocking call itself without a timeout, in poll with one.
"""
import sys

from cpython.exc cimport PyErr_CheckSignals
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec

from libc.errno cimport EAGAIN, EINPROGRESS, EINTR
from libc.stdint cimport INT64_MAX

from fastsock.native.descriptor cimport family, is_drop_in, is_stream, number, timeout_ns
from fastsock.native.errors cimport raise_error
from fastsock.native.interpreter cimport (
    fastsock_add, fastsock_load, fastsock_store, fastsock_streak, fastsock_streak_state,
)
from fastsock.libfastsock cimport (
    AF_UNIX, FSK_WAIT_READABLE, MSG_DONTWAIT, fsk_socket_wait,
)
from fastsock.native.state cimport State, need_state


cdef enum:
    # A descriptor whose first tries failed so often in a row skips them, and saves a system call a
    # message in request-and-reply, ...
    SKIP_AFTER = 4
    # ... but tries again after this many: a blocking call does not tell whether it waited.
    SKIP_COUNT = 16
    NOT_TRIED = 0  # in place of a result that is an error

FOR_EVER = INT64_MAX
cdef unsigned char counts[2 * HISTORY]
failures = counts


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef void sleep_ns(int64_t duration) noexcept nogil:
    """Sleep, or less when a signal comes."""
    cdef timespec pause
    pause.tv_sec = duration // 1000000000
    pause.tv_nsec = duration % 1000000000
    nanosleep(&pause, NULL)


cdef int fail(Operation *operation, ssize_t result) except -1:
    operation.has_failed = True
    raise_error(result)


cdef ssize_t run_released(Operation *operation, int flags) noexcept:
    """The system call with the GIL given up."""
    cdef ssize_t result
    end_streak(operation.streak)
    with nogil:
        result = operation.run(operation, flags)
    return result


cdef void end_streak(fastsock_streak_state *streak) noexcept:
    """The GIL is about to be given up."""
    streak.calls = 0
    streak.since_ns = 0


cdef bint has_had_its_turn(fastsock_streak_state *streak) except -1:
    """True when many calls have kept the GIL and one should give it up.

    A loop in C, deque(map(sock.recv, sizes)), never comes back to the interpreter's own switch, so
    its calls have to make way. A waiting thread asks for the GIL when it has seen nobody give it up
    for a switch interval, and is handed it at the next release. A release before that wakes it in
    vain and starts its interval anew: every 64 calls, and it never gets its turn. Two intervals are
    enough for the request to be there.
    """
    cdef int64_t now
    if streak.calls < STREAK_LIMIT:
        return False
    streak.calls = 0
    now = now_ns()
    if streak.since_ns == 0:
        streak.since_ns = now
        return False
    return now - streak.since_ns >= <int64_t>(2e9 * <double>sys.getswitchinterval())


cdef int make_way() except -1:
    """For what keeps the GIL without perform: many messages were received, give it up if due."""
    cdef fastsock_streak_state *streak = fastsock_streak()
    streak.calls += STREAK_LIMIT
    if has_had_its_turn(streak):
        give_way(streak)
    return 0


cdef void give_way(fastsock_streak_state *streak) noexcept:
    end_streak(streak)
    with nogil:
        pass


cdef bint skips_first_try(unsigned char *count) noexcept:
    cdef unsigned failed = fastsock_load(count)
    if failed < SKIP_AFTER:
        return False
    if failed >= SKIP_AFTER + SKIP_COUNT:
        fastsock_store(count, SKIP_AFTER - 1)
        return False
    fastsock_store(count, failed + 1)
    return True


cdef void remember_failure(unsigned char *count) noexcept:
    cdef unsigned failed = fastsock_load(count)
    if failed < SKIP_AFTER:
        fastsock_store(count, failed + 1)


cdef ssize_t perform_with_care(object sock, Operation *operation) except -1:
    """perform, when it has to decide whether to try, and whether with the GIL."""
    cdef ssize_t result
    cdef State state
    if not operation.try_first or skips_first_try(history(operation)):
        return wait_and_perform(sock, operation, NOT_TRIED)
    if has_had_its_turn(operation.streak):
        give_way(operation.streak)
    if operation.release:
        state = begin_receiving(sock, operation)
        result = run_released(operation, MSG_DONTWAIT)
        end_receiving(state)
    else:
        result = operation.run(operation, MSG_DONTWAIT)
    if result < 0:
        return wait_and_perform(sock, operation, result)
    fastsock_store(history(operation), 0)
    return result


cdef State begin_receiving(object sock, Operation *operation):
    """Count a receive that gives up the GIL: meanwhile the socket must not begin to read ahead.

    With UDP_GRO it would get a train of datagrams as one. Returns what end_receiving() wants.
    """
    cdef State state = None
    if (operation.what == FSK_WAIT_READABLE and not is_stream(sock) and family(sock) != AF_UNIX
            and is_drop_in(sock)):
        state = need_state(sock)
        fastsock_add(&state.receiving, 1)
    return state


cdef void end_receiving(State state) noexcept:
    if state is not None:
        fastsock_add(&state.receiving, -1)


cdef ssize_t wait_and_perform(object sock, Operation *operation, ssize_t result) except -1:
    """Go on after a first try that gave result, or after none (NOT_TRIED)."""
    cdef State state = begin_receiving(sock, operation)
    try:
        return wait_as_told(sock, operation, result)
    finally:
        end_receiving(state)


cdef ssize_t wait_as_told(object sock, Operation *operation, ssize_t result) except -1:
    """Wait as the timeout says, the socket's own or the call's."""
    cdef int64_t timeout
    operation.has_failed = False
    # EINPROGRESS: the send that starts a TCP Fast Open connection, which a blocking one waits for.
    if result not in (NOT_TRIED, -EAGAIN, -EINTR, -EINPROGRESS):
        fail(operation, result)
    PyErr_CheckSignals()
    timeout = timeout_ns(sock)
    if operation.timeout_ns != OWN_TIMEOUT and timeout != operation.timeout_ns:
        # The descriptor's mode is the socket's own: only poll can wait for another time.
        timeout = operation.timeout_ns if operation.timeout_ns >= 0 else FOR_EVER
    operation.has_waited = True
    if timeout == 0:
        return perform_once(sock, operation, result)
    if timeout > 0 and result == -EINPROGRESS:
        fail(operation, result)
    if result != NOT_TRIED:
        remember_failure(history(operation))
    if timeout < 0:
        return perform_blocking(sock, operation)
    if operation.deadline_ns == 0:
        operation.deadline_ns = saturating_add(now_ns(), timeout)
    return perform_by_deadline(sock, operation)


cdef int64_t saturating_add(int64_t one, int64_t other) noexcept:
    return one + other if one <= INT64_MAX - other else INT64_MAX


cdef ssize_t perform_once(object sock, Operation *operation, ssize_t result) except -1:
    """Of a non-blocking socket: the result there is, or that of the one call it makes."""
    while result == NOT_TRIED or result == -EINTR:
        operation.fd = number(sock)
        # MSG_DONTWAIT, as another process that shares the descriptor may have made it wait.
        result = run_released(operation, MSG_DONTWAIT)
        if result >= 0:
            return result
        if result == -EINTR:
            PyErr_CheckSignals()
    fail(operation, result)


cdef ssize_t perform_blocking(object sock, Operation *operation) except -1:
    """Wait in the system call itself, which alone ends when CPython's ends."""
    cdef ssize_t result
    while True:
        operation.fd = number(sock)
        result = run_released(operation, 0)
        if result >= 0:
            return result
        if result != -EINTR:
            fail(operation, result)  # EAGAIN too: SO_RCVTIMEO, SO_SNDTIMEO
        PyErr_CheckSignals()


cdef ssize_t perform_by_deadline(object sock, Operation *operation) except -1:
    """Wait in poll until the deadline, and try each time it says ready."""
    cdef ssize_t result
    cdef int64_t remaining, started
    cdef int ready
    cdef unsigned refusals = 0
    while True:
        started = now_ns()
        remaining = operation.deadline_ns - started
        if remaining <= 0:
            operation.has_failed = True
            raise TimeoutError("timed out")
        operation.fd = number(sock)
        end_streak(operation.streak)
        with nogil:
            ready = fsk_socket_wait(operation.fd, operation.what, remaining)
        if ready == 0:
            continue  # the time is over, or more than INT_MAX milliseconds remain
        if ready < 0:
            if ready != -EINTR:
                fail(operation, ready)
            PyErr_CheckSignals()
            continue
        # The number again: the socket may have been closed while the GIL was given up.
        operation.fd = number(sock)
        result = run_released(operation, MSG_DONTWAIT) if operation.release \
            else operation.run(operation, MSG_DONTWAIT)
        if result >= 0:
            return result
        if result == -EINTR:
            PyErr_CheckSignals()
        elif result != -EAGAIN:
            fail(operation, result)
        else:
            # Ready and yet nothing: another thread was first, or poll is wrong for good (it calls a
            # connected Unix datagram socket writable while the peer's queue is full).
            refusals = refusals + 1 if now_ns() - started < MILLISECOND_NS else 1
            if refusals >= 2:
                remaining = operation.deadline_ns - now_ns()
                with nogil:
                    if remaining > 0:
                        sleep_ns(min(remaining, MILLISECOND_NS))
                PyErr_CheckSignals()
