# SPDX-License-Identifier: MIT
"""The peers of the benchmark: records with the same functions, which take turns in every round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

STDLIB = "stdlib"
STDLIB_AGAIN = "stdlib again"  # stdlib against stdlib tells what a ratio of this run is worth
FASTSOCK = "fastsock"
FLOOR = "floor"
# These take part in some cases only.
ASYNCIO = "asyncio"
UVLOOP = "uvloop"
ENDPOINT = "fastsock.aio"
ENDPOINT_UVLOOP = "fastsock.aio on uvloop"
FLOOR_SENDMMSG = "floor sendmmsg"
RECEIVER = "Receiver"
RECV_BATCH = "recv_batch"


@dataclass(frozen=True)
class Work:
    """What a peer has to do, count times: one call of method."""

    method: str
    count: int
    room: int = 2048  # bytes offered to a receive
    data: bytes = b""
    address: tuple[Any, ...] | None = None  # destination of sendto
    address_bytes: bytes = b""  # the same as a sockaddr


@dataclass(frozen=True)
class BatchWork(Work):
    """What a peer has to do by calls on per_call messages each, until count messages are done."""

    per_call: int = 64
    read_ahead: int = 0  # buffers of set_readahead; for the floor, UDP_GRO when above 0
    messages: tuple[bytes, ...] = ()  # what each call sends
    addresses: tuple[tuple[Any, ...], ...] = ()  # their destinations, which take turns
    names: tuple[bytes, ...] = ()  # the same as sockaddrs
    segments: int = 1  # datagrams that the floor sends as one, by UDP_SEGMENT

    @property
    def calls(self) -> int:
        return max(1, self.count // self.per_call)


class Peer(Protocol):
    """One way to make the calls. An endpoint is what a peer makes of a descriptor it borrows."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...

    def attach(self, descriptor: int, timeout: float | None) -> Any:
        """An endpoint over a descriptor that stays the caller's; timeout in seconds or None."""

    def detach(self, endpoint: Any) -> None:
        """Give the descriptor back."""

    def prepare(self, work: Work, endpoint: Any) -> Callable[[], object]:
        """The loop to time. What it returns is for discard()."""

    def prepare_each(self, work: Work, endpoints: Sequence[Any]) -> Callable[[], object]:
        """A loop that receives once on each endpoint."""

    def discard(self, result: object) -> None:
        """Free what a loop returned: the sockets that accept made."""

    def drain_until(self, work: Work, endpoint: Any, window_ns: int) -> int:
        """Receive for window_ns nanoseconds or until work.count messages came; how many came."""

    def ask(self, endpoint: Any, data: bytes, count: int) -> None:
        """Send a request and receive its reply, count times."""

    def answer(self, endpoint: Any, size: int, count: int) -> None:
        """Receive a request and send it back, count times."""


def all_peers() -> dict[str, Peer]:
    """The peers by name. ImportError when fastsock is not installed."""
    import platform
    import socket
    from importlib import import_module
    from importlib.metadata import version

    from peers.c_floor import FloorPeer
    from peers.python import PythonPeer

    fast = import_module("fastsock")
    peers: list[Peer] = [
        PythonPeer(STDLIB, platform.python_version(), socket.socket),
        PythonPeer(STDLIB_AGAIN, platform.python_version(), socket.socket),
        PythonPeer(FASTSOCK, version("fastsock"), fast.socket),
        FloorPeer(FLOOR, "1"),
    ]
    return {peer.name: peer for peer in peers}


def rivals(names: Sequence[str]) -> dict[str, Peer]:
    """The peers of these names that take part in some cases only, as far as they are installed."""
    from peers.c_floor import FloorPeer
    from peers.event_loop import event_loop_peers
    from peers.receiver import receiver_peer, recv_batch_peer

    known: list[Peer] = [
        FloorPeer(FLOOR_SENDMMSG, "1"),
        receiver_peer(RECEIVER),
        recv_batch_peer(RECV_BATCH),
        *event_loop_peers(),
    ]
    return {peer.name: peer for peer in known if peer.name in names}
