# SPDX-License-Identifier: MIT
"""Pairs of kernel sockets over which the cases run, and the filling and emptying of their queues.

Every peer of a round works on the same descriptors, each through a Python object of its own: the
peers then differ in nothing but their code. Ports are the kernel's choice, everything is loopback.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import floor

BUFFER_BYTES = 64 << 20  # asked for; a datagram of 64 bytes counts as 768 or more in the kernel
GIVE_UP_SECONDS = 5  # a call that waits longer fails; nothing in the bench waits for ever
SETTLE_MILLISECONDS = 1000
ALLOWED_CPUS = sorted(os.sched_getaffinity(0))  # before anything is pinned


SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104  # linux/udp.h; CPython has no names for them
MOST_SEGMENTS = 64  # of a train, in kernels before 6.9
MOST_TRAIN_BYTES = 65000


@dataclass(frozen=True)
class Link:
    """A receiving and a sending socket; messages of size bytes go from one to the other.

    UDP's queue may be filled with trains of several datagrams (GSO), which stay whole where the
    receiver merges them (UDP_GRO), and are cut in the sender's context where it does not.
    """

    receiver: socket.socket
    sender: socket.socket
    size: int
    data: bytes
    scratch: ctypes.Array[ctypes.c_char]
    segments: int = 1  # datagrams of a train
    merges: bool = False

    @property
    def is_stream(self) -> bool:
        return self.receiver.type == socket.SOCK_STREAM

    def fill(self, count: int) -> int:
        """Queue count messages for the receiver; how many are really there."""
        library = floor.library()
        descriptor = self.receiver.fileno()
        dropped = library.floor_dropped(descriptor)
        sent: int = self._send(count)
        if sent < 0:
            floor.checked(sent, count, "fill")
        if self.is_stream:
            self._wait_for(sent * self.size)
            return sent
        dropped_now: int = library.floor_dropped(descriptor) - dropped
        return sent - max(0, dropped_now)

    def empty(self, expected: int = 0) -> int:
        """Take all messages out of the receiver's queue, waiting until expected ones came."""
        if self.merges:
            return self._empty_of_trains(expected)
        unit = self.size if self.is_stream else 1
        taken: int = floor.library().floor_empty(
            self.receiver.fileno(),
            self.scratch,
            len(self.scratch),
            self.is_stream,
            expected * unit,
            SETTLE_MILLISECONDS,
        )
        # A part of a message counts as one: nothing may be left over.
        return -(-taken // unit)

    def close(self) -> None:
        self.receiver.close()
        self.sender.close()

    def _send(self, count: int) -> int:
        library, descriptor = floor.library(), self.sender.fileno()
        if self.segments == 1:
            return int(library.floor_fill(descriptor, self.data, self.size, count))
        train = self.data * self.segments
        return int(library.floor_fill_trains(descriptor, train, self.size, self.segments, count))

    def _empty_of_trains(self, expected: int) -> int:
        taken: int = floor.library().floor_empty_trains(
            self.receiver.fileno(), self.scratch, len(self.scratch), expected, SETTLE_MILLISECONDS
        )
        return taken

    def _wait_for(self, byte_count: int) -> None:
        deadline = time.monotonic() + SETTLE_MILLISECONDS / 1000
        while floor.library().floor_queued(self.receiver.fileno()) < byte_count:
            if time.monotonic() > deadline:
                return
            time.sleep(0.0005)


def open_link(kind: str, size: int, segments: int = 1, merges: bool = False) -> Link:
    """A fresh pair of connected sockets: kind is udp4, udp6, unix or tcp; size in bytes."""
    receiver, sender = _PAIRS[kind]()
    for sock in (receiver, sender):
        bound_waiting(sock)
        enlarge(sock)
    if merges:
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
    data = bytes(index % 251 for index in range(size))
    scratch = ctypes.create_string_buffer(max(size, 65536))
    return Link(receiver, sender, size, data, scratch, segments, merges)


def train_segments(size: int) -> int:
    """How many datagrams of size bytes one train holds."""
    return min(MOST_SEGMENTS, MOST_TRAIN_BYTES // size)


def capacity(kind: str, size: int, wanted: int, segments: int = 1, merges: bool = False) -> int:
    """How many messages of size bytes a queue holds without loss, at most wanted.

    Tried on a link of its own. A margin of a fifth is kept where fewer fit than wanted, except on a
    Unix queue, which counts messages and refuses the next one instead of dropping it.
    """
    link = open_link(kind, size, segments, merges)
    try:
        fits = min(link.fill(wanted), link.empty())
    finally:
        link.close()
    if fits >= wanted or kind == "unix":
        return min(fits, wanted)
    return max(1, fits * 4 // 5)


def bound_waiting(sock: socket.socket) -> None:
    """Let no blocking call wait for ever. The option costs nothing in a call that does not wait."""
    limit = struct.pack("@ll", GIVE_UP_SECONDS, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def enlarge(sock: socket.socket) -> None:
    """Ask for large buffers: beyond the system's limit with CAP_NET_ADMIN, else up to it."""
    so_sndbufforce, so_rcvbufforce = 32, 33  # asm-generic/socket.h; CPython has no names for them
    for forced, plain in (
        (so_rcvbufforce, socket.SO_RCVBUF),
        (so_sndbufforce, socket.SO_SNDBUF),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)


def _udp(family: int, host: str) -> tuple[socket.socket, socket.socket]:
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    sender = socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind((host, 0))
    sender.bind((host, 0))
    sender.connect(receiver.getsockname())
    return receiver, sender


def _tcp() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        # The window's scale is fixed by the buffer that the listener has at the handshake.
        enlarge(listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        sender = socket.create_connection(listener.getsockname(), timeout=GIVE_UP_SECONDS)
        sender.settimeout(None)
        receiver, _ = listener.accept()
    for sock in (receiver, sender):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Closed with a reset: nothing stays in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
    return receiver, sender


_PAIRS = {
    "udp4": lambda: _udp(socket.AF_INET, "127.0.0.1"),
    "udp6": lambda: _udp(socket.AF_INET6, "::1"),
    "unix": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "tcp": _tcp,
}


def sockaddr(family: int, address: tuple[Any, ...]) -> bytes:
    """An IP address as the kernel has it: struct sockaddr_in or sockaddr_in6."""
    host = socket.inet_pton(family, address[0])
    port = struct.pack("!H", address[1])
    if family == socket.AF_INET:
        return struct.pack("@H", family) + port + host + bytes(8)
    return struct.pack("@H", family) + port + bytes(4) + host + bytes(4)


def is_available(kind: str) -> bool:
    """False where the machine has no such family: a container without IPv6."""
    try:
        open_link(kind, 1).close()
    except OSError:
        return False
    return True


def has_trains() -> bool:
    """False where the kernel has no GSO or no GRO for UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, 64)
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Keep this process, and the ones it starts, on one CPU for a while."""
    before = os.sched_getaffinity(0)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
