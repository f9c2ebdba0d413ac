# SPDX-License-Identifier: MIT
"""How many requests does an echo server answer, and what CPU time does each cost it?

The servers are programs of their own (peers/echo_servers.py, floor/echo.c), all on one CPU; the
clients are one thread of C on another (floor/load.c). All servers are up with their connections
open, and take turns in random order; who has no turn sleeps. Ratios are taken within a round.

The rate is bounded by the clients too: "clients" tells how much of their CPU they used, and where
that is near 100 % a server may be faster than its rate tells. Its CPU time is its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

from cases import size_name
from figures import noise_band, paired_ratios, spread
from links import ALLOWED_CPUS
from measure import Settings, Trial
from peers import ASYNCIO, UVLOOP, Peer
from servers import AGAIN, SELECTORS, STREAM_SERVER, Load, Server, available, descriptors


@dataclass(frozen=True)
class Turn:
    time_ns: float  # of a request, by the clock
    cpu_ns: float  # of a request, of the server
    client_share: float  # of their CPU


@dataclass(frozen=True)
class ServingCase(Trial):
    """connections with depth requests outstanding on each; with 0 each has one and is closed."""

    connections: int
    depth: int = 1
    size: int = 64

    section: ClassVar[str] = "servers"
    rivals: ClassVar[tuple[str, ...]] = (ASYNCIO, UVLOOP)

    @property
    def name(self) -> str:
        if self.is_accepting:
            return f"accept, {self.connections} at once"
        plural = "" if self.connections == 1 else "s"
        pipelined = "" if self.depth == 1 else f", {self.depth} outstanding"
        return f"echo {self.connections} connection{plural}{pipelined}"

    @property
    def question(self) -> str:
        if self.is_accepting:
            return "How many connections, each for one request and closed by the server, a second?"
        return (
            f"How many requests of {size_name(self.size)} a second with {self.depth} "
            f"outstanding on each of {self.connections} connections?"
        )

    @property
    def is_accepting(self) -> bool:
        return self.depth == 0

    def is_available(self) -> bool:
        return len(ALLOWED_CPUS) > 1 and descriptors() > self.connections + 64

    def measure(
        self, peers: Mapping[str, Peer], settings: Settings, tick: Callable[[float], None]
    ) -> dict[str, Any]:
        turns = 4 * settings.searches
        seconds = settings.seconds / 14
        names = available(peers)
        found: dict[str, list[Turn]] = {name: [] for name in names}
        order = list(names)
        shuffle = random.Random(self.name).shuffle
        with ExitStack() as stack:
            opened = {name: self._open(name, stack) for name in names}
            for number in range(-1, turns):
                shuffle(order)
                for place, name in enumerate(order):
                    turn = _take_turn(*opened[name], seconds)
                    if number >= 0:  # the first round is not counted
                        found[name].append(turn)
                        tick((number + (place + 1) / len(order)) / turns)
        return {
            "name": self.name,
            "group": "accept and answer" if self.is_accepting else "echo",
            "question": self.question,
            "link": "tcp",
            "connections": self.connections,
            "outstanding": self.depth,
            "size": self.size,
            "unit": "connection" if self.is_accepting else "request",
            "turn_seconds": seconds,
            "turns": turns,
            **summarize(found),
        }

    def _open(self, name: str, stack: ExitStack) -> tuple[Server, Load]:
        server = Server(name, self.is_accepting)
        stack.callback(server.close)
        load = Load(server, self.connections, self.depth, self.size)
        stack.callback(load.close)
        return server, load


def _take_turn(server: Server, load: Load, seconds: float) -> Turn:
    before = server.cpu_ns()
    run = load.run(seconds)
    cpu = server.cpu_ns() - before
    return Turn(run.elapsed_ns / run.done, cpu / run.done, run.client_ns / run.elapsed_ns)


def summarize(found: Mapping[str, list[Turn]]) -> dict[str, Any]:
    """The figures of the servers, and ours by the others': rates, and CPU times."""
    times = {name: [turn.time_ns for turn in turns] for name, turns in found.items()}
    costs = {name: [turn.cpu_ns for turn in turns] for name, turns in found.items()}
    ours = times[STREAM_SERVER]
    return {
        "servers": {
            name: {
                "per_second": spread([1e9 / turn.time_ns for turn in turns]),
                "cpu_ns": spread([turn.cpu_ns for turn in turns]),
                "client_share": spread([turn.client_share for turn in turns]),
            }
            for name, turns in found.items()
        },
        "times_rate_of": {
            name: spread(paired_ratios(theirs, ours))
            for name, theirs in times.items()
            if name not in (STREAM_SERVER, AGAIN)
        },
        "times_cpu_of": {
            name: spread(paired_ratios(costs[STREAM_SERVER], theirs))
            for name, theirs in costs.items()
            if name not in (STREAM_SERVER, AGAIN)
        },
        "noise": round(noise_band(times[SELECTORS], times[AGAIN]), 4),
    }


CASES = [
    *(ServingCase(connections, depth) for depth in (1, 16) for connections in (1, 64, 1000)),
    ServingCase(16, 0),
]
