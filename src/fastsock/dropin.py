# SPDX-License-Identifier: MIT
"""The class ``socket`` and the functions that make sockets of it."""

from __future__ import annotations

import socket as stdlib
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

from fastsock.native import accept as _accept
from fastsock.native import descriptor as _descriptor
from fastsock.native import message as _message
from fastsock.native import multicast as _multicast
from fastsock.native import observation as _observation
from fastsock.native import readahead as _readahead
from fastsock.native import receive as _receive
from fastsock.native import receive_many as _receive_many
from fastsock.native import send as _send
from fastsock.native import send_many as _send_many

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, SupportsIndex, TypeVar

    from _typeshed import ReadableBuffer

    _Function = TypeVar("_Function", bound=Callable[..., Any])
    _Base = stdlib.socket
else:
    # CPython's own class, whatever another library has put in its place.
    _Base = _descriptor.stdlib_class


class socket(_Base):
    """The standard library's ``socket.socket`` with faster data-carrying methods.

    It is a ``socket.socket`` for every ``isinstance``, and behaves as one: results, exceptions,
    audit events, signals, deadlines and inheritance are CPython's. The methods defined here serve
    AF_INET, AF_INET6 and AF_UNIX; for other families they call CPython's.

    Any number of threads may call any methods of one socket at once, as with the standard library.
    """

    __slots__ = ("_state",)

    if TYPE_CHECKING:

        def accept(self) -> tuple[socket, Any]: ...
        def accept_many(self, count: int = 64, /) -> list[tuple[socket, Any]]: ...
    else:
        accept = _accept.accept
        accept_many = _accept.accept_many
    connect = _send_many.connect
    connect_ex = _send_many.connect_ex
    drops = _observation.drops
    get_readahead = _readahead.get_readahead
    join_group = _multicast.join_group
    leave_group = _multicast.leave_group
    pending = _readahead.pending
    recv = _receive.recv
    recv_batch = _receive_many.recv_batch
    recv_into = _receive.recv_into
    recv_many = _receive_many.recv_many
    recvfrom = _receive.recvfrom
    recvfrom_into = _receive.recvfrom_into
    recvfrom_many = _receive_many.recvfrom_many
    recvmsg = _message.recvmsg
    recvmsg_into = _message.recvmsg_into
    send = _send.send
    send_many = _send_many.send_many
    send_segments = _send_many.send_segments
    sendall = _send.sendall
    sendmsg = _message.sendmsg
    sendto = _send.sendto
    sendto_many = _send_many.sendto_many
    set_metadata = _observation.set_metadata
    set_readahead = _readahead.set_readahead
    setsockopt = _descriptor.setsockopt
    truncated = _receive_many.truncated

    @property
    def readahead_discarded(self) -> int:
        """Datagrams that read-ahead had received and nobody had asked for when this was closed."""
        return _readahead.discarded(self)

    @property
    def gso_refused(self) -> int:
        """How often a send of many as one (GSO) was refused, and its datagrams went one by one."""
        return _send_many.refused_segments(self)

    def _real_close(self, *args: Any) -> None:
        try:
            super()._real_close(*args)  # type: ignore[misc]
        finally:
            # After it: until then other threads must not receive past the queue.
            _readahead.discard(self)

    def detach(self) -> int:
        """Close the object without the descriptor, which is returned. As socket.detach.

        While the socket reads ahead: OSError(EBUSY).
        """
        _readahead.refuse_sharing(self, "detach")
        return super().detach()

    def dup(self) -> Self:
        """Another object over a duplicate of the descriptor. As socket.dup.

        While the socket reads ahead: OSError(EBUSY).
        """
        _readahead.refuse_sharing(self, "dup")
        return super().dup()

    def detach_stdlib(self) -> stdlib.socket:
        """Hand the descriptor over to a plain socket of the standard library.

        For libraries that ask for the exact type. This object is closed afterwards, as after
        ``detach()``; family, type, protocol, timeout and the descriptor itself stay the same.

        Returns
        -------
        socket.socket
            The standard library's own class, not a subclass.

        Raises
        ------
        OSError
            EBADF: the socket is closed. EBUSY: it reads ahead. On any error this object keeps the
            descriptor.
        """
        # getsockname tells EBADF of a closed socket; the constructor would complain of a number.
        self.getsockname()
        _readahead.refuse_sharing(self, "detach_stdlib")
        other: stdlib.socket = _Base(self.family, self.type, self.proto, fileno=self.fileno())
        try:
            other.settimeout(self.gettimeout())
        except BaseException:
            other.detach()
            raise
        self.detach()
        return other


# What users see: <fastsock.socket fd=3, ...>, and a name that pickle and help() find.
socket.__module__ = "fastsock"
_descriptor.set_drop_in_class(socket)


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
