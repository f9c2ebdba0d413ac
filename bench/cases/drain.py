# SPDX-License-Identifier: MIT
"""What does a datagram cost that is received together with others?

The queue is filled first, then drained; only the draining is timed. The peers' loops differ: the
standard library's takes one datagram a call, ours takes many, and the floor's is recvmmsg with the
same number a call, at most 64, and the same msg_name and msg_control.

A peer that merges (GRO, which read-ahead switches on) needs a socket of its own, as the option is
the kernel socket's; so does an event loop. The others share one. Where fewer than a thousand fit
into a queue, a turn is several fillings.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cases import size_name
from cases.calls import fill_whole
from links import Link, capacity, has_trains, open_link, train_segments
from measure import Sample, Session, timed
from peers import (
    ASYNCIO,
    ENDPOINT,
    ENDPOINT_UVLOOP,
    FASTSOCK,
    FLOOR,
    RECV_BATCH,
    STDLIB,
    STDLIB_AGAIN,
    UVLOOP,
    BatchWork,
    Peer,
)

LEAST_MESSAGES = 1000  # of a turn
EVENT_LOOPS = (ASYNCIO, UVLOOP, ENDPOINT, ENDPOINT_UVLOOP)
READ_AHEAD = 64  # kernel buffers, the most that one call takes


@dataclass(frozen=True)
class DrainCase:
    """method of fastsock against a loop of the standard library's against."""

    method: str
    against: str = "recvfrom"
    size: int = 64
    per_call: int = 64
    is_segmented: bool = False  # the sender uses GSO
    read_ahead: int = 0
    room: int = 2048
    most_messages: int = 1 << 20
    rivals: tuple[str, ...] = ()
    headline: bool = False
    group: str = "receive many"
    is_pinned: bool = True
    compares_cpu: bool = False

    @property
    def name(self) -> str:
        name = f"{self.method} {size_name(self.size)}"
        if self.method in ("recv", "recvfrom"):
            name = f"read-ahead {name}"
        elif self.per_call != 64:
            name += f" x{self.per_call}"
        if self.is_segmented:
            name += ", GSO sender"
            if self.read_ahead == 0:
                name += ", no GRO"
        elif self.read_ahead > 0 and "read-ahead" not in name:
            name += ", GRO"
        if self.rivals:
            name += ", event loops"
        return name if self.against == "recvfrom" else f"{name}, against {self.against}"

    @property
    def question(self) -> str:
        how = f"{self.method}, up to {self.per_call} a call"
        if self.method in ("recv", "recvfrom"):
            how = f"a {self.method} loop on a socket that reads ahead"
        return (
            f"What does a datagram of {size_name(self.size)} cost {how}, "
            f"against the standard library's {self.against} loop?"
        )

    def describe(self) -> Mapping[str, object]:
        return {
            "method": self.method,
            "against": self.against,
            "link": "udp4",
            "mode": "blocking",
            "per_call": self.per_call,
            "sender": "GSO" if self.is_segmented else "plain",
            "read_ahead": self.read_ahead,
        }

    def is_available(self) -> bool:
        if "NumPy" in self.method and importlib.util.find_spec("numpy") is None:
            return False
        return has_trains() or not (self.is_segmented or self.read_ahead)

    def count(self, wanted: int) -> int:
        # Whole trains; twice as many of what comes in trains, as each costs so little.
        wanted = min(-(-wanted // 64) * (128 if self.is_segmented else 64), self.most_messages)
        fits = capacity("udp4", self.size, wanted, self.segments)
        if self.read_ahead:
            fits = min(fits, capacity("udp4", self.size, wanted, self.segments, True))
        return fits

    @property
    def segments(self) -> int:
        return train_segments(self.size) if self.is_segmented else 1

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return DrainSession(self, peers, count)


class DrainSession:
    def __init__(self, case: DrainCase, peers: Mapping[str, Peer], count: int) -> None:
        self.peers, self.count = peers, count
        wanted = min(LEAST_MESSAGES, case.most_messages)
        self.fillings = -(-wanted // count)
        self.opened: dict[str, Link] = {}
        self.links: dict[str, Link] = {}
        self.endpoints: dict[str, Any] = {}
        self.loops = {}
        for name, peer in peers.items():
            link = self.links[name] = self._link(case, name)
            self.endpoints[name] = peer.attach(link.receiver.fileno(), None)
            self.loops[name] = peer.prepare(_work(case, name, count), self.endpoints[name])
        self.warmed: set[str] = set()

    def _link(self, case: DrainCase, name: str) -> Link:
        merges = _merges(case, name)
        owner = name if name in EVENT_LOOPS else "merging" if merges else "plain"
        if owner not in self.opened:
            self.opened[owner] = open_link("udp4", case.size, case.segments, merges)
        return self.opened[owner]

    def run(self, peer: Peer) -> Sample:
        if peer.name not in self.warmed:
            # Memory is touched for the first time here, and not in one counted turn of ten.
            self.warmed.add(peer.name)
            self._take_turn(peer)
        return self._take_turn(peer)

    def _take_turn(self, peer: Peer) -> Sample:
        link, loop = self.links[peer.name], self.loops[peer.name]
        messages = wall = cpu = lost = 0
        for _ in range(self.fillings):
            self._fill(peer.name)
            received, more_wall, more_cpu = timed(loop)
            assert isinstance(received, int)
            # Neither less nor more than was sent, and nothing may be left over.
            lost += abs(self.count - received) + link.empty()
            messages, wall, cpu = messages + received, wall + more_wall, cpu + more_cpu
        return Sample(messages, wall, cpu, lost)

    def _fill(self, name: str) -> None:
        fill_whole(self.links[name], self.count)

    def close(self) -> None:
        for name, endpoint in self.endpoints.items():
            self.peers[name].detach(endpoint)
        for link in self.opened.values():
            link.close()


def _merges(case: DrainCase, name: str) -> bool:
    return case.read_ahead > 0 and name in (FASTSOCK, FLOOR, RECV_BATCH)


def _work(case: DrainCase, name: str, count: int) -> BatchWork:
    methods = {STDLIB: case.against, STDLIB_AGAIN: case.against, RECV_BATCH: "recv_batch"}
    return BatchWork(
        methods.get(name, case.method),
        count,
        case.room,
        per_call=case.per_call,
        read_ahead=case.read_ahead if _merges(case, name) else 0,
    )


_drain = DrainCase
_trains = partial(DrainCase, is_segmented=True, read_ahead=READ_AHEAD)
# A turn of asyncio's own endpoint takes long.
_beside_loops = partial(DrainCase, "recv_batch", rivals=EVENT_LOOPS, group="event loops")

CASES = [
    # Datagrams that come one by one.
    _drain("recv_many", "recv"),
    _drain("recv_many", headline=True),
    _drain("recv_many", size=16),
    _drain("recv_many", size=1400),
    _drain("recv_many", per_call=8),
    _drain("recv_many", per_call=256),
    _drain("recvfrom_many"),
    _drain("recv_batch", headline=True),
    _drain("recv_batch", size=16),
    _drain("recv_batch", size=512),
    _drain("recv_batch", size=1400),
    _drain("recv_batch", per_call=1),
    _drain("recv_batch", per_call=8),
    _drain("recv_batch", per_call=256),
    _drain("recv_batch", per_call=1024),
    _drain("recv_batch, bytes"),
    _drain("recv_batch, NumPy"),
    _drain("recv", read_ahead=READ_AHEAD),
    _drain("recvfrom", read_ahead=READ_AHEAD),
    _beside_loops(most_messages=2048),
    # Trains: the sender uses GSO, and the receiver lets them be.
    _drain("recv_batch", is_segmented=True),
    _trains("recv_many", per_call=1024, headline=True),
    _trains("recv_batch", per_call=1024, headline=True),
    _trains("recv_batch", per_call=4096),
    _trains("recv_batch", per_call=1024, size=16),
    _trains("recv_batch", per_call=1024, size=512),
    _trains("recv_batch", per_call=1024, size=1400, headline=True),
    _trains("recv_batch, bytes", per_call=1024),
    _trains("recv_batch, NumPy", per_call=1024, headline=True),
    _beside_loops(most_messages=2048, per_call=1024, is_segmented=True, read_ahead=READ_AHEAD),
    _trains("recv", headline=True),
    _trains("recv", "recv"),
    _trains("recvfrom"),
    _trains("recv", size=1400),
]
