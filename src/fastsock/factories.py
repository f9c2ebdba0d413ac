# SPDX-License-Identifier: MIT
"""The standard library's functions that make sockets, here making ``fastsock.socket``."""

from __future__ import annotations

import socket as stdlib
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsIndex, TypeVar

    from _typeshed import ReadableBuffer

    from fastsock.dropin import socket

    _Function = TypeVar("_Function", bound=Callable[..., Any])


def _rebind(function: _Function) -> _Function:
    """The standard library's function, its code unchanged, run with the names of ``fastsock``.

    These functions find the class to make by the global name ``socket``. Running CPython's own code
    keeps the behaviour of the Python that is running, whichever it is, and a test that replaces
    ``fastsock.socket`` or ``fastsock.getaddrinfo`` reaches them as it would in ``socket``.
    """
    if getattr(function, "__globals__", None) is not vars(stdlib):
        return function  # another library's in its place; it runs with names of its own
    package = vars(sys.modules["fastsock"])
    for name in function.__code__.co_names:
        if hasattr(stdlib, name):
            package.setdefault(name, getattr(stdlib, name))
    rebound = FunctionType(
        function.__code__, package, function.__name__, function.__defaults__, function.__closure__
    )
    rebound.__kwdefaults__ = function.__kwdefaults__
    rebound.__doc__ = function.__doc__
    rebound.__module__ = "fastsock"
    return rebound  # type: ignore[return-value]


if TYPE_CHECKING:

    def create_connection(
        address: tuple[str | None, bytes | str | int | None],
        timeout: float | None = ...,
        source_address: tuple[Any, ...] | str | ReadableBuffer | None = None,
        *,
        all_errors: bool = False,
    ) -> socket: ...
    def create_server(
        address: tuple[Any, ...] | str | ReadableBuffer,
        *,
        family: int = ...,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> socket: ...
    def fromfd(fd: SupportsIndex, family: int, type: int, proto: int = 0) -> socket: ...
    def socketpair(
        family: int | None = None, type: int = ..., proto: int = 0
    ) -> tuple[socket, socket]: ...

else:
    create_connection = _rebind(stdlib.create_connection)
    create_server = _rebind(stdlib.create_server)
    fromfd = _rebind(stdlib.fromfd)
    socketpair = _rebind(stdlib.socketpair)
    if hasattr(stdlib, "_fallback_socketpair"):  # CPython 3.13
        _fallback_socketpair = _rebind(stdlib._fallback_socketpair)
