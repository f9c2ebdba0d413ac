# SPDX-License-Identifier: MIT
"""StreamServer: connections whose frames come in batches."""

from __future__ import annotations

import asyncio
import atexit
import os
import socket as stdlib
import warnings
import weakref
from contextlib import ExitStack, suppress
from errno import EBADF, EOPNOTSUPP
from math import ceil
from operator import index
from typing import TYPE_CHECKING, Any

from fastsock.bound_path import BoundPath, remove_path
from fastsock.endpoint import Address, Endpoint
from fastsock.listener import borrow, listen
from fastsock.native import server as _native
from fastsock.native.framing import Framing
from fastsock.stats import CloseReason, ServerStats

if TYPE_CHECKING:
    from typing import Literal, Self

    from fastsock.native.server_batch import ServerBatch

OVERFLOWS = ("close", "raise")
TURNS = 64  # batches of an event loop's task without a wait


class StreamServer(_native.Server):
    """Serve TCP or Unix stream connections: one call gives the frames of all that have any.

    ``for batch in server`` or ``server.next_batch(timeout)``, and ``async for``; in a batch
    ``for connection, frame in batch``. ``connection.send(frame)`` queues the answer, which the next
    call sends. Everything between is done in C, without the GIL. One thread; for more processes
    each opens a server of its own with ``reuse_port``.

    Parameters
    ----------
    address : tuple, str, bytes, os.PathLike or socket
        (host, port), a URL such as ``tcp://[::]:8888`` or ``unix:///run/x.sock``, the path of a
        Unix socket as ``socket.bind_unix`` takes it, or a socket that listens, which stays open at
        ``close()`` and is non-blocking from now on. The host ``::`` serves IPv4 too.
    framing : LengthPrefix, Delimiter or FixedSize
        In both directions.
    backlog : int, optional
        Connections that may wait to be accepted; the system's limit is net.core.somaxconn. A
        listener that is given has its own, and its own SO_REUSEPORT.
    max_frame : int, bytes, optional
        A peer that sends a longer frame is disconnected (``CloseReason.OVERSIZE``); to send a
        longer one is a ValueError.
    max_pending : int, bytes, optional
        That may be queued for one connection. None: twice ``max_frame``.
    max_connections : int, optional
        More wait in the backlog.
    memory : int, bytes, optional
        For unfinished frames, queued output and batches of all connections together, whatever the
        peers do; at least 10 MiB or so and 6 times ``max_frame``. Each connection takes 300 bytes
        or so beside that.
    idle_timeout : float or None, seconds, optional
        A connection ends when it has sent nothing for so long, or has taken longer than that for
        one frame: a byte now and then does not help.
    overflow : {"close", "raise"}, optional
        What a send beyond ``max_pending`` or ``memory`` does: end the connection, by a reset
        (``CloseReason.SLOW``), or raise and queue nothing.
    reuse_port : bool, optional
        SO_REUSEPORT: several processes serve the same port, each with a server that it has opened
        itself.
    nodelay : bool, optional
        TCP_NODELAY: what a call sends leaves at once. All of a turn is sent together anyway.

    Notes
    -----
    A peer may end its side first: what is queued for it by then, and by the end of the turn that
    brought its last frames, is sent before the connection ends. TLS: give each accepted connection
    a `FrameReader` over its ``ssl.SSLSocket`` instead.

    A signal handler that raises in the moment in which ``next_batch`` returns loses that batch: let
    it call ``stop()``. A MemoryError in ``next_batch`` closes the server.

    Source: listen(2), accept(2), epoll(7), tcp(7), unix(7).
    """

    _is_closed = True  # until it is open
    _turn = 0  # of the event loop's tasks

    def __init__(
        self,
        address: Address | stdlib.socket,
        framing: Framing,
        *,
        backlog: int = 4096,
        max_frame: int = 1 << 20,
        max_pending: int | None = None,
        max_connections: int = 65536,
        memory: int = 64 << 20,
        idle_timeout: float | None = None,
        overflow: Literal["close", "raise"] = "close",
        reuse_port: bool = False,
        nodelay: bool = True,
    ) -> None:
        if not isinstance(framing, Framing):
            raise TypeError(
                "framing must be a LengthPrefix, Delimiter or FixedSize, such as "
                f"Delimiter(b'\\n'), not {framing!r}"
            )
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        if idle_timeout is not None and not 0 < idle_timeout <= 9e9:
            raise ValueError(f"idle_timeout must be more than 0 seconds, not {idle_timeout}")
        if max_pending is None:
            max_pending = 2 * index(max_frame) + 64
        if max_pending < 1:
            raise ValueError(f"max_pending must be at least 1 byte, not {max_pending}")
        if not 1 <= max_connections <= 0x7FFFFFFE:
            raise ValueError(f"max_connections must be 1 to 2147483646, not {max_connections}")
        with ExitStack() as undo:
            made: BoundPath | None = None
            if isinstance(address, stdlib.socket):
                listener = borrow(address, nodelay)
            else:
                listener, made = listen(address, backlog, reuse_port, nodelay, undo)
            undo.callback(listener.close)
            name = listener.getsockname()
            family = listener.family
            listeners = [listener.detach()]
            undo.callback(_close_descriptors, listeners)
            self._open(
                listeners,
                framing,
                max_frame,
                max_pending,
                memory,
                max_connections,
                -1 if idle_timeout is None else ceil(idle_timeout * 1e9),
                overflow == "close",
                tuple(CloseReason),
            )
            undo.pop_all()
        self._name = name
        self._family = family
        self._path = made
        self._waits: set[asyncio.Future[None]] = set()  # of event loops' tasks
        self._is_closed = False
        _open_servers.add(self)

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

        Who had connected by then is accepted first. A client must still be ready to ask again: its
        connection is ended without an answer when its frame was not there yet, and reset when it
        was made between the last accept and the close of the listener. The kernel gives the latter
        to another listener of the port (``reuse_port``) if net.ipv4.tcp_migrate_req is 1 (Linux
        5.14).
        """
        if not 0 <= drain <= 9e9:
            raise ValueError(f"drain must be at least 0 seconds, not {drain}")
        self._remove_path()
        self._stop(int(drain * 1e9))

    def close(self) -> None:
        """Close all connections, without what is queued, and the listener.

        A wait in another thread ends, and that thread does it. More than once.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._remove_path()
        try:
            self._close()
        finally:
            for ready in list(self._waits):
                with suppress(RuntimeError):  # its event loop is closed
                    ready.get_loop().call_soon_threadsafe(_wake, ready)

    def _remove_path(self) -> None:
        """While the socket is open: later the path could be another's, with the same inode."""
        made, self._path = self._path, None
        remove_path(made)

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
        with ExitStack() as undo:
            # A close ends the wait, but takes the descriptor away: the loop watches another one.
            watched = os.dup(fd)
            undo.callback(os.close, watched)
            self._waits.add(ready)
            undo.callback(self._waits.discard, ready)
            if self._is_closed:
                return  # in another thread, and maybe before the wait was known
            if due is not None:
                undo.callback(loop.call_later(due, _wake, ready).cancel)
            loop.add_reader(watched, _wake, ready)
            undo.callback(loop.remove_reader, watched)
            await ready

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open"
        return f"<fastsock.StreamServer {state} at {self._endpoint()}>"

    def _endpoint(self) -> Endpoint:
        return Endpoint(self._family, self._name, stdlib.SOCK_STREAM)

    def __del__(self) -> None:
        if self._is_closed:
            return
        try:
            if self._is_own():
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:
            self.close()  # also where warnings are errors


def _close_descriptors(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


_open_servers: weakref.WeakSet[StreamServer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the waits of daemon threads, and remove the paths, before the interpreter goes."""
    with ExitStack() as stack:  # one that fails must not keep the others open
        for server in list(_open_servers):
            stack.callback(server.close)
