# SPDX-License-Identifier: MIT
"""Datagram endpoints for asyncio, on batches.

``create_datagram_endpoint`` is the event loop's method of that name as a function: it takes the
same protocols, and runs on any loop that has ``add_reader`` and ``add_writer``, asyncio's own and
uvloop's. A protocol that has ``datagrams_received(batch)`` gets each receive as one `Batch`.
"""

from __future__ import annotations

import asyncio
import os
import socket as stdlib
import stat
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeVar

from fastsock.aio.transport import DatagramTransport as DatagramTransport
from fastsock.aio.transport import read_ahead
from fastsock.dropin import socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
_Pair = tuple[Any, Any]  # local and remote address, each of them or None


async def create_datagram_endpoint(
    protocol_factory: Callable[[], _Protocol],
    local_addr: tuple[str | None, int] | str | None = None,
    remote_addr: tuple[str | None, int] | str | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: stdlib.socket | None = None,
) -> tuple[DatagramTransport, _Protocol]:
    """Create a datagram endpoint in the running loop. As ``loop.create_datagram_endpoint``.

    Parameters
    ----------
    protocol_factory : callable
        Returns an ``asyncio.DatagramProtocol``. Its ``datagram_received(data, addr)`` is called for
        each datagram; or, if it has one, ``datagrams_received(batch)`` with each receive of 1 to
        256 datagrams (of a Unix socket 64), a `fastsock.Batch` whose messages are valid until the
        method returns, and whose views as long as they live.
    local_addr, remote_addr : (host, port), or a path with ``family=AF_UNIX``, optional
    family, proto, flags : int, optional
        For ``getaddrinfo``.
    reuse_port, allow_broadcast : bool, optional
    sock : socket.socket, optional
        In place of all of these. It is the endpoint's from now on, which makes it non-blocking and
        closes it.

    Returns
    -------
    (DatagramTransport, protocol)
        ``transport.get_extra_info("socket")`` is a ``fastsock.socket``: ask it for ``drops()``, and
        receive nothing from it.

    Raises
    ------
    ValueError, TypeError, OSError
        As the loop's method.

    Notes
    -----
    A UDP socket reads ahead, with GRO (`fastsock.socket.set_readahead`): nobody else may receive
    from it by another descriptor. Of a sock that is not a ``fastsock.socket`` the endpoint uses a
    duplicate; both are closed with it. Memory: up to 20 MiB an endpoint are mapped, of which only
    what datagrams touch is used.
    """
    loop = asyncio.get_running_loop()
    address = None
    original = None
    if sock is not None:
        given = {
            "local_addr": local_addr,
            "remote_addr": remote_addr,
            "family": family,
            "proto": proto,
            "flags": flags,
            "reuse_port": reuse_port,
            "allow_broadcast": allow_broadcast,
        }
        _check_socket(sock, given)
        sock.setblocking(False)
        if isinstance(sock, socket):
            own = sock
        else:
            original = sock
            own = _duplicate(sock)
    else:
        choices = await _choices(loop, local_addr, remote_addr, family, proto, flags)
        own, address = await _open(loop, choices, reuse_port, allow_broadcast)
    try:
        protocol = protocol_factory()
        read_ahead(own)
        transport = DatagramTransport(loop, own, protocol, address, original)
    except BaseException:
        if own is not sock:
            own.close()
        raise
    # connection_made is called in the next turn, before this goes on.
    waiter = loop.create_future()
    loop.call_soon(_wake, waiter)
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.cancelled():
        waiter.set_result(None)


def _check_socket(sock: stdlib.socket, given: dict[str, Any]) -> None:
    if sock.type == stdlib.SOCK_STREAM:
        raise ValueError(f"A datagram socket was expected, got {sock!r}")
    if any(given.values()):
        problems = ", ".join(f"{name}={value}" for name, value in given.items() if value)
        raise ValueError(
            "socket modifier keyword arguments can not be used when sock is specified. "
            f"({problems})"
        )
    if sock.family not in (stdlib.AF_INET, stdlib.AF_INET6, stdlib.AF_UNIX):
        raise ValueError(
            f"fastsock.aio serves AF_INET, AF_INET6 and AF_UNIX, not {sock!r}; "
            "call loop.create_datagram_endpoint"
        )


def _duplicate(sock: stdlib.socket) -> socket:
    """A fastsock.socket beside the caller's object, which stays usable until the endpoint ends."""
    fd = os.dup(sock.fileno())
    try:
        own = socket(sock.family, sock.type, sock.proto, fileno=fd)
    except BaseException:
        os.close(fd)
        raise
    own.setblocking(False)
    return own


async def _choices(
    loop: asyncio.AbstractEventLoop,
    local: Any,
    remote: Any,
    family: int,
    proto: int,
    flags: int,
) -> list[tuple[int, int, _Pair]]:
    """What to try in turn: family, protocol and addresses."""
    if not (local or remote):
        if family == 0:
            raise ValueError("unexpected address family")
        return [(family, proto, (None, None))]
    if family == stdlib.AF_UNIX:
        for path in (local, remote):
            if path is not None and not isinstance(path, str):
                raise TypeError("string is expected")
        if local:
            _remove_stale(local)
        return [(family, proto, (local, remote))]
    found: dict[tuple[int, int], list[Any]] = {}
    for place, address in enumerate((local, remote)):
        if address is None:
            continue
        if not (isinstance(address, tuple) and len(address) == 2):
            raise TypeError("2-tuple is expected")
        infos = await loop.getaddrinfo(
            *address, family=family, type=stdlib.SOCK_DGRAM, proto=proto, flags=flags
        )
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        for its_family, _, its_proto, _, resolved in infos:
            found.setdefault((its_family, its_proto), [None, None])[place] = resolved
    choices = [
        (*key, (pair[0], pair[1]))
        for key, pair in found.items()
        if not ((local and pair[0] is None) or (remote and pair[1] is None))
    ]
    if not choices:
        raise ValueError("can not get address information")
    return choices


def _remove_stale(path: str) -> None:
    """Make way for binding path, as asyncio does."""
    if path.startswith("\0"):
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # The directory may permit no more than to make a socket.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, error)


async def _open(
    loop: asyncio.AbstractEventLoop,
    choices: Iterable[tuple[int, int, _Pair]],
    reuse_port: bool | None,
    allow_broadcast: bool | None,
) -> tuple[socket, Any]:
    """The first socket that can be had, and the one address it sends to or None."""
    first_error: OSError | None = None
    for family, proto, (local, remote) in choices:
        sock = None
        try:
            sock = socket(family, stdlib.SOCK_DGRAM, proto)
            if reuse_port:
                _set_reuse_port(sock)
            if allow_broadcast:
                sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_BROADCAST, 1)
            sock.setblocking(False)
            if local:
                sock.bind(local)
            if remote and not allow_broadcast:
                await loop.sock_connect(sock, remote)
            return sock, remote
        except OSError as error:
            if sock is not None:
                sock.close()
            first_error = first_error or error
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    assert first_error is not None
    raise first_error


def _set_reuse_port(sock: socket) -> None:
    try:
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
    except (AttributeError, OSError):
        raise ValueError("reuse_port is not supported by this system") from None
