# SPDX-License-Identifier: MIT
"""Received messages as lines of text, hexadecimal dumps, JSON objects and pcap records."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from fastsock.command.console import printable, url_of
from fastsock.command.pcap import PcapWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO, TextIO

    from fastsock.batch import Message

DUMP_WIDTH = 16  # bytes a line


class Arrival:
    """A message with what is known of its way: where the kernel told nothing, the next best."""

    __slots__ = ("data", "destination", "source", "time_ns")

    def __init__(self, message: Message, local: Any, has_metadata: bool) -> None:
        self.data: bytes = message.bytes()
        self.source: Any = message.address
        self.destination: Any = local
        self.time_ns: int = message.timestamp_ns if has_metadata else 0
        self.time_ns = self.time_ns or time.time_ns()
        host = message.destination if has_metadata else None
        if host:
            self.destination = (host, *local[1:])
        elif isinstance(local, tuple) and local[0] == "::" and self.source[0].startswith("::ffff:"):
            # It came by IPv4, so it can't have gone to an address of IPv6.
            self.destination = ("::ffff:0.0.0.0", *local[1:])


def as_text(arrival: Arrival) -> str:
    return f"{url_of(arrival.source) or '-'} {printable(arrival.data)}\n"


def as_dump(arrival: Arrival) -> str:
    seconds, fraction = divmod(arrival.time_ns, 10**9)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    ends = f"{url_of(arrival.source) or '-'} > {url_of(arrival.destination) or '-'}"
    lines = [f"{clock}.{fraction:09} {ends} {len(arrival.data)} bytes\n"]
    for start in range(0, len(arrival.data), DUMP_WIDTH):
        row = arrival.data[start : start + DUMP_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):{DUMP_WIDTH * 3 - 1}}  {text}\n")
    return "".join(lines)


def as_json(arrival: Arrival) -> str:
    fields = {
        "time_ns": arrival.time_ns,
        "source": url_of(arrival.source),
        "destination": url_of(arrival.destination),
        "length": len(arrival.data),
        "data": arrival.data.hex(),
    }
    return json.dumps(fields) + "\n"


def print_lines(
    stream: TextIO, form: Callable[[Arrival], str], arrivals: Sequence[Arrival]
) -> None:
    """Write the messages and hand them on at once: what reads a pipe shouldn't wait for more."""
    stream.write("".join(map(form, arrivals)))
    stream.flush()


def print_summary(stream: TextIO, summary: dict[str, Any]) -> None:
    """Write the summary as the last JSON object, which has this one key."""
    stream.write(json.dumps({"summary": summary}) + "\n")
    stream.flush()


class PcapFile:
    """The pcap file that messages are written to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer = PcapWriter(file)
        file.flush()

    def write(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            self._writer.write(arrival.time_ns, arrival.source, arrival.destination, arrival.data)
        self._file.flush()
