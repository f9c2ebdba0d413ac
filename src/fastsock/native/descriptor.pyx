# SPDX-License-Identifier: MIT
"""What a call needs to know of a Python socket: descriptor, family, kind and timeout.

Facts
    The C struct of _socket.socket is private, but its method and member descriptors are public C
    API. Called without the attribute lookup and the argument tuple they cost 2 to 5 ns each.
What follows
    Nothing is kept beside the socket: it stays CPython's, whoever made it, and close, detach and
    settimeout need no word with us.
"""
import _socket
import sys
import types

from cpython.long cimport PyLong_AsLong
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from libc.math cimport ceil

from fastsock.native.interpreter cimport (
    METH_NOARGS, PyCFunction, PyMemberDef, PyMemberDescrObject, PyMember_GetOne, PyMember_SetOne,
    PyMethodDescrObject, PyType_IsSubtype, TypeSlots,
)
from fastsock.native.libfastsock cimport (
    AF_INET, AF_INET6, AF_UNIX, SO_RCVLOWAT, SOCK_STREAM, SOL_SOCKET, fsk_socket_receive_low_water,
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


def find_stdlib_class():
    """CPython's own socket.socket, also after another library has put its class in that place."""
    for cls in _socket.socket.__subclasses__():
        if cls.__module__ == "socket" and cls.__qualname__ == "socket":
            return cls
    raise ImportError("CPython's socket.socket can't be found; import fastsock before patching it")


# Kept for the life of the process: types are compared by address on every call.
stdlib_class = find_stdlib_class()
drop_in_class = stdlib_class

cdef PyTypeObject *native_type = <PyTypeObject *>_socket.socket
cdef PyTypeObject *stdlib_type = <PyTypeObject *>stdlib_class
cdef PyTypeObject *drop_in_type = stdlib_type

cdef PyCFunction fileno_method = no_argument_method("fileno")
cdef PyCFunction gettimeout_method = no_argument_method("gettimeout")
cdef PyMemberDef *family_member = member(_socket.socket, "family")
cdef PyMemberDef *type_member = member(_socket.socket, "type")
cdef PyMemberDef *proto_member = member(_socket.socket, "proto")
cdef PyMemberDef *io_refs_member = member(stdlib_class, "_io_refs")
cdef PyMemberDef *closed_member = member(stdlib_class, "_closed")

cdef object INET = AF_INET
cdef object INET6 = AF_INET6
cdef object UNIX = AF_UNIX

cdef object native_setsockopt = _socket.socket.setsockopt
cdef bint low_water_in_use = False


def set_drop_in_class(cls):
    """Tell which class ``accept`` builds for sockets of that class."""
    global drop_in_class, drop_in_type
    drop_in_class = cls
    drop_in_type = <PyTypeObject *>cls


cdef int refuse(object sock) except -1:
    """Raise for what is no socket, and for a socket that speaks TLS."""
    if not PyType_IsSubtype(Py_TYPE(sock), native_type):
        raise TypeError(f"a socket is required, not '{type(sock).__name__}'")
    ssl = sys.modules.get("ssl")
    if ssl is None:
        return 0
    # ssl's own methods come here through super() while no TLS session exists: before the handshake,
    # after unwrap(), and for a listener. Then the plain bytes are what is asked for.
    cls = getattr(ssl, "SSLSocket", None)
    if cls is not None and isinstance(sock, cls) and getattr(sock, "_sslobj", None) is not None:
        raise NotImplementedError(
            "this call reads and writes the descriptor, under the TLS of an SSLSocket; "
            "call the SSLSocket's own method")
    return 0


cdef bint serves(object sock) except -1:
    """True when sock's family is one of ours; the other families are left to CPython."""
    cdef PyTypeObject *cls = Py_TYPE(sock)
    cdef object family
    if cls != drop_in_type and cls != stdlib_type:
        refuse(sock)
    # CPython has one object for each int up to 256: identity is equality here, and a family that is
    # not recognised would only be served by CPython's own methods.
    family = PyMember_GetOne(<char *><PyObject *>sock, family_member)
    return family is INET or family is UNIX or family is INET6


cdef int number(object sock) except -2:
    """The descriptor now: -1 once the socket is closed or detached. sock has passed serves()."""
    return <int>PyLong_AsLong(fileno_method(sock, NULL))


cdef int64_t timeout_ns(object sock) except -2:
    """The timeout in nanoseconds: -1 for None (wait for ever), 0 for non-blocking."""
    cdef object seconds = gettimeout_method(sock, NULL)
    if seconds is None:
        return -1
    return <int64_t>ceil(<double>seconds * 1e9)


cdef object family(object sock):
    return PyMember_GetOne(<char *><PyObject *>sock, family_member)


cdef bint is_stream(object sock):
    return PyLong_AsLong(PyMember_GetOne(<char *><PyObject *>sock, type_member)) == SOCK_STREAM


cdef bint waits_for_more(object sock) except -1:
    """True for a stream on which SO_RCVLOWAT makes a blocking receive wait for more than a byte.

    A receive that does not wait returns fewer. Only a program that has set the option through us
    pays for the question.
    """
    return (low_water_in_use and is_stream(sock)
            and fsk_socket_receive_low_water(number(sock)) > 1)


def setsockopt(self, *args):
    """As socket.setsockopt; notes that SO_RCVLOWAT is in use (see waits_for_more)."""
    global low_water_in_use
    native_setsockopt(self, *args)
    if args[0] == SOL_SOCKET and args[1] == SO_RCVLOWAT:
        low_water_in_use = True


cdef object class_of(object sock):
    """The class a socket made from sock has: accept's rule, exact and not type(sock)."""
    if PyType_IsSubtype(Py_TYPE(sock), drop_in_type):
        return drop_in_class
    return stdlib_class


cdef object build(object cls, object like, int fd):
    """A socket of class cls over fd, with family, type and protocol of another socket.

    As cls(family, type, proto, fileno=fd) without the way through Python: getsockname and the audit
    event socket.__new__ happen in _socket's own initialiser. fd stays the caller's on failure.
    """
    cdef char *source = <char *><PyObject *>like
    cdef TypeSlots *native = <TypeSlots *>native_type
    cdef object sock = native.tp_new(<TypeSlots *><PyObject *>cls, (), NULL)
    arguments = (PyMember_GetOne(source, family_member), PyMember_GetOne(source, type_member),
                 PyMember_GetOne(source, proto_member), fd)
    native.tp_init(sock, arguments, NULL)
    PyMember_SetOne(<char *><PyObject *>sock, io_refs_member, 0)
    PyMember_SetOne(<char *><PyObject *>sock, closed_member, False)
    return sock
