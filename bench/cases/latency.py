# SPDX-License-Identifier: MIT
"""How long after it was sent does the program have a datagram, when they come one by one?

The sender (pacer.c, on a CPU of its own) writes the time into each datagram just before it sends
it, a thousand times a second; the receiver, which waits on another CPU, looks at the same clock
when it has the datagram in its hands. Sending and waking are in every figure: the loop in C, which
does nothing but recv, tells how much that is. The receivers take turns, several short ones each.

A receive thread shares the CPU of the program that consumes. One that polls (busy_poll) gets a CPU
of its own where there are three; with two it takes turns with the consumer, which is its worst
case. What waiting costs is told too: CPU time of the whole process, a datagram.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import math
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import floor
from links import ALLOWED_CPUS, GIVE_UP_SECONDS, open_link
from measure import Settings, Trial
from pacing import Sender
from peers import ASYNCIO, FASTSOCK, FLOOR, RECEIVER, STDLIB, UVLOOP, Peer

ROOM = 2048
WARMING = 10  # datagrams at the begin of a turn that do not count
BUSY_POLL_US = 1000
HAS_THIRD_CPU = len(ALLOWED_CPUS) > 2
STAMP = struct.Struct("=q")

Take = Callable[[], Sequence[int]]  # a turn: the delays in nanoseconds
Opener = Callable[[Any, int, int], AbstractContextManager[Take]]  # of peer, descriptor, count


@contextmanager
def _plainly(peer: Any, descriptor: int, count: int) -> Iterator[Take]:
    endpoint = peer.attach(descriptor, None)
    try:
        yield lambda: take_each(endpoint.recv, count)
    finally:
        peer.detach(endpoint)


def take_each(call: Callable[[int], bytes], count: int) -> list[int]:
    delays, clock, unpack = [], time.monotonic_ns, STAMP.unpack_from
    for _ in range(count):
        data = call(ROOM)
        delays.append(clock() - unpack(data)[0])
    return delays


@contextmanager
def _by_thread(peer: Any, descriptor: int, count: int) -> Iterator[Take]:
    receiver = peer.attach(descriptor, None)
    try:
        yield lambda: take_batches(receiver, count)
    finally:
        peer.detach(receiver)


def _by_busy_thread(peer: Any, descriptor: int, count: int) -> AbstractContextManager[Take]:
    options = {"busy_poll": BUSY_POLL_US}
    if HAS_THIRD_CPU:
        # Neither the sender's nor the consumer's.
        options["cpu"] = ALLOWED_CPUS[1]
    return _by_thread(replace(peer, options=options), descriptor, count)


def take_batches(receiver: Any, count: int) -> list[int]:
    delays: list[int] = []
    while len(delays) < count:
        batch = receiver.next_batch(GIVE_UP_SECONDS)
        now = time.monotonic_ns()
        delays += [now - STAMP.unpack_from(message.data)[0] for message in batch]
    return delays


class Stamped(asyncio.DatagramProtocol):
    """Notes the delay of each datagram, and ends the waiting when all have come."""

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self.delays: list[int] = []
        self.count, self.done = count, done

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.delays.append(time.monotonic_ns() - STAMP.unpack_from(data)[0])
        if len(self.delays) == self.count:
            self.done.set_result(None)


@contextmanager
def _by_event_loop(peer: Any, descriptor: int, count: int) -> Iterator[Take]:
    loop: asyncio.AbstractEventLoop = peer.new_loop()
    sock = socket.socket(fileno=os.dup(descriptor))
    sock.setblocking(False)
    protocol = Stamped(count, loop.create_future())
    created = loop.create_datagram_endpoint(lambda: protocol, sock=sock)
    transport, _ = loop.run_until_complete(created)

    def take() -> list[int]:
        loop.run_until_complete(asyncio.wait_for(protocol.done, 4 * GIVE_UP_SECONDS))
        return protocol.delays

    try:
        yield take
    finally:
        transport.close()
        # The transport closes its socket in the loop's next turn.
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@contextmanager
def _in_c(peer: Any, descriptor: int, count: int) -> Iterator[Take]:
    buffer, delays = ctypes.create_string_buffer(ROOM), (ctypes.c_int64 * count)()

    def take() -> Sequence[int]:
        done = floor.library().floor_recv_stamped(descriptor, buffer, ROOM, delays, count)
        floor.checked(done, count, "floor_recv_stamped")
        return list(delays)

    yield take


# What each receiver is called, whose it is, and how it takes datagrams.
RECEIVERS: dict[str, tuple[str, Opener]] = {
    "C recv": (FLOOR, _in_c),
    "stdlib recv": (STDLIB, _plainly),
    "fastsock recv": (FASTSOCK, _plainly),
    "Receiver": (RECEIVER, _by_thread),
    f"Receiver, busy_poll={BUSY_POLL_US}": (RECEIVER, _by_busy_thread),
    "asyncio": (ASYNCIO, _by_event_loop),
    "uvloop": (UVLOOP, _by_event_loop),
}


@dataclass(frozen=True)
class LatencyCase(Trial):
    rate: int = 1000
    size: int = 64

    section: ClassVar[str] = "latencies"
    rivals: ClassVar[tuple[str, ...]] = (RECEIVER, ASYNCIO, UVLOOP)

    @property
    def name(self) -> str:
        return f"latency at {self.rate} datagrams/s"

    @property
    def question(self) -> str:
        return f"How long after it was sent does the program have one of {self.rate} datagrams/s?"

    def is_available(self) -> bool:
        return len(ALLOWED_CPUS) > 1

    def measure(
        self, peers: Mapping[str, Peer], settings: Settings, tick: Callable[[float], None]
    ) -> dict[str, Any]:
        names = [name for name, (owner, _) in RECEIVERS.items() if owner in peers]
        turns = 2 * settings.searches
        # Three thousand of each in a full run.
        count = max(10, round(1.2 * self.rate * settings.seconds / turns))
        delays: dict[str, list[int]] = {name: [] for name in names}
        cpu = dict.fromkeys(names, 0)
        shuffle = random.Random(self.name).shuffle
        order = list(names)
        for turn in range(turns):
            shuffle(order)
            for number, name in enumerate(order):
                owner, opener = RECEIVERS[name]
                taken, spent = self._take_turn(partial(opener, peers[owner]), count)
                delays[name] += taken
                cpu[name] += spent
                tick((turn * len(order) + number + 1) / turns / len(order))
        return {
            "name": self.name,
            "question": self.question,
            "link": "udp4",
            "size": self.size,
            "rate": self.rate,
            "turns": turns,
            "busy_thread": "a CPU of its own" if HAS_THIRD_CPU else "the consumer's CPU",
            "receivers": {
                name: {
                    **percentiles(delays[name]),
                    "cpu_us": round(cpu[name] / turns / (count + WARMING) / 1000, 1),
                }
                for name in names
            },
        }

    def _take_turn(
        self, opener: Callable[[int, int], AbstractContextManager[Take]], count: int
    ) -> tuple[Sequence[int], int]:
        """The delays of count datagrams, and the CPU time that this process spent, in ns."""
        link = open_link("udp4", self.size)
        sender = Sender(link)
        # The garbage collector's runs would fall on whichever receiver happens to allocate.
        gc.collect()
        gc.disable()
        try:
            with opener(link.receiver.fileno(), count + WARMING) as take:
                before = time.process_time_ns()
                sender.send(self.rate, count + WARMING)
                taken = take()
                spent = time.process_time_ns() - before
            sender.sent()
        finally:
            gc.enable()
            link.close()
            sender.close()
        return taken[WARMING:], spent


def percentiles(delays: Sequence[int]) -> dict[str, float]:
    """The figures of some delays (ns) in microseconds."""
    ordered = sorted(delays)

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1] / 1000, 1)

    return {"datagrams": len(ordered), "p50_us": at(0.5), "p99_us": at(0.99), "max_us": at(1)}


CASES = [LatencyCase()]
