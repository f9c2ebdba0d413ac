# SPDX-License-Identifier: MIT
"""What does a datagram cost that is sent together with others?

A receiver that merges (UDP_GRO) takes a train as it is, as a network card with segmentation would.
One that does not has it cut into datagrams, and on loopback that is the sender's work, in its
system call: rows of their own tell what that costs. Either queue is emptied outside the timed
region and never overflows; every peer of a case sends to the same one.

GSO needs datagrams of equal size, the last one of a train may be shorter. Sizes that rise leave
nothing to it; sizes that fall make pairs, which the floor does not look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cases import size_name
from links import Link, capacity, has_trains, open_link, sockaddr, train_segments
from measure import Sample, Session, timed
from peers import FLOOR_SENDMMSG, STDLIB, STDLIB_AGAIN, BatchWork, Peer

SPREAD = 64  # different sizes, or of the messages of a call where it has fewer


@dataclass(frozen=True)
class SendManyCase:
    """method of fastsock against the standard library's sendto loop."""

    method: str = "send_many"
    size: int = 64  # on average
    sizes: str = "equal"  # or rising, falling
    per_call: int = 64
    destinations: int = 1
    merges: bool = True
    rivals: tuple[str, ...] = ()
    headline: bool = False
    group: str = "send many"
    is_pinned: bool = True
    compares_cpu: bool = False

    @property
    def name(self) -> str:
        name = f"{self.method} {size_name(self.size)}"
        if self.per_call != 64:
            name += f" x{self.per_call}"
        if self.sizes != "equal":
            name += f", sizes {self.sizes}"
        if self.destinations > 1:
            name += f", {self.destinations} destinations in turns"
        return name if self.merges else f"{name}, receiver without GRO"

    @property
    def question(self) -> str:
        return (
            f"What does a datagram of {size_name(self.size)} cost {self.method}, "
            f"{self.per_call} a call, sizes {self.sizes}, against a sendto loop?"
        )

    def describe(self) -> Mapping[str, object]:
        return {
            "method": self.method,
            "against": "sendto",
            "link": "udp4",
            "mode": "blocking",
            "per_call": self.per_call,
            "sizes": self.sizes,
            "destinations": self.destinations,
            "receiver": "GRO" if self.merges else "plain",
        }

    def is_available(self) -> bool:
        return has_trains()

    @property
    def is_segmented(self) -> bool:
        """Whether there are trains to be made."""
        return self.sizes == "equal" and self.destinations == 1

    def count(self, wanted: int) -> int:
        # Each destination gets its part, so the margin is large where there are two.
        largest = self.size + SPREAD // 2
        fits = capacity("udp4", largest, max(wanted, self.per_call), merges=self.merges)
        return max(1, fits // self.per_call) * min(fits, self.per_call)

    def messages(self, per_call: int) -> tuple[bytes, ...]:
        if self.sizes == "equal":
            return tuple(bytes([number % 251]) * self.size for number in range(per_call))
        rising = range(self.size - SPREAD // 2 + 1, self.size + SPREAD // 2 + 1)
        sizes = rising if self.sizes == "rising" else rising[::-1]
        return tuple(bytes(sizes[number % SPREAD]) for number in range(per_call))

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return SendManySession(self, peers, count)


class SendManySession:
    def __init__(self, case: SendManyCase, peers: Mapping[str, Peer], count: int) -> None:
        self.peers, self.count = peers, count
        self.links = [
            open_link("udp4", case.size, merges=case.merges) for _ in range(case.destinations)
        ]
        descriptor = self.links[0].sender.fileno()
        self.endpoints = {name: peer.attach(descriptor, None) for name, peer in peers.items()}
        self.loops = {
            name: peer.prepare(_work(case, name, count, self.links), self.endpoints[name])
            for name, peer in peers.items()
        }

    def run(self, peer: Peer) -> Sample:
        sent, wall, cpu = timed(self.loops[peer.name])
        assert isinstance(sent, int)
        # Loopback delivers before a send returns.
        arrived = sum(link.empty(sent // len(self.links)) for link in self.links)
        return Sample(sent, wall, cpu, lost=abs(self.count - sent) + abs(sent - arrived))

    def close(self) -> None:
        for name, endpoint in self.endpoints.items():
            self.peers[name].detach(endpoint)
        for link in self.links:
            link.close()


def _work(case: SendManyCase, name: str, count: int, links: list[Link]) -> BatchWork:
    per_call = min(case.per_call, count)
    addresses = tuple(link.receiver.getsockname() for link in links)
    is_segmented = case.is_segmented and name != FLOOR_SENDMMSG
    return BatchWork(
        "sendto" if name in (STDLIB, STDLIB_AGAIN) else case.method,
        count,
        per_call=per_call,
        messages=case.messages(per_call),
        addresses=addresses,
        names=tuple(sockaddr(links[0].receiver.family, address) for address in addresses),
        segments=train_segments(case.size) if is_segmented else 1,
    )


_PLAIN = (FLOOR_SENDMMSG,)

CASES = [
    SendManyCase(rivals=_PLAIN, headline=True),
    SendManyCase(size=1400, rivals=_PLAIN, headline=True),
    SendManyCase(per_call=1024),
    SendManyCase(merges=False, rivals=_PLAIN, headline=True),
    SendManyCase(size=1400, merges=False, rivals=_PLAIN),
    SendManyCase(sizes="rising", headline=True),
    SendManyCase(sizes="rising", size=1400),
    SendManyCase(sizes="falling"),
    SendManyCase("sendto_many", destinations=2, headline=True),
    SendManyCase("send_segments"),
    SendManyCase("send_segments", size=1400),
]
