# SPDX-License-Identifier: MIT
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fastsock.native.descriptor cimport state_of
from fastsock.libfastsock cimport fsk_readahead, fsk_segmentation


cdef class State:
    cdef fsk_readahead *queue  # NULL: receives are plain
    cdef unsigned buffers      # one read ahead takes; 0 with a queue: it is only being emptied
    cdef unsigned forks        # of this process when the queue was made
    cdef bint has_filled       # the queue was filled, and no call has made way since
    cdef int waiting           # calls that wait for the queue or the kernel
    cdef int woken_by, wake_by  # a pipe for them; -1 before the first
    cdef bint is_signalled     # it is readable
    cdef Py_ssize_t receiving  # calls that may be receiving without the GIL
    cdef unsigned metadata     # bits of fsk_metadata
    cdef fsk_segmentation *segmentation
    cdef bint is_sending       # a call uses segmentation
    cdef uint64_t truncated
    cdef uint64_t discarded
    cdef uint64_t drops
    cdef uint32_t last_drops

    cdef void close_pipe(self) noexcept

cdef State need_state(object sock)
cdef uint64_t random_key() except? 0


cdef inline State found_state(object sock):
    """The State of sock, or None."""
    cdef PyObject *state = state_of(sock)
    return None if state == NULL else <State>state


cdef inline bint reads_ahead(object sock) noexcept:
    """True when receives on sock come from its queue (sock has passed descriptor.serves())."""
    cdef PyObject *state = state_of(sock)
    return state != NULL and (<State>state).queue != NULL
