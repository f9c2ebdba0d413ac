# SPDX-License-Identifier: MIT
import socket
from typing import overload

from _typeshed import ReadableBuffer

stdlib_class: type[socket.socket]
drop_in_class: type[socket.socket]

def find_stdlib_class() -> type[socket.socket]: ...
def set_drop_in_class(cls: type[socket.socket]) -> None: ...
@overload
def setsockopt(
    self: socket.socket, level: int, optname: int, value: int | ReadableBuffer, /
) -> None: ...
@overload
def setsockopt(
    self: socket.socket, level: int, optname: int, value: None, optlen: int, /
) -> None: ...
