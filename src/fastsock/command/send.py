# SPDX-License-Identifier: MIT
"""The command ``fastsock send``: send lines, a file, numbered datagrams or a capture."""

from __future__ import annotations

import contextlib
import errno
import socket as stdlib
import sys
import time
from typing import TYPE_CHECKING, Any

import fastsock
from fastsock.bound_path import path_of, remove_path
from fastsock.command import outgoing, printing
from fastsock.command.console import Console, speed
from fastsock.command.ending import ExitCode, Failure, Interrupted, Stopping
from fastsock.command.pcap import PcapError, PcapReader

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from fastsock.endpoint import Endpoint

# Seconds until a full queue of an interface, which nothing tells of, is tried again.
FULL_QUEUE_WAIT = 0.001


def run(options: Namespace, stopping: Stopping) -> int:
    """Send all there is, or until a signal comes; return the exit code."""
    console = Console(sys.stderr)
    with contextlib.ExitStack() as stack:
        source = _Source(options, stopping, stack)
        sock = stack.enter_context(_connected(options.address, options.bind))
        sending = _Sending(sock, options.address, stopping)
        failure: Failure | None = None
        try:
            for payloads in outgoing.when_due(source, stopping):
                sending.send(payloads)
        except Interrupted:
            pass
        except PcapError as error:
            failure = Failure(f"{options.file}: {error}")
        except Failure as error:
            failure = error
        summary = sending.summary() | source.summary()
    console.note(_as_text(summary))
    if options.json:
        printing.print_summary(sys.stdout, summary)
    if failure is not None:
        raise failure
    return ExitCode.LOST if summary["refused"] or summary["too_long"] else ExitCode.OK


class _Source:
    """What the options ask to be sent."""

    def __init__(self, options: Namespace, stopping: Stopping, stack: contextlib.ExitStack) -> None:
        self._options = options
        self._reader: PcapReader | None = None
        self._file = None
        if options.file is None and options.size is not None:
            return
        self._file = outgoing.open_input(options.file or "-", stopping)
        stack.callback(self._file.close)
        if options.file is not None and options.size is None:
            try:
                self._reader = PcapReader(self._file)
            except PcapError as error:
                remedy = "to send the file itself, give --size"
                raise Failure(f"{options.file}: {error}; {remedy}") from None

    def __iter__(self) -> Iterator[list[outgoing.Outgoing]]:
        return outgoing.up_to(self._groups(), self._options.count)

    def _groups(self) -> Iterator[list[outgoing.Outgoing]]:
        rate, size = self._options.rate, self._options.size
        if self._reader is not None and rate is None:
            speed = self._options.speed
            return outgoing.at_own_pace(self._reader, 1.0 if speed is None else speed)
        if self._reader is not None:
            return outgoing.at_rate(outgoing.payloads_of(self._reader), rate)
        if self._file is None:
            return outgoing.at_rate(outgoing.numbered(size), rate)
        if size is None:
            return outgoing.at_rate(outgoing.lines(self._file), rate)
        return outgoing.at_rate(outgoing.pieces(self._file, size), rate)

    def summary(self) -> dict[str, Any]:
        """How many records of a capture held nothing to send."""
        return {} if self._reader is None else {"skipped": vars(self._reader.skipped)}


@contextlib.contextmanager
def _connected(address: Endpoint, local: Endpoint | None) -> Iterator[fastsock.socket]:
    """A socket connected to the address, as only then the kernel tells that it is refused."""
    with (
        fastsock.socket(address.family, stdlib.SOCK_DGRAM) as sock,
        contextlib.ExitStack() as stack,
    ):
        if address.family == stdlib.AF_INET:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_BROADCAST, 1)
        if local is not None:
            try:
                sock.bind(local.address)
            except OSError as error:
                raise Failure(f"{local}: {error.strerror or error}") from None
            stack.callback(remove_path, path_of(sock.family, sock.getsockname()))
        try:
            sock.connect(address.address)
        except OSError as error:
            raise Failure(f"{address}: {error.strerror or error}") from None
        # So that every wait is ours, which signals end.
        sock.setblocking(False)
        yield sock


class _Sending:
    """A connected socket, with the counters of what was sent on it."""

    def __init__(self, sock: fastsock.socket, address: Endpoint, stopping: Stopping) -> None:
        self._sock = sock
        self._address = address
        self._stopping = stopping
        self._sent = self._octets = self._refused = self._too_long = 0
        self._started = self._ended = 0.0  # when the first and the last were sent

    def send(self, payloads: list[bytes]) -> None:
        """Send all of them, waiting while queues are full.

        Raises
        ------
        Interrupted
            A signal came; those sent so far are counted.
        Failure
            The kernel refuses what waiting can't mend.
        """
        self._started = self._started or time.monotonic()
        begin = 0
        while begin < len(payloads):
            try:
                sent = self._sock.send_many(payloads[begin:] if begin else payloads)
            except OSError as error:
                begin += self._passed_over(error)
                continue
            self._octets += sum(map(len, payloads[begin : begin + sent]))
            self._sent += sent
            begin += sent
            self._ended = time.monotonic()

    def _passed_over(self, error: OSError) -> int:
        """Count or wait out an error; return how many datagrams it keeps from being sent."""
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            self._stopping.wait(writable=[self._sock])
        elif error.errno == errno.ENOBUFS:
            self._stopping.wait(timeout=FULL_QUEUE_WAIT)
        elif error.errno == errno.ECONNREFUSED and self._address.family != stdlib.AF_UNIX:
            # Of one sent before; this one has yet to go.
            self._refused += 1
            self._stopping.wait(timeout=0)
        elif error.errno == errno.EMSGSIZE:
            self._too_long += 1
            return 1
        else:
            raise Failure(f"{self._address}: {error.strerror or error}") from None
        return 0

    def summary(self) -> dict[str, Any]:
        if self._sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ERROR) == errno.ECONNREFUSED:
            self._refused += 1  # the last one's, which no send has met
        seconds = self._ended - self._started if self._sent else 0.0
        return {
            "messages": self._sent,
            "bytes": self._octets,
            "seconds": round(seconds, 6),
            "rate": round(self._sent / seconds, 3) if seconds else None,
            "refused": self._refused,
            "too_long": self._too_long,
            "interrupted": self._stopping.number is not None,
        }


def _as_text(summary: dict[str, Any]) -> str:
    rate = speed(summary["messages"], summary["bytes"], summary["seconds"])
    text = (
        f"sent {summary['messages']:,} messages, {summary['bytes']:,} bytes in "
        f"{summary['seconds']:.3f} s{rate}; refused: {summary['refused']:,}; "
        f"too long: {summary['too_long']:,}"
    )
    if "skipped" in summary:
        causes = ", ".join(f"{count:,} {name}" for name, count in summary["skipped"].items())
        text += f"; skipped: {causes}"
    return text
