# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastsock.native.serving cimport Serving


cdef class Connection:
    cdef Serving serving
    cdef uint32_t number
    cdef bint is_over           # its end has been told: the number is not its own
    cdef object peer_address    # once asked for
    cdef public object context
    cdef readonly uint32_t unfinished

    cdef bint lives(self) except -1
    cdef int learn_peer(self) except -1
    cdef bint refuse(self, int result, const Py_buffer *view) except -1
