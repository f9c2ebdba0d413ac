# SPDX-License-Identifier: MIT
from cpython.buffer cimport Py_buffer

cdef int as_flags(object value) except? -1
cdef int pin_data(object data, Py_buffer *view) except -1
cdef int pin_room(object buffer, Py_buffer *view, str function) except -1
