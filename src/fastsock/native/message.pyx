# SPDX-License-Identifier: MIT
"""recvmsg, recvmsg_into and sendmsg, as methods of a socket class.

Facts
    A received descriptor (SCM_RIGHTS) belongs to nobody until it is in the caller's hands.
    Iterating over the caller's buffers and items runs the caller's code, which may change them.
What follows
    When Python fails after the system call, each received descriptor is closed. Sequences are
    copied to a tuple before the first item is looked at.
"""
cimport cython
import _socket
import warnings

from cpython.buffer cimport Py_buffer, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EBADMSG
from libc.string cimport memset

from fastsock.native.address cimport from_python, to_python
from fastsock.native.arguments cimport as_flags, pin_data
from fastsock.native.descriptor cimport family, method_of, number, serves, timeout_ns
from fastsock.native.interpreter cimport PySys_Audit, new_bytes, resize_bytes
from fastsock.libfastsock cimport (
    MSG_TRUNC, fsk_address, fsk_control, fsk_control_descriptors, fsk_control_next,
    fsk_control_put, fsk_control_space, fsk_message, fsk_receive_message, fsk_send_message, iovec,
)
from fastsock.native.readahead cimport receive_ahead_message
from fastsock.native.state cimport reads_ahead
from fastsock.native.waiting cimport (
    Operation, perform, prepare_receive, prepare_send, run_released,
)

cdef enum:
    CONTROL_MAXIMUM = 0x7fffffff
    FEW = 4  # buffers that most messages have at the most

cdef object native_recvmsg = _socket.socket.recvmsg
cdef object native_recvmsg_into = _socket.socket.recvmsg_into
cdef object native_sendmsg = _socket.socket.sendmsg


@cython.final
@cython.freelist(8)
cdef class Pins:
    """Buffers of the caller's, pinned until this object dies. Used by one call, in one thread."""
    cdef Py_buffer *views
    cdef iovec *parts
    cdef Py_ssize_t count
    cdef size_t length  # bytes, of all together
    cdef Py_buffer few_views[FEW]  # in place of an allocation
    cdef iovec few_parts[FEW]

    def __cinit__(self, Py_ssize_t capacity):
        if capacity <= FEW:
            self.views = self.few_views
            self.parts = self.few_parts
            return
        self.views = <Py_buffer *>PyMem_Calloc(capacity, sizeof(Py_buffer))
        self.parts = <iovec *>PyMem_Calloc(capacity, sizeof(iovec))
        if self.views == NULL or self.parts == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        if self.views != self.few_views:
            PyMem_Free(self.views)
            PyMem_Free(self.parts)

    cdef void add(self):
        """Count the view that was just filled."""
        cdef Py_buffer *view = &self.views[self.count]
        self.parts[self.count].iov_base = view.buf
        self.parts[self.count].iov_len = view.len
        self.length += view.len
        self.count += 1


cdef Pins pin_all_data(tuple items):
    cdef Pins pins = Pins(len(items))
    for item in items:
        pin_data(item, &pins.views[pins.count])
        pins.add()
    return pins


cdef Pins pin_all_room(tuple items):
    cdef Pins pins = Pins(len(items))
    for item in items:
        try:
            PyObject_GetBuffer(item, &pins.views[pins.count], PyBUF_WRITABLE)
        except Exception:
            raise TypeError("recvmsg_into() argument 1 must be an iterable of single-segment "
                            "read-write buffers") from None
        pins.add()
    return pins


cdef ssize_t run_receive_message(Operation *operation, int flags) noexcept nogil:
    return fsk_receive_message(operation.fd, operation.message, operation.flags | flags)


cdef ssize_t run_send_message(Operation *operation, int flags) noexcept nogil:
    return fsk_send_message(operation.fd, operation.message, operation.flags | flags)


cdef list controls_of(fsk_message *message):
    cdef size_t cursor = 0
    cdef fsk_control item
    cdef list items = []
    while True:
        status = fsk_control_next(message, &cursor, &item)
        if status == 0:
            return items
        data = PyBytes_FromStringAndSize(<const char *>item.data, item.length)
        items.append((item.level, item.type, data))
        if status == -EBADMSG:
            warnings.warn("received malformed or improperly-truncated ancillary data",
                          RuntimeWarning, stacklevel=1)


cdef tuple receive(object sock, fsk_message *message, size_t length, Py_ssize_t control_room,
                   int flags):
    """(bytes received, control data, flags, address) of one recvmsg into message's buffers."""
    cdef Operation operation
    cdef fsk_address source
    cdef ssize_t received
    source.length = 0
    message.address = &source
    message.flags = 0
    message.control_length = control_room
    message.control = PyMem_Calloc(1, control_room) if control_room > 0 else NULL
    if control_room > 0 and message.control == NULL:
        raise MemoryError
    operation.message = message
    try:
        prepare_receive(&operation, sock, length, flags)
        received = -2
        if reads_ahead(sock):
            received = receive_ahead_message(sock, message, flags)
        if received == -2:
            received = perform(sock, &operation, run_receive_message)
        try:
            return (received, controls_of(message), message.flags, to_python(&source))
        except BaseException:
            # Descriptors that the caller will never see.
            fsk_control_descriptors(message, NULL, 0, NULL)
            raise
    finally:
        PyMem_Free(message.control)


cdef int check_control_room(Py_ssize_t room) except -1:
    if room < 0 or room > CONTROL_MAXIMUM:
        raise ValueError("invalid ancillary data buffer length")
    return 0


cdef bytearray controls_from(object ancdata):
    """The control memory of (level, type, data) items."""
    cdef fsk_message message
    cdef fsk_control control
    cdef Pins pins
    cdef list kinds = []
    cdef list payloads = []
    cdef size_t room = 0
    cdef Py_ssize_t i
    for item in tuple(ancdata):
        item = tuple(item)
        if len(item) != 3:
            raise TypeError("[sendmsg() ancillary data items]() argument must be sequence of "
                            f"length 3, not {len(item)}")
        kinds.append((as_flags(item[0]), as_flags(item[1])))
        payloads.append(item[2])
    pins = pin_all_data(tuple(payloads))
    for i in range(pins.count):
        room += fsk_control_space(pins.parts[i].iov_len)
    memory = bytearray(room)
    message.control = <char *>memory
    message.control_length = 0
    for i in range(pins.count):
        control.level, control.type = kinds[i]
        control.data = pins.parts[i].iov_base
        control.length = pins.parts[i].iov_len
        if fsk_control_put(&message, room, &control) < 0:
            raise OSError("too much ancillary data")
    return memory


cdef void skip(fsk_message *message, size_t sent) noexcept:
    """Drop the bytes that went from the front of the buffers."""
    while message.buffer_count > 0 and sent >= message.buffers.iov_len:
        sent -= message.buffers.iov_len
        message.buffers += 1
        message.buffer_count -= 1
    if message.buffer_count > 0:
        message.buffers.iov_base = <char *>message.buffers.iov_base + sent
        message.buffers.iov_len -= sent


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def recvmsg(self, Py_ssize_t bufsize, Py_ssize_t ancbufsize=0, flags=0, /):
        """Receive (data, ancdata, msg_flags, address). As socket.recvmsg."""
        cdef fsk_message message
        cdef iovec part
        cdef PyObject *data
        cdef int bits
        if not serves(self):
            return native_recvmsg(self, bufsize, ancbufsize, flags)
        bits = as_flags(flags)
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        data = new_bytes(NULL, bufsize)
        try:
            check_control_room(ancbufsize)
            part.iov_base = PyBytes_AS_STRING(<object>data)
            part.iov_len = bufsize
            # TCP counts what it drops and stores nothing.
            if bits & MSG_TRUNC:
                memset(part.iov_base, 0, bufsize)
            message.buffers = &part
            message.buffer_count = 1
            received, controls, message_flags, address = receive(
                self, &message, bufsize, ancbufsize, bits)
            if received < bufsize:
                resize_bytes(&data, received)
            return (<object>data, controls, message_flags, address)
        finally:
            Py_XDECREF(data)

    def recvmsg_into(self, buffers, Py_ssize_t ancbufsize=0, flags=0, /):
        """Receive into buffers: (nbytes, ancdata, msg_flags, address). As socket.recvmsg_into."""
        cdef fsk_message message
        cdef Pins pins
        cdef int bits
        if not serves(self):
            return native_recvmsg_into(self, buffers, ancbufsize, flags)
        bits = as_flags(flags)
        pins = pin_all_room(tuple(buffers))
        check_control_room(ancbufsize)
        message.buffers = pins.parts
        message.buffer_count = pins.count
        return receive(self, &message, pins.length, ancbufsize, bits)

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None, /):
        """Send buffers and control data: the bytes the kernel took. As socket.sendmsg."""
        cdef Operation operation
        cdef fsk_address destination
        cdef fsk_message message
        cdef Pins pins
        cdef int bits
        cdef ssize_t sent, more
        cdef bytearray control
        if not serves(self) or (address is not None
                                and not from_python(address, family(self), &destination)):
            return native_sendmsg(self, buffers, ancdata, flags, address)
        bits = as_flags(flags)
        PySys_Audit("socket.sendmsg", "OO", <PyObject *>self, <PyObject *>address)
        pins = pin_all_data(tuple(buffers))
        control = None if ancdata == () else controls_from(ancdata)
        message.buffers = pins.parts
        message.buffer_count = pins.count
        message.address = NULL if address is None else &destination
        message.control = NULL if control is None else <char *>control
        message.control_length = 0 if control is None else len(control)
        operation.message = &message
        prepare_send(&operation, self, pins.length, bits)
        sent = perform(self, &operation, run_send_message)
        # As send_rest of send.pyx: the blocking system call would have gone on.
        if <size_t>sent == pins.length or operation.has_waited or timeout_ns(self) >= 0:
            return sent
        skip(&message, sent)
        message.control = NULL
        message.control_length = 0
        operation.fd = number(self)
        more = run_released(&operation, 0)
        return sent + more if more > 0 else sent


recvmsg = method_of(Methods, "recvmsg")
recvmsg_into = method_of(Methods, "recvmsg_into")
sendmsg = method_of(Methods, "sendmsg")
