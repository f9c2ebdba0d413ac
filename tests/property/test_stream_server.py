# SPDX-License-Identifier: MIT
"""A StreamServer among clients that do anything, against a model of each."""

import contextlib
import select
import socket as stdlib
import struct
import time
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsock
from fastsock import CloseReason, Delimiter, FixedSize, LengthPrefix
from fastsock.native.framing import Framing

MAX_FRAME = 6000
AT_ONCE = struct.pack("ii", 1, 0)
DEADLINE = 10  # seconds

FRAMINGS = [
    LengthPrefix(2),
    LengthPrefix(4, "little", includes_header=True),
    LengthPrefix("varint"),
    Delimiter(b"\n"),
    Delimiter(b"ab"),
    FixedSize(7),
]


@dataclass
class Client:
    """A peer of the server, and what the server should tell of it."""

    sock: stdlib.socket
    framing: Framing
    unsent: bytes = b""
    frames: list = field(default_factory=list)  # that are whole when unsent has been sent
    end: str | None = None  # "close", "reset", "half", "broken"
    is_local: bool = False  # the server was asked to close it
    received: bytearray = field(default_factory=bytearray)
    outcome: str | None = None  # "end" or "reset", as the client sees it

    def send(self, count):
        part, self.unsent = self.unsent[:count], self.unsent[count:]
        with contextlib.suppress(ConnectionError):  # the server may have closed it
            self.sock.sendall(part)

    def finish(self, end):
        """Send what is left, then end."""
        self.send(len(self.unsent))
        self.end = self.end or end
        if end == "reset":
            self.sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, AT_ONCE)
        if end == "half":
            with contextlib.suppress(OSError):
                self.sock.shutdown(stdlib.SHUT_WR)
        else:
            self.sock.close()

    def receive(self):
        while self.outcome is None and self.sock.fileno() >= 0:
            if not select.select([self.sock], [], [], 0)[0]:
                return
            try:
                part = self.sock.recv(65536)
            except ConnectionError:
                self.outcome = "reset"
                return
            self.received += part
            if not part:
                self.outcome = "end"


class Model:
    """The server, which echoes, and what it has told."""

    def __init__(self, framing):
        self.framing = framing
        self.server = fastsock.StreamServer(
            ("127.0.0.1", 0), framing, max_frame=MAX_FRAME, max_pending=1 << 24
        )
        self.clients = {}
        self.frames = {}
        self.sent = {}
        self.closed = {}

    def connect(self):
        sock = stdlib.create_connection(self.server.getsockname(), DEADLINE)
        self.clients[sock.getsockname()] = Client(sock, self.framing)

    def take(self):
        try:
            batch = self.server.next_batch(0)
        except BlockingIOError:
            return False
        for connection in batch.opened:
            assert connection not in self.frames
            self.frames[connection], self.sent[connection] = [], []
            connection.context = self.clients[connection.peer]
        for connection, frame in batch:
            assert connection not in self.closed
            assert not connection.context.is_local
            self.frames[connection].append(bytes(frame))
            if connection.send(frame):
                self.sent[connection].append(bytes(frame))
        for connection, reason in batch.closed:
            assert connection not in self.closed
            self.closed[connection] = reason
        stats = self.server.stats()
        assert stats.accepted == len(self.frames)
        assert stats.accepted == stats.connections + sum(stats.closed.values())
        assert stats.frames_received == sum(map(len, self.frames.values()))
        assert stats.frames_queued == sum(map(len, self.sent.values()))
        return True

    def close_one(self, index):
        here = [connection for connection in self.frames if not connection.closed]
        if here:
            chosen = here[index % len(here)]
            chosen.context.is_local = True
            chosen.close()

    def settle(self):
        end = time.monotonic() + DEADLINE
        for client in self.clients.values():
            if client.end is None:
                client.finish("half")
        while len(self.closed) < len(self.clients):
            assert time.monotonic() < end, (self.frames, self.closed)
            for client in self.clients.values():
                client.receive()
            self.take()

    def check(self):
        for connection, reason in self.closed.items():
            client, frames = connection.context, self.frames[connection]
            assert frames == client.frames[: len(frames)]
            assert reason in self.allowed(client)
            stream = self.framing.encode(self.sent[connection])
            if reason == CloseReason.EOF:
                assert frames == client.frames
            if client.end == "half" and reason in (CloseReason.EOF, CloseReason.LOCAL):
                while client.outcome is None:
                    select.select([client.sock], [], [], DEADLINE)
                    client.receive()
                assert client.outcome == "end"
                assert client.received == stream
            else:
                assert stream.startswith(bytes(client.received))
        stats = self.server.stats()
        queued = sum(len(self.framing.encode(sent)) for sent in self.sent.values())
        assert stats.bytes_sent + stats.bytes_unsent == queued
        assert (stats.connections, stats.memory) == (0, 0)

    def allowed(self, client):
        reasons = {
            # A close with answers unread, or that come after it, is a reset.
            "close": {CloseReason.EOF, CloseReason.RESET},
            "reset": {CloseReason.RESET},
            "half": {CloseReason.EOF},
            "broken": {CloseReason.OVERSIZE},
        }[client.end]
        if client.end == "broken":
            reasons = reasons | {CloseReason.RESET}  # an echo met the client's close
        return reasons | {CloseReason.LOCAL} if client.is_local else reasons

    def close(self):
        self.server.close()
        for client in self.clients.values():
            client.sock.close()


def frames_of(framing):
    if repr(framing).startswith("FixedSize"):
        return st.binary(min_size=7, max_size=7)
    short = st.binary(max_size=20).filter(lambda frame: b"\n" not in frame and b"a" not in frame)
    return st.one_of(short, st.integers(0, MAX_FRAME).map(lambda size: b"x" * size))


OVERSIZE = {
    "LengthPrefix(2, 'big')": b"\xff\xff",
    "LengthPrefix(4, 'little', includes_header=True)": b"\1\0\0\0",
    "LengthPrefix('varint')": b"\xff" * 11,
    "Delimiter(b'\\n')": b"y" * (MAX_FRAME + 1),
    "Delimiter(b'ab')": b"y" * (MAX_FRAME + 2),
}

actions = st.one_of(
    st.just(("connect",)),
    st.tuples(st.just("queue"), st.integers(0, 9), st.integers(0, 5)),
    st.tuples(st.just("send"), st.integers(0, 9), st.integers(1, 9000)),
    st.tuples(st.just("send"), st.integers(0, 9), st.integers(1, 5)),
    st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from(["close", "reset", "half"])),
    st.tuples(st.just("break"), st.integers(0, 9)),
    st.tuples(st.just("close_here"), st.integers(0, 9)),
    st.just(("take",)),
    st.just(("flush",)),
)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
@given(st.sampled_from(FRAMINGS), st.lists(actions, min_size=5, max_size=60), st.data())
def test_every_peer_gets_and_is_told_as_the_model_says(framing, program, data):
    model = Model(framing)
    frames = frames_of(framing)
    try:
        model.connect()
        for action, *arguments in program:
            living = [client for client in model.clients.values() if client.end is None]
            client = living[arguments[0] % len(living)] if living and arguments else None
            if action == "connect":
                model.connect()
            elif action == "take":
                model.take()
            elif action == "flush":
                model.server.flush()
            elif action == "close_here":
                model.close_one(arguments[0])
            elif client is None:
                continue
            elif action == "queue":
                more = data.draw(st.lists(frames, max_size=arguments[1]))
                client.frames += more
                client.unsent += framing.encode(more)
            elif action == "send":
                client.send(arguments[1])
            elif action == "end":
                client.finish(arguments[1])
            elif action == "break" and repr(framing) in OVERSIZE:
                client.unsent += OVERSIZE[repr(framing)]
                client.end = "broken"
                client.send(len(client.unsent))
        model.settle()
        model.check()
    finally:
        model.close()
