# SPDX-License-Identifier: MIT
from libc.string cimport memcmp

from fastsock.native.interpreter cimport FASTSOCK_HAS_GIL
from fastsock.libfastsock cimport AF_INET, AF_INET6, fsk_address

cdef enum:
    IP4_SIZE = 8   # bytes of a struct sockaddr_in that tell senders apart: family, port, host
    IP6_SIZE = 28  # the whole of a struct sockaddr_in6

# The senders seen last and their tuples, guarded by the GIL; not used where there is none.
cdef struct LastSenders:
    unsigned char ip4[IP4_SIZE]
    unsigned char ip6[IP6_SIZE]

cdef LastSenders last
cdef object last_ip4_tuple  # None until there is one, when no address compares equal
cdef object last_ip6_tuple

cdef object make_python(const fsk_address *address)
cdef bint from_python(object value, int family, fsk_address *address) except -1
cdef int resolve(object value, int family, fsk_address *address) except -1


cdef inline object to_python(const fsk_address *address):
    """The address as CPython gives it; None when the protocol names no sender."""
    if address.length == 0:
        return None
    if FASTSOCK_HAS_GIL:
        # Sizes that the compiler knows: it compares in line.
        if (address.name.any.sa_family == AF_INET
                and memcmp(&address.name, last.ip4, IP4_SIZE) == 0):
            return last_ip4_tuple
        if (address.name.any.sa_family == AF_INET6
                and memcmp(&address.name, last.ip6, IP6_SIZE) == 0):
            return last_ip6_tuple
    return make_python(address)
