# SPDX-License-Identifier: MIT
"""What a fastsock.socket keeps beside CPython's fields, made when a call first needs it.

Critical sections on the State guard it: the GIL, or its lock in a free-threaded build. None of them
holds a call that waits.
"""
cimport cython

from posix.unistd cimport close

import os

from fastsock.native.descriptor cimport is_drop_in, set_state
from fastsock.libfastsock cimport fsk_readahead_free, fsk_segmentation_free


@cython.final
cdef class State:
    # Kept by the socket from its first need to its end.

    def __cinit__(self):
        self.woken_by = self.wake_by = -1

    cdef void close_pipe(self) noexcept:
        if self.woken_by >= 0:
            close(self.woken_by)
            close(self.wake_by)
        self.woken_by = self.wake_by = -1
        self.is_signalled = False

    def __dealloc__(self):
        self.close_pipe()
        fsk_readahead_free(self.queue)
        fsk_segmentation_free(self.segmentation)


cdef State need_state(object sock):
    """The State of a fastsock.socket, made now if it has none."""
    cdef State state = found_state(sock)
    if state is None:
        if not is_drop_in(sock):
            raise TypeError(f"a fastsock.socket is required, not '{type(sock).__name__}'")
        with cython.critical_section(sock):
            state = found_state(sock)
            if state is None:
                state = State()
                set_state(sock, state)
    return state


cdef uint64_t random_key() except? 0:
    """For hash tables: peers must not know it."""
    return int.from_bytes(os.urandom(8), "little")
