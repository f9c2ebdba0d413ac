# SPDX-License-Identifier: MIT
from fastsock.libfastsock cimport fsk_framing, fsk_server


cdef class Serving:
    cdef fsk_server *server     # NULL: closed, or never opened
    cdef fsk_framing rules
    cdef Py_ssize_t max_pending
    cdef int owner              # the process that opened it
    cdef unsigned forks         # that had made this process when it was opened
    cdef unsigned long thread   # that takes the batches

    cdef bint is_own(self) except -1
    cdef int fail(self, int result) except -1
    cdef int check_thread(self) except -1
