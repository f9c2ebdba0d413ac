# SPDX-License-Identifier: MIT
"""How frame readers and writers reach the bytes of a stream, whoever made its socket.

Facts
    Under TLS the descriptor has no bytes that are worth anything: an SSLSocket's own recv_into and
    send have them. Those run signal handlers also after they have succeeded: an exception then
    hides that bytes have come or gone. What send refused for want of room may have become a
    record that waits: OpenSSL wants the same bytes again, first.
What follows
    Plain streams go through perform. For the others the waiting, with its handlers and the call's
    one deadline, is done before the method is called; it is offered a record at a time. If a
    handler raises all the same inside it and bytes were on their way, is_lost tells: such a call
    may have waited too, for a record's rest or behind records without data, so only what stands in
    its memory tells whether bytes have come.
"""
import sys

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EBADF, EINTR, EOPNOTSUPP
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy

import _socket

from fastsock.native.descriptor cimport int_member, number, serves, speaks_tls, stdlib, timeout_ns
from fastsock.native.errors cimport raise_error
from fastsock.libfastsock cimport (
    FSK_WAIT_WRITABLE, SOCK_STREAM, fsk_message, fsk_receive, fsk_send_message, fsk_socket_wait,
    fsk_wait,
)
from fastsock.native.waiting cimport (
    FOR_EVER, KEEP_GIL_RECEIVE, KEEP_GIL_SEND, OWN_TIMEOUT, now_ns, perform, prepare_receive,
    prepare_send, saturating_add,
)

cdef enum:
    MARK = 16  # bytes put where a method receives; of n, fewer, it misses a loss once in 256**n
    STREAK_BYTES = 1024  # received bytes that count as much as a call that keeps the GIL


cdef int check_stream(object sock, str name) except -1:
    """Raise for what is no stream socket; name is of who wants one."""
    if not isinstance(sock, _socket.socket):
        raise TypeError(f"{name}: a socket is required, not '{type(sock).__name__}'")
    if int_member(sock, stdlib.type_offset) != SOCK_STREAM:
        raise OSError(EOPNOTSUPP, f"{name}: only a stream needs frames; this socket has messages "
                      "of its own: call recv_many and send_many")
    return 0


cdef bint is_plain(object sock) except -1:
    return not speaks_tls(sock) and serves(sock)


cdef ssize_t run_receive(Operation *operation, int flags) noexcept nogil:
    return fsk_receive(operation.fd, operation.buffer, operation.length, operation.flags | flags)


cdef ssize_t run_send(Operation *operation, int flags) noexcept nogil:
    return fsk_send_message(operation.fd, operation.message, operation.flags | flags)


cdef int begin_receive(StreamCall *call, object sock, int64_t timeout) except -1:
    """Begin a call that receives; timeout as in Operation, nanoseconds."""
    prepare_receive(&call.operation, sock, 0, 0)
    call.operation.timeout_ns = timeout
    call.is_plain = is_plain(sock)
    call.is_lost = False
    return 0


cdef int begin_send(StreamCall *call, object sock) except -1:
    prepare_send(&call.operation, sock, 0, 0)
    call.is_plain = is_plain(sock)
    call.is_lost = False
    return 0


cdef ssize_t receive_some(object sock, StreamCall *call, void *where, size_t room) except -1:
    """Receive up to room bytes, at least 1, waiting for the first; 0 at the end of the stream."""
    cdef Operation *operation = &call.operation
    cdef ssize_t received
    call.has_failed = call.is_lost = False
    if not call.is_plain:
        return by_method(sock, call, "recv_into", where, room)
    operation.buffer = where
    operation.length = room
    operation.release = room > KEEP_GIL_RECEIVE
    operation.has_failed = False
    try:
        received = perform(sock, operation, run_receive)
    except BaseException:
        call.has_failed = operation.has_failed
        raise
    operation.streak.calls += <unsigned>received // STREAK_BYTES
    if <size_t>received < room:
        operation.try_first = False  # nothing more was there
    return received


cdef ssize_t send_some(object sock, StreamCall *call, iovec *parts, size_t count) except -1:
    """Send a beginning of parts, which hold at least a byte, waiting for room: the bytes taken."""
    cdef Operation *operation = &call.operation
    cdef fsk_message message
    cdef size_t length = 0
    cdef size_t i
    cdef ssize_t sent
    call.has_failed = call.is_lost = False
    if not call.is_plain:
        while parts.iov_len == 0:
            parts += 1
        return by_method(sock, call, "send", parts.iov_base, min(parts.iov_len, <size_t>RECORD))
    for i in range(count):
        length += parts[i].iov_len
    message.buffers = parts
    message.buffer_count = count
    message.address = NULL
    message.control = NULL
    message.control_length = 0
    message.flags = 0
    operation.message = &message
    operation.release = length > KEEP_GIL_SEND
    operation.has_failed = False
    try:
        sent = perform(sock, operation, run_send)
    except BaseException:
        call.has_failed = operation.has_failed
        raise
    if <size_t>sent < length:
        operation.try_first = False  # there is no more room
    return sent


cdef ssize_t by_method(object sock, StreamCall *call, str name, void *data,
                       size_t size) except -1:
    """sock's own method on size bytes at data, when it is ready."""
    cdef int64_t own = timeout_ns(sock)
    cdef int64_t timeout = own
    if call.operation.timeout_ns != OWN_TIMEOUT:
        timeout = call.operation.timeout_ns
    if timeout != 0 and not has_decrypted(sock, call):
        wait_until_ready(sock, call, timeout)
    if timeout == own or call.operation.timeout_ns == OWN_TIMEOUT:
        return call_method(sock, call, name, data, size)
    before = sock.gettimeout()
    sock.settimeout(None if timeout < 0 else timeout / 1e9)
    try:
        return call_method(sock, call, name, data, size)
    finally:
        if number(sock) >= 0:  # else another thread has closed it
            sock.settimeout(before)


cdef bint has_decrypted(object sock, StreamCall *call) except -1:
    """True when there is something to receive of which the descriptor knows nothing."""
    if call.operation.what == FSK_WAIT_WRITABLE:
        return False
    pending = getattr(sock, "pending", None)
    return pending is not None and pending() > 0


cdef int wait_until_ready(object sock, StreamCall *call, int64_t timeout) except -1:
    cdef int64_t remaining
    cdef int fd, ready
    cdef fsk_wait what = call.operation.what
    if call.operation.deadline_ns == 0:
        call.operation.deadline_ns = FOR_EVER
        if timeout > 0:
            call.operation.deadline_ns = saturating_add(now_ns(), timeout)
    while True:
        remaining = call.operation.deadline_ns - now_ns()
        if remaining <= 0:
            call.has_failed = True
            raise TimeoutError("timed out")
        fd = number(sock)
        if fd < 0:
            raise_error(-EBADF)
        with nogil:
            ready = fsk_socket_wait(fd, what, remaining)
        if ready < 0 and ready != -EINTR:
            raise_error(ready)
        PyErr_CheckSignals()
        if ready > 0:
            return 0


cdef ssize_t call_method(object sock, StreamCall *call, str name, void *data,
                         size_t size) except -1:
    cdef bint is_send = call.operation.what == FSK_WAIT_WRITABLE
    cdef unsigned char mark[MARK]
    cdef size_t marked = 0 if is_send else min(size, <size_t>MARK)
    cdef int64_t started = now_ns()
    cdef int64_t own
    method = getattr(sock, name)
    view = PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ if is_send else PyBUF_WRITE)
    # A peer that knows the clock to the nanosecond could send the same.
    fill_mark(mark, started)
    memcpy(data, mark, marked)
    try:
        return method(view)
    except BaseException as error:
        own = timeout_ns(sock) if number(sock) >= 0 else 0
        call.has_failed = wants_to_wait(error) or (
            isinstance(error, TimeoutError) and own > 0 and now_ns() - started >= own)
        # What send has refused for want of room or time it wants again. A handler may raise any
        # error, also one that recv_into has: only the memory tells.
        call.is_lost = not call.has_failed if is_send else memcmp(data, mark, marked) != 0
        if call.has_failed and call.operation.timeout_ns == 0:
            raise BlockingIOError(EAGAIN, "nothing is there, and the timeout is 0") from None
        raise
    finally:
        # Whoever kept it must not reach the memory when it is another's.
        view.release()


cdef void fill_mark(unsigned char *mark, uint64_t seed) noexcept:
    """Fill the bytes that tell whether others have come in their place. Source: splitmix64."""
    cdef uint64_t mixed
    cdef int i
    for i in range(MARK):
        seed += 0x9e3779b97f4a7c15u
        mixed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u
        mark[i] = <unsigned char>(mixed >> 56)


cdef bint wants_to_wait(object error) except -1:
    """True for what a method that does not wait raises instead."""
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
        return True
    return isinstance(error, BlockingIOError)
