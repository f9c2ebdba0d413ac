# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t

from fastsock.native.descriptor cimport is_stream, number, waits_for_more
from fastsock.native.interpreter cimport (
    FASTSOCK_ERRQUEUE, FASTSOCK_FASTOPEN, fastsock_load, fastsock_streak, fastsock_streak_state,
)
from fastsock.libfastsock cimport (
    FSK_WAIT_READABLE, FSK_WAIT_WRITABLE, MSG_DONTWAIT, MSG_OOB, MSG_WAITALL, fsk_address,
    fsk_message, fsk_segmentation, fsk_wait,
)

cdef enum:
    STREAK_LIMIT = 64  # calls with the GIL held after which a look at the clock is due
    HISTORY = 1024
    # A stream's receive of up to this size keeps the GIL. It is what asyncio asks for at a time,
    # and what comes is mostly far less.
    KEEP_GIL_RECEIVE = 262144
    # A stream's send of up to this size does: more the kernel copies for certain.
    KEEP_GIL_SEND = 65536
    OWN_TIMEOUT = -2
    MILLISECOND_NS = 1000000


# One system call on operation; flags are added to operation.flags. As libfastsock: count or -errno.
ctypedef ssize_t (*Run)(Operation *operation, int flags) noexcept nogil

# One data-carrying call: what to run, on what, and how it may wait.
cdef struct Operation:
    Run run
    int fd
    int flags
    int kind  # SOCK_DGRAM or SOCK_SEQPACKET, of a call on many messages
    void *buffer
    size_t length
    fsk_address *address
    fsk_message *message
    fsk_segmentation *segmentation
    fsk_wait what        # which readiness it waits for
    bint try_first       # may try without waiting before it asks for the timeout
    bint release         # may copy so much that even a try gives up the GIL
    bint has_waited      # out: the result came from a call that could wait
    fastsock_streak_state *streak  # of calls that kept the GIL
    int64_t timeout_ns   # OWN_TIMEOUT, or in place of the socket's: -1 for ever, 0 not at all
    int send_error       # out: of a send of many, what the first that did not go met
    bint has_failed      # out: what is raised is the call's own error, not a signal handler's
    int64_t deadline_ns  # 0: fixed at the first wait, as CPython's; kept over several performs

cdef int64_t FOR_EVER      # a deadline
cdef unsigned char *failures  # of first tries in a row: two tables of HISTORY, for reads and writes

cdef ssize_t perform_with_care(object sock, Operation *operation) except -1
cdef ssize_t wait_and_perform(object sock, Operation *operation, ssize_t result) except -1
cdef ssize_t run_released(Operation *operation, int flags) noexcept
cdef int make_way() except -1
cdef void end_streak(fastsock_streak_state *streak) noexcept
cdef int64_t now_ns() noexcept nogil
cdef void sleep_ns(int64_t duration) noexcept nogil
cdef int64_t saturating_add(int64_t one, int64_t other) noexcept


cdef inline int prepare_receive(Operation *operation, object sock, size_t length,
                                int flags) except -1:
    """Fill in how a receive into length bytes may wait."""
    operation.flags = flags
    operation.what = FSK_WAIT_READABLE
    operation.timeout_ns = OWN_TIMEOUT
    operation.deadline_ns = 0
    operation.release = length > KEEP_GIL_RECEIVE and is_stream(sock)
    # MSG_WAITALL without waiting is no MSG_WAITALL. The error queue and urgent data never wait, and
    # poll, which reports them, is what CPython waits in.
    operation.try_first = (not flags & (MSG_WAITALL | FASTSOCK_ERRQUEUE | MSG_OOB)
                           and not waits_for_more(sock))
    return 0


cdef inline void prepare_send(Operation *operation, object sock, size_t length,
                              int flags) noexcept:
    """Fill in how a send of length bytes may wait."""
    operation.flags = flags
    operation.what = FSK_WAIT_WRITABLE
    operation.timeout_ns = OWN_TIMEOUT
    operation.deadline_ns = 0
    operation.release = length > KEEP_GIL_SEND and is_stream(sock)
    # MSG_FASTOPEN without waiting starts the connection and reports EINPROGRESS.
    operation.try_first = not flags & FASTSOCK_FASTOPEN


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
