# SPDX-License-Identifier: MIT
"""What does a frame of a byte stream cost, receiving included?

A TCP connection's queue is filled with a whole turn's frames by one send, so that no sender is
waited for; only taking them is timed. The standard library's side is a cutter in Python or
bytes.split, each as fast as we could write it (peers/framers.py). asyncio's streams take part where
ours gives a list of bytes, the C floor everywhere.

The event loops have a connection of their own, as theirs does not wait. The others share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from cases import size_name
from links import Link, open_link
from measure import Sample, Session, timed
from peers import ASYNCIO, UVLOOP, Peer
from peers.framers import DELIMITER, OPENERS, PREFIX, FramingWork, Loop, python_loop_name

SIZES = (16, 64, 1024, 4096, 65536)
MOST_BYTES = 4 << 20  # of a turn
LIST, BATCH = "recv_many", "recv_batch"


@dataclass(frozen=True)
class FramingCase:
    framing: str
    method: str
    size: int
    rivals: tuple[str, ...] = ()
    group: str = "framing"
    headline: bool = True
    is_pinned: bool = True
    compares_cpu: bool = False

    @property
    def name(self) -> str:
        return f"{self.framing} {size_name(self.size)}, {self.method}"

    @property
    def question(self) -> str:
        return (
            f"What does a frame of {size_name(self.size)} with a {self.framing} cost by "
            f"{self.method}, against {python_loop_name(self._work(1))}?"
        )

    def describe(self) -> Mapping[str, object]:
        return {
            "method": self.method,
            "framing": self.framing,
            "against": python_loop_name(self._work(1)),
            "link": "tcp",
        }

    def is_available(self) -> bool:
        return True

    def count(self, wanted: int) -> int:
        # Small frames cost so little that a turn needs many.
        return max(4, min(8 * wanted, MOST_BYTES // self.size))

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return FramingSession(peers, self._work(count))

    def _work(self, count: int) -> FramingWork:
        return FramingWork(self.framing, self.size, count, self.method == BATCH)


class FramingSession:
    def __init__(self, peers: Mapping[str, Peer], work: FramingWork) -> None:
        self.work = work
        self.links: dict[str, Link] = {}
        self.loops: dict[str, Loop] = {}
        self.warmed: set[str] = set()
        self.stack = ExitStack()
        shared = self._open_link()
        for name, peer in peers.items():
            link = self._open_link() if name in (ASYNCIO, UVLOOP) else shared
            self.links[name] = link
            opened = OPENERS[name](peer, work, link.receiver.fileno())
            self.loops[name] = self.stack.enter_context(opened)

    def _open_link(self) -> Link:
        stream = self.work.stream
        link = replace(open_link("tcp", 1), size=len(stream), data=stream)
        self.stack.callback(link.close)
        return link

    def run(self, peer: Peer) -> Sample:
        if peer.name not in self.warmed:
            # Memory is touched for the first time here, and not in one counted turn of ten.
            self.warmed.add(peer.name)
            self._take_turn(peer.name)
        return self._take_turn(peer.name)

    def _take_turn(self, name: str) -> Sample:
        link = self.links[name]
        if link.fill(1) != 1:
            raise RuntimeError(f"the queue does not hold {len(link.data)} bytes")
        received, wall, cpu = timed(self.loops[name])
        assert isinstance(received, int)
        # Neither less nor more than was sent, and nothing may be left over.
        lost = abs(self.work.count - received) + link.empty()
        return Sample(received, wall, cpu, lost)

    def close(self) -> None:
        self.stack.close()


CASES = [
    FramingCase(framing, method, size, (ASYNCIO, UVLOOP) if method == LIST else ())
    for framing in (PREFIX, DELIMITER)
    for size in SIZES
    for method in (LIST, BATCH)
]
