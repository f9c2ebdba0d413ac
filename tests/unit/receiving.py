# SPDX-License-Identifier: MIT
"""What the tests of the Receiver have in common."""

import contextlib
import os
import socket as stdlib
import struct

import pytest

import fastsock

SOL_UDP, UDP_SEGMENT = 17, 103  # linux/udp.h
LOCAL = ("127.0.0.1", 0)
LEAST = 1 << 20  # bytes, the least memory


@pytest.fixture
def receive(closing):
    """Return receive(address, ...): a Receiver, which is closed when the test ends."""

    def receive(address=LOCAL, **options):
        return closing(fastsock.Receiver(address, **options))

    return receive


@pytest.fixture
def send_to(closing):
    """Return send_to(receiver): a plain socket connected to it."""

    def send_to(receiver):
        name = receiver.getsockname()
        family = stdlib.AF_UNIX
        if isinstance(name, tuple):
            family = stdlib.AF_INET if len(name) == 2 else stdlib.AF_INET6
        sock = closing(stdlib.socket(family, stdlib.SOCK_DGRAM))
        sock.settimeout(5)
        if family != stdlib.AF_UNIX:
            sock.bind((name[0], 0))
        sock.connect(name)
        return sock

    return send_to


def take(receiver, count):
    """Return so many messages, as bytes."""
    received = []
    while len(received) < count:
        received += [message.bytes() for message in receiver.next_batch(5)]
    assert len(received) == count
    return received


def take_queued(receiver):
    """Return the messages that wait, as bytes."""
    received = []
    while receiver.stats().queued > 0:
        with contextlib.suppress(BlockingIOError):  # the thread may be adding to the block
            received += [message.bytes() for message in receiver.next_batch(0)]
    return received


def send_segments(sock, messages):
    """Send messages of one size as trains."""
    size = len(messages[0])
    most = 65_000 // size
    for start in range(0, len(messages), min(most, 64)):
        segment = (SOL_UDP, UDP_SEGMENT, struct.pack("H", size))
        sock.sendmsg(messages[start : start + min(most, 64)], [segment])


def send_singly(sock, messages):
    for message in messages:
        sock.send(message)


def numbered(count, size=1000):
    return [b"%08d" % number + bytes(size - 8) for number in range(count)]


def is_whole(stats):
    """The first equation of the contract."""
    accounted = stats.delivered + stats.ring_drops + stats.queued + stats.discarded
    return stats.received == accounted and stats.queued < 1 << 63


def threads():
    return set(map(int, os.listdir("/proc/self/task")))


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))
