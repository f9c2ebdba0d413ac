# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t

from fastsock.native.state cimport State


# How one receive from a queue waits, over all its waits.
cdef struct Patience:
    int64_t timeout_ns   # OWN_TIMEOUT, or in place of the socket's: -1 for ever, 0 not at all
    int64_t deadline_ns  # 0: not waited so far
    unsigned refusals    # waits in a row that ended at once, and nothing was there
    bint is_over         # out: what is raised is that the time is over


cdef inline void begin_patience(Patience *patience, int64_t timeout_ns) noexcept:
    patience.timeout_ns = timeout_ns
    patience.deadline_ns = 0
    patience.refusals = 0
    patience.is_over = False


cdef bint wait_for_datagram(object sock, State state, Patience *patience) except -1
cdef int change_signal(State state) except -1
cdef int release(State state) except -1


cdef inline int pass_on(State state) except -1:
    """In a critical section, after the queue has changed: wake who waits, or let them sleep."""
    return change_signal(state) if state.waiting != 0 or state.is_signalled else 0
