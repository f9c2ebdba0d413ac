# SPDX-License-Identifier: MIT
"""send, sendall and sendto, as methods of a socket class.

Facts
    A blocking send on a stream returns when the kernel has taken everything, whatever that takes;
    one that does not wait returns what there was room for.
What follows
    A first try that was short goes on with the rest in the blocking call, so that the result is
    CPython's. After the first byte nothing raises: an error or a signal returns what went.
"""
cimport cython
import _socket

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject

from fastsock.native.address cimport from_python
from fastsock.native.arguments cimport as_flags, pin_data
from fastsock.native.descriptor cimport family, method_of, number, serves, timeout_ns
from fastsock.native.interpreter cimport PySys_Audit
from fastsock.libfastsock cimport fsk_address, fsk_send, fsk_send_to
from fastsock.native.waiting cimport Operation, perform, prepare_send, run_released

cdef object native_send = _socket.socket.send
cdef object native_sendall = _socket.socket.sendall
cdef object native_sendto = _socket.socket.sendto
cdef object MISSING = object()


cdef ssize_t run_send(Operation *operation, int flags) noexcept nogil:
    return fsk_send(operation.fd, operation.buffer, operation.length, operation.flags | flags)


cdef ssize_t run_send_to(Operation *operation, int flags) noexcept nogil:
    return fsk_send_to(operation.fd, operation.buffer, operation.length, operation.flags | flags,
                       operation.address)


cdef inline void prepare(Operation *operation, object sock, const Py_buffer *view,
                         int flags) noexcept:
    operation.buffer = view.buf
    operation.length = view.len
    prepare_send(operation, sock, view.len, flags)


cdef ssize_t send_rest(object sock, Operation *operation, ssize_t sent) except -1:
    """What CPython's one system call would have returned, when a first try sent this much."""
    cdef ssize_t more
    if <size_t>sent == operation.length or operation.has_waited or timeout_ns(sock) >= 0:
        return sent
    operation.buffer = <char *>operation.buffer + sent
    operation.length -= sent
    operation.fd = number(sock)
    more = run_released(operation, 0)
    return sent + more if more > 0 else sent


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def send(self, data, flags=0, /):
        """Send data: the number of bytes the kernel took. As socket.send."""
        cdef Operation operation
        cdef Py_buffer view
        if not serves(self):
            return native_send(self, data, flags)
        pin_data(data, &view)
        try:
            prepare(&operation, self, &view, as_flags(flags))
            return send_rest(self, &operation, perform(self, &operation, run_send))
        finally:
            PyBuffer_Release(&view)

    def sendall(self, data, flags=0, /):
        """Send all of data, under one deadline. As socket.sendall."""
        cdef Operation operation
        cdef Py_buffer view
        cdef ssize_t sent
        if not serves(self):
            return native_sendall(self, data, flags)
        pin_data(data, &view)
        try:
            prepare(&operation, self, &view, as_flags(flags))
            while True:
                sent = perform(self, &operation, run_send)
                operation.buffer = <char *>operation.buffer + sent
                operation.length -= sent
                PyErr_CheckSignals()
                if operation.length == 0:
                    return None
                # The kernel's buffer is full: another try before waiting would find no room.
                operation.try_first = False
        finally:
            PyBuffer_Release(&view)

    def sendto(self, data=MISSING, flags=MISSING, address=MISSING, /, *rest):
        """sendto(data, address) or sendto(data, flags, address): the number of bytes sent.

        As socket.sendto of the standard library.
        """
        cdef Operation operation
        cdef Py_buffer view
        cdef fsk_address destination
        if address is MISSING:
            address, flags = flags, 0
        if address is MISSING or rest:
            given = len(rest) + 3 if rest else 0 if data is MISSING else 1
            raise TypeError(f"sendto() takes 2 or 3 arguments ({given} given)")
        if not serves(self) or not from_python(address, family(self), &destination):
            return native_sendto(self, data, flags, address)
        pin_data(data, &view)
        try:
            prepare(&operation, self, &view, as_flags(flags))
            operation.address = &destination
            PySys_Audit("socket.sendto", "OO", <PyObject *>self, <PyObject *>address)
            return send_rest(self, &operation, perform(self, &operation, run_send_to))
        finally:
            PyBuffer_Release(&view)


send = method_of(Methods, "send")
sendall = method_of(Methods, "sendall")
sendto = method_of(Methods, "sendto")
