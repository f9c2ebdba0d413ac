# SPDX-License-Identifier: MIT
"""The calls on many messages as functions, for any descriptor or socket object.

A ``fastsock.socket`` has them as methods. The functions keep nothing between calls: no read-ahead,
no metadata, and what GSO can't do is found out anew by each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastsock.native import accept as _accept
from fastsock.native import receive_many as _receive
from fastsock.native import send_many as _send
from fastsock.native.batch import Batch as Batch
from fastsock.native.descriptor import borrowing as _borrowing
from fastsock.native.messages import Message as Message

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from types import EllipsisType

    from _typeshed import ReadableBuffer

    from fastsock.native.address import _Address


def recv_many(
    sock: socket.socket | int, bufsize: int, count: int = 64, flags: int = 0, /
) -> list[bytes]:
    """Receive up to count messages of up to bufsize bytes each. As ``socket.recv_many``.

    A cut message is not counted: see ``recv_batch``.
    """
    return _borrowing(sock, _receive.recv_many, bufsize, count, flags)


def recvfrom_many(
    sock: socket.socket | int, bufsize: int, count: int = 64, flags: int = 0, /
) -> list[tuple[bytes, Any]]:
    """Receive up to count messages: a list of (bytes, address). As ``socket.recvfrom_many``."""
    return _borrowing(sock, _receive.recvfrom_many, bufsize, count, flags)


def recv_batch(
    sock: socket.socket | int,
    batch: Batch,
    flags: int = 0,
    *,
    minimum: int = 1,
    timeout: float | EllipsisType | None = ...,
) -> int:
    """Receive up to ``batch.capacity`` messages into a batch. As ``socket.recv_batch``."""
    return _borrowing(sock, _receive.recv_batch, batch, flags, minimum=minimum, timeout=timeout)


def send_many(
    sock: socket.socket | int,
    messages: Iterable[ReadableBuffer],
    address: _Address | None = None,
    flags: int = 0,
) -> int:
    """Send many messages, each a datagram of its own. As ``socket.send_many``."""
    return _borrowing(sock, _send.send_many, messages, address, flags)


def sendto_many(
    sock: socket.socket | int, pairs: Iterable[tuple[ReadableBuffer, _Address]], flags: int = 0
) -> int:
    """Send many messages, each to its own address. As ``socket.sendto_many``."""
    return _borrowing(sock, _send.sendto_many, pairs, flags)


def send_segments(
    sock: socket.socket | int, buffer: ReadableBuffer, size: int, address: _Address | None = None
) -> int:
    """Send one buffer as datagrams of size bytes. As ``socket.send_segments``."""
    return _borrowing(sock, _send.send_segments, buffer, size, address)


def accept_many(sock: socket.socket | int, count: int = 64, /) -> list[tuple[socket.socket, Any]]:
    """Accept up to count connections. As ``socket.accept_many``.

    The sockets are of the standard library's class, unless sock is a ``fastsock.socket``.
    """
    return _borrowing(sock, _accept.accept_many, count)
