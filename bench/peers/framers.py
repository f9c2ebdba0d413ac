# SPDX-License-Identifier: MIT
"""Ways to cut a stream into frames, receiving included: loops of Python, ours, asyncio's and C's.

Each takes frames until count came and returns how many there were. What was received beyond them is
lost, so the stream has to end there. Python's loops are as fast as we could write them: of five
cutters the one that asks least often, of five sizes of a receive the best, and for large frames two
exact receives, which copy nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import floor
from peers import ASYNCIO, FASTSOCK, FLOOR, STDLIB, STDLIB_AGAIN, UVLOOP

PIECE = 256 * 1024  # bytes of a receive, as fastsock's read-ahead
# What is faster in Python: below this size of a frame, pieces that malloc keeps for the next one.
SMALL, SMALL_PIECE = 2048, 64 * 1024
LARGE = 32 * 1024  # from here on exact receives
HEADER = struct.Struct(">I")
PREFIX, DELIMITER = "length prefix", "delimiter"

Loop = Callable[[], int]


@dataclass(frozen=True)
class FramingWork:
    """count frames of size bytes, each behind its length or before a newline."""

    framing: str
    size: int
    count: int
    is_batch: bool  # ours: rows of a batch, else a list of bytes

    @property
    def stream(self) -> bytes:
        data = bytes(ord("a") + index % 26 for index in range(self.size))
        frame = HEADER.pack(self.size) + data if self.framing == PREFIX else data + b"\n"
        return frame * self.count


def python_loop_name(work: FramingWork) -> str:
    if work.framing == DELIMITER:
        return "bytes.split"
    return "exact recv" if work.size >= LARGE else "tuned cutter"


@contextmanager
def by_python(peer: Any, work: FramingWork, descriptor: int) -> Iterator[Loop]:
    """The loop of python_loop_name."""
    loops: dict[str, Callable[[Any, int, int], int]] = {
        "bytes.split": split_lines,
        "exact recv": receive_exactly,
        "tuned cutter": cut_prefixed,
    }
    loop = loops[python_loop_name(work)]
    room = SMALL_PIECE if work.size < SMALL else PIECE
    sock = peer.attach(descriptor, None)
    try:
        yield lambda: loop(sock.recv, room, work.count)
    finally:
        peer.detach(sock)


def cut_prefixed(recv: Callable[[int], bytes], room: int, count: int) -> int:
    unpack, done, rest = HEADER.unpack_from, 0, b""
    while done < count:
        data = rest + recv(room) if rest else recv(room)
        frames: list[bytes] = []
        append, stop = frames.append, 0
        try:
            while True:
                # Fails where no whole header is left. A frame that is cut short is taken back
                # below, which costs less than a comparison for each.
                start = stop + 4
                stop = start + unpack(data, stop)[0]
                append(data[start:stop])
        except struct.error:
            pass
        if stop > len(data):
            stop = len(data) - len(frames.pop()) - 4
        rest = data[stop:]
        done += len(frames)
    return done


def receive_exactly(recv: Callable[[int, int], bytes], room: int, count: int) -> int:
    unpack, wait = HEADER.unpack, socket.MSG_WAITALL
    for _ in range(count):
        (size,) = unpack(recv(4, wait))
        recv(size, wait)
    return count


def split_lines(recv: Callable[[int], bytes], room: int, count: int) -> int:
    done, rest = 0, b""
    while done < count:
        frames = (rest + recv(room)).split(b"\n")
        rest = frames.pop()
        done += len(frames)
    return done


@contextmanager
def by_fastsock(peer: Any, work: FramingWork, descriptor: int) -> Iterator[Loop]:
    fast = importlib.import_module("fastsock")
    framing = fast.LengthPrefix(4) if work.framing == PREFIX else fast.Delimiter(b"\n")
    sock = peer.attach(descriptor, None)
    reader = fast.FrameReader(sock, framing)
    try:
        if work.is_batch:
            # As much room as the floor has.
            batch = fast.Batch(PIECE // work.size + 1, work.size)
            yield lambda: receive_batches(reader.recv_batch, batch, work.count)
        else:
            yield lambda: receive_lists(reader.recv_many, work.count)
    finally:
        peer.detach(sock)


def receive_batches(call: Callable[[Any], int], batch: Any, count: int) -> int:
    done = 0
    while done < count:
        done += call(batch)
    return done


def receive_lists(call: Callable[[], list[bytes]], count: int) -> int:
    done = 0
    while done < count:
        done += len(call())
    return done


@contextmanager
def in_c(peer: Any, work: FramingWork, descriptor: int) -> Iterator[Loop]:
    room = PIECE + 8192 + 4 + work.size
    buffer = ctypes.create_string_buffer(room)
    rows = (ctypes.c_uint32 * (2 * work.count))()
    cut, is_prefixed = floor.library().floor_cut, work.framing == PREFIX

    def loop() -> int:
        done: int = cut(descriptor, is_prefixed, buffer, room, rows, work.count)
        floor.checked(done, work.count, "floor_cut")
        return done

    yield loop


@contextmanager
def by_streams(peer: Any, work: FramingWork, descriptor: int) -> Iterator[Loop]:
    """asyncio's streams, on the loop of the peer."""
    loop: asyncio.AbstractEventLoop = peer.new_loop()
    sock = socket.socket(fileno=os.dup(descriptor))
    sock.setblocking(False)
    # readuntil refuses what is longer than the limit, 64 KiB unless told.
    limit = max(1 << 16, 2 * work.size)
    reader, writer = loop.run_until_complete(asyncio.open_connection(sock=sock, limit=limit))
    read = read_prefixed if work.framing == PREFIX else read_lines
    try:
        yield lambda: loop.run_until_complete(read(reader, work.count))
    finally:
        writer.close()
        # The transport closes its socket in the loop's next turn.
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def read_prefixed(reader: asyncio.StreamReader, count: int) -> int:
    unpack, read = HEADER.unpack, reader.readexactly
    for _ in range(count):
        (size,) = unpack(await read(4))
        await read(size)
    return count


async def read_lines(reader: asyncio.StreamReader, count: int) -> int:
    read = reader.readuntil
    for _ in range(count):
        await read(b"\n")
    return count


Opener = Callable[[Any, FramingWork, int], AbstractContextManager[Loop]]
OPENERS: dict[str, Opener] = {
    STDLIB: by_python,
    STDLIB_AGAIN: by_python,
    FASTSOCK: by_fastsock,
    FLOOR: in_c,
    ASYNCIO: by_streams,
    UVLOOP: by_streams,
}
