# SPDX-License-Identifier: MIT
"""Where an endpoint is: addresses as tuples, paths and URLs, and how they are written."""

from __future__ import annotations

import os
import socket as stdlib
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

# What a Receiver and a StreamServer take beside a socket.
Address = tuple[Any, ...] | str | bytes | os.PathLike[str] | os.PathLike[bytes]

_PORTS = range(65536)
_KINDS = {"udp": stdlib.SOCK_DGRAM, "tcp": stdlib.SOCK_STREAM}
_SCHEMES = {kind: scheme for scheme, kind in _KINDS.items()}
_CARRIED = {stdlib.SOCK_DGRAM: "datagrams", stdlib.SOCK_STREAM: "a stream"}


class Endpoint(NamedTuple):
    """An address that ``bind`` and ``connect`` of a socket of that family and kind take."""

    family: stdlib.AddressFamily
    address: Any
    kind: stdlib.SocketKind = stdlib.SOCK_DGRAM

    def __str__(self) -> str:
        """The URL that `parse_endpoint` takes for the same, with nothing that a terminal obeys."""
        if self.family == stdlib.AF_UNIX:
            return "unix://" + quote(os.fsencode(self.address))
        scheme = _SCHEMES[self.kind]
        host, port = self.address[:2]
        if self.family == stdlib.AF_INET:
            return f"{scheme}://{host}:{port}"
        scope = f"%25{self.address[3]}" if self.address[3] else ""
        return f"{scheme}://[{host}{scope}]:{port}"


def parse_endpoint(address: Any, kind: stdlib.SocketKind = stdlib.SOCK_DGRAM) -> Endpoint:
    """Understand an address in any form that the endpoints take.

    Parameters
    ----------
    address : tuple, str, bytes or os.PathLike
        A tuple is an IP address as the standard library has it: (host, port) or (host, port,
        flowinfo, scope_id). A str with "://" is a URL: udp://192.0.2.1:8888, udp://[::]:8888,
        unix:///run/x.sock or unix://%00name, with %-escapes. Any other is the path of a Unix
        socket; one that begins with a NUL is an abstract name. An empty host is every IPv4 address,
        a name is resolved and its first address taken.
    kind : SOCK_DGRAM or SOCK_STREAM
        Of the socket that is wanted. Streams have tcp:// in place of udp://.

    Raises
    ------
    TypeError, ValueError
        It is none of these.
    OSError
        The host is not known (socket.gaierror).
    """
    if isinstance(address, tuple):
        return _internet(address, address, kind)
    if isinstance(address, str) and "://" in address:
        return _from_url(address, kind)
    if isinstance(address, (str, bytes, os.PathLike)):
        return _unix(os.fspath(address), kind)
    raise TypeError(
        f"an address is a tuple (host, port), a URL such as '{_SCHEMES[kind]}://127.0.0.1:8888' or "
        f"the path of a Unix socket, not {type(address).__name__}"
    )


def _unix(path: str | bytes, kind: stdlib.SocketKind) -> Endpoint:
    if not path:
        raise ValueError("the path of a Unix socket must not be empty")
    return Endpoint(stdlib.AF_UNIX, path, kind)


def _from_url(url: str, kind: stdlib.SocketKind) -> Endpoint:
    form = f"{_SCHEMES[kind]}://HOST:PORT"
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r} has more than an address; write {form} or unix:///PATH")
    if parts.scheme == "unix":
        if parts.netloc and not parts.netloc.startswith("%00"):
            raise ValueError(
                f"{url!r} names a host; a path takes three slashes: unix:///run/x.sock"
            )
        return _unix(unquote(parts.netloc + parts.path), kind)
    if parts.scheme not in _KINDS:
        raise ValueError(f"{url!r} has an unknown scheme; write {form} or unix:///PATH")
    if _KINDS[parts.scheme] != kind:
        carried = _CARRIED[_KINDS[parts.scheme]]
        raise ValueError(
            f"{url!r} is for {carried}; this takes {_CARRIED[kind]}: {form} or unix:///PATH"
        )
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    if port is None or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is no address; write {form}")
    return _internet((unquote(parts.hostname or ""), port), url, kind)


def _internet(address: tuple[Any, ...], given: Any, kind: stdlib.SocketKind) -> Endpoint:
    if len(address) not in (2, 3, 4):
        raise ValueError(f"{given!r} is no address; it takes (host, port)")
    host, port = address[:2]
    if not isinstance(host, str) or not isinstance(port, int):
        raise TypeError(f"an address takes a str and an int, (host, port), not {given!r}")
    if port not in _PORTS:
        raise ValueError(f"{given!r}: a port is 0 to 65535")
    found = stdlib.getaddrinfo(host or "0.0.0.0", port, type=kind)
    family, resolved = found[0][0], found[0][4]
    if len(address) > 2 and family == stdlib.AF_INET6:
        # What the caller says of flow and scope, which no resolver knows.
        resolved = (resolved[0], port, *address[2:], *resolved[len(address) :])
    return Endpoint(family, resolved, kind)
