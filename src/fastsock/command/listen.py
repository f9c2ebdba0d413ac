# SPDX-License-Identifier: MIT
"""The command ``fastsock listen``: receive, show and count what comes to an address."""

from __future__ import annotations

import contextlib
import functools
import os
import socket as stdlib
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import fastsock
from fastsock.command import printing
from fastsock.command.console import Console, quantity, speed, url_of
from fastsock.command.ending import ExitCode, Interrupted, Stopping, WrongUsage

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Sequence

    from fastsock import ReceiverStats
    from fastsock.native.receiver import ReceivedBatch

    _Show = Callable[[Sequence[printing.Arrival]], None]


def run(options: Namespace, stopping: Stopping) -> int:
    """Listen until the count is reached or a signal comes; return the exit code."""
    console = Console(sys.stderr)
    with contextlib.ExitStack() as stack:
        receiver, has_metadata = _open(options, console)
        stack.callback(receiver.close)
        local = receiver.getsockname()
        if isinstance(local, str):
            local = os.path.abspath(local)  # which a sender in another folder can use
        console.note(f"listening on {url_of(local)}")
        show = stack.enter_context(_output(options, console))
        listening = _Listening(receiver, options.count, options.interval, console, stopping)
        if show is not None:
            listening.show = functools.partial(_show, show, local, has_metadata)
        with contextlib.suppress(Interrupted):
            listening.run()
        # Before its numbers are read: those of what was left are known only then.
        receiver.close()
        summary = listening.summary()
        console.note(_as_text(summary))
        if options.json:
            printing.print_summary(sys.stdout, summary)
    lost = summary["kernel_drops"] + summary["ring_drops"] + summary["truncated"]
    return ExitCode.LOST if lost else ExitCode.OK


def _open(options: Namespace, console: Console) -> tuple[fastsock.Receiver, bool]:
    """The receiver, and whether it tells the time and destination of each message."""
    open_receiver = functools.partial(
        fastsock.Receiver,
        options.address.address,
        gro=options.gro,
        receive_buffer=options.receive_buffer,
        groups=options.group,
        shards=options.shards,
    )
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            if options.wants_metadata and options.address.family != stdlib.AF_UNIX:
                with contextlib.suppress(fastsock.CapabilityError):
                    return open_receiver(metadata=("timestamp", "destination")), True
            # The time is then that of taking, and the destination what is bound.
            return open_receiver(), False
    except ValueError as error:
        raise WrongUsage(str(error)) from None
    finally:
        for warning in caught:
            console.note(f"warning: {warning.message}")


@contextlib.contextmanager
def _output(options: Namespace, console: Console) -> Iterator[_Show | None]:
    """What shows messages, or None if nothing does."""
    if options.write is not None:
        # A file of its own, as sys.stdout's may hold text.
        file = os.dup(sys.stdout.fileno()) if options.write == "-" else options.write
        with open(file, "wb") as opened:
            yield printing.PcapFile(opened).write
        return
    if options.quiet:
        yield None
        return
    form = printing.as_text
    if options.json:
        form = printing.as_json
    elif options.hex:
        form = printing.as_dump
    # Escapes are for what the terminal's encoding lacks; only as_text has more than ASCII.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    def show(arrivals: Sequence[printing.Arrival]) -> None:
        if sys.stdout.isatty():
            console.clear()
        printing.print_lines(sys.stdout, form, arrivals)

    yield show


def _show(show: _Show, local: Any, has_metadata: bool, batch: ReceivedBatch, count: int) -> None:
    show([printing.Arrival(batch[index], local, has_metadata) for index in range(count)])


class _Listening:
    """A receiver being emptied, with the counters of what was taken from it."""

    def __init__(
        self,
        receiver: fastsock.Receiver,
        limit: int | None,
        interval: float,
        console: Console,
        stopping: Stopping,
    ) -> None:
        self.show: Callable[[ReceivedBatch, int], None] | None = None
        self._receiver = receiver
        self._left = limit
        self._interval = interval
        self._console = console
        self._stopping = stopping
        self._count = 0
        self._octets = 0
        self._started = self._ended = 0.0  # when the first and the last batch were taken
        # The last live line: when, and the counters then.
        self._told = (time.monotonic(), 0, 0)

    def run(self) -> None:
        while self._left != 0:
            timeout = None
            if self._interval:
                timeout = self._told[0] + self._interval - time.monotonic()
                if timeout <= 0:
                    self._tell()
                    continue
            if not self._stopping.wait([self._receiver], timeout=timeout):
                continue
            try:
                batch = self._receiver.next_batch(0)
            except BlockingIOError:
                continue
            self._take(batch)

    def _take(self, batch: ReceivedBatch) -> None:
        count = len(batch) if self._left is None else min(len(batch), self._left)
        self._ended = time.monotonic()
        self._started = self._started or self._ended
        if self.show is not None:
            self.show(batch, count)
        self._count += count
        self._octets += sum(batch.lengths[:count])
        if self._left is not None:
            self._left -= count

    def _tell(self) -> None:
        """Write the live line and plan the next."""
        before, count, octets = self._told
        now = time.monotonic()
        self._told = (now, self._count, self._octets)
        rate = speed(self._count - count, self._octets - octets, now - before)
        losses = _losses(_losses_in(self._receiver.stats()))
        self._console.live(f"{self._count:,} messages, {quantity(self._octets)}{rate}; {losses}")

    def summary(self) -> dict[str, Any]:
        stats = self._receiver.stats()
        seconds = self._ended - self._started
        return {
            "messages": self._count,
            "bytes": self._octets,
            "seconds": round(seconds, 6),
            "rate": round(self._count / seconds, 3) if seconds else None,
            **_losses_in(stats),
            # Received, and neither asked for nor dropped when the command ended.
            "unread": stats.received - stats.ring_drops - self._count,
            "interrupted": self._stopping.number is not None,
        }


def _losses_in(stats: ReceiverStats) -> dict[str, Any]:
    """The counters that tell of losses."""
    names = ("kernel_drops", "kernel_drops_exact", "ring_drops", "truncated")
    return {name: getattr(stats, name) for name in names}


def _losses(counters: dict[str, Any]) -> str:
    at_least = "" if counters["kernel_drops_exact"] else "at least "
    return (
        f"lost: {at_least}{counters['kernel_drops']:,} by the kernel, "
        f"{counters['ring_drops']:,} by the ring; cut: {counters['truncated']:,}"
    )


def _as_text(summary: dict[str, Any]) -> str:
    rate = speed(summary["messages"], summary["bytes"], summary["seconds"])
    return (
        f"received {summary['messages']:,} messages, {summary['bytes']:,} bytes in "
        f"{summary['seconds']:.3f} s{rate}; {_losses(summary)}; unread: {summary['unread']:,}"
    )
