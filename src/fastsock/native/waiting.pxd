# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t

from fastsock.native.libfastsock cimport fsk_address, fsk_message, fsk_wait


# One data-carrying call: what to run, on what, and how it may wait.
cdef struct Operation:
    ssize_t (*run)(Operation *, int) noexcept nogil  # one system call; the int is added to flags
    int fd
    int flags
    void *buffer
    size_t length
    fsk_address *address
    fsk_message *message
    fsk_wait what       # which readiness it waits for
    bint try_first      # may try without waiting before it asks for the timeout
    bint release        # may copy so much that even a try gives up the GIL
    bint has_waited     # out: the result came from a call that could wait
    int64_t deadline_ns  # 0: fixed at the first wait, as CPython's; kept over several performs

cdef ssize_t perform(object sock, Operation *operation) except -1
cdef ssize_t run_released(Operation *operation, int flags) noexcept
