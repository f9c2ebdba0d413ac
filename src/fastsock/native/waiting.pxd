# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t

from fastsock.native.descriptor cimport number
from fastsock.native.interpreter cimport (
    fastsock_load, fastsock_streak, fastsock_streak_state,
)
from fastsock.native.libfastsock cimport (
    FSK_WAIT_WRITABLE, MSG_DONTWAIT, fsk_address, fsk_message, fsk_wait,
)

cdef enum:
    STREAK_LIMIT = 64  # calls with the GIL held after which a look at the clock is due
    HISTORY = 1024


# One system call on operation; flags are added to operation.flags. As libfastsock: count or -errno.
ctypedef ssize_t (*Run)(Operation *operation, int flags) noexcept nogil

# One data-carrying call: what to run, on what, and how it may wait.
cdef struct Operation:
    Run run
    int fd
    int flags
    void *buffer
    size_t length
    fsk_address *address
    fsk_message *message
    fsk_wait what        # which readiness it waits for
    bint try_first       # may try without waiting before it asks for the timeout
    bint release         # may copy so much that even a try gives up the GIL
    bint has_waited      # out: the result came from a call that could wait
    fastsock_streak_state *streak  # of calls that kept the GIL
    int64_t deadline_ns  # 0: fixed at the first wait, as CPython's; kept over several performs

cdef unsigned char *failures  # of first tries in a row: two tables of HISTORY, for reads and writes

cdef ssize_t perform_with_care(object sock, Operation *operation) except -1
cdef ssize_t wait_and_perform(object sock, Operation *operation, ssize_t result) except -1
cdef ssize_t run_released(Operation *operation, int flags) noexcept


cdef inline unsigned char *history(const Operation *operation) noexcept:
    """How often in a row the descriptor's first try found nothing.

    A guess by number: two descriptors may share a count, right or wrong without consequence but for
    time.
    """
    cdef unsigned writes = operation.what == FSK_WAIT_WRITABLE
    return failures + writes * HISTORY + <unsigned>operation.fd % HISTORY


cdef inline ssize_t perform(object sock, Operation *operation, Run run) except -1:
    """Make the system call run, waiting as sock's timeout says.

    sock has passed descriptor.serves(). Returns the result of a successful call.
    """
    cdef ssize_t result
    operation.run = run
    operation.fd = number(sock)
    operation.streak = fastsock_streak()
    operation.has_waited = False
    # Inline only what almost every call is: a first try that is allowed and finds something.
    operation.streak.calls += 1
    if (not operation.try_first or operation.release or operation.streak.calls >= STREAK_LIMIT
            or fastsock_load(history(operation)) != 0):
        return perform_with_care(sock, operation)
    result = run(operation, MSG_DONTWAIT)  # a constant where this is inlined: a direct call
    return result if result >= 0 else wait_and_perform(sock, operation, result)
