# SPDX-License-Identifier: MIT
"""What the cases of one call have in common: a link, a loop, and a check that nothing was lost."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cases import mode_name, size_name
from links import Link, capacity, is_available, open_link, sockaddr
from measure import Sample, Session, timed
from peers import Peer, Work

# A round of 64 KiB messages holds 2 MiB: enough to time, little enough for the stream's buffers.
MOST_BYTES = 2 << 20


@dataclass(frozen=True)
class CallCase:
    """count calls of method on one socket, for a message of size bytes each."""

    group: str
    method: str
    link: str
    timeout: float | None = None
    size: int = 64
    room: int = 2048
    headline: bool = False
    note: str = ""
    is_pinned: bool = True
    compares_cpu: bool = False
    rivals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        parts = [self.method, self.link, mode_name(self.timeout)]
        if self.size != 64:
            parts.append(size_name(self.size))
        if self.note:
            parts.append(self.note)
        return " ".join(parts)

    @property
    def question(self) -> str:
        return (
            f"What does {self.method} cost, {mode_name(self.timeout)}, {self.link}, "
            f"messages of {size_name(self.size)}?"
        )

    def describe(self) -> Mapping[str, object]:
        return {
            "method": self.method,
            "link": self.link,
            "mode": mode_name(self.timeout),
            "room": self.room,
        }

    def is_available(self) -> bool:
        return is_available(self.link)

    def count(self, wanted: int) -> int:
        wanted = min(wanted, max(8, MOST_BYTES // self.size))
        return capacity(self.link, self.size, wanted)

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        link = open_link(self.link, self.size)
        if self.group == "receive":
            return ReceiveSession(self, link, peers, count)
        return SendSession(self, link, peers, count)


class _CallSession:
    """The descriptor of a link in the hands of every peer at once."""

    def __init__(
        self, case: CallCase, link: Link, work: Work, used: socket.socket, peers: Mapping[str, Peer]
    ) -> None:
        self.link, self.work, self.peers = link, work, peers
        # The floor takes the descriptor's mode as the others set it.
        self.endpoints = {
            name: peer.attach(used.fileno(), case.timeout) for name, peer in peers.items()
        }
        # Prepared once: a buffer's first touch costs page faults, which the first round takes.
        self.loops = {
            name: peer.prepare(work, self.endpoints[name]) for name, peer in peers.items()
        }

    def close(self) -> None:
        for name, endpoint in self.endpoints.items():
            self.peers[name].detach(endpoint)
        self.link.close()


class ReceiveSession(_CallSession):
    def __init__(self, case: CallCase, link: Link, peers: Mapping[str, Peer], count: int) -> None:
        work = Work(case.method, count, room=case.room)
        super().__init__(case, link, work, link.receiver, peers)

    def run(self, peer: Peer) -> Sample:
        count = self.work.count
        fill_whole(self.link, count)
        _, wall, cpu = timed(self.loops[peer.name])
        # What count calls have left behind was not delivered.
        return Sample(count, wall, cpu, lost=self.link.empty())


class SendSession(_CallSession):
    def __init__(self, case: CallCase, link: Link, peers: Mapping[str, Peer], count: int) -> None:
        work = Work(case.method, count, data=link.data)
        if case.method == "sendto":
            address = link.receiver.getsockname()
            name = sockaddr(link.receiver.family, address)
            work = replace(work, address=address, address_bytes=name)
        super().__init__(case, link, work, link.sender, peers)

    def run(self, peer: Peer) -> Sample:
        count = self.work.count
        _, wall, cpu = timed(self.loops[peer.name])
        return Sample(count, wall, cpu, lost=abs(count - self.link.empty(count)))


def fill_whole(link: Link, count: int) -> None:
    """Queue count messages. Without all of them a loop would wait, and capacity() has left room."""
    queued = link.fill(count)
    if queued != count:
        link.empty()
        raise RuntimeError(f"{count - queued} of {count} messages were lost in filling")
