# SPDX-License-Identifier: MIT
"""Datagram endpoints under test: ours on two loops, and asyncio's own as the oracle.

A test of `each_endpoint` asserts the same of all: what asyncio does is what ours has to do.
"""

import asyncio
import importlib
import socket as stdlib
import time
from dataclasses import dataclass

import pytest

import fastsock.aio

DEADLINE = 5  # seconds until something that should have happened counts as hung


def find_uvloop():
    """Return uvloop or None."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    # With its first loop libuv opens a pipe for good, which is no leak of a test.
    uvloop.new_event_loop().close()
    return uvloop


uvloop = find_uvloop()


needs_uvloop = pytest.mark.skipif(
    uvloop is None, reason="importing uvloop was tried, and it isn't installed"
)


def uvloop_loop():
    return uvloop.new_event_loop()


@dataclass(frozen=True)
class Kind:
    """A way to make endpoints."""

    is_ours: bool
    new_loop: object

    def run(self, program, *arguments):
        """Run the coroutine function program(create, ...) to its end, in a loop of its own."""

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: reports.append(context))
            if self.is_ours:
                create = fastsock.aio.create_datagram_endpoint
            else:
                create = loop.create_datagram_endpoint
            return await program(create, *arguments)

        reports = []  # of the loop's exception handler
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            result = runner.run(main())
        assert reports == [], "the program has not looked at what its loop reported"
        return result


KINDS = {
    "asyncio": Kind(False, asyncio.SelectorEventLoop),
    "fastsock": Kind(True, asyncio.SelectorEventLoop),
    "fastsock_uvloop": Kind(True, uvloop_loop),
}
OURS = {name: kind for name, kind in KINDS.items() if kind.is_ours}


def as_parameters(kinds):
    marks = {"fastsock_uvloop": needs_uvloop}
    return [pytest.param(kinds[name], id=name, marks=marks.get(name, ())) for name in kinds]


each_endpoint = pytest.mark.parametrize("kind", as_parameters(KINDS))
each_own_endpoint = pytest.mark.parametrize("kind", as_parameters(OURS))


class Recorder(asyncio.DatagramProtocol):
    """Writes down what it is told. on_datagram(recorder, data) may do more."""

    def __init__(self, on_datagram=None):
        self.events = []
        self.transport = None
        self.on_datagram = on_datagram

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def connection_lost(self, error):
        self.events.append(("lost", type(error)))

    def datagram_received(self, data, address):
        self.events.append((data, address))
        if self.on_datagram is not None:
            self.on_datagram(self, data)

    def error_received(self, error):
        self.events.append(("error", type(error)))

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    @property
    def datagrams(self):
        """The datagrams of the events, without addresses."""
        return [event[0] for event in self.events if isinstance(event[0], bytes)]

    @property
    def is_lost(self):
        return ("lost", type(None)) in self.events


class BatchRecorder(Recorder):
    """Gets batches; of each the list of (bytes, address)."""

    def __init__(self, on_batch=None):
        super().__init__()
        self.on_batch = on_batch
        self.batches = []

    def datagrams_received(self, batch):
        self.batches.append([(message.bytes(), message.address) for message in batch])
        if self.on_batch is not None:
            self.on_batch(self, batch)


async def until(condition):
    """Let the loop turn until condition() is true."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not so within {DEADLINE} s")
        await asyncio.sleep(0)


async def turns(count=10):
    """Let the loop turn, so that what should not happen could."""
    for _ in range(count):
        await asyncio.sleep(0)


async def end(protocol):
    """Close the endpoint of a Recorder and see it lost."""
    protocol.transport.close()
    await until(lambda: protocol.events[-1] == ("lost", type(None)))


def take_reports():
    """Collect what the running loop's exception handler gets from now on."""
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    return reports


def peer_of(closing, family=stdlib.AF_INET, address=("127.0.0.1", 0)):
    """A plain bound socket that waits up to the deadline."""
    sock = closing(stdlib.socket(family, stdlib.SOCK_DGRAM))
    try:
        sock.bind(address)
    except OSError as error:
        pytest.skip(f"binding {address} was tried and gave: {error}")
    sock.settimeout(DEADLINE)
    return sock
