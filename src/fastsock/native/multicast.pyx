# SPDX-License-Identifier: MIT
"""join_group and leave_group: multicast."""
import _socket

cimport cython
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport ENODEV, EOPNOTSUPP
from libc.string cimport strlen

from fastsock.native.descriptor cimport (
    family as family_of, int_member, method_of, number, serves, stdlib,
)
from fastsock.native.errors import CapabilityError

from fastsock.native.errors cimport raise_error
from fastsock.libfastsock cimport (
    AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, fsk_address, fsk_address_is_multicast,
    fsk_address_parse_host, fsk_multicast_join, fsk_multicast_leave,
    fsk_multicast_only_joined,
)


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def join_group(self, group, interface=None, source=None):
        """Receive what is sent to a multicast group, on one interface.

        Bind the socket to the group's port first or afterwards, and to ``""`` or ``"::"``: then it
        gets its own datagrams too. Bound to the group itself, it gets the group's alone.

        Parameters
        ----------
        group : str
            Numeric, of the socket's family: ``"239.1.2.3"`` or ``"ff12::1"``.
        interface : str, int or None
            Name or index; ``socket.if_nameindex()`` lists both. None or 0: the system chooses, by
            its routes, which on a machine with several networks is often the wrong one.
        source : str or None
            Numeric: take what this host sends and nothing else; once for each source. None: any.

        Raises
        ------
        CapabilityError
            Not a UDP socket, or a system without RFC 3678.
        ValueError
            An address that is not numeric, not of the socket's family, or no group's.
        OSError
            EADDRINUSE: already joined. EADDRNOTAVAIL: already joined for this source. ENODEV: no
            such interface, or no route tells one. ENOBUFS: as many as the system allows, see
            net.ipv4.igmp_max_memberships. EBADF: the socket is closed.

        Notes
        -----
        The membership ends with ``leave_group`` or when the last descriptor of the socket is
        closed. On Linux a socket that is not bound to a group's address also gets what other
        sockets of the machine have joined, unless IP_MULTICAST_ALL (49) or IPV6_MULTICAST_ALL (29)
        is 0. Source: RFC 3678, MCAST_JOIN_GROUP and MCAST_JOIN_SOURCE_GROUP.
        """
        require_udp(self, "join_group")
        change(True, number(self), family_of(self), group, interface, source)

    def leave_group(self, group, interface=None, source=None):
        """Undo ``join_group`` with the same arguments.

        Without a source the group is left for all sources.

        Raises
        ------
        CapabilityError, ValueError
            As ``join_group``.
        OSError
            EADDRNOTAVAIL: not joined; EINVAL if a source is given and no source of the group is
            joined. ENODEV, EBADF: as ``join_group``.
        """
        require_udp(self, "leave_group")
        change(False, number(self), family_of(self), group, interface, source)


def receive_own_groups(sock):
    """Give a UDP socket only the groups that it joins itself, where the system can.

    Linux else gives it those of the whole machine. IPv6: Linux 4.20; before that they stay.
    """
    cdef int result = fsk_multicast_only_joined(number(sock), family_of(sock))
    if result < 0 and result != -EOPNOTSUPP:
        raise_error(result)


cdef int change(bint joins, int fd, int family, object group, object interface,
                object source) except -1:
    cdef fsk_address address, sender
    cdef const fsk_address *wanted = NULL
    cdef unsigned index
    cdef int result
    parse_host(&address, family, group, "group", "239.1.2.3" if family == AF_INET else "ff12::1")
    if not fsk_address_is_multicast(&address):
        raise ValueError(f"group {group!r} is no multicast address; those of IPv4 are 224.0.0.0 to "
                         f"239.255.255.255, those of IPv6 begin with ff")
    index = find_interface(interface)
    if source is not None:
        parse_host(&sender, family, source, "source",
                   "192.0.2.1" if family == AF_INET else "2001:db8::1")
        wanted = &sender
    with nogil:  # the kernel waits for its lock over all network settings
        result = (fsk_multicast_join(fd, &address, index, wanted) if joins else
                  fsk_multicast_leave(fd, &address, index, wanted))
    if result == -EOPNOTSUPP:
        raise CapabilityError(EOPNOTSUPP, "this system lacks the calls of RFC 3678; set the option "
                              "IP_ADD_MEMBERSHIP or IPV6_JOIN_GROUP")
    if result == -ENODEV and index == 0:
        raise OSError(ENODEV, f"no route tells an interface for group {group}; name one: "
                      f"interface='eth0'")
    if result < 0:
        raise_error(result)
    return 0


cdef int require_udp(object sock, str name) except -1:
    if (serves(sock) and family_of(sock) != AF_UNIX
            and int_member(sock, stdlib.type_offset) == SOCK_DGRAM):
        return 0
    raise CapabilityError(EOPNOTSUPP, f"{name}: only UDP has groups; make a socket of AF_INET or "
                          f"AF_INET6 and SOCK_DGRAM")


cdef int parse_host(fsk_address *address, int family, object host, str role,
                    str example) except -1:
    """Fill address from a numeric host; role and example are for the errors."""
    cdef int other = AF_INET if family == AF_INET6 else AF_INET6
    if not isinstance(host, str):
        raise TypeError(f"{role} is a str such as {example!r}, not {type(host).__name__}")
    if parse_numeric(address, family, host):
        return 0
    if parse_numeric(address, other, host):
        raise ValueError(f"{role} {host!r} is of IPv{'4' if other == AF_INET else '6'} and the "
                         f"socket is not; use a socket of "
                         f"{'AF_INET' if other == AF_INET else 'AF_INET6'}")
    raise ValueError(f"{role} {host!r} is no numeric address such as {example!r}; a name can be "
                     f"looked up with getaddrinfo, and a scope (%) is given as interface")


cdef bint parse_numeric(fsk_address *address, int family, str host) except -1:
    cdef const char *text
    cdef Py_ssize_t length
    if not host.isascii():
        return False
    text = PyUnicode_AsUTF8AndSize(host, &length)
    return strlen(text) == <size_t>length and fsk_address_parse_host(address, family, text, 0) == 0


cdef unsigned find_interface(object interface) except? 0xffffffff:
    """The index of an interface given by index or name; 0 for None."""
    cdef fsk_address address
    if interface is None:
        return 0
    if isinstance(interface, int):
        if not 0 <= interface <= 0x7fffffff:
            raise ValueError(f"interface {interface} is no index; if_nameindex() lists them")
        return interface
    if not isinstance(interface, str):
        raise TypeError(f"interface is a name, an index or None, not {type(interface).__name__}")
    if parse_numeric(&address, AF_INET, interface) or parse_numeric(&address, AF_INET6, interface):
        raise ValueError(f"interface {interface!r} is an address; give the interface's name or "
                         f"index, which if_nameindex() lists")
    try:
        return _socket.if_nametoindex(interface)
    except OSError:
        raise OSError(ENODEV, f"no interface is called {interface!r}; if_nameindex() lists "
                      f"them") from None


join_group = method_of(Methods, "join_group")
leave_group = method_of(Methods, "leave_group")
