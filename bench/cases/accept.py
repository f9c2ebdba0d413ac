# SPDX-License-Identifier: MIT
"""What does accept cost when connections wait in the backlog?

The floor only calls accept4. CPython's socket object asks getsockname and raises an audit event as
well, and so does ours, hence the wider goal against the floor.
"""

from __future__ import annotations

import ctypes
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import floor
from cases import mode_name
from links import bound_waiting, sockaddr
from measure import Sample, Session, timed
from peers import Peer, Work


@dataclass(frozen=True)
class AcceptCase:
    timeout: float | None
    headline: bool = False
    group: str = "accept"
    size: int = 0
    is_pinned: bool = True
    compares_cpu: bool = False
    rivals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"accept tcp {mode_name(self.timeout)}"

    @property
    def question(self) -> str:
        return f"What does accept cost, {mode_name(self.timeout)}, TCP, the connection waiting?"

    def describe(self) -> Mapping[str, object]:
        return {"method": "accept", "link": "tcp", "mode": mode_name(self.timeout)}

    def is_available(self) -> bool:
        return True

    def count(self, wanted: int) -> int:
        # Both ends of each connection take a descriptor here; the backlog is cut to somaxconn.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        with open("/proc/sys/net/core/somaxconn") as file:
            backlog = int(file.read())
        return max(1, min(wanted, 200, descriptors // 4, backlog))

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return AcceptSession(self, peers, count)


class AcceptSession:
    def __init__(self, case: AcceptCase, peers: Mapping[str, Peer], count: int) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(count)
        bound_waiting(self.listener)
        self.address = sockaddr(socket.AF_INET, self.listener.getsockname())
        self.clients = (ctypes.c_int * count)()
        self.peers, self.count = peers, count
        descriptor = self.listener.fileno()
        self.endpoints = {
            name: peer.attach(descriptor, case.timeout) for name, peer in peers.items()
        }
        work = Work("accept", count)
        self.loops = {
            name: peer.prepare(work, self.endpoints[name]) for name, peer in peers.items()
        }

    def run(self, peer: Peer) -> Sample:
        library = floor.library()
        done = library.floor_connect(
            socket.AF_INET, self.address, len(self.address), self.clients, self.count
        )
        floor.checked(done, self.count, "floor_connect")
        accepted, wall, cpu = timed(self.loops[peer.name])
        library.floor_close(self.clients, self.count)
        peer.discard(accepted)
        return Sample(self.count, wall, cpu)

    def close(self) -> None:
        for name, endpoint in self.endpoints.items():
            self.peers[name].detach(endpoint)
        self.listener.close()


CASES = [AcceptCase(None, headline=True), AcceptCase(5.0, headline=True), AcceptCase(0.0)]
