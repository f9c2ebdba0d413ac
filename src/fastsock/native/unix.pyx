# SPDX-License-Identifier: MIT
"""peer_credentials, send_fds and recv_fds: what only Unix sockets carry.

Facts (Linux)
    A stream that is given no byte sends nothing, and forgets the descriptors that were to go along.
    A socket that is none of AF_UNIX forgets them too. Neither is an error of the kernel.
    The kernel closes descriptors that it has no room for, sets MSG_CTRUNC and delivers the rest;
    one message has 253 at most.
What we do
    Refuse to send what would be forgotten. Receive with room for all that can come, so that only a
    full table of descriptors cuts it; what is lost is an error, and what was received in it.
"""
cimport cython

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject, PyObject_AsFileDescriptor
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EMSGSIZE, ENOTCONN, EOPNOTSUPP
from libc.string cimport memset

from fastsock.native.address cimport to_python
from fastsock.native.arguments cimport as_flags
from fastsock.native.descriptor cimport family, is_stream, method_of, number, serves
from fastsock.native.errors import CapabilityError, DescriptorsRefusedError

from fastsock.native.errors cimport raise_error
from fastsock.native.interpreter cimport new_bytes, resize_bytes
from fastsock.libfastsock cimport (
    AF_UNIX, MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_RIGHTS, SOL_SOCKET, fsk_address,
    fsk_control_descriptors, fsk_credentials, fsk_message, fsk_receive_message, fsk_socket_close,
    fsk_socket_peer_credentials, iovec,
)

from fastsock.native.message import sendmsg as _sendmsg

from fastsock.native.waiting cimport Operation, perform, prepare_receive

cdef enum:
    MOST_DESCRIPTORS = 253  # SCM_MAX_FD, Linux 2.6.38


cdef int require_unix(object sock, str name, str cure) except -1:
    if family(sock) == AF_UNIX:
        return 0
    raise CapabilityError(EOPNOTSUPP, f"{name}: only a socket of AF_UNIX can; {cure}")


cdef void close_all(const int *fds, int count) noexcept:
    cdef int i
    for i in range(count):
        fsk_socket_close(fds[i])


cdef bytes packed(tuple fds):
    """The descriptors of ints and objects with fileno(), as C ints."""
    cdef int numbers[MOST_DESCRIPTORS]
    cdef Py_ssize_t i
    if len(fds) > MOST_DESCRIPTORS:
        raise ValueError(f"send_fds: a message carries at most {MOST_DESCRIPTORS} descriptors, not "
                         f"{len(fds)}; send the others with another")
    for i in range(len(fds)):
        numbers[i] = PyObject_AsFileDescriptor(fds[i])
    return (<char *>numbers)[:len(fds) * sizeof(int)]


cdef ssize_t run_receive(Operation *operation, int flags) noexcept nogil:
    return fsk_receive_message(operation.fd, operation.message, operation.flags | flags)


cdef object result_of(PyObject **data, ssize_t received, ssize_t room, fsk_message *message,
                      Py_ssize_t maxfds):
    """(data, descriptors, flags, address); on any failure the descriptors are closed."""
    cdef int fds[MOST_DESCRIPTORS]
    cdef int refused
    cdef int count = fsk_control_descriptors(message, fds, <int>min(maxfds, MOST_DESCRIPTORS),
                                             &refused)
    try:
        if received < room:
            resize_bytes(data, received)
        address = to_python(message.address)
        flags = message.flags & ~MSG_CMSG_CLOEXEC
        if refused > 0:
            text = (f"{count + refused} descriptors came and maxfds is {maxfds}; all were closed, "
                    f"ask for as many as a peer may send")
        elif flags & MSG_CTRUNC:
            text = ("descriptors came that the system could not deliver, and the others were "
                    "closed; see how many this process may open (RLIMIT_NOFILE, ulimit -n)")
        else:
            return (<object>data[0], [fds[i] for i in range(count)], flags, address)
        raise DescriptorsRefusedError(EMSGSIZE, text, <object>data[0], flags, address,
                                      count + refused)
    except BaseException:
        close_all(fds, count)
        raise


cdef object credentials_of(int fd):
    """The PeerCredentials of a connected Unix socket."""
    cdef fsk_credentials found
    cdef int result = fsk_socket_peer_credentials(fd, &found)
    from fastsock.credentials import PeerCredentials
    if result == -ENOTCONN:
        raise OSError(ENOTCONN, "peer_credentials: the socket has no connection; with "
                      "datagrams SO_PASSCRED has recvmsg tell the sender of each")
    if result == -EOPNOTSUPP:
        raise CapabilityError(EOPNOTSUPP, "peer_credentials: only Unix sockets tell, and not on "
                              "every system; let the mode of the path decide who may connect")
    if result < 0:
        raise_error(result)
    return PeerCredentials(found.pid, found.uid, found.gid)


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def peer_credentials(self, /):
        """Return who is at the other end of a connected Unix socket, as the kernel knows it.

        Returns
        -------
        PeerCredentials
            (pid, uid, gid) of the process that called connect, listen or socketpair there, as it
            was then. pid is 0 where the system does not tell it, or for a process of another
            namespace.

        Raises
        ------
        CapabilityError
            EOPNOTSUPP: not a Unix socket, or the system does not tell.
        OSError
            ENOTCONN: no connection. A datagram socket counts as connected only when socketpair made
            it. EBADF: the socket is closed.

        Notes
        -----
        A process may have handed its end to another since, and a pid may be another process's once
        that one has ended: decide by uid and gid. Source: unix(7), SO_PEERCRED; getpeereid(3).
        """
        require_unix(self, "peer_credentials", "have others prove who they are, such as by TLS")
        return credentials_of(number(self))

    def send_fds(self, buffers, fds, flags=0, address=None):
        """Send bytes, and duplicates of descriptors with them. As socket.send_fds, and safer.

        Parameters
        ----------
        buffers : iterable of bytes-like
            On a stream at least one byte.
        fds : iterable of int or objects with fileno()
            At most 253. They stay open here.
        flags : int
            As of ``send``.
        address : str, bytes or None
            Of a datagram socket without a peer.

        Returns
        -------
        int
            Bytes sent, as of ``sendmsg``. The descriptors went if it is not 0, or all was empty.

        Raises
        ------
        ValueError
            More than 253; or no byte on a stream, where the kernel would drop them silently.
        CapabilityError
            EOPNOTSUPP: not a Unix socket.
        OSError
            ETOOMANYREFS: too many are under way, see RLIMIT_NOFILE. EBADF: one is not open, or the
            socket is closed. Else as ``sendmsg``.
        """
        cdef tuple parts, given
        serves(self)  # not where it speaks TLS
        require_unix(self, "send_fds", "descriptors do not leave the machine")
        parts = tuple(buffers)
        given = tuple(fds)  # objects with fileno(), kept until they have been sent
        control = packed(given)
        if not given:
            return _sendmsg(self, parts, (), flags, address)
        if is_stream(self) and not any([memoryview(part).nbytes for part in parts]):
            raise ValueError("send_fds: a stream carries descriptors with a byte or more; send "
                             "[b'\\0'] and have the peer expect it")
        return _sendmsg(self, parts, [(SOL_SOCKET, SCM_RIGHTS, control)], flags, address)

    def recv_fds(self, Py_ssize_t bufsize, Py_ssize_t maxfds, flags=0):
        """Receive bytes and the descriptors that came with them. As socket.recv_fds, and safer.

        Parameters
        ----------
        bufsize : int, bytes
            Data of at most so many.
        maxfds : int
            The most that are accepted; 253 is all that can come.
        flags : int
            As of ``recv``.

        Returns
        -------
        data : bytes
            Empty at the end of a stream.
        fds : list of int
            The caller's to close. They are closed on exec (not inheritable).
        flags : int
            As of ``recvmsg``: MSG_TRUNC when a datagram was longer.
        address : str, bytes or None
            As of ``recvfrom``.

        Raises
        ------
        DescriptorsRefusedError
            EMSGSIZE: more than maxfds came, or more than this process may open. All of them are
            closed; ``data``, ``flags`` and ``address`` of the error are what came with them, and
            ``fds_refused`` is how many were seen.
        CapabilityError
            EOPNOTSUPP: not a Unix socket.
        ValueError
            bufsize or maxfds is below 0.
        OSError, TimeoutError, BlockingIOError
            As ``recvmsg``; then nothing was received.

        Notes
        -----
        After any exception of this call no descriptor is left open; one that a signal handler
        raises once it has returned is the caller's matter. A descriptor of the sender's process
        (SO_PASSPIDFD) is closed: receive with ``recvmsg`` for it. Source: unix(7), SCM_RIGHTS.
        """
        # Aligned for control data: 253 descriptors, and what options of the socket add to them.
        cdef size_t control[512]
        cdef Operation operation
        cdef fsk_address source
        cdef fsk_message message
        cdef iovec part
        cdef ssize_t received
        cdef PyObject *data
        cdef int bits
        serves(self)
        require_unix(self, "recv_fds", "descriptors do not leave the machine")
        bits = as_flags(flags) | MSG_CMSG_CLOEXEC
        if bufsize < 0 or maxfds < 0:
            raise ValueError("recv_fds: bufsize and maxfds must be 0 or more")
        data = new_bytes(NULL, bufsize)
        try:
            part.iov_base = PyBytes_AS_STRING(<object>data)
            part.iov_len = bufsize
            source.length = 0
            memset(control, 0, sizeof(control))
            message.buffers = &part
            message.buffer_count = 1
            message.address = &source
            message.control = control
            message.control_length = sizeof(control)
            message.flags = 0
            operation.message = &message
            prepare_receive(&operation, self, bufsize, bits)
            received = perform(self, &operation, run_receive)
            return result_of(&data, received, bufsize, &message, maxfds)
        finally:
            Py_XDECREF(data)


peer_credentials = method_of(Methods, "peer_credentials")
send_fds = method_of(Methods, "send_fds")
recv_fds = method_of(Methods, "recv_fds")
