# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t, uint32_t

from fastsock.native.batch cimport Batch
from fastsock.native.frame_source cimport FrameSource
from fastsock.libfastsock cimport fsk_batch, fsk_cut
from fastsock.native.stream cimport StreamCall


cdef class FrameFiller:
    cdef FrameSource source
    cdef size_t most   # bytes that a call reads at a time
    cdef fsk_cut cut   # of the frame at the source's position, when that is its offset
    cdef bint is_slow  # that frame is collected by the source

    cdef Batch make_batch(self)
    cdef Py_ssize_t fill(self, Batch batch, int64_t timeout_ns) except -1
    cdef Py_ssize_t fill_rows(self, fsk_batch *filled, int64_t timeout_ns) except -1
    cdef Py_ssize_t cut_rows(self, fsk_batch *filled, const unsigned char *data, size_t size,
                             uint32_t most, size_t *taken) except -1
    cdef int set_rows(self, fsk_batch *filled, Py_ssize_t rows) except -1
    cdef Py_ssize_t copy_rows(self, fsk_batch *filled, const unsigned char *data,
                              size_t size) except -1
    cdef int check_fits(self, fsk_batch *filled, size_t size) except -1
    cdef Py_ssize_t receive_rows(self, fsk_batch *filled, StreamCall *call,
                                 const unsigned char *begun, size_t size) except -2
    cdef void adapt(self, size_t taken, bint is_full) noexcept
