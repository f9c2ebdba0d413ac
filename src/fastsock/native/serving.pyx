# SPDX-License-Identifier: MIT
"""Serving: a server of the C library, and who may use it. What a StreamServer and its connections
share; all that touches the C server is done in a critical section of this."""
import os

cimport cython
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport ECHILD

from fastsock.native.errors cimport raise_error
from fastsock.libfastsock cimport fsk_server_free

cdef unsigned forks = 0  # that made this process, since the module was loaded


def _count_fork():
    global forks
    forks += 1


os.register_at_fork(after_in_child=_count_fork)


@cython.final
cdef class Serving:

    def __cinit__(self):
        self.forks = forks

    def __dealloc__(self):
        fsk_server_free(self.server)

    cdef bint is_own(self) except -1:
        return self.owner == os.getpid()

    cdef int fail(self, int result) except -1:
        if result == -ECHILD:
            raise RuntimeError(f"this StreamServer was opened by process {self.owner}; open "
                               "another in the process forked off, with reuse_port=True")
        raise_error(result)

    cdef int check_thread(self) except -1:
        """Connections belong to the thread that takes the batches, of the server's process."""
        if self.forks != forks:  # costs no system call, as getpid does
            self.fail(-ECHILD)
        if PyThread_get_thread_ident() != self.thread:
            raise RuntimeError("only the thread that takes the server's batches may use its "
                               "connections; hand what is to be sent to that thread")
        return 0
