# SPDX-License-Identifier: MIT
"""What does a datagram cost the program when a receive thread has taken it already?

The queue is filled, the thread of a Receiver moves everything into its memory, and then the
program's loop is timed: its wall time and the CPU time of its thread. The CPU time that the receive
thread has used is told beside it (thread_ns), as somebody has to make the system calls; a program
that is busy with something else does not wait for them. The other peers make them in their loops,
on the same datagrams: the standard library's recv, recv_batch, and the floor's recvmmsg.

All are on one CPU, as the cases of drain.py are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cases import size_name
from cases.drain import READ_AHEAD, DrainCase, DrainSession
from links import SETTLE_MILLISECONDS, Link, open_link
from measure import Sample, Session
from peers import FASTSOCK, RECV_BATCH, Peer
from peers.receiver import receiver_peer


@dataclass(frozen=True)
class ReceivedCase(DrainCase):
    """A loop over a Receiver's batches against a recv loop of the standard library."""

    method: str = "Receiver"
    against: str = "recv"
    per_call: int = 1024  # recv_batch's; the floor takes what 64 buffers hold
    read_ahead: int = READ_AHEAD
    rivals: tuple[str, ...] = (RECV_BATCH,)
    headline: bool = True
    group: str = "receive thread"

    @property
    def name(self) -> str:
        name = f"{self.method} {size_name(self.size)}"
        return f"{name}, GSO sender" if self.is_segmented else name

    @property
    def question(self) -> str:
        how = "made into bytes" if "bytes" in self.method else "taken as a row of a batch"
        return (
            f"What does a datagram of {size_name(self.size)} cost the program, {how}, "
            "after a receive thread has taken it from the kernel?"
        )

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return ReceivedSession(self, {**peers, FASTSOCK: receiver_peer(FASTSOCK)}, count)


class ReceivedSession(DrainSession):
    def _link(self, case: DrainCase, name: str) -> Link:
        if name != FASTSOCK:
            return super()._link(case, name)
        # The thread would take what is the others'. It switches UDP_GRO on itself.
        link = self.opened[name] = open_link("udp4", case.size, case.segments)
        return link

    def _take_turn(self, peer: Peer) -> Sample:
        others = _others_cpu()
        sample = super()._take_turn(peer)
        if peer.name != FASTSOCK:
            return sample
        return replace(sample, thread_ns=_others_cpu() - others)

    def _fill(self, name: str) -> None:
        if name != FASTSOCK:
            super()._fill(name)
            return
        super()._fill(name)
        deadline = time.monotonic() + SETTLE_MILLISECONDS / 1000
        # The loop takes all of them and waits for ever if one is missing.
        while (queued := self.endpoints[name].stats().queued) < self.count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the receive thread lacks {self.count - queued} datagrams")
            time.sleep(0.0005)


def _others_cpu() -> int:
    """CPU time of this process's other threads in nanoseconds."""
    return time.process_time_ns() - time.thread_time_ns()


CASES = [
    ReceivedCase(method, size=size, is_segmented=is_segmented)
    for size in (64, 1400)
    for method in ("Receiver", "Receiver, bytes")
    for is_segmented in (False, True)
]
