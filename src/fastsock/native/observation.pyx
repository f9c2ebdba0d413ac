# SPDX-License-Identifier: MIT
"""set_metadata and drops: what the kernel tells of messages and losses."""
cimport cython
from libc.errno cimport EBADF, EOPNOTSUPP
from libc.stdint cimport uint32_t

from fastsock.native.descriptor cimport family, int_member, method_of, number, serves, stdlib
from fastsock.native.errors import CapabilityError

from fastsock.native.errors cimport raise_error
from fastsock.libfastsock cimport (
    AF_UNIX, FSK_METADATA_DESTINATION, FSK_METADATA_HOP_LIMIT, FSK_METADATA_TIMESTAMP,
    FSK_METADATA_TOS, SOCK_DGRAM, fsk_metadata_enable, fsk_metadata_enabled, fsk_socket_drops,
)
from fastsock.native.state cimport State, need_state


cdef int raise_no_metadata(str name) except -1:
    raise CapabilityError(EOPNOTSUPP, f"{name}: the system tells nothing of the kind for this "
                          "socket; it needs UDP, on Linux")


@cython.final
@cython.binding(False)
cdef class Methods:
    # Only the methods are used, see descriptor.method_of.

    def set_metadata(self, *, timestamp=False, destination=False, hop_limit=False, tos=False):
        """Have the kernel tell more of each datagram that ``recv_batch`` receives.

        Exactly what is given as True is told from now on. With GRO (see set_readahead) all
        datagrams of a train have the same.

        Parameters
        ----------
        timestamp : bool
            When the kernel took it: ``Batch.timestamps_ns``, nanoseconds since 1970.
        destination : bool
            The local address and the interface: ``Batch.destination``, ``Batch.interface``.
        hop_limit : bool
            IPv4 TTL or IPv6 hop limit: ``Batch.hop_limit``.
        tos : bool
            IPv4 TOS or IPv6 traffic class: ``Batch.tos``.

        Raises
        ------
        CapabilityError
            Not a UDP socket, or this system can't tell it.
        OSError
            The socket is closed.

        Notes
        -----
        Sets options of the socket (SO_TIMESTAMPNS, IP_PKTINFO, IP_RECVTTL, IP_RECVTOS and the
        like), so ``recvmsg`` too gets them as ancillary data. Source: socket(7), ip(7), ipv6(7).
        """
        cdef unsigned metadata = (
            (FSK_METADATA_TIMESTAMP if timestamp else 0)
            | (FSK_METADATA_DESTINATION if destination else 0)
            | (FSK_METADATA_HOP_LIMIT if hop_limit else 0) | (FSK_METADATA_TOS if tos else 0))
        cdef State state
        cdef int result = -EOPNOTSUPP
        if (serves(self) and family(self) != AF_UNIX
                and int_member(self, stdlib.type_offset) == SOCK_DGRAM):
            result = fsk_metadata_enable(number(self), family(self), metadata)
        if result == -EOPNOTSUPP:
            raise_no_metadata("set_metadata")
        if result < 0:
            raise_error(result)
        state = need_state(self)
        with cython.critical_section(state):
            state.metadata = metadata

    def drops(self, /):
        """Return how many datagrams the kernel has dropped since it made this socket.

        Because its receive buffer was full, or a filter refused them. With GRO (see set_readahead)
        a train of many counts once: a lower bound. AF_UNIX: 0, as a full queue holds up senders.

        Raises
        ------
        CapabilityError
            This system does not count.

        Notes
        -----
        The kernel's 32-bit number, widened as long as this is called before it has wrapped twice.
        Source: SO_MEMINFO, Linux 4.12.
        """
        cdef State state = need_state(self)
        cdef uint32_t now = 0
        cdef int result
        if number(self) < 0:
            raise_error(-EBADF)
        if serves(self) and family(self) == AF_UNIX:
            return 0
        # Asked and compared in one: an older number after a newer one would count 2^32 more.
        with cython.critical_section(state):
            result = fsk_socket_drops(number(self), &now)
            if result >= 0:
                state.drops += <uint32_t>(now - state.last_drops)
                state.last_drops = now
                return state.drops
        if result == -EOPNOTSUPP:
            raise CapabilityError(EOPNOTSUPP, "drops: this system does not count them by socket; "
                                  "see netstat -su for all together")
        raise_error(result)


set_metadata = method_of(Methods, "set_metadata")
drops = method_of(Methods, "drops")


def enabled_metadata(sock, /):
    """Bits of fsk_metadata that the kernel tells of sock's messages now."""
    cdef int bits = fsk_metadata_enabled(number(sock), family(sock)) if serves(sock) else 0
    if bits < 0:
        raise_error(bits)
    return bits


def enable_metadata(sock, unsigned bits, /):
    """Have the kernel tell exactly bits of fsk_metadata; what a socket itself fills stays."""
    cdef int result = -EOPNOTSUPP
    if serves(sock) and family(sock) != AF_UNIX:
        result = fsk_metadata_enable(number(sock), family(sock), bits)
    if result == -EOPNOTSUPP:
        raise_no_metadata("metadata")
    if result < 0:
        raise_error(result)
