# SPDX-License-Identifier: MIT
"""Peers that are event loops: datagram protocols on asyncio and uvloop, by their endpoints or ours.

Only drain loops are theirs. An endpoint has a transport over a duplicate of the descriptor, and
reads nothing while its loop does not run.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from peers import ASYNCIO, ENDPOINT, ENDPOINT_UVLOOP, UVLOOP, Work


class Counter(asyncio.DatagramProtocol):
    """Counts datagrams, and ends the waiting when all have come."""

    def __init__(self) -> None:
        self.missing = 0
        self.done: asyncio.Future[None] | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.missing -= 1
        if self.missing == 0 and self.done is not None:
            self.done.set_result(None)


@dataclass(frozen=True)
class Endpoint:
    loop: asyncio.AbstractEventLoop
    transport: asyncio.DatagramTransport
    counter: Counter


@dataclass(frozen=True)
class EventLoopPeer:
    name: str
    version: str
    new_loop: Callable[[], asyncio.AbstractEventLoop]
    is_ours: bool = False  # the endpoint; the loop is new_loop's all the same

    def attach(self, descriptor: int, timeout: float | None) -> Endpoint:
        loop = self.new_loop()
        sock = socket.socket(fileno=os.dup(descriptor))
        sock.setblocking(False)
        create: Any = loop.create_datagram_endpoint
        if self.is_ours:
            create = importlib.import_module("fastsock.aio").create_datagram_endpoint
        transport, counter = loop.run_until_complete(create(Counter, sock=sock))
        return Endpoint(loop, transport, counter)

    def detach(self, endpoint: Endpoint) -> None:
        endpoint.transport.close()
        # The transport closes its socket in the loop's next turn.
        endpoint.loop.run_until_complete(asyncio.sleep(0))
        endpoint.loop.run_until_complete(asyncio.sleep(0))
        endpoint.loop.close()

    def prepare(self, work: Work, endpoint: Endpoint) -> Callable[[], int]:
        loop, counter, count = endpoint.loop, endpoint.counter, work.count

        def run() -> int:
            counter.missing = count
            counter.done = loop.create_future()
            loop.run_until_complete(counter.done)
            return count

        return run

    def prepare_each(self, work: Work, endpoints: Sequence[Any]) -> Callable[[], object]:
        raise NotImplementedError

    def discard(self, result: object) -> None:
        pass

    def drain_until(self, work: Work, endpoint: Any, window_ns: int) -> int:
        raise NotImplementedError

    def ask(self, endpoint: Any, data: bytes, count: int) -> None:
        raise NotImplementedError

    def answer(self, endpoint: Any, size: int, count: int) -> None:
        raise NotImplementedError


def event_loop_peers() -> list[EventLoopPeer]:
    """asyncio, and uvloop where it is installed, each by its endpoint and by ours."""
    # The class, not the policy's choice: uvloop may have been made the policy.
    peers = _both(ASYNCIO, ENDPOINT, platform.python_version(), asyncio.SelectorEventLoop)
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return peers
    return [*peers, *_both(UVLOOP, ENDPOINT_UVLOOP, uvloop.__version__, uvloop.new_event_loop)]


def _both(
    name: str, our_name: str, version: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> list[EventLoopPeer]:
    return [
        EventLoopPeer(name, version, new_loop),
        EventLoopPeer(our_name, metadata.version("fastsock"), new_loop, is_ours=True),
    ]
