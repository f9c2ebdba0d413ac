# SPDX-License-Identifier: MIT
"""What the tests of the StreamServer have in common."""

import contextlib
import socket as stdlib
import struct
import time

import pytest

import fastsock
from fastsock import CloseReason, Delimiter, FixedSize, LengthPrefix

LOCAL = ("127.0.0.1", 0)
PREFIX = LengthPrefix(4)
DEADLINE = 10  # seconds
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset

FRAMINGS = {
    "byte": LengthPrefix(1),
    "short_big": LengthPrefix(2),
    "short_little": LengthPrefix(2, "little"),
    "four": LengthPrefix(4),
    "four_included": LengthPrefix(4, "little", includes_header=True),
    "eight": LengthPrefix(8),
    "varint": LengthPrefix("varint"),
    "line": Delimiter(b"\n"),
    "line_kept": Delimiter(b"\n", keep=True),
    "crlf": Delimiter(b"\r\n"),
    "fixed": FixedSize(5),
}


def messages_for(name):
    """Frames that a framing can carry, short and long ones."""
    if name == "fixed":
        return [b"%05d" % number for number in range(20)]
    end = b"\n" if name == "line_kept" else b""
    most = 255 if name == "byte" else 300
    sizes = [0, 1, 2, 127, 128, 129, 200, most - 1, 3]
    return [bytes([97 + number]) * size + end for number, size in enumerate(sizes)]


@pytest.fixture
def serve(closing):
    """Return serve(address, framing, ...): a StreamServer, which is closed when the test ends."""

    def serve(address=LOCAL, framing=PREFIX, **options):
        return closing(fastsock.StreamServer(address, framing, **options))

    return serve


@pytest.fixture
def join(closing):
    """Return join(server): a plain socket connected to it."""

    def join(server, name=None, receive_buffer=None):
        name = server.getsockname() if name is None else name
        family = stdlib.AF_UNIX
        if isinstance(name, tuple):
            family = stdlib.AF_INET if len(name) == 2 else stdlib.AF_INET6
        sock = closing(stdlib.socket(family, stdlib.SOCK_STREAM))
        sock.settimeout(DEADLINE)
        if receive_buffer is not None:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, receive_buffer)
        sock.connect(name)
        return sock

    return join


class Story:
    """What the batches of a server have told, whose rules are checked as they come."""

    def __init__(self, server, answer=None):
        self.server = server
        self.answer = answer  # answer(connection, frame), of each frame
        self.frames = {}  # by connection, in order
        self.closed = {}  # the reason, by connection
        self.batches = 0

    @property
    def opened(self):
        return list(self.frames)

    def add(self, batch):
        self.batches += 1
        for connection in batch.opened:
            assert connection not in self.frames
            self.frames[connection] = []
        rows = list(batch)
        assert [connection for connection, _ in rows] == list(batch.connections)
        assert rows or batch.opened or batch.closed
        for connection, frame in rows:
            assert connection not in self.closed
            self.frames[connection].append(bytes(frame))
            if self.answer is not None:
                self.answer(connection, frame)
        for connection, reason in batch.closed:
            assert connection in self.frames
            assert connection not in self.closed
            assert connection.closed
            assert connection.fileno() == -1
            self.closed[connection] = reason
        check_balance(self.server)

    def take(self, timeout=DEADLINE):
        self.add(self.server.next_batch(timeout))

    def until(self, condition):
        """Take batches until the condition is true."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"{self.frames=} {self.closed=}"
            # A part of a frame, or what the peer does, ends no wait.
            with contextlib.suppress(TimeoutError):
                self.take(0.005)

    def until_open(self, count=1):
        self.until(lambda: len(self.frames) >= count)
        return list(self.frames)[-1]

    def until_closed(self, count=1):
        self.until(lambda: len(self.closed) >= count)

    def until_frames(self, count):
        self.until(lambda: sum(map(len, self.frames.values())) >= count)

    def reasons(self):
        return list(self.closed.values())


def echo(connection, frame):
    connection.send(frame)


def check_balance(server):
    """The equations of ServerStats."""
    stats = server.stats()
    assert stats.accepted == stats.connections + sum(stats.closed.values())
    assert set(stats.closed) == set(CloseReason)
    assert stats.memory <= stats.memory_peak
    return stats


def receive_all(sock):
    """Everything up to the end of the stream; ConnectionResetError if it does not end well."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(sock, count):
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(min(65536, count - len(parts)))
        assert part, f"the stream ended after {len(parts)} of {count} bytes"
        parts += part
    return bytes(parts)


def reset(sock):
    """Close a socket so that its peer gets ECONNRESET."""
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, AT_ONCE)
    sock.close()
