# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from socket import socket
from typing import Any, final

from _typeshed import ReadableBuffer

@final
class Outgoing: ...

def connect(self: socket, address: Any, /) -> None: ...
def connect_ex(self: socket, address: Any, /) -> int: ...
def send_many(
    self: socket, /, messages: Iterable[ReadableBuffer], address: Any = None, flags: int = 0
) -> int: ...
def send_segments(
    self: socket, /, buffer: ReadableBuffer, size: int, address: Any = None
) -> int: ...
def sendto_many(
    self: socket, /, pairs: Iterable[tuple[ReadableBuffer, Any]], flags: int = 0
) -> int: ...
