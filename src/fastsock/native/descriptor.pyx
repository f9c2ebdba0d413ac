# SPDX-License-Identifier: MIT
"""What a call needs to know of a Python socket: descriptor, family, kind and timeout.

Facts
    The C struct of _socket.socket is private, but its method and member descriptors are public C
    API: a method's C function, a member's type and offset. Used directly they cost 1 to 5 ns each.
What follows
    Nothing is kept beside the socket: it stays CPython's, whoever made it, and close, detach and
    settimeout need no word with us.
"""
import _socket
import os
import sys
import types

cimport cython
from libc.errno cimport EOPNOTSUPP
from libc.math cimport ceil
from posix.unistd cimport close

from fastsock.native.interpreter cimport (
    METH_NOARGS, PyDescr_NewMethod, PyMemberDef, PyMemberDescrObject, PyMember_SetOne,
    PyMethodDescrObject, PyType_IsSubtype, T_INT, TypeSlots,
)
from fastsock.libfastsock cimport (
    SO_RCVLOWAT, SOCK_DGRAM, SOCK_SEQPACKET, SOL_SOCKET, fsk_socket_receive_low_water,
)


cdef PyCFunction no_argument_method(object name) except NULL:
    """The C function of a method of _socket.socket that takes no argument."""
    descriptor = vars(_socket.socket)[name]
    if type(descriptor) is not types.MethodDescriptorType:
        raise ImportError(f"_socket.socket.{name} is not a C method in this Python")
    cdef PyMethodDescrObject *method = <PyMethodDescrObject *>descriptor
    if method.d_method.ml_flags != METH_NOARGS:
        raise ImportError(f"_socket.socket.{name} takes arguments in this Python")
    return method.d_method.ml_meth


cdef PyMemberDef *member(object cls, object name) except NULL:
    descriptor = vars(cls)[name]
    if type(descriptor) is not types.MemberDescriptorType:
        raise ImportError(f"{cls.__name__}.{name} is not a C member in this Python")
    return (<PyMemberDescrObject *>descriptor).d_member


cdef Py_ssize_t int_offset(object name) except -1:
    cdef PyMemberDef *found = member(_socket.socket, name)
    if found.type != T_INT:
        raise ImportError(f"_socket.socket.{name} is not a C int in this Python")
    return found.offset


def find_stdlib_class():
    """CPython's own socket.socket, also after another library has put its class in that place."""
    # The module's own first: after importlib.reload(socket) there are two.
    module = sys.modules.get("socket")
    for cls in (getattr(module, "socket", None), *_socket.socket.__subclasses__()):
        if isinstance(cls, type) and cls.__bases__ == (_socket.socket,):
            if cls.__module__ == "socket" and cls.__qualname__ == "socket":
                return cls
    raise ImportError("CPython's socket.socket can't be found; import fastsock before patching it")


# Kept for the life of the process: types are compared by address on every call.
stdlib_class = find_stdlib_class()
drop_in_class = stdlib_class

stdlib.native_type = <PyTypeObject *>_socket.socket
stdlib.stdlib_type = <PyTypeObject *>stdlib_class
stdlib.drop_in_type = <PyTypeObject *>stdlib_class
stdlib.fileno = no_argument_method("fileno")
stdlib.gettimeout = no_argument_method("gettimeout")
stdlib.family_offset = int_offset("family")
stdlib.type_offset = int_offset("type")
stdlib.proto_offset = int_offset("proto")
stdlib.low_water_in_use = False

cdef PyMemberDef *io_refs_member = member(stdlib_class, "_io_refs")
cdef PyMemberDef *closed_member = member(stdlib_class, "_closed")
cdef object native_setsockopt = _socket.socket.setsockopt


cdef PyMemberDef *state_member = NULL


def set_drop_in_class(cls):
    """Tell the class fastsock.socket: its slot ``_state`` holds what it keeps beside CPython's.

    The slot loses its name: nobody may put another object there, and a subclass may use the name.
    """
    global drop_in_class, state_member
    state_member = member(cls, "_state")
    stdlib.state_offset = state_member.offset
    del cls._state
    drop_in_class = cls
    stdlib.drop_in_type = <PyTypeObject *>cls


cdef bint is_drop_in(object sock) noexcept:
    return state_member != NULL and PyType_IsSubtype(Py_TYPE(sock), <PyTypeObject *>drop_in_class)


cdef int set_state(object sock, object state) except -1:
    """Give a fastsock.socket its State. It stays to the end: others borrow it without a lock."""
    PyMember_SetOne(<char *><PyObject *>sock, state_member, state)
    return 0


cdef int refuse(object sock) except -1:
    """Raise for what is no socket, and for a socket that speaks TLS."""
    if not PyType_IsSubtype(Py_TYPE(sock), stdlib.native_type):
        raise TypeError(f"a socket is required, not '{type(sock).__name__}'")
    if speaks_tls(sock):
        raise NotImplementedError(
            "this call reads and writes the descriptor, under the TLS of an SSLSocket; "
            "call the SSLSocket's own method")
    return 0


cdef bint speaks_tls(object sock) except -1:
    """True for an SSLSocket that has a TLS session."""
    cdef PyTypeObject *cls = Py_TYPE(sock)
    if cls == stdlib.drop_in_type or cls == stdlib.stdlib_type:
        return False
    ssl = sys.modules.get("ssl")
    if ssl is None:
        return False
    # ssl's own methods come here through super() while no TLS session exists: before the handshake,
    # after unwrap(), and for a listener. Then the plain bytes are what is asked for.
    found = getattr(ssl, "SSLSocket", None)
    return (found is not None and isinstance(sock, found)
            and getattr(sock, "_sslobj", None) is not None)


cdef int64_t timeout_ns(object sock) except -2:
    """The timeout in nanoseconds: -1 for None (wait for ever), 0 for non-blocking."""
    cdef object seconds = stdlib.gettimeout(sock, NULL)
    if seconds is None:
        return -1
    return <int64_t>ceil(<double>seconds * 1e9)


cdef int message_kind(object sock, str name, str plain_call, str framing) except -1:
    """SOCK_DGRAM or SOCK_SEQPACKET; raises for what has no messages of its own.

    The strings are the call's name and what to do instead: for other families, and on a stream.
    """
    cdef int kind
    if not serves(sock):
        raise OSError(EOPNOTSUPP, f"{name} serves AF_INET, AF_INET6 and AF_UNIX; for other "
                      f"families call {plain_call}")
    kind = int_member(sock, stdlib.type_offset)
    if kind == SOCK_STREAM:
        raise OSError(EOPNOTSUPP, f"{name}: a stream has bytes, not messages; {framing}")
    return SOCK_SEQPACKET if kind == SOCK_SEQPACKET else SOCK_DGRAM


cdef bint has_low_water(object sock) except -1:
    return is_stream(sock) and fsk_socket_receive_low_water(number(sock)) > 1


cdef object build_like(object sock, int fd):
    """A socket over fd with family, type and protocol of sock.

    Its class is the drop-in's when sock is one, else the standard library's, and not type(sock):
    accept's rule. As cls(family, type, proto, fileno=fd) without the way through Python:
    getsockname and the audit event socket.__new__ happen in _socket's own initialiser. fd is the
    new socket's, or closed on failure; CPython leaks it when an audit hook refuses the socket.
    """
    cdef TypeSlots *native = <TypeSlots *>stdlib.native_type
    cdef PyTypeObject *cls = stdlib.stdlib_type
    cdef object built
    if (Py_TYPE(sock) == stdlib.drop_in_type
            or PyType_IsSubtype(Py_TYPE(sock), stdlib.drop_in_type)):
        cls = stdlib.drop_in_type
    built = native.tp_new(<TypeSlots *>cls, (), NULL)
    try:
        native.tp_init(built, (family(sock), int_member(sock, stdlib.type_offset),
                               int_member(sock, stdlib.proto_offset), fd), NULL)
    except BaseException:
        # The initialiser fails before it takes the descriptor, or after: then built closes it.
        if number(built) != fd:
            close(fd)
        raise
    PyMember_SetOne(<char *><PyObject *>built, io_refs_member, 0)
    PyMember_SetOne(<char *><PyObject *>built, closed_member, False)
    return built


def refuse_tls(sock, /):
    """Raise NotImplementedError for a socket that speaks TLS: its descriptor has no messages."""
    refuse(sock)


def borrowing(sock, function, *arguments, **keywords):
    """function(sock, ...), where sock may be a descriptor: that stays open, in the mode it is.

    Here and not in Python, where a signal handler that raises between two instructions would leave
    a socket object that closes the descriptor.
    """
    cdef object borrowed
    cdef bint is_blocking
    if isinstance(sock, _socket.socket):
        return function(sock, *arguments, **keywords)
    if not isinstance(sock, int):
        raise TypeError(f"a socket or a descriptor is required, not '{type(sock).__name__}'")
    is_blocking = os.get_blocking(sock)  # asked first: a default timeout would change it
    borrowed = _socket.socket(fileno=sock)
    try:
        borrowed.settimeout(None if is_blocking else 0.0)
        return function(borrowed, *arguments, **keywords)
    finally:
        borrowed.detach()


cdef object method_of(object cls, object name):
    """A method of a cdef class, made a method of _socket.socket.

    What CPython's own methods are, so the interpreter calls it as fast as those, and refuses a self
    that is no socket. The method must not use fields of its class: self is a socket.
    """
    descriptor = vars(cls)[name]
    if type(descriptor) is not types.MethodDescriptorType:
        raise ImportError(f"{name} is not a C method; was it compiled with binding=True?")
    return PyDescr_NewMethod(stdlib.native_type, (<PyMethodDescrObject *>descriptor).d_method)


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see method_of.

    def setsockopt(self, *args):
        """As socket.setsockopt; notes that SO_RCVLOWAT is in use (see waits_for_more)."""
        native_setsockopt(self, *args)
        if args[0] == SOL_SOCKET and args[1] == SO_RCVLOWAT:
            stdlib.low_water_in_use = True


setsockopt = method_of(Methods, "setsockopt")
