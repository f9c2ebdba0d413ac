# SPDX-License-Identifier: MIT
"""What ``fastsock send`` sends: where the datagrams come from, and when each is due."""

from __future__ import annotations

import io
import itertools
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from fastsock.command.pcap import PcapError, PcapReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import WriteableBuffer

    from fastsock.command.ending import Stopping

GROUP = 1024  # datagrams that are made at once, and are the most that one call sends
CHUNK = 65536  # bytes read from stdin at once
# Seconds by which a sender may be late and still make up for it; what was missed before that is
# not sent in one burst, and the rate falls.
LATE = 0.1


class Outgoing(NamedTuple):
    """A datagram and the seconds after the first at which it is due."""

    due: float
    payload: bytes


class Input(io.RawIOBase):
    """A file to read, whose waits a signal ends with `Interrupted`."""

    def __init__(self, fd: int, stopping: Stopping) -> None:
        self._fd = fd
        self._stopping = stopping

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._stopping.wait([self._fd])
        return os.readv(self._fd, [buffer])

    def close(self) -> None:
        if not self.closed and self._fd > 2:
            os.close(self._fd)
        super().close()


def open_input(path: str, stopping: Stopping) -> io.BufferedReader:
    """Open a file for reading; "-" is stdin."""
    fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return io.BufferedReader(Input(fd, stopping), CHUNK)


def lines(file: io.BufferedReader) -> Iterator[list[bytes]]:
    """Each line without its end; those that are there are not kept waiting for more."""
    rest = b""
    while chunk := file.read1(CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        yield whole
    if rest:
        yield [rest]


def pieces(file: io.BufferedReader, size: int) -> Iterator[list[bytes]]:
    """The file cut into pieces of size bytes, the last one shorter."""
    at_once = max(1, min(GROUP, CHUNK // size))
    while chunk := file.read(at_once * size):
        yield [chunk[start : start + size] for start in range(0, len(chunk), size)]


def numbered(size: int) -> Iterator[list[bytes]]:
    """Datagrams for ever, which begin with their number: 8 bytes, big-endian, then zeros."""
    filling = bytes(max(0, size - 8))
    for first in itertools.count(0, GROUP):
        numbers = range(first, first + GROUP)
        yield [number.to_bytes(8, "big")[-size or 8 :] + filling for number in numbers]


def at_rate(groups: Iterable[list[bytes]], rate: float | None) -> Iterator[list[Outgoing]]:
    """Make them due at rate a second, or all at once."""
    first = 0
    for group in groups:
        if rate is None:
            yield [Outgoing(0.0, payload) for payload in group]
        else:
            yield [Outgoing((first + i) / rate, payload) for i, payload in enumerate(group)]
        first += len(group)


def at_own_pace(reader: PcapReader, factor: float) -> Iterator[list[Outgoing]]:
    """Make the datagrams of a capture due as they came, factor times as fast; 0: at once."""
    scale = 1e-9 / factor if factor else 0.0
    start = None
    group: list[Outgoing] = []
    try:
        for datagram in reader:
            start = datagram.timestamp_ns if start is None else start
            group.append(Outgoing((datagram.timestamp_ns - start) * scale, datagram.payload))
            if len(group) == GROUP:
                yield group
                group = []
    except PcapError:
        yield group  # what precedes the damage
        raise
    yield group


def payloads_of(reader: PcapReader) -> Iterator[list[bytes]]:
    """The payloads alone, for a rate that is not the capture's."""
    for group in at_own_pace(reader, 0):
        yield [datagram.payload for datagram in group]


def up_to(groups: Iterable[list[Outgoing]], limit: int | None) -> Iterator[list[Outgoing]]:
    """The first of them, or all if there is no limit."""
    left = limit
    for group in groups:
        if left is not None and len(group) >= left:
            yield group[:left]
            return
        yield group
        if left is not None:
            left -= len(group)


def when_due(groups: Iterable[list[Outgoing]], stopping: Stopping) -> Iterator[list[bytes]]:
    """Hand out payloads when they are due, those together that are due at once.

    Deadlines are absolute, so what one wait takes too long the next makes up for.
    """
    start: float | None = None
    for group in groups:
        begin = 0
        while begin < len(group):
            now = time.monotonic()
            start = now if start is None else start
            due = group[begin].due
            if due and start + due > now:
                stopping.wait(timeout=start + due - now)
                continue
            if due:
                start = max(start, now - due - LATE)
            end = begin + 1
            while end < len(group) and end - begin < GROUP and start + group[end].due <= now:
                end += 1
            yield [datagram.payload for datagram in group[begin:end]]
            begin = end
