# SPDX-License-Identifier: MIT
"""Sending at a rate: a process of its own, and a link with the buffer that programs ask for."""

from __future__ import annotations

import socket
import struct
import subprocess

import floor
from links import ALLOWED_CPUS, GIVE_UP_SECONDS, Link, open_link

BUFFER_BYTES = 4 << 20  # asked for; a program without privileges gets up to rmem_max
QUIET_MILLISECONDS = 100  # without a datagram: the rest is lost
QUIET_SECONDS = QUIET_MILLISECONDS / 1000


def open_plain_link(size: int, segments: int, merges: bool = False) -> Link:
    """A UDP link whose receives wait as long as something may come, without a forced buffer."""
    link = open_link("udp4", size, segments, merges)
    link.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    quiet = struct.pack("@ll", 0, QUIET_MILLISECONDS * 1000)
    link.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, quiet)
    return link


class Sender:
    """The program pacer.c, over a link's sending socket."""

    def __init__(self, link: Link) -> None:
        descriptor = link.sender.fileno()
        # The receiver is on the last CPU (run.py).
        options = [descriptor, link.size, link.segments, ALLOWED_CPUS[0]]
        self.process = subprocess.Popen(
            [floor.pacer(), *map(str, options)],
            pass_fds=[descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, rate: float, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rate:.0f} {count}\n")
        self.process.stdin.flush()

    def sent(self) -> tuple[int, int, int]:
        """When the first datagram left, how long sending took (both ns), and how many were sent."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline().split()
        if len(answer) != 3:
            raise RuntimeError("the sending process ended")
        start, elapsed, count = map(int, answer)
        return start, elapsed, count

    def close(self) -> None:
        try:
            self.process.communicate(timeout=GIVE_UP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
