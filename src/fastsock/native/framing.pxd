# SPDX-License-Identifier: MIT
from libc.stddef cimport size_t

from fastsock.libfastsock cimport fsk_framing


cdef class Framing:
    cdef fsk_framing rules  # max_frame is the most there is; size 0: not made by a subclass

    cdef int check(self) except -1
    cdef bytes append(self, bytes encoded, Py_ssize_t *size, object message)
    cdef int limited(self, object max_frame, fsk_framing *rules) except -1

cdef int refuse_single(object frames, str function) except -1
cdef int check_frame(const fsk_framing *rules, const void *data, size_t length) except -1
