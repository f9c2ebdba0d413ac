# SPDX-License-Identifier: MIT
"""What memory does a connection cost a server that waits for its next request?

Each server gets ten thousand connections, or as many as the limit of descriptors allows, with one
request each, so that whatever it keeps for one has been made. Told is by how much its resident
memory grows with each, from a fifth of them to all; the kernel's, the same for all, is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

from measure import Settings, Trial
from peers import ASYNCIO, UVLOOP, Peer
from servers import AGAIN, Load, Server, available, descriptors

SPARE = 256  # descriptors that a server has for itself


@dataclass(frozen=True)
class IdleCase(Trial):
    connections: int = 10_000
    size: int = 64

    section: ClassVar[str] = "memories"
    rivals: ClassVar[tuple[str, ...]] = (ASYNCIO, UVLOOP)

    @property
    def name(self) -> str:
        return f"memory of {self.connections} idle connections"

    @property
    def question(self) -> str:
        return f"What memory does each of {self.connections} idle connections cost a server?"

    def is_available(self) -> bool:
        return descriptors() > 2 * SPARE

    def measure(
        self, peers: Mapping[str, Peer], settings: Settings, tick: Callable[[float], None]
    ) -> dict[str, Any]:
        # All of them in a full run; fewer where the time is short.
        wanted = min(self.connections, max(20, round(4000 * settings.seconds)))
        count = min(wanted, descriptors() - SPARE)
        names = [name for name in available(peers) if name != AGAIN]
        servers = {}
        for number, name in enumerate(names):
            servers[name] = self._measure_server(name, count)
            tick((number + 1) / len(names))
        return {
            "name": self.name,
            "group": "idle connections",
            "question": self.question,
            "link": "tcp",
            "connections": count,
            "size": self.size,
            "servers": servers,
        }

    def _measure_server(self, name: str, count: int) -> dict[str, int]:
        first = count // 5
        with (
            closing(Server(name)) as server,
            # They take what an interpreter has freed while it started: megabytes.
            closing(Load(server, first, 1, self.size)),
        ):
            before = server.memory()
            with closing(Load(server, count - first, 1, self.size)):
                grown = server.memory() - before
        return {"memory": before, "bytes_each": max(0, round(grown / (count - first)))}


CASES = [IdleCase()]
