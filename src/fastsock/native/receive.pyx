# SPDX-License-Identifier: MIT
"""recv, recv_into, recvfrom and recvfrom_into, as methods of a socket class.

Facts
    CPython allocates a bytes of the size asked for and shrinks it to the size that came: an
    allocation and a reallocation of, say, 64 KiB for a datagram of 64 bytes.
What follows
    Up to 4 KiB is received on the stack, up to 64 KiB in memory that the thread keeps, and a bytes
    of the right size is made from it. Only more than that is received into the result itself; so is
    less when the last receive brought so much that the copy costs more than the allocation.
"""
cimport cython
import _socket

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.string cimport memset

from fastsock.native.address cimport to_python
from fastsock.native.arguments cimport as_flags, pin_room
from fastsock.native.descriptor cimport method_of, serves
from fastsock.native.interpreter cimport (
    FASTSOCK_SCRATCH_SIZE, fastsock_scratch, fastsock_scratch_memory,
    new_bytes, resize_bytes,
)
from fastsock.libfastsock cimport (
    MSG_TRUNC, fsk_address, fsk_message, fsk_receive, fsk_receive_from, iovec,
)
from fastsock.native.readahead cimport receive_ahead, receive_ahead_message
from fastsock.native.state cimport reads_ahead
from fastsock.native.waiting cimport Operation, Run, perform, prepare_receive

cdef enum:
    STACK_SIZE = 4096
    # A thread that last received more than this receives into the result itself.
    COPY_SIZE = 16384

cdef object native_recv = _socket.socket.recv
cdef object native_recv_into = _socket.socket.recv_into
cdef object native_recvfrom = _socket.socket.recvfrom
cdef object native_recvfrom_into = _socket.socket.recvfrom_into


cdef ssize_t run_receive(Operation *operation, int flags) noexcept nogil:
    return fsk_receive(operation.fd, operation.buffer, operation.length, operation.flags | flags)


cdef ssize_t run_receive_from(Operation *operation, int flags) noexcept nogil:
    return fsk_receive_from(operation.fd, operation.buffer, operation.length,
                            operation.flags | flags, operation.address)


cdef inline int prepare(Operation *operation, object sock, fsk_address *source, size_t length,
                        int flags) except -1:
    operation.length = length
    operation.address = source
    return prepare_receive(operation, sock, length, flags)


cdef inline int prepare_into(Operation *operation, object sock, fsk_address *source,
                             const Py_buffer *view, object nbytes, object flags,
                             str negative, str too_large) except -1:
    """prepare() for a caller's buffer; the strings are the errors of a wrong nbytes."""
    cdef Py_ssize_t size = nbytes
    cdef int bits = as_flags(flags)
    if size < 0:
        raise ValueError(negative)
    if size > view.len:
        raise ValueError(too_large)
    operation.buffer = view.buf
    return prepare(operation, sock, source, size if size != 0 else view.len, bits)


cdef inline object receive_bytes(object sock, Operation *operation, Run run):
    cdef char small[STACK_SIZE]
    cdef fastsock_scratch_memory *scratch
    cdef ssize_t received
    # A datagram's real length, asked for with MSG_TRUNC, may exceed what was stored; and TCP then
    # stores nothing at all. The result must not show memory that the kernel did not write.
    if operation.flags & MSG_TRUNC or operation.length > FASTSOCK_SCRATCH_SIZE:
        return receive_in_place(sock, operation, run)
    if operation.length <= STACK_SIZE:
        operation.buffer = small
        received = perform(sock, operation, run)
        return PyBytes_FromStringAndSize(small, received)
    # Who receives in bulk would pay for the copy, who receives messages for the allocation.
    scratch = fastsock_scratch()
    if scratch.last_size > COPY_SIZE:
        data = receive_in_place(sock, operation, run)
        scratch.last_size = len(data)
        return data
    operation.buffer = scratch.bytes
    received = perform(sock, operation, run)
    scratch.last_size = received
    return PyBytes_FromStringAndSize(scratch.bytes, received)


cdef bytes receive_in_place(object sock, Operation *operation, Run run):
    cdef PyObject *result = new_bytes(NULL, operation.length)
    cdef ssize_t received
    operation.buffer = PyBytes_AS_STRING(<object>result)
    try:
        if operation.flags & MSG_TRUNC:
            memset(operation.buffer, 0, operation.length)
        received = perform(sock, operation, run)
        if <size_t>received < operation.length:
            resize_bytes(&result, received)
        return <bytes>result
    finally:
        Py_XDECREF(result)


cdef inline ssize_t receive_into(object sock, Operation *operation, Run run) except -1:
    if reads_ahead(sock):
        return receive_ahead_into(sock, operation, run)
    return perform(sock, operation, run)


cdef ssize_t receive_ahead_into(object sock, Operation *operation, Run run) except -1:
    cdef iovec part
    cdef fsk_message message
    cdef ssize_t received
    part.iov_base = operation.buffer
    part.iov_len = operation.length
    message.buffers = &part
    message.buffer_count = 1
    message.address = operation.address
    message.control_length = 0
    received = receive_ahead_message(sock, &message, operation.flags)
    return perform(sock, operation, run) if received == -2 else received


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    # Arguments are converted in the order of CPython's parser, and their values looked at after
    # that: of two wrong ones the same is reported.

    def recv(self, Py_ssize_t bufsize, flags=0, /):
        """Receive up to bufsize bytes. As socket.recv."""
        cdef Operation operation
        cdef int bits
        if not serves(self):
            return native_recv(self, bufsize, flags)
        bits = as_flags(flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if bufsize == 0:
            return b""
        if reads_ahead(self):
            data = receive_ahead(self, bufsize, bits, NULL)
            if data is not None:
                return data
        prepare(&operation, self, NULL, bufsize, bits)
        return receive_bytes(self, &operation, run_receive)

    def recvfrom(self, Py_ssize_t bufsize, flags=0, /):
        """Receive up to bufsize bytes and the sender's address. As socket.recvfrom."""
        cdef Operation operation
        cdef fsk_address source
        cdef int bits
        if not serves(self):
            return native_recvfrom(self, bufsize, flags)
        bits = as_flags(flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        if reads_ahead(self):
            data = receive_ahead(self, bufsize, bits, &source)
            if data is not None:
                return (data, to_python(&source))
        prepare(&operation, self, &source, bufsize, bits)
        data = receive_bytes(self, &operation, run_receive_from)
        return (data, to_python(&source))

    def recv_into(self, buffer, nbytes=0, flags=0):
        """Receive up to nbytes bytes (0: len(buffer)) into buffer. As socket.recv_into."""
        cdef Operation operation
        cdef Py_buffer view
        if not serves(self):
            return native_recv_into(self, buffer, nbytes, flags)
        pin_room(buffer, &view, "recv_into")
        try:
            prepare_into(&operation, self, NULL, &view, nbytes, flags,
                         "negative buffersize in recv_into",
                         "buffer too small for requested bytes")
            if operation.length == 0:
                return 0
            return receive_into(self, &operation, run_receive)
        finally:
            PyBuffer_Release(&view)

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        """Receive into buffer: (bytes received, sender's address). As socket.recvfrom_into."""
        cdef Operation operation
        cdef Py_buffer view
        cdef fsk_address source
        cdef ssize_t received
        if not serves(self):
            return native_recvfrom_into(self, buffer, nbytes, flags)
        pin_room(buffer, &view, "recvfrom_into")
        try:
            prepare_into(&operation, self, &source, &view, nbytes, flags,
                         "negative buffersize in recvfrom_into",
                         "nbytes is greater than the length of the buffer")
            received = receive_into(self, &operation, run_receive_from)
        finally:
            PyBuffer_Release(&view)
        return (received, to_python(&source))


recv = method_of(Methods, "recv")
recv_into = method_of(Methods, "recv_into")
recvfrom = method_of(Methods, "recvfrom")
recvfrom_into = method_of(Methods, "recvfrom_into")
