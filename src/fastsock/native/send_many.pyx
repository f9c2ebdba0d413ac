# SPDX-License-Identifier: MIT
"""send_many, sendto_many and send_segments, as methods of a socket class.

Facts
    Sending costs the kernel most of its time below the socket. Only GSO saves that: a run of
    datagrams of equal size to one destination goes down as one, and is cut at the device.
What follows
    Payloads are pinned and described, never copied; libfastsock finds the runs. A call that has
    sent something does not raise for what the kernel says to the next: it returns the count.
"""
cimport cython
import _socket

from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EINTR

from fastsock.native.address cimport resolve
from fastsock.native.arguments cimport as_flags, pin_data
from fastsock.native.descriptor cimport (
    family, int_member, is_drop_in, message_kind, method_of, stdlib,
)
from fastsock.native.interpreter cimport PySys_Audit
from fastsock.libfastsock cimport (
    AF_UNIX, SOCK_DGRAM, fsk_address, fsk_outgoing,
    fsk_segmentation, fsk_segmentation_forget, fsk_segmentation_free, fsk_segmentation_new,
    fsk_segmentation_refusals, fsk_send_batch,
)
from fastsock.native.state cimport State, found_state, need_state
from fastsock.native.waiting cimport Operation, perform, prepare_send

cdef enum:
    # More than that takes longer than a millisecond or so, and gives up the GIL.
    KEEP_GIL_MESSAGES = 1024
    KEEP_GIL_BYTES = 1048576
    IPPROTO_UDP = 17

cdef object native_connect = _socket.socket.connect
cdef object native_connect_ex = _socket.socket.connect_ex


@cython.final
cdef class Outgoing:
    """The messages of one call, pinned until this object dies. Used by one call, in one thread."""
    cdef fsk_outgoing *messages
    cdef Py_ssize_t count
    cdef size_t length           # bytes, of all together
    cdef Py_buffer *views        # of those that are no bytes
    cdef Py_ssize_t view_count
    cdef fsk_address *addresses  # distinct ones
    cdef Py_ssize_t address_count
    cdef list payloads           # keeps the bytes objects
    cdef dict numbers            # of the addresses, by what the caller gave

    def __cinit__(self, Py_ssize_t capacity, Py_ssize_t addresses):
        self.messages = <fsk_outgoing *>PyMem_Calloc(capacity, sizeof(fsk_outgoing))
        self.addresses = <fsk_address *>PyMem_Calloc(addresses, sizeof(fsk_address))
        if self.messages == NULL or self.addresses == NULL:
            raise MemoryError
        self.payloads = []
        self.numbers = {}

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.view_count):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.views)
        PyMem_Free(self.addresses)
        PyMem_Free(self.messages)

    cdef int pin(self, object data, Py_ssize_t capacity) except -1:
        """Describe the next message: the bytes of data, of which there are capacity at the most."""
        cdef fsk_outgoing *message = &self.messages[self.count]
        cdef Py_buffer *view
        if PyBytes_CheckExact(data):
            self.payloads.append(data)
            message.data = PyBytes_AS_STRING(data)
            message.length = PyBytes_GET_SIZE(data)
        else:
            if self.views == NULL:
                self.views = <Py_buffer *>PyMem_Calloc(capacity, sizeof(Py_buffer))
                if self.views == NULL:
                    raise MemoryError
            view = &self.views[self.view_count]
            pin_data(data, view)
            self.view_count += 1
            message.data = view.buf
            message.length = view.len
        self.length += message.length
        self.count += 1
        return 0

    cdef const fsk_address *destination(self, object sock, object address) except? NULL:
        """The kernel's form of address, made and audited once for each distinct one."""
        cdef object slot
        # Of other types equal ones may mean something else: ('127.0.0.1', 8888.0) is no address.
        cdef bint is_known_type = is_exact(address)
        slot = self.numbers.get(address) if is_known_type else None
        if slot is None:
            slot = self.address_count
            resolve(address, family(sock), &self.addresses[slot])
            PySys_Audit("socket.sendmsg", "OO", <PyObject *>sock, <PyObject *>address)
            if is_known_type:
                self.numbers[address] = slot
            self.address_count += 1
        return &self.addresses[<Py_ssize_t>slot]


cdef bint is_exact(object address):
    """str, bytes, or a tuple of str and int, and no subclass."""
    if type(address) is not tuple:
        return type(address) is str or type(address) is bytes
    for item in <tuple>address:
        if type(item) is not str and type(item) is not int:
            return False
    return True


cdef ssize_t run_send_batch(Operation *operation, int flags) noexcept nogil:
    return fsk_send_batch(operation.fd, <const fsk_outgoing *>operation.buffer, operation.length,
                          operation.flags | flags, operation.segmentation, &operation.send_error)


cdef bint is_udp(object sock) noexcept:
    cdef int proto = int_member(sock, stdlib.proto_offset)
    return (family(sock) != AF_UNIX and int_member(sock, stdlib.type_offset) == SOCK_DGRAM
            and (proto == 0 or proto == IPPROTO_UDP))


cdef int check_kind(object sock, str name) except -1:
    message_kind(sock, name, "sendto", "mark their ends by a framing, such as a length prefix, and "
                 "send with sendall or sendmsg")
    return 0


cdef Py_ssize_t send_pinned(object sock, Outgoing outgoing, int flags,
                            fsk_segmentation *segmentation) except -1:
    """Send all; fewer only when the next one meets an error, which is not raised then."""
    cdef Operation operation
    cdef Py_ssize_t sent = 0
    prepare_send(&operation, sock, 0, flags)
    operation.segmentation = segmentation
    operation.release = outgoing.count > KEEP_GIL_MESSAGES or outgoing.length > KEEP_GIL_BYTES
    while sent < outgoing.count:
        operation.buffer = &outgoing.messages[sent]
        operation.length = outgoing.count - sent
        operation.has_failed = False
        try:
            sent += perform(sock, &operation, run_send_batch)
        except OSError:
            if sent == 0 or not operation.has_failed:
                raise
            break
        if operation.send_error not in (0, -EAGAIN, -EINTR):
            break
    operation.streak.calls += <unsigned>sent
    return sent


cdef Py_ssize_t send_all(object sock, Outgoing outgoing, int flags) except -1:
    """Send, with GSO where it is to be had: what is known of it is kept by a fastsock.socket."""
    cdef fsk_segmentation *segmentation = NULL
    cdef State state = None
    cdef bint is_own = False
    if outgoing.count == 0:
        return 0
    if is_udp(sock) and outgoing.count > 1:
        if is_drop_in(sock):
            state = need_state(sock)
            with cython.critical_section(state):
                if not state.is_sending:
                    if state.segmentation == NULL:
                        fsk_segmentation_new(&state.segmentation)
                    segmentation = state.segmentation
                    state.is_sending = is_own = segmentation != NULL
        if segmentation == NULL:
            # Another thread uses the socket's, or there is none: one for this call.
            fsk_segmentation_new(&segmentation)
    try:
        return send_pinned(sock, outgoing, flags, segmentation)
    finally:
        if is_own:
            state.is_sending = False
        else:
            fsk_segmentation_free(segmentation)


cdef int forget_refusals(object sock) except -1:
    """A new peer: what its route refuses is not known."""
    cdef State state = found_state(sock)
    if state is None:
        return 0
    with cython.critical_section(state):
        if state.segmentation != NULL and not state.is_sending:
            fsk_segmentation_forget(state.segmentation)
    return 0


def refused_segments(sock, /):
    """How often a segmented send was refused and went one by one."""
    cdef State state = found_state(sock)
    if state is None:
        return 0
    with cython.critical_section(state):
        return 0 if state.segmentation == NULL else fsk_segmentation_refusals(state.segmentation)


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def send_many(self, messages, address=None, flags=0):
        """Send many messages, each a datagram of its own: how many were sent.

        On UDP, runs of equal size leave as one send that the system cuts (GSO); what arrives is
        what a loop of ``sendto`` would have sent.

        Parameters
        ----------
        messages : iterable of bytes-like
            Not copied; pinned until the call returns. Give a sequence, to be able to send the rest.
        address : tuple, str or bytes, optional
            As for ``sendto``; without it the socket is connected.
        flags : int

        Returns
        -------
        int
            Fewer than all: the next one met an error or the timeout. Send ``messages[count:]``, and
            what persists is raised.

        Raises
        ------
        OSError
            The first message met it; as ``sendto``. EOPNOTSUPP: a stream.

        Notes
        -----
        Waits as the socket's timeout says, under one deadline for all. Audit: ``socket.sendmsg``,
        once. Source: sendmmsg(2), udp(7), UDP_SEGMENT, Linux 4.18.
        """
        cdef Outgoing outgoing
        cdef const fsk_address *destination = NULL
        cdef int bits = as_flags(flags)
        cdef Py_ssize_t i, count
        check_kind(self, "send_many")
        items = tuple(messages)
        count = len(items)
        outgoing = Outgoing(count, 1)
        for item in items:
            outgoing.pin(item, count)
        if address is None:
            PySys_Audit("socket.sendmsg", "OO", <PyObject *>self, <PyObject *>None)
        else:
            destination = outgoing.destination(self, address)
        for i in range(count):
            outgoing.messages[i].destination = destination
        return send_all(self, outgoing, bits)

    def sendto_many(self, pairs, flags=0):
        """Send many messages, each to its own address: how many were sent. As ``send_many``.

        Parameters
        ----------
        pairs : iterable of (bytes-like, address)
        flags : int

        Notes
        -----
        Audit: ``socket.sendmsg``, once for each distinct address.
        """
        cdef Outgoing outgoing
        cdef int bits = as_flags(flags)
        cdef Py_ssize_t count
        cdef object last = self  # no address
        cdef const fsk_address *destination = NULL
        check_kind(self, "sendto_many")
        items = tuple(pairs)
        count = len(items)
        outgoing = Outgoing(count, count)
        for data, address in items:
            outgoing.pin(data, count)
            if address is not last:
                destination = outgoing.destination(self, address)
                last = address
            outgoing.messages[outgoing.count - 1].destination = destination
        return send_all(self, outgoing, bits)

    def send_segments(self, buffer, Py_ssize_t size, address=None):
        """Send one buffer as datagrams of size bytes, the last one shorter: how many were sent.

        Parameters
        ----------
        buffer : bytes-like
            Not copied. Empty: nothing is sent.
        size : int, bytes, at least 1
        address : tuple, str or bytes, optional
            As for ``sendto``; without it the socket is connected.

        Returns
        -------
        int
            Datagrams. Fewer than all: go on with ``buffer[count * size:]``. As ``send_many``.
        """
        cdef Outgoing outgoing
        cdef const fsk_address *destination = NULL
        cdef Py_buffer view
        cdef Py_ssize_t i, count
        check_kind(self, "send_segments")
        if size < 1:
            raise ValueError("send_segments: size must be at least 1 byte")
        pin_data(buffer, &view)
        try:
            count = view.len // size + (view.len % size != 0)
            outgoing = Outgoing(count, 1)
            if address is None:
                PySys_Audit("socket.sendmsg", "OO", <PyObject *>self, <PyObject *>None)
            else:
                destination = outgoing.destination(self, address)
            for i in range(count):
                outgoing.messages[i].data = <char *>view.buf + i * size
                outgoing.messages[i].length = min(size, view.len - i * size)
                outgoing.messages[i].destination = destination
            outgoing.count = count
            outgoing.length = view.len
            return send_all(self, outgoing, 0)
        finally:
            PyBuffer_Release(&view)

    def connect(self, address, /):
        """Connect to a peer. As socket.connect."""
        native_connect(self, address)
        forget_refusals(self)

    def connect_ex(self, address, /):
        """Connect to a peer: 0 or an errno. As socket.connect_ex."""
        cdef object result = native_connect_ex(self, address)
        forget_refusals(self)
        return result


connect = method_of(Methods, "connect")
connect_ex = method_of(Methods, "connect_ex")
send_many = method_of(Methods, "send_many")
send_segments = method_of(Methods, "send_segments")
sendto_many = method_of(Methods, "sendto_many")
