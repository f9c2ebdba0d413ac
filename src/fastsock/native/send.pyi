# SPDX-License-Identifier: MIT
from socket import socket
from typing import overload

from _typeshed import ReadableBuffer

from fastsock.native.address import _Address

def send(self: socket, data: ReadableBuffer, flags: int = 0, /) -> int: ...
def sendall(self: socket, data: ReadableBuffer, flags: int = 0, /) -> None: ...
@overload
def sendto(self: socket, data: ReadableBuffer, address: _Address, /) -> int: ...
@overload
def sendto(self: socket, data: ReadableBuffer, flags: int, address: _Address, /) -> int: ...
