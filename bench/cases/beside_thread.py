# SPDX-License-Identifier: MIT
"""How fast does a drain loop run beside a CPU-bound thread, and how does that thread fare?

A thread that gives up the GIL to one that computes may get it back only when that one's switch
interval (5 ms) ends. So the loop runs for a window of many intervals, over a queue that holds more
than the window can take, and both sides are counted: the messages of the loop and the turns of the
thread. The floor's loop holds no GIL and ends when the queue is empty; getting the GIL back is in
its time.

On two CPUs, one for each thread, the stdlib's loop loses the GIL at almost every call. On one CPU
the scheduler parts them. Left alone a machine is in either state for seconds at a time, with
figures a hundredfold apart, so each case says which one it measures. The goal is for two CPUs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from cases import mode_name
from cases.calls import fill_whole
from links import ALLOWED_CPUS, Link, capacity, open_link
from measure import Sample, Session, timed
from peers import Peer, Work

WINDOW_NS = 60_000_000  # twelve switch intervals
WANTED_MESSAGES = 40_000  # so that half the window, at 1 us a call, does not empty the queue


@dataclass(frozen=True)
class BesideThreadCase:
    method: str
    timeout: float | None = None
    cpus: int = 2
    headline: bool = True
    group: str = "beside thread"
    link: str = "udp4"
    size: int = 64
    is_pinned: bool = True
    compares_cpu: bool = False
    rivals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.link} {mode_name(self.timeout)} busy thread, {self.cpus} CPU"

    @property
    def question(self) -> str:
        return f"How fast is a {self.method} loop beside a thread that computes?"

    def describe(self) -> Mapping[str, object]:
        return {
            "method": self.method,
            "link": self.link,
            "mode": mode_name(self.timeout),
            "cpus": self.cpus,
        }

    def is_available(self) -> bool:
        return len(ALLOWED_CPUS) >= self.cpus

    def count(self, wanted: int) -> int:
        return capacity(self.link, self.size, WANTED_MESSAGES)

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return BesideThreadSession(self, open_link(self.link, self.size), peers, count)


class Spinner:
    """A thread of pure Python that counts its turns, on a CPU of its choice or its starter's."""

    def __init__(self, cpu: int | None) -> None:
        self.cpu = cpu
        self.turns = 0
        self.is_stopped = False
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        if self.cpu is not None:
            os.sched_setaffinity(0, {self.cpu})
        while not self.is_stopped:
            self.turns += 1

    def stop(self) -> None:
        self.is_stopped = True
        self.thread.join()


class BesideThreadSession:
    def __init__(
        self, case: BesideThreadCase, link: Link, peers: Mapping[str, Peer], count: int
    ) -> None:
        self.link, self.peers = link, peers
        self.work = Work(case.method, count)
        # The loop is on the last CPU (run.py).
        self.cpu = ALLOWED_CPUS[0] if case.cpus > 1 else None
        descriptor = link.receiver.fileno()
        self.endpoints = {
            name: peer.attach(descriptor, case.timeout) for name, peer in peers.items()
        }

    def run(self, peer: Peer) -> Sample:
        endpoint, work = self.endpoints[peer.name], self.work
        fill_whole(self.link, work.count)
        spinner = Spinner(self.cpu)
        try:
            before = spinner.turns
            received, wall, cpu = timed(lambda: peer.drain_until(work, endpoint, WINDOW_NS))
            turns = spinner.turns - before
        finally:
            spinner.stop()
        assert isinstance(received, int)
        lost = abs(work.count - received - self.link.empty())
        return Sample(received, wall, cpu, lost, other_turns=turns)

    def close(self) -> None:
        for name, endpoint in self.endpoints.items():
            self.peers[name].detach(endpoint)
        self.link.close()


CASES = [
    BesideThreadCase("recv"),
    BesideThreadCase("recvfrom"),
    BesideThreadCase("recvfrom", 5.0),
    BesideThreadCase("recvfrom", cpus=1, headline=False),
]
