# SPDX-License-Identifier: MIT
# Inline is what every call asks: an indirect call after a system call costs 5 ns and more, as the
# kernel leaves the branch predictor empty.
from cpython.object cimport Py_TYPE, PyObject, PyTypeObject
from libc.stdint cimport int64_t

from fastsock.native.interpreter cimport PyCFunction
from fastsock.libfastsock cimport AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM


# What is known of CPython's socket classes. Filled at import; low_water_in_use once set stays.
cdef struct Stdlib:
    PyTypeObject *native_type   # _socket.socket
    PyTypeObject *stdlib_type   # socket.socket
    PyTypeObject *drop_in_type  # fastsock.socket
    PyCFunction fileno
    PyCFunction gettimeout
    Py_ssize_t family_offset    # of C ints in an instance
    Py_ssize_t type_offset
    Py_ssize_t proto_offset
    Py_ssize_t state_offset     # of the one object that fastsock.socket adds to an instance
    bint low_water_in_use       # SO_RCVLOWAT has been set through us

cdef Stdlib stdlib

cdef int refuse(object sock) except -1
cdef bint speaks_tls(object sock) except -1
cdef bint is_drop_in(object sock) noexcept
cdef int set_state(object sock, object state) except -1
cdef int64_t timeout_ns(object sock) except -2
cdef int message_kind(object sock, str name, str plain_call, str framing) except -1
cdef bint has_low_water(object sock) except -1
cdef object build_like(object sock, int fd)
cdef object method_of(object cls, object name)


cdef inline int int_member(object sock, Py_ssize_t offset) noexcept:
    return (<int *>(<char *><PyObject *>sock + offset))[0]


cdef inline int family(object sock) noexcept:
    return int_member(sock, stdlib.family_offset)


cdef inline bint is_stream(object sock) noexcept:
    return int_member(sock, stdlib.type_offset) == SOCK_STREAM


cdef inline bint serves(object sock) except -1:
    """True when sock's family is one of ours; the other families are left to CPython."""
    cdef PyTypeObject *cls = Py_TYPE(sock)
    cdef int number
    if cls != stdlib.drop_in_type and cls != stdlib.stdlib_type:
        refuse(sock)
    number = family(sock)
    return number == AF_INET or number == AF_UNIX or number == AF_INET6


cdef inline PyObject *state_of(object sock) noexcept:
    """The State of a fastsock.socket, borrowed: it lives as long as sock. NULL: none so far."""
    cdef PyTypeObject *cls = Py_TYPE(sock)
    if cls != stdlib.drop_in_type and (cls == stdlib.stdlib_type or not is_drop_in(sock)):
        return NULL
    return (<PyObject **>(<char *><PyObject *>sock + stdlib.state_offset))[0]


cdef inline int number(object sock) except -2:
    """The descriptor now: -1 once the socket is closed or detached. sock has passed serves()."""
    return <int>stdlib.fileno(sock, NULL)


cdef inline bint waits_for_more(object sock) except -1:
    """True for a stream on which SO_RCVLOWAT makes a blocking receive wait for more than a byte.

    A receive that does not wait returns fewer. Only a program that has set the option through us
    pays for the question.
    """
    return stdlib.low_water_in_use and has_low_water(sock)
