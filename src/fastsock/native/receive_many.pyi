# SPDX-License-Identifier: MIT
from socket import socket
from types import EllipsisType
from typing import Any, final

from fastsock.native.batch import Batch

@final
class Spares: ...

def recv_batch(
    self: socket,
    /,
    batch: Batch,
    flags: int = 0,
    *,
    minimum: int = 1,
    timeout: float | EllipsisType | None = ...,
) -> int: ...
def recv_many(self: socket, bufsize: int, count: int = 64, flags: int = 0, /) -> list[bytes]: ...
def recvfrom_many(
    self: socket, bufsize: int, count: int = 64, flags: int = 0, /
) -> list[tuple[bytes, Any]]: ...
def truncated(self: socket, /) -> int: ...
