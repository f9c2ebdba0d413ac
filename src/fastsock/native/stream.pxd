# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t

from fastsock.libfastsock cimport iovec
from fastsock.native.waiting cimport Operation

cdef enum:
    RECORD = 16384  # bytes of a TLS record; a send of one mostly finds room when poll says so


# All that one call of the user does with a stream: however many system calls, one deadline.
cdef struct StreamCall:
    Operation operation
    bint is_plain    # by the descriptor; else by the socket's own methods, such as TLS has
    bint has_failed  # out: what was raised is the call's own error, not a signal handler's
    bint is_lost     # out: bytes may have come or gone, and what was raised hides how many

cdef int check_stream(object sock, str name) except -1
cdef int begin_receive(StreamCall *call, object sock, int64_t timeout) except -1
cdef int begin_send(StreamCall *call, object sock) except -1
cdef ssize_t receive_some(object sock, StreamCall *call, void *where, size_t room) except -1
cdef ssize_t send_some(object sock, StreamCall *call, iovec *parts, size_t count) except -1
