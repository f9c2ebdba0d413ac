# SPDX-License-Identifier: MIT
"""Servers in processes of their own, on one CPU, and the clients of one, on another (load.c)."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import floor
from links import ALLOWED_CPUS, GIVE_UP_SECONDS
from peers import ASYNCIO, FASTSOCK, FLOOR, STDLIB, STDLIB_AGAIN, UVLOOP, Peer

PROGRAM = Path(__file__).parent / "peers" / "echo_servers.py"
# What each server is called, whose it is, and its kind in echo_servers.py.
STREAM_SERVER, SELECTORS, AGAIN, IN_C = "StreamServer", "selectors", "selectors again", "C epoll"
SERVERS = {
    STREAM_SERVER: (FASTSOCK, "fastsock"),
    SELECTORS: (STDLIB, "selectors"),
    AGAIN: (STDLIB_AGAIN, "selectors"),
    "asyncio streams": (ASYNCIO, "asyncio-streams"),
    "asyncio": (ASYNCIO, "asyncio"),
    "uvloop": (UVLOOP, "uvloop"),
    IN_C: (FLOOR, ""),
}


def available(peers: Mapping[str, Peer]) -> list[str]:
    """The servers that can be started here."""
    return [name for name, (owner, _) in SERVERS.items() if owner in peers]


def descriptors() -> int:
    """How many connections a process may have at most, which is allowed from now on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Child:
    """A process that answers by lines; what it said is in the error when it ends too early."""

    def __init__(self, *command: str | Path) -> None:
        self.name = Path(command[0]).name
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def read_line(self) -> str:
        line = _pipe(self.process.stdout).readline()
        if not line:
            self.process.wait(GIVE_UP_SECONDS)
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or ["nothing"]
            raise RuntimeError(f"{self.name} ended; its last words: {said[-1]}")
        return line

    def write_line(self, text: str) -> None:
        pipe = _pipe(self.process.stdin)
        pipe.write(text + "\n")
        pipe.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class Server(Child):
    def __init__(self, name: str, is_once: bool = False) -> None:
        _, kind = SERVERS[name]
        command = [sys.executable, PROGRAM, kind] if kind else [floor.echo()]
        super().__init__(*command, *(["once"] if is_once else []))
        try:
            self.port = int(self.read_line())
        except BaseException:
            self.close()
            raise

    def cpu_ns(self) -> int:
        """CPU time of the whole process so far."""
        # Its CPU clock, as clock_getcpuclockid(3) numbers it: exact, where /proc counts ticks.
        return time.clock_gettime_ns((~self.process.pid << 3) | 2)

    def memory(self) -> int:
        """Resident bytes. The kernel's memory for sockets is not in it."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Run:
    """What the clients have done in one turn."""

    done: int  # requests, or connections
    elapsed_ns: int
    client_ns: int  # CPU time of the clients


class Load(Child):
    """The clients, connected when this returns. Depth 0: they only ever connect."""

    def __init__(self, server: Server, connections: int, depth: int, size: int) -> None:
        # The servers are on the last CPU (run.py).
        options = (server.port, connections, depth, size, ALLOWED_CPUS[0])
        super().__init__(floor.load(), *map(str, options))
        try:
            self.read_line()
        except BaseException:
            self.close()
            raise

    def run(self, seconds: float) -> Run:
        self.write_line(f"{seconds * 1e9:.0f}")
        return Run(*map(int, self.read_line().split()))


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
