# SPDX-License-Identifier: MIT
"""StreamServer: connections whose frames come in batches."""

from __future__ import annotations

import asyncio
import atexit
import enum
import os
import socket as stdlib
import warnings
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EBADF, EOPNOTSUPP
from operator import index
from typing import TYPE_CHECKING, Any

from fastsock.bound_path import path_of, remove_path
from fastsock.dropin import socket
from fastsock.endpoint import Endpoint, parse_endpoint
from fastsock.native import server as _native
from fastsock.native.descriptor import refuse_tls

if TYPE_CHECKING:
    from typing_extensions import Self

    from fastsock.native.framing import Framing
    from fastsock.native.server import ServerBatch

OVERFLOWS = ("close", "raise")
TURNS = 64  # batches of an event loop's task without a wait


class CloseReason(enum.Enum):
    """Why a connection of a `StreamServer` has ended."""

    EOF = "the peer had sent all"
    RESET = "the peer or the network broke it"
    IDLE = "nothing came within idle_timeout"
    OVERSIZE = "a frame was longer than max_frame, or its header no length"
    SLOW = "the peer took too little of what was sent to it"
    LOCAL = "closed here"
    MEMORY = "its unfinished frame needed more than the memory left"


@dataclass(frozen=True, slots=True)
class ServerStats:
    """What a `StreamServer` has done so far: ``accepted == connections + sum(closed.values())``.

    Attributes
    ----------
    accepted : int
        Connections.
    connections : int
        Open now.
    closed : dict of CloseReason to int
    frames_received, bytes_received : int
        Frames given in batches, and bytes of the streams.
    frames_queued, bytes_sent : int
        Frames taken by ``send``, and bytes of the streams that the kernel took.
    bytes_unsent : int
        Queued for connections that ended first.
    bytes_unfinished : int
        Of frames that the end of their connection cut off.
    accept_pauses : int
        How often no descriptor was left for a new connection (EMFILE), which then waits in the
        backlog. Raise the limit (``ulimit -n``), or set ``max_connections`` below it.
    memory, memory_peak : int, bytes
        Of unfinished frames and queued output, now and at most.
    """

    accepted: int
    connections: int
    closed: dict[CloseReason, int]
    frames_received: int
    bytes_received: int
    frames_queued: int
    bytes_sent: int
    bytes_unsent: int
    bytes_unfinished: int
    accept_pauses: int
    memory: int
    memory_peak: int


class StreamServer(_native.Server):
    """Serve TCP or Unix stream connections: one call gives the frames of all that have any.

    ``for batch in server`` or ``server.next_batch(timeout)``, and ``async for``; in a batch
    ``for connection, frame in batch``. ``connection.send(frame)`` queues the answer, which the next
    call sends. Everything between is done in C, without the GIL. One thread; for more processes
    each opens a server of its own with ``reuse_port``.

    Parameters
    ----------
    address : tuple, str, bytes, os.PathLike or socket
        (host, port), a URL such as ``tcp://[::]:8888`` or ``unix:///run/x.sock``, the path of a Unix
        socket, or a socket that listens. The host ``::`` serves IPv4 too.
    framing : LengthPrefix, Delimiter or FixedSize
        In both directions.
    backlog : int, optional
        Connections that may wait to be accepted; the system's limit is net.core.somaxconn.
    max_frame : int, bytes, optional
        A peer that sends a longer frame is disconnected (``CloseReason.OVERSIZE``).
    max_pending : int, bytes, optional
        That may be queued for one connection. None: twice ``max_frame``.
    max_connections : int, optional
        More wait in the backlog.
    memory : int, bytes, optional
        All that connections and batches take, whatever the peers do, but for 300 bytes or so of
        each connection itself.
    idle_timeout : float or None, seconds, optional
        A connection ends when it has sent nothing for so long, or has taken longer than that for
        one frame: a byte now and then does not help.
    overflow : {"close", "raise"}, optional
        What a send beyond ``max_pending`` or ``memory`` does: end the connection
        (``CloseReason.SLOW``), or raise and queue nothing.
    reuse_port : bool, optional
        SO_REUSEPORT: several processes serve the same port, each with a server it has opened itself.
    nodelay : bool, optional
        TCP_NODELAY: what a call sends leaves at once. All of a turn is sent together anyway.

    Notes
    -----
    A peer may end its side first: what is queued for it by then, and by the end of the turn that
    brought its last frames, is sent before the connection ends. TLS: give each accepted connection
    a `FrameReader` over its ``ssl.SSLSocket`` instead.

    Source: listen(2), accept(2), epoll(7), tcp(7), unix(7).
    """

    _is_closed = True  # until it is open
    _turn = 0  # of the event loop's tasks

    def __init__(
        self,
        address: Any,
        framing: Framing,
        *,
        backlog: int = 4096,
        max_frame: int = 1 << 20,
        max_pending: int | None = None,
        max_connections: int = 65536,
        memory: int = 64 << 20,
        idle_timeout: float | None = None,
        overflow: str = "close",
        reuse_port: bool = False,
        nodelay: bool = True,
    ) -> None:
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        if idle_timeout is not None and not 0 < idle_timeout <= 9e9:
            raise ValueError(f"idle_timeout must be more than 0 seconds, not {idle_timeout}")
        if max_pending is None:
            max_pending = 2 * index(max_frame) + 64
        if max_pending < 1 or max_connections < 1:
            raise ValueError("max_pending and max_connections must be at least 1")
        with ExitStack() as undo:
            if isinstance(address, stdlib.socket):
                listener = _borrow(address)
            else:
                listener = _listen(address, backlog, reuse_port, nodelay, undo)
            undo.callback(listener.close)
            name = listener.getsockname()
            family = listener.family
            listeners = [listener.detach()]
            undo.callback(lambda: [os.close(fd) for fd in listeners])
            self._open(
                listeners,
                framing,
                max_frame,
                max_pending,
                memory,
                max_connections,
                -1 if idle_timeout is None else int(idle_timeout * 1e9),
                overflow == "close",
                tuple(CloseReason),
            )
            made = undo.pop_all()
        self._name = name
        self._family = family
        self._path = None if isinstance(address, stdlib.socket) else path_of(family, name)
        self._is_closed = False
        _open_servers.add(self)
        del made

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._is_closed

    def getsockname(self) -> Any:
        """Return the address it serves, as ``socket.getsockname``."""
        return self._name

    def stats(self) -> ServerStats:
        """Return what it has done; any thread, then as of the last batch, and after ``close()``."""
        return ServerStats(*self._counts())

    def stop(self, drain: float = 5.0) -> None:
        """Accept nothing more, and end when the connections have.

        Iteration goes on for at most ``drain`` seconds: as long as a connection has a frame
        unfinished or output queued. Those with neither are closed at once, the others then. The
        listener is closed by the thread that takes the batches. Any thread, and signal handlers.
        """
        if not 0 <= drain <= 9e9:
            raise ValueError(f"drain must be at least 0 seconds, not {drain}")
        self._stop(int(drain * 1e9))

    def close(self) -> None:
        """Close all connections, without what is queued, and the listener.

        A wait in another thread ends, and that thread does it. More than once.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._close()
        finally:
            if self._is_own():
                remove_path(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerBatch:
        # Now and then a wait though there is more, as other tasks want their turn.
        self._turn = (self._turn + 1) % TURNS
        if self._turn == 0:
            await asyncio.sleep(0)
        try:
            while True:
                try:
                    return self.next_batch(0)
                except BlockingIOError:
                    await self._ready()
        except EOFError:
            raise StopAsyncIteration from None
        except OSError as error:
            if error.errno != EBADF:
                raise
            raise StopAsyncIteration from None

    async def _ready(self) -> None:
        """Wait until there is something to do, or may be."""
        due = self._due()
        try:
            fd = self.fileno()
        except OSError as error:
            if error.errno != EOPNOTSUPP:
                raise
            await asyncio.sleep(0.01 if due is None else min(due, 0.01))
            return
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        timer = None if due is None else loop.call_later(due, _wake, ready)
        loop.add_reader(fd, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(fd)
            if timer is not None:
                timer.cancel()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open"
        return f"<fastsock.StreamServer {state} at {Endpoint(self._family, self._name)}>"

    def __del__(self) -> None:
        if self._is_closed:
            return
        try:
            if self._is_own():
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:
            self.close()  # also where warnings are errors


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _borrow(lender: stdlib.socket) -> socket:
    refuse_tls(lender)
    if lender.type != stdlib.SOCK_STREAM or not lender.getsockopt(
        stdlib.SOL_SOCKET, stdlib.SO_ACCEPTCONN
    ):
        raise ValueError("a StreamServer takes a stream socket that listens; call listen() first")
    return socket(lender.family, lender.type, lender.proto, lender.dup().detach())


def _listen(address: Any, backlog: int, reuse_port: bool, nodelay: bool, undo: ExitStack) -> socket:
    endpoint = parse_endpoint(address)
    listener = undo.enter_context(socket(endpoint.family, stdlib.SOCK_STREAM))
    if endpoint.family != stdlib.AF_UNIX:
        # A port is free at once for the next server, though old connections linger.
        listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
        listener.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, nodelay)
        if reuse_port:
            listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
    if endpoint.family == stdlib.AF_INET6:
        listener.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 0)
    try:
        listener.bind(endpoint.address)
        undo.callback(remove_path, path_of(listener.family, listener.getsockname()))
        listener.listen(backlog)
    except OSError as error:
        if error.errno is None:
            raise  # the standard library's own: the path is too long
        raise OSError(error.errno, f"{error.strerror}: {endpoint}") from None
    return listener


_open_servers: weakref.WeakSet[StreamServer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the waits of daemon threads, and remove the paths, before the interpreter goes."""
    with ExitStack() as stack:  # one that fails must not keep the others open
        for server in list(_open_servers):
            stack.callback(server.close)
