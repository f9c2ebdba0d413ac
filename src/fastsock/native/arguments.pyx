# SPDX-License-Identifier: MIT
"""Arguments of the calls, with the ranges and the errors that CPython's own parser gives them."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyObject_GetBuffer
from cpython.long cimport PyLong_AsLong
from libc.math cimport ceil

NO_FLAGS = 0  # CPython has one object for it: identity tells the default


cdef int convert_flags(object value) except? -1:
    cdef long number = PyLong_AsLong(value)
    if number > 0x7fffffff:
        raise OverflowError("signed integer is greater than maximum")
    if number < -0x80000000:
        raise OverflowError("signed integer is less than minimum")
    return <int>number


cdef int64_t seconds_to_ns(object timeout) except? -3:
    """A timeout in nanoseconds; -1 for None, which is for ever."""
    cdef double seconds
    if timeout is None:
        return -1
    seconds = timeout
    if seconds < 0:
        raise ValueError("timeout must be None or at least 0 seconds")
    if not seconds <= 9e9:
        raise ValueError("timeout is too large, or no number")
    return <int64_t>ceil(seconds * 1e9)


cdef int pin_data(object data, Py_buffer *view) except -1:
    """Pin the bytes to send, the parser's "y*"; the caller releases view when the call is over."""
    PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
    return 0


cdef int pin_room(object buffer, Py_buffer *view, str function) except -1:
    """Pin memory to receive into, the parser's "w*"; the caller releases view."""
    try:
        PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE)
    except Exception:
        raise TypeError(f"{function}() argument 1 must be read-write bytes-like object, "
                        f"not {type(buffer).__name__}") from None
    return 0
