# SPDX-License-Identifier: MIT
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t

cdef object NO_FLAGS
cdef int64_t seconds_to_ns(object timeout) except? -3
cdef int convert_flags(object value) except? -1
cdef int pin_data(object data, Py_buffer *view) except -1
cdef int pin_room(object buffer, Py_buffer *view, str function) except -1


cdef inline int as_flags(object value) except? -1:
    """A C int; the parser's "i"."""
    return 0 if value is NO_FLAGS else convert_flags(value)
