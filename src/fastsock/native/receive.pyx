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

from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.string cimport memset

from fastsock.native.address cimport to_python
from fastsock.native.arguments cimport as_flags, pin_room
from fastsock.native.descriptor cimport is_stream, method_of, serves, waits_for_more
from fastsock.native.interpreter cimport (
    FASTSOCK_ERRQUEUE, FASTSOCK_SCRATCH_SIZE, fastsock_scratch, fastsock_scratch_memory,
    new_bytes, resize_bytes,
)
from fastsock.native.libfastsock cimport (
    FSK_WAIT_READABLE, MSG_OOB, MSG_TRUNC, MSG_WAITALL, fsk_address, fsk_receive, fsk_receive_from,
)
from fastsock.native.waiting cimport Operation, Run, perform

cdef enum:
    STACK_SIZE = 4096
    # A thread that last received more than this receives into the result itself.
    COPY_SIZE = 16384
    # A stream's receive up to this size keeps the GIL. It is what asyncio asks for at a time, and
    # what comes is mostly far less.
    KEEP_GIL_SIZE = 262144

cdef object native_recv = _socket.socket.recv
cdef object native_recv_into = _socket.socket.recv_into
cdef object native_recvfrom = _socket.socket.recvfrom
cdef object native_recvfrom_into = _socket.socket.recvfrom_into


cdef ssize_t run_receive(Operation *operation, int flags) noexcept nogil:
    return fsk_receive(operation.fd, operation.buffer, operation.length, operation.flags | flags)


cdef ssize_t run_receive_from(Operation *operation, int flags) noexcept nogil:
    return fsk_receive_from(operation.fd, operation.buffer, operation.length,
                            operation.flags | flags, operation.address)


cdef int prepare(Operation *operation, object sock, fsk_address *source, size_t length,
                 int flags) except -1:
    operation.flags = flags
    operation.length = length
    operation.address = source
    operation.what = FSK_WAIT_READABLE
    operation.deadline_ns = 0
    operation.release = length > KEEP_GIL_SIZE and is_stream(sock)
    # MSG_WAITALL without waiting is no MSG_WAITALL. The error queue and urgent data never wait, and
    # poll, which reports them, is what CPython waits in.
    operation.try_first = (not flags & (MSG_WAITALL | FASTSOCK_ERRQUEUE | MSG_OOB)
                           and not waits_for_more(sock))
    return 0


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
        prepare(&operation, self, &source, bufsize, bits)
        data = receive_bytes(self, &operation, run_receive_from)
        return (data, to_python(&source))

    def recv_into(self, buffer, nbytes=0, flags=0):
        """Receive up to nbytes bytes (0: len(buffer)) into buffer. As socket.recv_into."""
        cdef Operation operation
        cdef Py_buffer view
        cdef Py_ssize_t size
        cdef int bits
        if not serves(self):
            return native_recv_into(self, buffer, nbytes, flags)
        pin_room(buffer, &view, "recv_into")
        try:
            size = nbytes
            bits = as_flags(flags)
            if size < 0:
                raise ValueError("negative buffersize in recv_into")
            if size > view.len:
                raise ValueError("buffer too small for requested bytes")
            prepare(&operation, self, NULL, size if size != 0 else view.len, bits)
            operation.buffer = view.buf
            if operation.length == 0:
                return 0
            return perform(self, &operation, run_receive)
        finally:
            PyBuffer_Release(&view)

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        """Receive into buffer: (bytes received, sender's address). As socket.recvfrom_into."""
        cdef Operation operation
        cdef Py_buffer view
        cdef fsk_address source
        cdef Py_ssize_t size
        cdef ssize_t received
        cdef int bits
        if not serves(self):
            return native_recvfrom_into(self, buffer, nbytes, flags)
        pin_room(buffer, &view, "recvfrom_into")
        try:
            size = nbytes
            bits = as_flags(flags)
            if size < 0:
                raise ValueError("negative buffersize in recvfrom_into")
            if size > view.len:
                raise ValueError("nbytes is greater than the length of the buffer")
            prepare(&operation, self, &source, size if size != 0 else view.len, bits)
            operation.buffer = view.buf
            received = perform(self, &operation, run_receive_from)
        finally:
            PyBuffer_Release(&view)
        return (received, to_python(&source))


recv = method_of(Methods, "recv")
recv_into = method_of(Methods, "recv_into")
recvfrom = method_of(Methods, "recvfrom")
recvfrom_into = method_of(Methods, "recvfrom_into")
