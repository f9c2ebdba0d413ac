# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from socket import socket
from typing import final

from _typeshed import ReadableBuffer

from fastsock.native.address import _Address

@final
class Outgoing: ...

def refused_segments(sock: socket, /) -> int: ...
def connect(self: socket, address: _Address, /) -> None: ...
def connect_ex(self: socket, address: _Address, /) -> int: ...
def send_many(
    self: socket,
    /,
    messages: Iterable[ReadableBuffer],
    address: _Address | None = None,
    flags: int = 0,
) -> int: ...
def send_segments(
    self: socket, /, buffer: ReadableBuffer, size: int, address: _Address | None = None
) -> int: ...
def sendto_many(
    self: socket, /, pairs: Iterable[tuple[ReadableBuffer, _Address]], flags: int = 0
) -> int: ...
