# SPDX-License-Identifier: MIT
"""Signals while frames are received and sent: nothing is lost, and no frame is broken."""

import contextlib
import signal
import threading

import pytest

import fastsock
from unit.framed import connected, each_take, link

__all__ = ["connected", "link"]  # fixtures

pytestmark = pytest.mark.usefixtures("no_descriptor_leak")

PREFIX = fastsock.LengthPrefix(4)
MUCH = 8 << 20  # bytes; more than any socket buffer here

each_timeout = pytest.mark.parametrize("timeout", [None, 60], ids=["blocking", "timeout"])


class Stop(Exception):
    pass


def stop(*_):
    raise Stop


@pytest.fixture
def handle():
    """Return handle(handler): of SIGUSR1, until the test ends."""
    with contextlib.ExitStack() as stack:

        def handle(handler):
            before = signal.signal(signal.SIGUSR1, handler)
            stack.callback(signal.signal, signal.SIGUSR1, before)

        yield handle


@pytest.fixture
def interrupting(in_thread, wait_until, main_waits_in_call):
    """Return interrupting(sock): a task that sends the signal once the test waits on sock."""

    def interrupting(sock):
        fd = sock.fileno()

        def interrupt():
            wait_until(lambda: main_waits_in_call(fd))
            # To the thread itself: the kernel may hand a process's signal to the helper.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        return in_thread(interrupt)

    return interrupting


@each_take
@each_timeout
def test_handler_that_raises_inside_a_frame_leaves_it_for_the_next_call(
    link, handle, interrupting, take, timeout, repeats
):
    sock, peer = link
    sock.settimeout(timeout)
    handle(stop)
    reader = fastsock.FrameReader(sock, PREFIX)
    for number in range(repeats):
        encoded = PREFIX.encode([b"frame %d" % number])
        cut = number % len(encoded)
        peer.sendall(encoded[:cut])
        task = interrupting(sock)
        with pytest.raises(Stop):
            take(reader)
        task.result()
        peer.sendall(encoded[cut:])
        assert take(reader) == [b"frame %d" % number]


@each_take
@each_timeout
def test_handler_that_returns_lets_the_call_go_on(
    link, handle, interrupting, take, timeout, repeats
):
    sock, peer = link
    sock.settimeout(timeout)
    handle(lambda *_: peer.sendall(rest.pop()))
    reader = fastsock.FrameReader(sock, PREFIX)
    for number in range(repeats):
        encoded = PREFIX.encode([b"frame %d" % number])
        cut = number % len(encoded)
        peer.sendall(encoded[:cut])
        rest = [encoded[cut:]]
        task = interrupting(sock)
        assert take(reader) == [b"frame %d" % number]
        task.result()
        assert not rest


def test_handler_that_raises_inside_a_large_frame_loses_nothing(link, handle, interrupting):
    sock, peer = link
    handle(stop)
    reader = fastsock.FrameReader(sock, PREFIX)
    frame = bytes(range(200)) * 5000
    encoded = PREFIX.encode([frame])
    for start in range(0, len(encoded) - 50_000, 50_000):
        peer.sendall(encoded[start : start + 50_000])
        task = interrupting(sock)
        with pytest.raises(Stop):
            reader.recv_many()
        task.result()
    peer.sendall(encoded[start + 50_000 :])
    assert reader.recv_many() == [frame]


def test_reader_called_by_a_handler_is_in_use(link, handle, interrupting):
    sock, peer = link
    met = []

    def call_again(*_):
        with pytest.raises(RuntimeError, match="in use"):
            reader.recv_many()
        met.append(True)
        peer.sendall(PREFIX.encode([b"after"]))

    handle(call_again)
    reader = fastsock.FrameReader(sock, PREFIX)
    task = interrupting(sock)
    assert reader.recv_many() == [b"after"]
    task.result()
    assert met == [True]


@each_timeout
def test_handler_that_raises_inside_a_send_does_not_break_the_frame(
    link, handle, interrupting, in_thread, timeout
):
    sock, peer = link
    sock.settimeout(timeout)
    handle(stop)
    writer = fastsock.FrameWriter(sock, PREFIX, max_frame=MUCH)
    frames = [b"first", bytes(range(256)) * (MUCH // 256), b"last"]
    task = interrupting(sock)
    with pytest.raises(Stop):
        writer.send_many(frames)
    task.result()
    assert writer.sent == 2
    assert 0 < writer.pending() < MUCH
    expected = PREFIX.encode(frames)
    task = in_thread(receive, peer, len(expected))
    writer.send_many(frames[writer.sent :])
    assert task.result() == expected
    assert (writer.sent, writer.pending()) == (3, 0)


def receive(peer, count):
    received = bytearray()
    while len(received) < count:
        received += peer.recv(1 << 20)
    return bytes(received)
