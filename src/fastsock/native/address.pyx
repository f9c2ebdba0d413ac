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
from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.object cimport PyObject_Hash
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strlen

import _socket
import operator
import os

from fastsock.native.arguments cimport pin_data
from fastsock.native.interpreter cimport PyUnicode_DecodeFSDefaultAndSize
from fastsock.libfastsock cimport (
    AF_UNIX, FSK_HOST_SIZE, SOCK_DGRAM, fsk_address_equal,
    fsk_address_format_host, fsk_address_hash, fsk_address_is_abstract, fsk_address_parse_host,
    fsk_address_path, fsk_address_set_path, htonl, ntohl, ntohs, sockaddr_in6,
)

cdef enum:
    CAPACITY = 64  # entries of each cache; a power of two


cdef str make_host(const fsk_address *address):
    cdef char host[FSK_HOST_SIZE]
    cdef int length = fsk_address_format_host(address, host)
    return host[:length].decode("ascii")


@cython.final
cdef class Peers:
    """Tuples of the senders seen last. Any thread may call; critical sections guard it."""
    cdef fsk_address addresses[CAPACITY]
    cdef list tuples
    cdef uint64_t key
    cdef uint32_t last_ip4  # connections come from one host by the dozen, each from its own port
    cdef str last_host

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
        found = self.make_tuple(address)
        with cython.critical_section(self):
            copy_address(&self.addresses[slot], address)
            self.tuples[slot] = found
        return found

    cdef object make_tuple(self, const fsk_address *address):
        cdef const sockaddr_in6 *ip6 = &address.name.ip6
        if address.name.any.sa_family == AF_INET:
            return (self.find_host(address), ntohs(address.name.ip4.sin_port))
        return (make_host(address), ntohs(ip6.sin6_port), ntohl(ip6.sin6_flowinfo),
                ip6.sin6_scope_id)

    cdef str find_host(self, const fsk_address *address):
        cdef uint32_t ip4 = address.name.ip4.sin_addr.s_addr
        cdef str host
        with cython.critical_section(self):
            if self.last_host is not None and self.last_ip4 == ip4:
                return self.last_host
        host = make_host(address)
        with cython.critical_section(self):
            self.last_ip4 = ip4
            self.last_host = host
        return host


@cython.final
cdef class Destinations:
    """Parsed numeric destinations. Any thread may call; critical sections guard it."""
    cdef fsk_address addresses[CAPACITY]
    cdef int families[CAPACITY]
    cdef list tuples
    cdef fsk_address last_address
    cdef int last_family
    cdef object last_tuple

    def __cinit__(self):
        self.tuples = [None] * CAPACITY

    cdef bint find_last(self, object value, int family, fsk_address *address):
        """True when it is the very tuple that was asked for last."""
        with cython.critical_section(self):
            if value is not self.last_tuple or family != self.last_family:
                return False
            copy_address(address, &self.last_address)
        return True

    cdef void remember(self, object value, int family, const fsk_address *address) noexcept:
        with cython.critical_section(self):
            self.last_tuple = value
            self.last_family = family
            copy_address(&self.last_address, address)

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


cdef object make_python(const fsk_address *address):
    """to_python() for an address that isn't the last one."""
    global last_ip4_tuple, last_ip6_tuple
    cdef const char *path
    cdef size_t length
    if address.name.any.sa_family == AF_INET:
        found = peers.find(address)
        if FASTSOCK_HAS_GIL:
            memcpy(last.ip4, &address.name, IP4_SIZE)
            last_ip4_tuple = found
        return found
    if address.name.any.sa_family == AF_INET6:
        found = peers.find(address)
        if FASTSOCK_HAS_GIL:
            memcpy(last.ip6, &address.name, IP6_SIZE)
            last_ip6_tuple = found
        return found
    if address.name.any.sa_family == AF_UNIX:
        path = fsk_address_path(address, &length)
        if fsk_address_is_abstract(address):
            return PyBytes_FromStringAndSize(path, length)
        return PyUnicode_DecodeFSDefaultAndSize(path, length)
    # A descriptor that is not of the family the socket was told.
    return (address.name.any.sa_family, PyBytes_FromStringAndSize(address.name.any.sa_data, 14))


cdef bint from_python(object value, int family, fsk_address *address) except -1:
    """Fill address; False when the value is for CPython to parse, resolve or refuse."""
    if family == AF_UNIX:
        return path_from_python(value, address)
    if not PyTuple_CheckExact(value):
        return False
    if destinations.find_last(value, family, address):
        return True
    if not is_plain(<tuple>value) or (family == AF_INET and PyTuple_GET_SIZE(value) != 2):
        return False
    if not host_from_python(<tuple>value, family, address):
        return False
    destinations.remember(value, family, address)
    return True


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
    cdef long port = 0, flowinfo = 0, scope = 0
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
    if not name.isascii():
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


cdef int resolve(object value, int family, fsk_address *address) except -1:
    """Fill address with what CPython makes of value: names are looked up, the rest is refused."""
    if from_python(value, family, address):
        return 0
    if family == AF_UNIX:
        return resolve_path(value, address)
    if not isinstance(value, tuple):
        raise TypeError(f"an address is a tuple (host, port), not {type(value).__name__}")
    if not 2 <= len(value) <= (2 if family == AF_INET else 4):
        raise TypeError("an address is a tuple (host, port)" if family == AF_INET else
                        "an address is a tuple (host, port[, flowinfo[, scope_id]])")
    host = encode_host(value[0])
    port = operator.index(value[1])
    rest = [operator.index(number) & 0xffffffff for number in value[2:]]
    if not 0 <= port <= 0xffff:
        raise OverflowError("port must be 0-65535.")
    if rest and rest[0] > 0xfffff:
        raise OverflowError("flowinfo must be 0-1048575.")
    if host in (b"<broadcast>", b"255.255.255.255"):
        if family == AF_INET6:
            raise OSError("address family mismatched")
        host = b"255.255.255.255"
    elif host == b"":
        host = b"0.0.0.0" if family == AF_INET else b"::"
    found = _socket.getaddrinfo(host, port, family, SOCK_DGRAM)[0][4]
    from_python((*found[:2], *rest, *found[len(value):]), family, address)
    return 0


cdef bytes encode_host(object host):
    if isinstance(host, str):
        try:
            host = host.encode("ascii" if host.isascii() else "idna")
        except UnicodeError:
            raise TypeError("encoding of hostname failed") from None
    elif not isinstance(host, (bytes, bytearray)):
        raise TypeError(f"the host of an address is a str, not {type(host).__name__}")
    if b"\0" in host:
        raise TypeError("host name must not contain null character")
    return bytes(host)


cdef int resolve_path(object path, fsk_address *address) except -1:
    cdef Py_buffer view
    if isinstance(path, str):
        encoded = os.fsencode(path)
    else:
        pin_data(path, &view)  # bytes() would make something of an int or a list
        encoded = PyBytes_FromStringAndSize(<const char *>view.buf, view.len)
        PyBuffer_Release(&view)
    if not path_from_python(encoded, address):
        raise OSError("AF_UNIX path too long")
    return 0
