# SPDX-License-Identifier: MIT
"""Addresses between the kernel's form and Python's, with a cache each way.

Facts
    Formatting a host and building its tuple costs CPython about 150 ns a datagram, resolving a
    numeric destination about 400 ns. Programs talk to few peers at a time.
    Tuples of str and int are immutable, so the same peer can give the same tuple object. A name
    that was resolved must be resolved again: DNS may answer differently.
What follows
    Two small tables, found by hash, each slot overwritten by whoever comes next. What they do not
    hold is made or parsed as CPython does, or left to CPython altogether.
"""
cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.object cimport PyObject_Hash
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strlen

import os

from fastsock.native.interpreter cimport PyUnicode_DecodeFSDefaultAndSize
from fastsock.native.libfastsock cimport (
    AF_INET, AF_INET6, AF_UNIX, FSK_HOST_SIZE, fsk_address, fsk_address_equal,
    fsk_address_format_host, fsk_address_hash, fsk_address_is_abstract, fsk_address_parse_host,
    fsk_address_path, fsk_address_set_path, htonl, ntohl, ntohs,
)

cdef enum:
    CAPACITY = 64  # entries of each cache; a power of two


cdef object make_host_tuple(const fsk_address *address):
    cdef char host[FSK_HOST_SIZE]
    cdef int length = fsk_address_format_host(address, host)
    cdef str text = host[:length].decode("ascii")
    if address.name.any.sa_family == AF_INET:
        return (text, ntohs(address.name.ip4.sin_port))
    return (text, ntohs(address.name.ip6.sin6_port), ntohl(address.name.ip6.sin6_flowinfo),
            address.name.ip6.sin6_scope_id)


@cython.final
cdef class Peers:
    """Tuples of the senders seen last. Any thread may call; critical sections guard it."""
    cdef fsk_address addresses[CAPACITY]
    cdef list tuples
    cdef uint64_t key

    def __cinit__(self):
        self.tuples = [None] * CAPACITY
        # A sender chooses its address; without the key it can't choose whose slot it takes.
        self.key = int.from_bytes(os.urandom(8), "little")
        for i in range(CAPACITY):
            self.addresses[i].length = 0

    cdef object find(self, const fsk_address *address):
        cdef size_t slot = fsk_address_hash(address, self.key) % CAPACITY
        cdef object found
        with cython.critical_section(self):
            if fsk_address_equal(address, &self.addresses[slot]):
                return self.tuples[slot]
        found = make_host_tuple(address)
        with cython.critical_section(self):
            copy_address(&self.addresses[slot], address)
            self.tuples[slot] = found
        return found


@cython.final
cdef class Destinations:
    """Parsed numeric destinations. Any thread may call; critical sections guard it."""
    cdef fsk_address addresses[CAPACITY]
    cdef int families[CAPACITY]
    cdef list tuples

    def __cinit__(self):
        self.tuples = [None] * CAPACITY

    cdef bint find(self, tuple value, int family, size_t slot, fsk_address *address):
        cdef object key
        with cython.critical_section(self):
            key = self.tuples[slot]
            if key is not value and (key is None or not same_items(<tuple>key, value)):
                return False
            if self.families[slot] != family:
                return False
            copy_address(address, &self.addresses[slot])
        return True

    cdef int store(self, tuple value, int family, size_t slot,
                   const fsk_address *address) except -1:
        with cython.critical_section(self):
            self.tuples[slot] = value
            self.families[slot] = family
            copy_address(&self.addresses[slot], address)
        return 0


cdef Peers peers = Peers()
cdef Destinations destinations = Destinations()


cdef void copy_address(fsk_address *target, const fsk_address *source) noexcept:
    target.length = source.length
    memcpy(&target.name, &source.name, source.length)


cdef bint same_items(tuple one, tuple other):
    """Both are exact tuples of an exact str and exact ints, as is_plain() tells."""
    if len(one) != len(other):
        return False
    for i in range(len(one)):
        if one[i] != other[i]:
            return False
    return True


cdef bint is_plain(tuple value):
    """An exact str and one to three exact ints. ('127.0.0.1', 8888.0) equals one and is none."""
    cdef Py_ssize_t length = PyTuple_GET_SIZE(value)
    if length < 2 or length > 4 or not PyUnicode_CheckExact(<object>PyTuple_GET_ITEM(value, 0)):
        return False
    for i in range(1, length):
        if type(<object>PyTuple_GET_ITEM(value, i)) is not int:
            return False
    return True


cdef object to_python(const fsk_address *address):
    """The address as CPython gives it; None when the protocol names no sender."""
    cdef const char *path
    cdef size_t length
    if address.length == 0:
        return None
    if address.name.any.sa_family == AF_INET or address.name.any.sa_family == AF_INET6:
        return peers.find(address)
    if address.name.any.sa_family == AF_UNIX:
        path = fsk_address_path(address, &length)
        if fsk_address_is_abstract(address):
            return PyBytes_FromStringAndSize(path, length)
        return PyUnicode_DecodeFSDefaultAndSize(path, length)
    # A descriptor that is not of the family the socket was told.
    return (address.name.any.sa_family, PyBytes_FromStringAndSize(address.name.any.sa_data, 14))


cdef bint from_python(object value, object family, fsk_address *address) except -1:
    """Fill address; False when the value is for CPython to parse, resolve or refuse."""
    cdef int number = family
    if number == AF_UNIX:
        return path_from_python(value, address)
    if not PyTuple_CheckExact(value) or not is_plain(<tuple>value):
        return False
    if number == AF_INET and PyTuple_GET_SIZE(value) != 2:
        return False
    return host_from_python(<tuple>value, number, address)


cdef bint path_from_python(object value, fsk_address *address) except -1:
    cdef const char *path
    cdef Py_ssize_t length
    if PyUnicode_CheckExact(value):
        if not value.isascii():
            return False  # the file system's encoding and its surrogates are CPython's business
        path = PyUnicode_AsUTF8AndSize(value, &length)
    elif PyBytes_CheckExact(value):
        path = PyBytes_AS_STRING(value)
        length = PyBytes_GET_SIZE(value)
    else:
        return False
    return fsk_address_set_path(address, path, length) == 0


cdef bint in_range(object number, long limit, long *result):
    cdef int overflow
    result[0] = PyLong_AsLongAndOverflow(number, &overflow)
    return overflow == 0 and 0 <= result[0] <= limit


cdef bint host_from_python(tuple value, int family, fsk_address *address) except -1:
    cdef size_t slot
    cdef long port, flowinfo = 0, scope = 0
    cdef const char *host
    cdef Py_ssize_t length
    cdef object name = value[0]
    if not in_range(value[1], 0xffff, &port):
        return False
    slot = (<size_t>PyObject_Hash(name) + <size_t>port) % CAPACITY
    if destinations.find(value, family, slot, address):
        return True
    if len(value) > 2 and not in_range(value[2], 0xfffff, &flowinfo):
        return False
    if len(value) > 3 and not in_range(value[3], 0xffffffff, &scope):
        return False
    host = PyUnicode_AsUTF8AndSize(name, &length)
    if strlen(host) != <size_t>length:
        return False
    if fsk_address_parse_host(address, family, host, <unsigned short>port) < 0:
        return False
    if family == AF_INET6:
        address.name.ip6.sin6_flowinfo = htonl(<uint32_t>flowinfo)
        address.name.ip6.sin6_scope_id = <uint32_t>scope
    destinations.store(value, family, slot, address)
    return True
