# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from socket import socket
from typing import Any, final

from _typeshed import ReadableBuffer, WriteableBuffer

from fastsock.native.address import _Address

@final
class Pins: ...

def recvmsg(
    self: socket, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]: ...
def recvmsg_into(
    self: socket,
    buffers: Iterable[WriteableBuffer],
    ancbufsize: int = 0,
    flags: int = 0,
    /,
) -> tuple[int, list[tuple[int, int, bytes]], int, Any]: ...
def sendmsg(
    self: socket,
    buffers: Iterable[ReadableBuffer],
    ancdata: Iterable[tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
    address: _Address | None = None,
    /,
) -> int: ...
