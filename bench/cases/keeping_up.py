# SPDX-License-Identifier: MIT
"""What is lost of a hundred thousand datagrams a second while the program is busy?

The main thread holds the GIL for 200 ms in every 400, computing in C as one long call of an
extension module does, then collects garbage and sleeps for the rest. Another thread receives: by a
loop over the standard library's recv, by one over recv_batch, or by one over a Receiver's batches.
All have the same receive buffer, 4 MiB asked for with SO_RCVBUF: at this rate a tenth of a second.

The sender (pacer.c) has a CPU of its own, all of Python's threads and the receive thread share
another. It sends datagrams one by one if a try shows that it can, with a fifth to spare; else in
trains of eight (GSO), and the results say so, and which rate it reached.
"""

from __future__ import annotations

import gc
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import floor
from figures import spread
from links import ALLOWED_CPUS, GIVE_UP_SECONDS, Link, has_trains
from measure import Settings, Trial
from pacing import BUFFER_BYTES, QUIET_SECONDS, Sender, open_plain_link
from peers import FASTSOCK, RECEIVER, STDLIB, Peer
from peers.batches import new_batch

HOLD_SECONDS, PERIOD_SECONDS = 0.2, 0.4
OBJECTS = 20_000  # that each collection of garbage looks at
TRAIN = 8  # datagrams, where they can't be sent one by one
ROOM = 2048


class Consumer:
    """Counts what it receives until nothing comes and nothing will."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.taken = 0
        self.is_over = threading.Event()  # all has been sent

    def run(self, loop: Callable[[Consumer], None]) -> int:
        while True:
            # Asked before, as the GIL may be long in coming after a quiet time.
            is_last = self.is_over.is_set()
            try:
                loop(self)
            except (BlockingIOError, TimeoutError):
                if is_last:
                    return self.taken


def take_each(consumer: Consumer) -> None:
    call = consumer.endpoint.recv
    while True:
        call(ROOM)
        consumer.taken += 1


def take_filled_batches(consumer: Consumer) -> None:
    call, batch = consumer.endpoint.recv_batch, new_batch(1024, ROOM)
    while True:
        consumer.taken += call(batch)


def take_received_batches(consumer: Consumer) -> None:
    call = consumer.endpoint.next_batch
    while True:
        consumer.taken += len(call(QUIET_SECONDS))


# What each receiver is called, whose it is, and its loop.
RECEIVERS: dict[str, tuple[str, Callable[[Consumer], None]]] = {
    "stdlib recv": (STDLIB, take_each),
    "recv_batch": (FASTSOCK, take_filled_batches),
    "Receiver": (RECEIVER, take_received_batches),
}


@dataclass(frozen=True)
class Turn:
    """What has become of the datagrams of one turn."""

    sent: int
    received: int
    kernel_drops: int
    ring_drops: int
    elapsed_ns: int  # of sending
    cpu_ns: int  # of this process but the main thread

    @property
    def lost(self) -> int:
        return self.sent - self.received


@dataclass(frozen=True)
class KeepingUpCase(Trial):
    rate: int = 100_000
    size: int = 64

    section: ClassVar[str] = "keeping_up"
    rivals: ClassVar[tuple[str, ...]] = (RECEIVER,)

    @property
    def name(self) -> str:
        return f"keeping up with {self.rate} datagrams/s, GIL held"

    @property
    def question(self) -> str:
        return (
            f"What is lost of {self.rate} datagrams/s while the main thread holds the GIL for "
            f"{HOLD_SECONDS * 1000:.0f} ms in every {PERIOD_SECONDS * 1000:.0f}?"
        )

    def is_available(self) -> bool:
        # Without a GIL there is none to hold.
        has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        return has_gil and len(ALLOWED_CPUS) > 1

    def measure(
        self, peers: Mapping[str, Peer], settings: Settings, tick: Callable[[float], None]
    ) -> dict[str, Any]:
        limit = _senders_limit(self.size, peers[RECEIVER])
        segments = TRAIN if limit < 1.2 * self.rate and has_trains() else 1
        seconds = 4 * settings.seconds  # ten of them in a full run
        turns: dict[str, list[Turn]] = {name: [] for name in RECEIVERS}
        order = list(RECEIVERS)
        shuffle = random.Random(self.name).shuffle
        total = settings.searches * len(order)
        buffer = 0
        for number in range(settings.searches):
            shuffle(order)
            for place, name in enumerate(order):
                link = open_plain_link(self.size, segments)
                buffer = link.receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                owner, loop = RECEIVERS[name]
                turns[name].append(_take_turn(link, peers[owner], loop, self.rate, seconds))
                tick((number * len(order) + place + 1) / total)
        return {
            "name": self.name,
            "group": "keeping up",
            "question": self.question,
            "link": "udp4",
            "size": self.size,
            "rate": self.rate,
            "seconds": seconds,
            "turns": settings.searches,
            "hold_seconds": HOLD_SECONDS,
            "period_seconds": PERIOD_SECONDS,
            "sender": "plain" if segments == 1 else f"GSO x{segments}",
            "buffer_asked": BUFFER_BYTES,
            "buffer_given": buffer,  # twice as much where nothing limits it
            "receivers": {name: account(found) for name, found in turns.items()},
        }


def account(turns: list[Turn]) -> dict[str, Any]:
    """The sums over the turns; of the loss also the spread, as a share of what was sent."""
    sent = sum(turn.sent for turn in turns)
    lost = sum(turn.lost for turn in turns)
    kernel = sum(turn.kernel_drops for turn in turns)
    ring = sum(turn.ring_drops for turn in turns)
    return {
        "sent": sent,
        "received": sent - lost,
        "lost": lost,
        "lost_by": {"kernel": kernel, "ring": ring, "unknown": lost - kernel - ring},
        "lost_share": spread([turn.lost / turn.sent for turn in turns]),
        "sent_per_second": round(sent / sum(turn.elapsed_ns for turn in turns) * 1e9),
        "cpu_ns": spread([turn.cpu_ns / max(1, turn.received) for turn in turns]),
    }


def _senders_limit(size: int, peer: Peer) -> float:
    """Datagrams a second that the sender can send one by one while a thread receives them."""
    link = open_plain_link(size, 1)
    endpoint = peer.attach(link.receiver.fileno(), None)
    sender = Sender(link)
    try:
        sender.send(1e9, 20_000)
        _, elapsed, sent = sender.sent()
    finally:
        peer.detach(endpoint)
        link.close()
        sender.close()
    return sent / elapsed * 1e9


def _take_turn(
    link: Link, peer: Peer, loop: Callable[[Consumer], None], rate: float, seconds: float
) -> Turn:
    descriptor = link.receiver.fileno()
    endpoint = peer.attach(descriptor, None)
    consumer = Consumer(endpoint)
    sender = Sender(link)
    drops_before = floor.library().floor_dropped(descriptor)
    cpu_before = time.process_time_ns() - time.thread_time_ns()
    with ThreadPoolExecutor(1) as pool:
        try:
            counted = pool.submit(consumer.run, loop)
            sender.send(rate, round(rate * seconds))
            be_busy(seconds)
            _, elapsed, sent = sender.sent()
            consumer.is_over.set()
            received = counted.result(4 * GIVE_UP_SECONDS)
            cpu = time.process_time_ns() - time.thread_time_ns() - cpu_before
            drops = floor.library().floor_dropped(descriptor) - drops_before
            ring_drops = endpoint.stats().ring_drops if peer.name == RECEIVER else 0
        finally:
            consumer.is_over.set()
            peer.detach(endpoint)
            link.close()
            sender.close()
    return Turn(sent, received, drops, ring_drops, elapsed, cpu)


def be_busy(seconds: float) -> None:
    """Hold the GIL, collect garbage and sleep, in turns."""
    objects: list[list[object]] = [[] for _ in range(OBJECTS)]
    start = time.monotonic()
    end = start + seconds
    while (now := time.monotonic()) < end:
        floor.hold(min(HOLD_SECONDS, end - now))
        gc.collect()
        start += PERIOD_SECONDS
        time.sleep(max(0.0, min(start, end) - time.monotonic()))
    objects.clear()


CASES = [KeepingUpCase()]
