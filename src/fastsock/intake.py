# SPDX-License-Identifier: MIT
"""The sockets of a receiver: opened and set up, or borrowed, and given back as they were."""

from __future__ import annotations

import os
import socket as stdlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from fastsock import bound_path
from fastsock import receive_buffer as buffer
from fastsock.dropin import socket
from fastsock.endpoint import Address, Endpoint, parse_endpoint
from fastsock.native import multicast, observation
from fastsock.native import receiver as _native
from fastsock.native.descriptor import refuse_tls

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    _Metadata = Literal["timestamp", "destination", "hop_limit", "tos"]

METADATA = ("timestamp", "destination", "hop_limit", "tos")  # bits, in the C library's order
# As the arguments of join_group.
Group = str | tuple[str] | tuple[str, int | str | None] | tuple[str, int | str | None, str | None]


class Intake:
    """Sockets that messages are received from.

    Attributes
    ----------
    sockets : list of socket
        Until ``descriptors()`` hands them over.
    is_borrowed : bool
        There is one, a duplicate of the user's.
    metadata : int
        Bits of what is told of each message.
    name : object
        As getsockname.
    receive_buffer : int, bytes
        Of the socket that has least.
    """

    def __init__(self, sockets: list[socket], metadata: int, lender: Any = None) -> None:
        self.sockets: list[socket] = sockets
        self._descriptors: list[int] = []
        self.metadata = metadata
        self.is_borrowed: bool = lender is not None
        self.family: stdlib.AddressFamily = sockets[0].family
        self.name: Any = sockets[0].getsockname()
        self.receive_buffer: int = min(buffer.size_of(sock) for sock in sockets)
        self._undo = ExitStack()
        self._path = bound_path.path_of(self.family, self.name) if lender is None else None

    @classmethod
    def open(
        cls,
        address: Address | stdlib.socket,
        shards: int,
        receive_buffer: int | None,
        metadata: Iterable[str],
        groups: Iterable[Group],
    ) -> Intake:
        """Open or borrow the sockets; the arguments are those of `Receiver`."""
        bits = _metadata_bits(metadata)
        given = [groups] if isinstance(groups, str) else groups
        joined = [_as_group(group) for group in given]
        if not 1 <= shards <= _native.MOST_SHARDS:
            raise ValueError(f"shards must be 1 to {_native.MOST_SHARDS}, not {shards}")
        if isinstance(address, stdlib.socket):
            if shards > 1:
                raise ValueError("several shards need an address, not a socket")
            return cls._borrow(address, receive_buffer, bits, joined)
        endpoint = parse_endpoint(address)
        if endpoint.family == stdlib.AF_UNIX and shards > 1:
            raise ValueError("several shards need UDP; a Unix socket has one queue")
        with ExitStack() as undo:
            sockets: list[socket] = []
            for _ in range(shards):
                sock = undo.enter_context(socket(endpoint.family, stdlib.SOCK_DGRAM))
                _set_up(sock, receive_buffer, bits, joined)
                # A port that the kernel is to choose must not be one that others share.
                is_chosen = endpoint.family != stdlib.AF_UNIX and endpoint.address[1] == 0
                if not is_chosen:
                    _share(sock, joined, shards)
                _bind(sock, endpoint, undo)
                if is_chosen:
                    _share(sock, joined, shards)
                # Of port 0 the kernel chooses one, for all.
                endpoint = Endpoint(endpoint.family, sock.getsockname())
                sockets.append(sock)
            taken = cls(sockets, bits)
            undo.pop_all()
        return taken

    @classmethod
    def _borrow(
        cls, lender: stdlib.socket, receive_buffer: int | None, bits: int, groups: list[Any]
    ) -> Intake:
        refuse_tls(lender)
        if lender.family not in (stdlib.AF_INET, stdlib.AF_INET6, stdlib.AF_UNIX):
            raise ValueError(f"a Receiver takes UDP and Unix sockets, not {lender.family!r}")
        if lender.type == stdlib.SOCK_STREAM:
            raise ValueError(
                "a stream has no messages; receive with recv and cut them by a framing, such as a "
                "length prefix"
            )
        is_udp = lender.type == stdlib.SOCK_DGRAM and lender.proto in (0, stdlib.IPPROTO_UDP)
        if lender.family != stdlib.AF_UNIX and not is_udp:
            what = f"{lender.type!r} of protocol {lender.proto}"
            raise ValueError(f"a Receiver takes UDP, not {what}; receive with recv_batch")
        with ExitStack() as undo:
            duplicate = lender.dup()
            sock = undo.enter_context(
                socket(lender.family, lender.type, lender.proto, duplicate.detach())
            )
            # A default timeout has made the file non-blocking, and so the lender.
            sock.settimeout(lender.gettimeout())
            if lender.type == stdlib.SOCK_SEQPACKET:
                sock.getpeername()  # ENOTCONN: there is nobody to receive from
            taken = cls([sock], bits, lender)
            undo.push(taken._undo)
            if bits:
                before = observation.enabled_metadata(sock)
                observation.enable_metadata(sock, before | bits)
                taken._undo.callback(_restore_metadata, lender, before)
            for group in groups:
                sock.join_group(*group)
                taken._undo.callback(_leave_group, lender, group)
            if receive_buffer is not None:
                taken._undo.callback(buffer.restore, lender, taken.receive_buffer)
                buffer.ask(sock, receive_buffer, by_force=True)
                taken.receive_buffer = buffer.size_of(sock)
            undo.pop_all()
        return taken

    def split(self) -> list[Intake]:
        """The same sockets, each by itself."""
        if self.is_borrowed:
            raise ValueError("open_shards needs an address, not a socket; give it to a Receiver")
        sockets, self.sockets = self.sockets, []
        return [Intake([sock], self.metadata) for sock in sockets]

    def descriptors(self) -> list[int]:
        """The descriptors. Who takes them empties the list; what is left ``close()`` closes."""
        sockets, self.sockets = self.sockets, []
        self._descriptors = [sock.detach() for sock in sockets]
        return self._descriptors

    def remove_path(self) -> None:
        """Remove the path that was made here. The socket is open; more than once."""
        made, self._path = self._path, None
        bound_path.remove_path(made)

    def close(self) -> None:
        """Close what was not handed over, and undo the rest. More than once."""
        self.remove_path()
        for sock in self.sockets:
            sock.close()
        while self._descriptors:
            os.close(self._descriptors.pop())
        self._undo.close()

    def __str__(self) -> str:
        if not self.name:
            return "an unnamed Unix socket"
        return str(Endpoint(self.family, self.name))


def _metadata_bits(names: Iterable[str]) -> int:
    if isinstance(names, str):
        names = [names]
    bits = 0
    for name in names:
        if name not in METADATA:
            raise ValueError(f"metadata can be {', '.join(METADATA)}, not {name!r}")
        bits |= 1 << METADATA.index(name)
    return bits


def _as_group(group: Any) -> tuple[Any, ...]:
    """The arguments of join_group."""
    if isinstance(group, str):
        return (group,)
    if isinstance(group, tuple) and 1 <= len(group) <= 3:
        return group
    raise TypeError(
        "a group is a str such as '239.1.2.3', (group, interface) or (group, interface, source), "
        f"not {group!r}"
    )


def _share(sock: socket, groups: list[Any], shards: int) -> None:
    """Let others have the same port: shards, and who on this host wants the same group."""
    if shards > 1:
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
    if groups:
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)


def _set_up(sock: socket, receive_buffer: int | None, bits: int, groups: list[Any]) -> None:
    """What comes before bind, or may."""
    if groups:
        multicast.receive_own_groups(sock)
    if receive_buffer is not None:
        buffer.ask(sock, receive_buffer, by_force=True)
    elif buffer.is_small(sock):
        buffer.ask(sock, buffer.ENOUGH, by_force=False)
    if bits:
        observation.enable_metadata(sock, bits)
    for group in groups:
        sock.join_group(*group)


def _bind(sock: socket, endpoint: Endpoint, undo: ExitStack) -> None:
    try:
        if endpoint.family == stdlib.AF_UNIX:
            undo.callback(bound_path.remove_path, bound_path.bind(sock, endpoint.address))
        else:
            sock.bind(endpoint.address)
    except OSError as error:
        if error.errno is None:
            raise  # the standard library's own: the path is too long
        raise OSError(error.errno, f"{error.strerror}: {endpoint}") from None


def _restore_metadata(lender: stdlib.socket, before: int) -> None:
    if lender.fileno() >= 0:
        observation.enable_metadata(lender, before)


def _leave_group(lender: stdlib.socket, group: tuple[Any, ...]) -> None:
    if lender.fileno() >= 0:
        multicast.leave_group(lender, *group)
