# SPDX-License-Identifier: MIT
"""The method: paired rounds, peers in random order, fresh sockets every ten rounds.

Facts
    Medians over a few long rounds gave stdlib-against-stdlib ratios of 0.87 to 1.09: the machine's
    speed drifts, and one socket's memory lies better than another's.
What we do
    Each round runs every peer once on the same sockets, in random order, so that drift meets all of
    them alike. Ratios are taken within a round, and the median is taken over the rounds. The first
    round is not counted. Queues are filled and emptied outside the timed region, in C.
"""

from __future__ import annotations

import gc
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from peers import Peer

ROUNDS_PER_SESSION = 10
LONGEST = 3  # a case gets at most this many times its seconds to reach its least rounds
LEAST_ROUNDS = 5  # which nothing cuts short: below it there is no median to speak of


@dataclass(frozen=True)
class Sample:
    """One peer's turn in one round."""

    messages: int
    wall_ns: int
    cpu_ns: int  # of every thread and process that carried the messages
    lost: int = 0
    other_turns: int = 0  # turns of the CPU-bound thread, where there is one
    thread_ns: int = 0  # CPU time of a receive thread, which is in none of the above


class Session(Protocol):
    """A set of sockets, used for some rounds."""

    def run(self, peer: Peer) -> Sample: ...
    def close(self) -> None: ...


class Case(Protocol):
    """One question. name identifies it, question says it."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def headline(self) -> bool:
        """True for the rows that the README shows."""

    @property
    def size(self) -> int:
        """Bytes of a message."""

    @property
    def is_pinned(self) -> bool:
        """True when everything runs on one CPU."""

    @property
    def compares_cpu(self) -> bool:
        """True when the ratios are of CPU time, not of wall time."""

    @property
    def rivals(self) -> tuple[str, ...]:
        """Names of the peers that take part beside the four that always do."""

    def describe(self) -> Mapping[str, object]: ...
    def is_available(self) -> bool: ...
    def count(self, wanted: int) -> int:
        """Messages of a turn: wanted, or fewer where the queue holds fewer."""

    def open(self, peers: Mapping[str, Peer], count: int) -> Session: ...


@dataclass(frozen=True)
class Settings:
    seconds: float  # of a case
    messages: int  # wanted in a turn
    least_rounds: int
    most_rounds: int
    searches: int  # of a highest rate, and the bisections of each
    bisections: int

    @property
    def step_seconds(self) -> float:
        """How long one rate is tried."""
        return self.seconds / 7


class Trial(ABC):
    """A question that rounds can't answer: it has a method of its own."""

    section: ClassVar[str]  # the list of the results file that its figures go into
    rivals: ClassVar[tuple[str, ...]] = ()  # as a Case's
    is_pinned: ClassVar[bool] = True  # the sender chooses its CPU itself

    @property
    @abstractmethod
    def name(self) -> str: ...
    @property
    @abstractmethod
    def question(self) -> str: ...
    @abstractmethod
    def is_available(self) -> bool: ...
    @abstractmethod
    def measure(
        self, peers: Mapping[str, Peer], settings: Settings, tick: Callable[[float], None]
    ) -> dict[str, Any]:
        """The figures, ready for JSON; tick is told which share is done."""


FULL = Settings(5.0, 2000, least_rounds=100, most_rounds=1000, searches=3, bisections=7)
FULL_BATCHES = replace(FULL, seconds=3.5)  # so that two suites take about twelve minutes
FULL_RECEIVER = replace(FULL, seconds=2.5)  # and the third takes less than four
FULL_STREAMS = FULL_RECEIVER  # and the fourth about five
QUICK = Settings(0.5, 400, least_rounds=10, most_rounds=100, searches=1, bisections=4)


@dataclass
class Rounds:
    """The samples of a case by peer; the n-th of each peer belong to one round."""

    messages: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    lost: int = 0


def timed(loop: Callable[[], object]) -> tuple[object, int, int]:
    """Run loop; its result, wall time and this thread's CPU time in nanoseconds."""
    cpu_before = time.thread_time_ns()
    before = time.perf_counter_ns()
    result = loop()
    wall = time.perf_counter_ns() - before
    cpu = time.thread_time_ns() - cpu_before
    return result, wall, cpu


def measure(
    case: Case,
    peers: Mapping[str, Peer],
    settings: Settings,
    tick: Callable[[float], None] = lambda done: None,
) -> Rounds:
    """Measure one case; tick is told after every round which share of the case is done."""
    count = case.count(settings.messages)
    rounds = Rounds(count, {name: [] for name in peers})
    order = list(peers)
    shuffle = random.Random(case.name).shuffle
    start = time.monotonic()
    session = case.open(peers, count)
    # The garbage collector's runs would fall on whichever peer happens to allocate.
    gc.collect()
    gc.disable()
    try:
        _run_round(session, peers, order, rounds)
        for samples in rounds.samples.values():
            samples.clear()
        for number in range(1, settings.most_rounds + 1):
            if number % ROUNDS_PER_SESSION == 0:
                session.close()
                session = case.open(peers, count)
            shuffle(order)
            _run_round(session, peers, order, rounds)
            spent = time.monotonic() - start
            tick(min(1.0, max(spent / settings.seconds, number / settings.most_rounds)))
            least = settings.least_rounds
            if spent >= LONGEST * settings.seconds:
                least = min(least, LEAST_ROUNDS)
            if spent >= settings.seconds and number >= least:
                break
    finally:
        gc.enable()
        session.close()
    return rounds


def _run_round(
    session: Session, peers: Mapping[str, Peer], order: list[str], rounds: Rounds
) -> None:
    for name in order:
        sample = session.run(peers[name])
        rounds.samples[name].append(sample)
        rounds.lost += sample.lost
