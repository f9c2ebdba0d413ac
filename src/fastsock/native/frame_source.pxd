# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

from fastsock.libfastsock cimport FSK_FRAME_HEADER_MAX, fsk_framer, fsk_framing
from fastsock.native.stream cimport StreamCall


cdef class FrameSource:
    cdef object sock
    cdef fsk_framing rules
    cdef fsk_framer *framer
    cdef size_t readahead
    cdef uint64_t beside  # bytes of the stream that did not go through framer
    cdef bytes whole      # a large frame, or raw bytes, being received in place; or None
    cdef size_t whole_size
    cdef size_t filled    # bytes of it
    cdef bint is_raw
    cdef unsigned char header[FSK_FRAME_HEADER_MAX]  # of the frame whole
    cdef size_t header_size
    cdef int loss         # 0, or why bytes that were received are lost: what calls raise, an errno

    cdef uint64_t position(self) noexcept
    cdef size_t held(self) noexcept
    cdef int check(self) except -1
    cdef int put(self, const void *data, size_t size) except -1
    cdef int put_back(self) except -1
    cdef size_t receive_into(self, StreamCall *call, void *where, size_t room) except? -1
    cdef int keep(self, const void *data, size_t size) except -1
    cdef size_t receive(self, StreamCall *call) except? -1
    cdef bytes cut_one(self)
    cdef list cut_many(self, Py_ssize_t most)
    cdef list frames(self, Py_ssize_t most)
    cdef int begin_whole(self) except -1
    cdef bytes receive_whole(self, StreamCall *call)
    cdef int forget_whole(self) noexcept
    cdef bytes raw(self, Py_ssize_t size)
    cdef int fail(self, ssize_t result) except -1
    cdef int end(self, uint64_t missing) except -1
