# SPDX-License-Identifier: MIT
"""The class ``socket``."""

from __future__ import annotations

import socket as stdlib
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
from fastsock.native import unix as _unix

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from types import EllipsisType
    from typing import Self

    from _typeshed import FileDescriptorLike, ReadableBuffer

    from fastsock.credentials import PeerCredentials
    from fastsock.native.address import _Address
    from fastsock.native.batch import Batch

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

    __slots__ = ("_bound_path", "_state")

    if TYPE_CHECKING:
        # What the standard library has too is declared by its own class.
        def accept(self) -> tuple[socket, Any]: ...
        def accept_many(self, count: int = 64, /) -> list[tuple[socket, Any]]: ...
        def drops(self) -> int: ...
        def get_readahead(self) -> int: ...
        def join_group(
            self, group: str, interface: int | str | None = None, source: str | None = None
        ) -> None: ...
        def leave_group(
            self, group: str, interface: int | str | None = None, source: str | None = None
        ) -> None: ...
        def peer_credentials(self) -> PeerCredentials: ...
        def pending(self) -> int: ...
        def recv_batch(
            self,
            batch: Batch,
            flags: int = 0,
            *,
            minimum: int = 1,
            timeout: float | EllipsisType | None = ...,
        ) -> int: ...
        def recv_fds(
            self, bufsize: int, maxfds: int, flags: int = 0
        ) -> tuple[bytes, list[int], int, Any]: ...
        def recv_many(self, bufsize: int, count: int = 64, flags: int = 0, /) -> list[bytes]: ...
        def recvfrom_many(
            self, bufsize: int, count: int = 64, flags: int = 0, /
        ) -> list[tuple[bytes, Any]]: ...
        def send_fds(
            self,
            buffers: Iterable[ReadableBuffer],
            fds: Iterable[FileDescriptorLike],
            flags: int = 0,
            address: str | ReadableBuffer | None = None,
        ) -> int: ...
        def send_many(
            self,
            messages: Iterable[ReadableBuffer],
            address: _Address | None = None,
            flags: int = 0,
        ) -> int: ...
        def send_segments(
            self, buffer: ReadableBuffer, size: int, address: _Address | None = None
        ) -> int: ...
        def sendto_many(
            self, pairs: Iterable[tuple[ReadableBuffer, _Address]], flags: int = 0
        ) -> int: ...
        def set_metadata(
            self,
            *,
            timestamp: bool = False,
            destination: bool = False,
            hop_limit: bool = False,
            tos: bool = False,
        ) -> None: ...
        def set_readahead(self, buffers: int, /) -> None: ...
        def truncated(self) -> int: ...
    else:
        accept = _accept.accept
        accept_many = _accept.accept_many
        connect = _send_many.connect
        connect_ex = _send_many.connect_ex
        drops = _observation.drops
        get_readahead = _readahead.get_readahead
        join_group = _multicast.join_group
        leave_group = _multicast.leave_group
        peer_credentials = _unix.peer_credentials
        pending = _readahead.pending
        recv = _receive.recv
        recv_batch = _receive_many.recv_batch
        recv_fds = _unix.recv_fds
        recv_into = _receive.recv_into
        recv_many = _receive_many.recv_many
        recvfrom = _receive.recvfrom
        recvfrom_into = _receive.recvfrom_into
        recvfrom_many = _receive_many.recvfrom_many
        recvmsg = _message.recvmsg
        recvmsg_into = _message.recvmsg_into
        send = _send.send
        send_fds = _unix.send_fds
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

    def bind_unix(self, path: str | bytes | PathLike[Any], mode: int | None = None) -> None:
        """Bind to a path that a server which ended without cleaning up may have left behind.

        As ``bind``, of any type of Unix socket, and: a path of nobody's socket is replaced, one in
        use is not, and ``close()`` removes it.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            Of a file, beside which there is a lock file, path + ".lock", during this call. Or an
            abstract name, which begins with a NUL and has neither lock nor mode.
        mode : int, optional
            Permissions of the path, 0 to 0o777, whatever the umask; who may write may connect. They
            hold from its first moment on. Default: what the umask leaves.

        Raises
        ------
        OSError
            EADDRINUSE: another socket is open there, listening or not. EEXIST: what is there is no
            socket, and is left alone. EINVAL: the socket has an address. Else as ``bind``, or of
            the lock file.
        ValueError
            The path is empty or mode is out of range, or an abstract name has one.
        CapabilityError
            EOPNOTSUPP: not a Unix socket.

        Notes
        -----
        Of any number of processes that call this for one path one succeeds; they wait for each
        other by flock. A program that unlinks and binds by itself can still come between the look
        at a stale path and its removal. ``close()`` removes the path only in the process that bound
        it, and if it is still the same file; ``detach()`` leaves it. A socket that is dropped
        unclosed takes it along where it can. Source: unix(7), flock(2).
        """
        from fastsock import bound_path

        made = bound_path.bind(self, path, mode)
        if made is not None:
            self._bound_path = bound_path.own(self, made)

    def _real_close(self, *args: Any) -> None:
        if (bound := getattr(self, "_bound_path", None)) is not None:
            bound()  # first: nobody takes the path of an open socket for stale
        try:
            super()._real_close(*args)  # type: ignore[misc]
        finally:
            # After it: until then other threads must not receive past the queue.
            _readahead.discard(self)

    def detach(self) -> int:
        """Close the object without the descriptor, which is returned. As socket.detach.

        The path of ``bind_unix`` stays.
        While the socket reads ahead: OSError(EBUSY).
        """
        _readahead.refuse_sharing(self, "detach")
        if (bound := getattr(self, "_bound_path", None)) is not None:
            bound.detach()
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
