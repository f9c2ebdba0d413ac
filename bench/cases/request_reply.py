# SPDX-License-Identifier: MIT
"""What does a request with its reply cost in CPU time, when every receive has to wait?

Two processes share one connection and one CPU; both use the same peer. Wall time says little here
(most of it is the scheduler's), so the CPU time of both sides is compared: thread CPU time, user
and system together, of the asking process and of the answering one.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cases import mode_name
from links import GIVE_UP_SECONDS, open_link
from measure import Sample, Session, timed
from peers import Peer

MOST_TURNS = 500  # a turn costs ten times what a plain call costs


@dataclass(frozen=True)
class RequestReplyCase:
    link: str
    timeout: float | None = None
    headline: bool = True
    group: str = "request and reply"
    size: int = 64
    is_pinned: bool = True
    compares_cpu: bool = True
    rivals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"request and reply {self.link} {mode_name(self.timeout)}"

    @property
    def question(self) -> str:
        return f"What CPU time does a request with its reply cost both sides, {self.link}?"

    def describe(self) -> Mapping[str, object]:
        return {"method": "send, recv", "link": self.link, "mode": mode_name(self.timeout)}

    def is_available(self) -> bool:
        return True

    def count(self, wanted: int) -> int:
        return min(wanted, MOST_TURNS)

    def open(self, peers: Mapping[str, Peer], count: int) -> Session:
        return RequestReplySession(self, peers, count)


class RequestReplySession:
    """A connection whose other end is in a process of its own (answering.py)."""

    def __init__(self, case: RequestReplyCase, peers: Mapping[str, Peer], count: int) -> None:
        self.peers, self.count = peers, count
        self.link = open_link(case.link, case.size)
        if not self.link.is_stream:
            self.link.receiver.connect(self.link.sender.getsockname())
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(4 * GIVE_UP_SECONDS)
        descriptors = (self.link.receiver.fileno(), theirs.fileno())
        settings = {
            "connection": descriptors[0],
            "control": descriptors[1],
            "timeout": case.timeout,
            "size": case.size,
            "count": count,
        }
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("answering.py"), json.dumps(settings)],
                pass_fds=descriptors,
            )
        # Ours would keep the connection open after the other process ended.
        self.link.receiver.close()
        descriptor = self.link.sender.fileno()
        self.endpoints = {
            name: peer.attach(descriptor, case.timeout) for name, peer in peers.items()
        }

    def run(self, peer: Peer) -> Sample:
        self.control.send(peer.name.encode())
        if self.control.recv(64) != b"ready":
            raise RuntimeError("the answering process ended")
        endpoint, data = self.endpoints[peer.name], self.link.data
        _, wall, cpu = timed(lambda: peer.ask(endpoint, data, self.count))
        # Every turn had its reply, else ask() had failed: nothing is lost.
        return Sample(self.count, wall, cpu + int(self.control.recv(64)))

    def close(self) -> None:
        for name, endpoint in self.endpoints.items():
            self.peers[name].detach(endpoint)
        self.control.close()
        self.link.close()
        try:
            self.process.wait(GIVE_UP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


CASES = [
    RequestReplyCase("udp4"),
    RequestReplyCase("udp4", 5.0),
    RequestReplyCase("tcp"),
    RequestReplyCase("tcp", 5.0),
]
