# SPDX-License-Identifier: MIT
"""accept, as a method of a socket class."""
cimport cython
import _socket

from fastsock.native.address cimport to_python
from fastsock.native.descriptor cimport build_like, method_of, number, serves, stdlib
from fastsock.native.libfastsock cimport (
    FSK_WAIT_READABLE, fsk_address, fsk_socket_accept, fsk_socket_is_blocking,
)
from fastsock.native.waiting cimport Operation, perform

cdef object native_accept = _socket.socket._accept


cdef ssize_t run_accept(Operation *operation, int flags) noexcept nogil:
    # accept4 has no flag for one call that does not wait; the descriptor's own mode decides.
    return fsk_socket_accept(operation.fd, operation.address)


cdef int accept_descriptor(object sock, fsk_address *peer) except -1:
    cdef Operation operation
    # The mode of the open file, not the timeout alone: a process that shares the listener may have
    # made it wait, and it must not do so with the GIL held.
    cdef bint is_blocking = (stdlib.gettimeout(sock, NULL) is None
                             or fsk_socket_is_blocking(number(sock)) != 0)
    operation.flags = 0
    operation.address = peer
    operation.what = FSK_WAIT_READABLE
    operation.deadline_ns = 0
    operation.try_first = not is_blocking
    operation.release = is_blocking
    return <int>perform(sock, &operation, run_accept)


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def accept(self, /):
        """Accept a connection: (socket, address). As socket.accept.

        The socket is of the class fastsock.socket when self is, else the standard library's own. It
        is in blocking mode unless a default timeout is set.
        """
        cdef fsk_address peer
        cdef int fd
        address = None
        if serves(self):
            fd = accept_descriptor(self, &peer)
        else:
            fd, address = native_accept(self)
            peer.length = 0
        connection = build_like(self, fd)
        return (connection, address if peer.length == 0 else to_python(&peer))


accept = method_of(Methods, "accept")
