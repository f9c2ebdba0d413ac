# SPDX-License-Identifier: MIT
"""FrameReader: timeouts, which lose nothing, and who else may call meanwhile."""

import contextlib
import errno
import itertools
import socket as stdlib
import ssl
import threading

import pytest

import fastsock
from unit.framed import (
    TAKES,
    WOULD_WAIT,
    connected,
    each_take,
    link,
    take_all,
    unix_link,
)

__all__ = ["connected", "link", "unix_link"]  # fixtures

PREFIX = fastsock.LengthPrefix(4)
LINES = fastsock.Delimiter(b"\n")
SIZES = {"small": 100, "in_place": 1_000_000}
each_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
BATCH = fastsock.Batch(4, 300_000)
HUGE_BATCH = fastsock.Batch(4096, 8192)  # 32 MiB
# A call with a timeout of its own.
TIMED = {
    "recv_batch": lambda reader, timeout: reader.recv_batch(BATCH, timeout=timeout),
    "next_batch": lambda reader, timeout: len(reader.next_batch(timeout)),
}
each_timed = pytest.mark.parametrize("call", TIMED.values(), ids=TIMED)


@each_take
def test_nothing_there_is_the_error_of_the_sockets_timeout(link, take):
    sock, _ = link
    reader = fastsock.FrameReader(sock, PREFIX)
    sock.settimeout(0)
    with pytest.raises(WOULD_WAIT):
        take(reader)
    sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        take(reader)


@each_timed
def test_timeout_of_a_call_is_not_the_sockets(link, call):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX)
    for own in (None, 60, 0):
        sock.settimeout(own)
        with pytest.raises(BlockingIOError):
            call(reader, 0)
        with pytest.raises(TimeoutError):
            call(reader, 0.01)
        assert sock.gettimeout() == own
    sock.settimeout(None)
    peer.sendall(PREFIX.encode([b"there"]))
    assert call(reader, 60) == 1


@pytest.mark.parametrize("own", [0, 0.001], ids=["nonblocking", "timeout"])
@each_timed
def test_timeout_none_of_a_call_waits_for_ever(link, in_thread, wait_until, call, own):
    sock, peer = link
    sock.settimeout(own)
    reader = fastsock.FrameReader(sock, PREFIX)
    task = in_thread(call, reader, None)
    wait_until(lambda: task.waits_in_call(sock.fileno()) or task.waits_in_poll())
    peer.sendall(PREFIX.encode([b"there"]))
    assert task.result() == 1
    assert sock.gettimeout() == own


@each_size
@each_take
def test_timeout_inside_a_frame_loses_nothing(link, in_thread, take, size):
    sock, peer = link
    if take is TAKES["batch"]:
        take = by_large_batch
    reader = fastsock.FrameReader(sock, PREFIX)
    stream = PREFIX.encode([b"x" * size, b"after"])
    places = [0, 1, 4, 5, size // 3, size // 2, size + 3, size + 6, len(stream)]
    sock.settimeout(0.01)
    received = []
    for start, end in itertools.pairwise(places):
        task = in_thread(peer.sendall, stream[start:end])
        held = start if start < size + 4 else start - size - 4
        # What is sent comes in several parts, with or without a TimeoutError between them.
        while end <= size + 4 and reader.pending() < held + end - start and not received:
            with contextlib.suppress(TimeoutError):
                received += take(reader)
        task.result()
    sock.settimeout(5)
    while len(received) < 2:
        received += take(reader)
    assert received == [b"x" * size, b"after"]
    assert reader.pending() == 0


def by_large_batch(reader):
    reader.recv_batch(BATCH)
    return [message.bytes() for message in BATCH]


def test_large_frame_begun_by_one_call_is_taken_by_any_other(link, in_thread):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX)
    frame = bytes(range(250)) * 4000
    sock.settimeout(0.02)
    finishing = {
        "batch": lambda: reader.recv_batch(BATCH) and BATCH[0].bytes(),
        "own": lambda: reader.next_batch()[0].bytes(),
        "many": lambda: reader.recv_many()[0],
        "iteration": lambda: next(reader),
        "raw": lambda: reader.recv_exactly(4 + len(frame))[4:],
    }
    for begin in (reader.recv_many, reader.next_batch, lambda: reader.recv_exactly(4 + len(frame))):
        for finish in finishing.values():
            task = in_thread(peer.sendall, PREFIX.encode([frame])[:700_000])
            while reader.pending() < 700_000:
                with pytest.raises(TimeoutError):
                    begin()
            task.result()
            task = in_thread(peer.sendall, PREFIX.encode([frame])[700_000:] + b"\0")
            sock.settimeout(5)
            assert finish() == frame
            task.result()
            assert reader.recv_exactly(1) == b"\0"
            sock.settimeout(0.02)
    sock.settimeout(5)
    peer.sendall(b"\xff" * 4)
    with pytest.raises(fastsock.FrameError) as caught:
        reader.recv_many()
    assert caught.value.offset == 15 * (4 + len(frame) + 1)


@each_take
def test_deadline_is_one_for_the_whole_call(link, in_thread, take):
    """Bytes that keep coming, and never are a frame, do not make it wait any longer."""
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    sock.settimeout(0.2)
    is_over = threading.Event()

    def feed():
        while not is_over.wait(0.005):
            peer.sendall(b"x")

    task = in_thread(feed)
    try:
        with pytest.raises(TimeoutError):
            take(reader)
        assert reader.pending() > 0
        assert sock.gettimeout() == 0.2
    finally:
        is_over.set()
    task.result()


@pytest.mark.parametrize("framing", [PREFIX, LINES], ids=["length", "delimiter"])
@each_take
def test_frame_that_trickles_in_costs_linear_work(unix_link, framing, take):
    """Copied or searched anew each time, 16 MiB by the KiB would take minutes."""
    sock, peer = unix_link
    if take is TAKES["batch"]:
        take = by_huge_batch
    reader = fastsock.FrameReader(sock, framing, max_frame=1 << 24)
    frame = b"x" * (1 << 24)
    stream = memoryview(framing.encode([frame]))
    sock.settimeout(0)
    for start in range(0, len(stream), 1024):
        with pytest.raises(BlockingIOError):
            take(reader)
        peer.sendall(stream[start : start + 1024])
    assert take(reader) == [frame]


def by_huge_batch(reader):
    reader.recv_batch(HUGE_BATCH)
    return [message.bytes() for message in HUGE_BATCH]


def test_second_thread_is_refused_and_the_first_goes_on(link, in_thread, wait_until):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX)
    task = in_thread(reader.recv_many)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    calls = [
        reader.recv_many,
        reader.next_batch,
        reader.pending,
        lambda: reader.recv_batch(BATCH),
        lambda: reader.recv_exactly(1),
        lambda: next(reader),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="in use"):
            call()
    peer.sendall(PREFIX.encode([b"one"]))
    assert task.result() == [b"one"]
    assert reader.pending() == 0


def test_batch_in_use_is_refused_and_nothing_is_lost(unix_link, connected, in_thread, wait_until):
    sock, peer = unix_link
    other, other_peer = connected("ours_unix")
    batch = fastsock.Batch(10, 100)
    reader, other_reader = (fastsock.FrameReader(one, LINES) for one in (sock, other))
    task = in_thread(reader.recv_batch, batch)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    other_peer.sendall(b"kept\n")
    with pytest.raises(RuntimeError):
        other_reader.recv_batch(batch)
    peer.sendall(b"x\n")
    assert task.result() == 1
    assert other_reader.recv_batch(batch) == 1
    assert batch[0].bytes() == b"kept"


@each_take
def test_shutdown_by_another_thread_ends_the_wait(unix_link, in_thread, wait_until, take):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, PREFIX)
    peer.sendall(PREFIX.encode([b"one"]))
    assert take(reader) == [b"one"]
    task = in_thread(take, reader)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == []


def test_close_by_another_thread_ends_a_wait_with_a_timeout(unix_link, in_thread, wait_until):
    sock, peer = unix_link
    sock.settimeout(60)
    reader = fastsock.FrameReader(sock, PREFIX)
    task = in_thread(reader.recv_many)
    wait_until(task.waits_in_poll)
    sock.close()
    peer.sendall(PREFIX.encode([b"one"]))
    with pytest.raises(OSError, match=r".") as caught:
        task.result()
    assert caught.value.errno == errno.EBADF


@each_take
def test_closed_socket_is_bad_descriptor(link, take):
    sock, _ = link
    reader = fastsock.FrameReader(sock, PREFIX)
    sock.close()
    with pytest.raises(OSError, match=r".") as caught:
        take(reader)
    assert caught.value.errno == errno.EBADF


def test_reset_by_the_peer_is_raised_as_recv_does(connected):
    sock, peer = connected("stdlib_tcp")
    reader = fastsock.FrameReader(sock, PREFIX)
    peer.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    with pytest.raises(ConnectionResetError):
        reader.recv_many()


def test_unwrapped_tls_socket_is_read_as_a_plain_one(connected, in_thread):
    sock, peer = connected("tls")
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"under tls\n")
    assert reader.recv_many() == [b"under tls"]
    task = in_thread(peer.unwrap)
    sock.unwrap()
    task.result().sendall(b"plain\n")
    assert reader.recv_many() == [b"plain"]
    peer.close()
    assert take_all(reader) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, BlockingIOError, ConnectionError])
@each_take
def test_handler_that_raises_while_tls_gives_bytes_is_noticed(connected, monkeypatch, take, error):
    """Whatever it raises, and even if the first byte is the one that was there before."""
    sock, peer = connected("tls")
    reader = fastsock.FrameReader(sock, LINES)
    recv_into = type(sock).recv_into

    def interrupted(self, view):
        before = view[0]
        assert recv_into(self, view) == 20
        view[0] = before
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("ssl.SSLSocket.recv_into", interrupted)
        peer.sendall(b"twenty bytes at once")
        with pytest.raises(error):
            take(reader)
    peer.sendall(b"after\n")
    for _ in range(2):
        with pytest.raises(OSError, match="close the connection") as caught:
            take(reader)
        assert caught.value.errno == errno.EIO


@each_take
def test_error_of_tls_itself_is_no_loss(connected, take):
    sock, peer = connected("tls")
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"whole\nbe")
    assert take(reader) == [b"whole"]
    stdlib.socket.send(peer, b"x" * 100)  # what is no record
    with pytest.raises(ssl.SSLError):
        take(reader)
    # What OpenSSL says to the next one, and not that bytes were lost.
    with pytest.raises((ssl.SSLError, fastsock.IncompleteFrameError)):
        take(reader)
    assert reader.recv_exactly(2) == b"be"
