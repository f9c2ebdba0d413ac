# SPDX-License-Identifier: MIT
"""accept and accept_many, as methods of a socket class."""
cimport cython
import _socket

from libc.errno cimport ECONNABORTED

from fastsock.native.address cimport to_python
from fastsock.native.descriptor cimport build_like, method_of, number, serves, stdlib
from fastsock.libfastsock cimport (
    FSK_WAIT_READABLE, fsk_address, fsk_socket_accept, fsk_socket_is_blocking,
)
from fastsock.native.waiting cimport OWN_TIMEOUT, Operation, perform

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
    operation.timeout_ns = OWN_TIMEOUT
    operation.deadline_ns = 0
    operation.try_first = not is_blocking
    operation.release = is_blocking
    return <int>perform(sock, &operation, run_accept)


cdef tuple native_accept_pair(object sock):
    fd, address = native_accept(sock)
    return (build_like(sock, fd), address)


cdef int accept_next(object sock, fsk_address *peer) noexcept:
    """Another connection of a listener that does not wait, or -errno."""
    cdef int result = -ECONNABORTED
    while result == -ECONNABORTED:
        result = fsk_socket_accept(number(sock), peer)
    return result


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
        if not serves(self):
            return native_accept_pair(self)
        fd = accept_descriptor(self, &peer)
        return (build_like(self, fd), to_python(&peer))

    def accept_many(self, Py_ssize_t count=64, /):
        """Accept up to count connections: a list of (socket, address).

        Waits for the first as ``accept`` does, then takes what else is queued. A connection that
        its peer has aborted meanwhile is left out. On a listener without a timeout it is one: no
        system call takes a connection from it without perhaps waiting for the next.

        Raises
        ------
        OSError
            As ``accept``. What comes after a connection (EMFILE) is raised by the next call.
        """
        cdef list connections = []
        cdef fsk_address peer
        cdef int fd
        if count < 1:
            raise ValueError("accept_many: count must be at least 1")
        if not serves(self):
            return [native_accept_pair(self)]
        while len(connections) == 0:
            try:
                fd = accept_descriptor(self, &peer)
            except ConnectionAbortedError:
                continue
            connections.append((build_like(self, fd), to_python(&peer)))
        while len(connections) < count and fsk_socket_is_blocking(number(self)) == 0:
            fd = accept_next(self, &peer)
            if fd < 0:
                break
            connections.append((build_like(self, fd), to_python(&peer)))
        return connections


accept = method_of(Methods, "accept")
accept_many = method_of(Methods, "accept_many")
