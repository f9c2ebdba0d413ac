# SPDX-License-Identifier: MIT
"""How many datagrams a second does a loop receive without losing one?

The sender is a program in C on a CPU of its own (pacer.c), the receiver a loop on another, with a
receive buffer of 4 MiB. Each step sends for half a second at one rate; a rate is good when every
datagram came, and its figure is what the receiver took from the first datagram sent to the last
one received, so that a queue which fills up meanwhile counts for nothing. The highest good rate is
found by bisection (rates.py). Where the sender can go no faster, the figure is a lower bound and
says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cases import size_name
from cases.drain import READ_AHEAD
from links import ALLOWED_CPUS, has_trains, train_segments
from measure import Settings, Trial
from pacing import BUFFER_BYTES, Sender, open_plain_link
from peers import FASTSOCK, FLOOR, RECEIVER, STDLIB, BatchWork, Peer
from rates import Step, measure_rates

# What each receiver is called, whose it is, and what it does.
RECEIVERS = {
    "stdlib recvfrom": (STDLIB, BatchWork("recvfrom", 0)),
    "recv_many": (FASTSOCK, BatchWork("recv_many", 0)),
    "recv_batch": (FASTSOCK, BatchWork("recv_batch", 0, per_call=1024)),
    "recv_batch, GRO": (FASTSOCK, BatchWork("recv_batch", 0, per_call=1024, read_ahead=READ_AHEAD)),
    "Receiver": (RECEIVER, BatchWork("Receiver, waiting", 0)),
    "C recvmmsg, GRO": (FLOOR, BatchWork("recv_batch", 0, read_ahead=READ_AHEAD)),
}


@dataclass(frozen=True)
class SustainedCase(Trial):
    is_segmented: bool
    size: int = 64

    section: ClassVar[str] = "rates"
    rivals: ClassVar[tuple[str, ...]] = (RECEIVER,)

    @property
    def name(self) -> str:
        sender = "GSO" if self.is_segmented else "plain"
        return f"sustained {size_name(self.size)}, {sender} sender"

    @property
    def question(self) -> str:
        return "How many datagrams a second does a loop receive without losing one?"

    def describe(self) -> Mapping[str, object]:
        return {
            "link": "udp4",
            "size": self.size,
            "sender": "GSO" if self.is_segmented else "plain",
            "buffer_bytes": BUFFER_BYTES,
        }

    def is_available(self) -> bool:
        return len(ALLOWED_CPUS) > 1 and has_trains()

    @property
    def receivers(self) -> list[str]:
        return list(RECEIVERS)

    def measure(
        self, peers: Mapping[str, Peer], settings: Settings, tick: Callable[[float], None]
    ) -> dict[str, Any]:
        return measure_rates(self, peers, settings, tick)

    def open(self, receiver: str, peers: Mapping[str, Peer]) -> SustainedSession:
        owner, work = RECEIVERS[receiver]
        return SustainedSession(self, peers[owner], work)


class SustainedSession:
    """One receiver, and the sending process."""

    def __init__(self, case: SustainedCase, peer: Peer, work: BatchWork) -> None:
        self.peer, self.work = peer, work
        segments = train_segments(case.size) if case.is_segmented else 1
        self.link = open_plain_link(case.size, segments, work.read_ahead > 0)
        self.endpoint = peer.attach(self.link.receiver.fileno(), None)
        self.sender = Sender(self.link)

    def senders_limit(self, seconds: float) -> float:
        """A rate that the sender does not reach while the receiver receives."""
        step = self.step(1e9, 10_000)
        for _ in range(2):
            step = self.step(1e9, max(10_000, round(step.rate * seconds / 2)))
        return 1.1 * step.rate

    def attempt(self, seconds: float) -> Callable[[float], Step]:
        return lambda rate: self.step(rate, max(1000, round(rate * seconds)))

    def step(self, rate: float, count: int) -> Step:
        """Send count datagrams at a rate; where some are lost, the step's rate is the sender's."""
        loop = self.peer.prepare(replace(self.work, count=count), self.endpoint)
        self.sender.send(rate, count)
        try:
            received = loop()
        except (BlockingIOError, TimeoutError):
            received = 0  # nothing came for a while: not all of them will
        end = time.monotonic_ns()
        start, elapsed, sent = self.sender.sent()
        if sent != count:
            raise RuntimeError(f"the sending process sent {sent} of {count} datagrams")
        is_whole = received == count
        self.link.empty()
        taken = count / max(elapsed, end - start if is_whole else 0) * 1e9
        return Step(taken, is_whole, is_whole and count / elapsed * 1e9 < 0.95 * rate)

    def close(self) -> None:
        self.peer.detach(self.endpoint)
        self.link.close()
        self.sender.close()


CASES = [SustainedCase(is_segmented=False), SustainedCase(is_segmented=True)]
