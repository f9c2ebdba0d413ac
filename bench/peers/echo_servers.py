# SPDX-License-Identifier: MIT
"""The servers of serving.py, as programs: echo_servers.py KIND [once].

Each takes frames with a length of 4 bytes, big endian, and answers each by the same frame, framed
anew as if it were another one. The answers to what one receive brought leave by one send. With
"once" a connection is closed after its first answer. The port goes to standard output.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">I")
BACKLOG = 4096
ROOM = 1 << 16  # bytes of a receive: from 128 KiB on malloc would ask the kernel for each


def announce(address: Any) -> None:
    print(address[1], flush=True)


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames of data, and what is left of it."""
    frames, at, total = [], 0, len(data)
    while at + 4 <= total:
        start = at + 4
        stop = start + HEADER.unpack_from(data, at)[0]
        if stop > total:
            break
        frames.append(data[start:stop])
        at = stop
    return frames, data[at:]


def framed(frames: list[bytes]) -> bytes:
    if len(frames) == 1:
        return HEADER.pack(len(frames[0])) + frames[0]
    parts: list[bytes] = []
    for frame in frames:
        parts += (HEADER.pack(len(frame)), frame)
    return b"".join(parts)


class Connection:
    """Of the server on selectors."""

    __slots__ = ("pending", "rest", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.rest, self.pending = sock, b"", b""


def serve_selectors(is_once: bool) -> None:
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    announce(listener.getsockname())
    while True:
        for key, _ in selector.select():
            if key.data is None:
                accept_all(listener, selector)
            elif not advance(key.data, selector, is_once):
                selector.unregister(key.data.sock)
                key.data.sock.close()


def accept_all(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, Connection(sock))


def advance(connection: Connection, selector: selectors.BaseSelector, is_once: bool) -> bool:
    """False when the connection is to be closed."""
    answers = connection.pending
    try:
        if not answers:
            data = connection.sock.recv(ROOM)
            if not data:
                return False
            frames, connection.rest = cut(connection.rest + data if connection.rest else data)
            if not frames:
                return True
            answers = framed(frames)
        rest = answers[connection.sock.send(answers) :]
    except BlockingIOError:
        rest = answers
    except OSError:
        return False
    if rest or connection.pending:
        # Read on when the answers have left, and not before.
        connection.pending = rest
        wanted = selectors.EVENT_WRITE if rest else selectors.EVENT_READ
        selector.modify(connection.sock, wanted, connection)
    return bool(rest) or not is_once


class Echo(asyncio.Protocol):
    def __init__(self, is_once: bool) -> None:
        self.rest, self.is_once = b"", is_once

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        frames, self.rest = cut(self.rest + data if self.rest else data)
        if frames:
            self.transport.write(framed(frames))
            if self.is_once:
                self.transport.close()


async def serve_protocol(is_once: bool) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(is_once), "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname())
    await server.serve_forever()


async def serve_streams(is_once: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = HEADER.unpack(await reader.readexactly(4))
                writer.write(framed([await reader.readexactly(size)]))
                await writer.drain()
                if is_once:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname())
    await server.serve_forever()


def on_loop(serve: Callable[[bool], Any], module: str) -> Callable[[bool], None]:
    """serve on a loop of asyncio's or uvloop's."""

    def run(is_once: bool) -> None:
        new_loop = getattr(importlib.import_module(module), "new_event_loop")  # noqa: B009
        # The class, not the policy's choice: uvloop may have been made the policy.
        loop = asyncio.SelectorEventLoop() if module == "asyncio" else new_loop()
        loop.run_until_complete(serve(is_once))

    return run


def serve_fastsock(is_once: bool) -> None:
    fast = importlib.import_module("fastsock")
    with fast.StreamServer(("127.0.0.1", 0), fast.LengthPrefix(4), backlog=BACKLOG) as server:
        announce(server.getsockname())
        for batch in server:
            for connection, frame in batch:
                connection.send(frame)
                if is_once:
                    connection.close()


KINDS: dict[str, Callable[[bool], None]] = {
    "fastsock": serve_fastsock,
    "selectors": serve_selectors,
    "asyncio": on_loop(serve_protocol, "asyncio"),
    "asyncio-streams": on_loop(serve_streams, "asyncio"),
    "uvloop": on_loop(serve_protocol, "uvloop"),
}


def main() -> None:
    pr_set_pdeathsig = 1  # linux/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    KINDS[sys.argv[1]]("once" in sys.argv[2:])


if __name__ == "__main__":
    main()
