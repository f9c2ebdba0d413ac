# SPDX-License-Identifier: MIT
"""Receiver: a thread without the GIL that receives, and accounts for every datagram."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from contextlib import ExitStack
from errno import EBADF
from operator import index
from typing import TYPE_CHECKING, Any

from fastsock.intake import Intake
from fastsock.native import receiver as _native
from fastsock.readiness import readable
from fastsock.stats import ReceiverStats

if TYPE_CHECKING:
    import socket as stdlib
    from collections.abc import Iterable, Sequence
    from typing import Literal, Self

    from fastsock.endpoint import Address
    from fastsock.intake import Group, _Metadata
    from fastsock.native.receiver import ReceivedBatch

    _Overflow = Literal["drop-newest", "drop-oldest", "block"]

TURNS = 8  # batches that async for gives at most before other tasks have a turn
OVERFLOWS = ("drop-newest", "drop-oldest", "block")  # in the order of the C library's enum


class Receiver(_native.Receiver):
    """Receives in a thread of its own that never needs the GIL, into memory of fixed size.

    While the program works, collects garbage or waits for something else, datagrams are taken from
    the kernel as fast as they come. ``for batch in receiver`` gives them, many at a time; ``async
    for`` does on asyncio, uvloop and trio; ``fileno()`` is for select loops.

    Parameters
    ----------
    address : tuple, str, bytes, os.PathLike or socket
        Where to receive: ("0.0.0.0", 8888), "udp://[::]:8888", "unix:///run/x.sock" or the path of
        a Unix socket, as ``socket.bind_unix`` takes it. Or a socket: UDP, Unix datagram or a
        connected SOCK_SEQPACKET one. It stays the caller's, who must not receive from it meanwhile.
    memory : int, bytes, optional
        For all messages that wait and what they are received into; at least 1 MiB for each shard.
    overflow : {"drop-newest", "drop-oldest", "block"}, optional
        What happens when it is full: what arrives is dropped, or what has waited longest; or
        nothing is received, so that the kernel's own buffer fills up and drops. All is counted.
    gro : bool, optional
        Let the kernel hand over trains of datagrams as one buffer (UDP_GRO), where it can.
    cpu : int or sequence of int, optional
        The CPU each thread is bound to; one number for one shard.
    priority : int, optional
        Real-time (SCHED_FIFO), 1 to 99, of the threads. Takes CAP_SYS_NICE or RLIMIT_RTPRIO.
    busy_poll : int, microseconds, optional
        How long a thread asks again and again before it sleeps: less latency for a busy CPU. The
        network driver is polled too where that is allowed (SO_BUSY_POLL).
    receive_buffer : int, bytes, optional
        To ask the kernel for, even beyond net.core.rmem_max if the process may (SO_RCVBUFFORCE).
        Default: 4 MiB if the system's default is less.
    metadata : iterable of str, optional
        "timestamp", "destination", "hop_limit", "tos": as ``socket.set_metadata``.
    groups : iterable, optional
        Multicast groups to join: "239.1.2.3", or (group, interface), or (group, interface, source),
        as ``socket.join_group``. A socket that is opened here then gets these groups only.
    shards : int, optional
        Sockets on the same address (SO_REUSEPORT), each with a thread and a part of the memory; the
        kernel spreads senders over them. The order is kept within a shard. See `open_shards`.

    Attributes
    ----------
    receive_buffer : int
        What the kernel gave, as SO_RCVBUF reads: twice what was asked for, for its own bookkeeping.
        Of all shards the least.

    Raises
    ------
    ValueError, TypeError
        An argument is out of range, or the socket has no messages.
    OSError
        As ``bind``; EBUSY: the socket reads ahead. PermissionError: priority.
    RuntimeError
        No thread can be started.

    Warns
    -----
    RuntimeWarning
        Once a process: the kernel gives less receive buffer than asked for.

    Notes
    -----
    One thread at a time in ``next_batch``; ``close()`` and ``stats()`` from any. Signals are
    handled while waiting. After a fork the child can only close its copy. Unclosed when it is
    collected: a ResourceWarning. Source: udp(7), unix(7), socket(7).
    """

    _is_closed = True  # until it is open
    _turn = 0  # of the event loop's tasks

    def __init__(
        self,
        address: Address | stdlib.socket,
        *,
        memory: int = 64 << 20,
        overflow: _Overflow = "drop-newest",
        gro: bool = True,
        cpu: int | Sequence[int] | None = None,
        priority: int | None = None,
        busy_poll: int | None = None,
        receive_buffer: int | None = None,
        metadata: _Metadata | Iterable[_Metadata] = (),
        groups: Iterable[Group] = (),
        shards: int = 1,
    ) -> None:
        taken = Intake.open(address, shards, receive_buffer, metadata, groups)
        self._start(taken, memory, overflow, gro, cpu, priority, busy_poll)

    def _start(
        self,
        taken: Intake,
        memory: int,
        overflow: _Overflow,
        gro: bool,
        cpu: int | Sequence[int] | None,
        priority: int | None,
        busy_poll: int | None,
    ) -> None:
        """Begin to receive from what was taken, which is closed if that fails."""
        with ExitStack() as undo:
            undo.callback(taken.close)
            memory = index(memory)
            least = len(taken.sockets) * _native.LEAST_MEMORY
            if memory < least:
                raise ValueError(f"memory must be at least {least} bytes, not {memory}")
            if overflow not in OVERFLOWS:
                raise ValueError(
                    f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}"
                )
            cpus = cpus_of(cpu, len(taken.sockets))
            self._open(
                taken.descriptors(),
                memory,
                OVERFLOWS.index(overflow),
                bool(gro),
                taken.is_borrowed,
                taken.metadata,
                cpus,
                _in_range("priority", priority, 99),
                _in_range("busy_poll", busy_poll, 10**6),
            )
            undo.pop_all()
        self._taken = taken
        self._is_closed = False
        _open_receivers.add(self)

    @property
    def receive_buffer(self) -> int:
        return self._taken.receive_buffer

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._is_closed

    def getsockname(self) -> Any:
        """Return the address it receives at, as ``socket.getsockname``."""
        return self._taken.name

    def stats(self) -> ReceiverStats:
        """Return what has become of every message so far, final when ``close()`` has returned."""
        return ReceiverStats(*self._counts())

    def close(self) -> None:
        """Stop receiving. What waits is discarded, and counted; waits in other threads end.

        Batches taken stay valid. A path that ``bind`` made is removed; a borrowed socket is as it
        was. Any thread; more than once.

        Raises
        ------
        OSError
            EBUSY: trains came to a borrowed socket faster than they could be drained; one may be
            received as one datagram. The receiver is closed all the same.
        """
        if self._is_closed or not self._begin_close():
            return
        self._is_closed = True
        try:
            self._taken.remove_path()  # while its socket is open
            self._close()
        finally:
            if self._is_own():  # a child of a fork leaves the parent's as it is
                self._taken.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedBatch:
        try:
            # Now and then a wait though there is more, as other tasks want their turn.
            self._turn = (self._turn + 1) % TURNS
            if self._turn == 0:
                await readable(self.fileno())
            while True:
                try:
                    return self.next_batch(0)
                except BlockingIOError:
                    await readable(self.fileno())
        except EOFError:
            raise StopAsyncIteration from None
        except OSError as error:
            if error.errno != EBADF:
                raise
            raise StopAsyncIteration from None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<fastsock.Receiver {state} at {self._taken}>"

    def __del__(self) -> None:
        if self._is_closed:
            return
        try:
            if self._is_own():
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:
            self.close()  # also where warnings are errors


_open_receivers: weakref.WeakSet[Receiver] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the waits of daemon threads, and remove the paths, before the interpreter goes."""
    with ExitStack() as stack:  # one that fails must not keep the others open
        for receiver in list(_open_receivers):
            stack.callback(receiver.close)


def cpus_of(cpu: int | Sequence[int] | None, count: int) -> list[int]:
    """The CPU of each of count threads; -1: any."""
    if cpu is None:
        return [-1] * count
    cpus = [cpu] if isinstance(cpu, int) else list(cpu)
    if len(cpus) != count:
        raise ValueError(f"cpu must name one CPU for each of {count} threads, not {cpu!r}")
    return [_in_range("cpu", each, os.sysconf("SC_NPROCESSORS_CONF") - 1) for each in cpus]


def _in_range(name: str, value: int | None, most: int) -> int:
    if value is None:
        return 0
    value = index(value)
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be 0 to {most}, not {value}")
    return value
