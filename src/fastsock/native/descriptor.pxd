# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t

cdef bint serves(object sock) except -1
cdef int number(object sock) except -2
cdef int64_t timeout_ns(object sock) except -2
cdef object family(object sock)
cdef bint is_stream(object sock)
cdef bint waits_for_more(object sock) except -1
cdef object build(object cls, object like, int fd)
cdef object class_of(object sock)
