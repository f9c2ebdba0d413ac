# SPDX-License-Identifier: MIT
import socket
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from _typeshed import ReadableBuffer

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

stdlib_class: type[socket.socket]
drop_in_class: type[socket.socket]

def borrowing(
    sock: socket.socket | int,
    function: Callable[Concatenate[Any, _Arguments], _Result],
    *arguments: _Arguments.args,
    **keywords: _Arguments.kwargs,
) -> _Result: ...
def refuse_tls(sock: socket.socket, /) -> None: ...
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
