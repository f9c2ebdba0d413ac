# SPDX-License-Identifier: MIT
"""What does recv cost as asyncio calls it: small messages on many connections, 256 KiB asked?

asyncio's selector transports call recv(262144) on a non-blocking socket when it is readable.
CPython allocates the 256 KiB and shrinks it to what came.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Mapping
from dataclasses import dataclass

import floor
from links import open_link
from measure import Sample, Session, timed
from peers import Peer, Work

ASYNCIO_READ_BYTES = 262144  # asyncio.selector_events._SelectorTransport.max_size


@dataclass(frozen=True)
class ManyStreamsCase:
    method: str = "recv"
    group: str = "receive"
    headline: bool = True
    size: int = 64
    is_pinned: bool = True
    compares_cpu: bool = False
    rivals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} tcp non-blocking bufsize 262144"

    @property
    def question(self) -> str:
        return f"What does {self.method}(262144) cost for 64 bytes, as asyncio calls it?"

    def describe(self) -> Mapping[str, object]:
        return {
            "method": self.method,
            "link": "tcp",
            "mode": "non-blocking",
            "room": ASYNCIO_READ_BYTES,
        }

    def is_available(self) -> bool:
        return True

    def count(self, wanted: int) -> int:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(wanted, 128, descriptors // 4))

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return ManyStreamsSession(self, peers, count)


class ManyStreamsSession:
    def __init__(self, case: ManyStreamsCase, peers: Mapping[str, Peer], count: int) -> None:
        self.peers, self.count = peers, count
        self.links = [open_link("tcp", case.size) for _ in range(count)]
        self.senders = (ctypes.c_int * count)(*(link.sender.fileno() for link in self.links))
        self.endpoints = {
            name: [peer.attach(link.receiver.fileno(), 0.0) for link in self.links]
            for name, peer in peers.items()
        }
        work = Work(case.method, count, room=ASYNCIO_READ_BYTES)
        self.loops = {
            name: peer.prepare_each(work, self.endpoints[name]) for name, peer in peers.items()
        }

    def run(self, peer: Peer) -> Sample:
        data = self.links[0].data
        filled = floor.library().floor_fill_each(self.senders, data, len(data), self.count)
        floor.checked(filled, self.count, "floor_fill_each")
        _, wall, cpu = timed(self.loops[peer.name])
        lost = sum(link.empty() for link in self.links)
        return Sample(self.count, wall, cpu, lost)

    def close(self) -> None:
        for name, endpoints in self.endpoints.items():
            for endpoint in endpoints:
                self.peers[name].detach(endpoint)
        for link in self.links:
            link.close()


CASES = [ManyStreamsCase()]
