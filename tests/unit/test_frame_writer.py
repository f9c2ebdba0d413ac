# SPDX-License-Identifier: MIT
"""FrameWriter: what arrives, what is refused, and what is left when there is no room."""

import contextlib
import errno
import socket as stdlib
import threading

import pytest

import fastsock
from unit.framed import (
    FRAMINGS,
    WOULD_WAIT,
    connected,
    each_framing,
    link,
    some_frames,
    unix_link,
)

__all__ = ["connected", "link", "unix_link"]  # fixtures

PREFIX = fastsock.LengthPrefix(4)
LINES = fastsock.Delimiter(b"\n")
MUCH = 8 << 20  # bytes; more than any socket buffer here


def receive(peer, count):
    """Return so many bytes of the stream."""
    received = bytearray()
    peer.settimeout(5)
    while len(received) < count:
        received += peer.recv(min(count - len(received), 1 << 20))
    return bytes(received)


def is_empty(peer):
    peer.settimeout(0)
    try:
        peer.recv(1)
    except WOULD_WAIT:
        return True
    return False


@each_framing
def test_frames_arrive_as_encoded(link, framing):
    sock, peer = link
    writer = fastsock.FrameWriter(sock, framing)
    frames = some_frames(framing)
    expected = framing.encode(frames)
    assert writer.send_many(frames) == len(frames)
    assert receive(peer, len(expected)) == expected
    for frame in frames:
        assert writer.send(frame) is None
    assert receive(peer, len(expected)) == expected
    assert writer.sent == 2 * len(frames)
    assert writer.pending() == 0
    assert writer.sock is sock
    assert is_empty(peer)


@pytest.mark.parametrize("name", ["length", "varint", "delimiter", "delimiter_kept"])
@pytest.mark.parametrize("timeout", [None, 5], ids=["blocking", "timeout"])
def test_small_and_large_frames_arrive_in_order(link, in_thread, name, timeout):
    sock, peer = link
    framing = FRAMINGS[name]
    end = b"\n" if name == "delimiter_kept" else b""
    sock.settimeout(timeout)
    sizes = [0, 65_534, 65_535, 65_536, 3, 1_000_000, 1_000_000, 1] + [7] * 3000 + [60_000] * 20
    frames = [bytes([65 + place % 50]) * size + end for place, size in enumerate(sizes)]
    expected = framing.encode(frames)
    writer = fastsock.FrameWriter(sock, framing)
    task = in_thread(receive, peer, len(expected))
    assert writer.send_many(frames) == len(frames)
    assert task.result() == expected
    assert (writer.sent, writer.pending()) == (len(frames), 0)


def test_frames_are_any_bytes_like_and_any_iterable(unix_link):
    sock, peer = unix_link
    writer = fastsock.FrameWriter(sock, LINES)
    frames = [b"bytes", bytearray(b"bytearray"), memoryview(b"_view_")[1:-1]]
    assert writer.send_many(frames) == 3
    assert writer.send_many(iter(frames)) == 3
    assert writer.send_many(frame for frame in frames) == 3
    assert writer.send_many([]) == 0
    writer.send(frames[1])
    expected = b"bytes\nbytearray\nview\n" * 3 + b"bytearray\n"
    assert receive(peer, len(expected)) == expected
    frames[1] += b"not pinned any more"


@pytest.mark.parametrize(
    ("framing", "bad"),
    [
        (LINES, b"in\nside"),
        (fastsock.Delimiter(b"\n", keep=True), b"no end"),
        (fastsock.FixedSize(2), b"bad"),
        (fastsock.LengthPrefix(1), bytes(256)),
        (PREFIX, bytes(1001)),
    ],
    ids=["delimiter", "kept", "fixed", "length", "limit"],
)
def test_bad_frame_is_refused_before_anything_is_sent(link, framing, bad):
    sock, peer = link
    good = {"Delimiter(b'\\n', keep=True)": b"x\n", "FixedSize(2)": b"ok"}.get(repr(framing), b"ok")
    writer = fastsock.FrameWriter(sock, framing, max_frame=1000)
    with pytest.raises(ValueError, match="frame"):
        writer.send(bad)
    with pytest.raises(ValueError, match="frame"):
        writer.send_many([good, good, bad])
    with pytest.raises(TypeError):
        writer.send_many([good, "text"])
    with pytest.raises(TypeError):
        writer.send("text")
    with pytest.raises(TypeError):
        writer.send_many(b"bytes")
    assert (writer.sent, writer.pending()) == (0, 0)
    assert is_empty(peer)
    writer.send(good)
    expected = framing.encode([good])
    assert receive(peer, len(expected)) == expected


def test_iterable_that_raises_has_sent_nothing(unix_link):
    sock, peer = unix_link
    writer = fastsock.FrameWriter(sock, LINES)

    def frames():
        yield b"one"
        raise LookupError("of the iterable")

    with pytest.raises(LookupError):
        writer.send_many(frames())
    assert (writer.sent, writer.pending()) == (0, 0)
    assert is_empty(peer)


def fill_up(sock):
    """Send until there is no room; return what was sent."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    sent = 0
    try:
        while True:
            sent += sock.send(b"f" * 1000)
    except BlockingIOError:
        sock.settimeout(timeout)
    return b"f" * sent


@pytest.mark.parametrize("timeout", [0, 0.01], ids=["nonblocking", "timeout"])
def test_no_room_at_all_raises_and_sends_nothing(unix_link, timeout):
    sock, peer = unix_link  # TCP would still find room, in the peer's buffer
    sock.settimeout(timeout)
    writer = fastsock.FrameWriter(sock, LINES)
    before = fill_up(sock)
    for call in (lambda: writer.send(b"x"), lambda: writer.send_many([b"x", b"y"])):
        with pytest.raises(BlockingIOError if timeout == 0 else TimeoutError):
            call()
    assert (writer.sent, writer.pending()) == (0, 0)
    assert receive(peer, len(before)) == before
    writer.send(b"now")
    assert receive(peer, 4) == b"now\n"


@pytest.mark.parametrize("timeout", [0, 0.01], ids=["nonblocking", "timeout"])
def test_part_of_a_large_frame_is_kept_and_goes_first(link, timeout):
    sock, peer = link
    sock.settimeout(timeout)
    writer = fastsock.FrameWriter(sock, PREFIX, max_frame=MUCH)
    large = bytes(range(256)) * (MUCH // 256)
    expected = PREFIX.encode([large, b"after"])
    writer.send(large)  # a part went
    assert writer.sent == 1
    assert 0 < writer.pending() < len(large)
    for call in (writer.flush, lambda: writer.send(b"after"), lambda: writer.send_many([b"after"])):
        with pytest.raises((*WOULD_WAIT, TimeoutError)):  # room may come a few times before
            exhaust(call)
    assert writer.sent == 1
    received = bytearray()
    while writer.pending() > 0:
        received += drain(peer)
        with contextlib.suppress(*WOULD_WAIT, TimeoutError):
            writer.flush()
    received += drain(peer)  # what the kernel held could leave no room for more
    sock.settimeout(5)
    writer.send(b"after")
    received += receive(peer, len(expected) - len(received))
    assert received == expected


def exhaust(call):
    while True:
        call()


def drain(peer):
    """Return what is there."""
    received = bytearray()
    peer.settimeout(0)
    try:
        while True:
            received += peer.recv(1 << 16)
    except WOULD_WAIT:
        return received


@each_framing
@pytest.mark.parametrize("timeout", [0, 0.002], ids=["nonblocking", "timeout"])
def test_counts_are_exact_when_room_runs_out(link, framing, timeout):
    sock, peer = link
    sock.settimeout(timeout)
    writer = fastsock.FrameWriter(sock, framing)
    frames = some_frames(framing, 200) * 20
    if framing not in (FRAMINGS["fixed"], FRAMINGS["length_little"]):
        end = b"\n" if framing is FRAMINGS["delimiter_kept"] else b""
        frames[100::400] = [b"l" * 900_000 + end] * len(frames[100::400])
    expected = framing.encode(frames)
    received = bytearray()
    sent = 0
    while sent < len(frames) or writer.pending() > 0:
        try:
            if sent < len(frames):
                count = writer.send_many(frames[sent : sent + 500])
                assert count >= 1
                sent += count
            else:
                writer.flush()
        except (*WOULD_WAIT, TimeoutError):
            received += drain(peer)
        assert writer.sent == sent
    received += receive(peer, len(expected) - len(received))
    assert received == expected
    assert is_empty(peer)


def test_payload_is_pinned_while_the_call_waits(unix_link, in_thread, wait_until):
    sock, peer = unix_link
    writer = fastsock.FrameWriter(sock, PREFIX, max_frame=MUCH)
    frame = bytearray(MUCH)
    tasks = [lambda: writer.send(frame), lambda: writer.send_many([b"x", frame])]
    for call in tasks:
        task = in_thread(call)
        wait_until(lambda task=task: task.waits_in_call(sock.fileno()))
        with pytest.raises(BufferError):
            frame.append(0)
        extra = 5 if call is tasks[1] else 0
        receive(peer, MUCH + 4 + extra)
        task.result()
    frame.append(0)


def test_second_thread_is_refused_and_the_first_goes_on(unix_link, in_thread, wait_until):
    sock, peer = unix_link
    writer = fastsock.FrameWriter(sock, PREFIX, max_frame=MUCH)
    task = in_thread(writer.send, bytes(MUCH))
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    calls = [
        lambda: writer.send(b"x"),
        lambda: writer.send_many([b"x"]),
        writer.flush,
        writer.pending,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="in use"):
            call()
    assert receive(peer, MUCH + 4) == PREFIX.encode([bytes(MUCH)])
    task.result()
    assert writer.sent == 1
    assert is_empty(peer)


def test_deadline_is_one_for_the_whole_call(link, in_thread):
    """A peer that takes a little now and then does not make the call wait any longer."""
    sock, peer = link
    sock.settimeout(0.2)
    writer = fastsock.FrameWriter(sock, PREFIX, max_frame=1 << 27)
    frame = bytes(1 << 27)
    peer.settimeout(0)
    is_over = threading.Event()

    def sip():
        while not is_over.wait(0.001):
            with contextlib.suppress(*WOULD_WAIT):
                peer.recv(1000)

    task = in_thread(sip)
    try:
        writer.send(frame)
        assert writer.pending() > 0
        assert sock.gettimeout() == 0.2
    finally:
        is_over.set()
    task.result()


def test_gone_peer_is_an_error_of_the_first_frame_that_meets_it(connected):
    sock, peer = connected("ours_unix")
    writer = fastsock.FrameWriter(sock, LINES)
    peer.close()
    for call in (lambda: writer.send(b"x"), lambda: writer.send_many([b"x"] * 3)):
        with pytest.raises(BrokenPipeError):
            call()
    assert (writer.sent, writer.pending()) == (0, 0)


def test_closed_socket_is_bad_descriptor(link):
    sock, _ = link
    writer = fastsock.FrameWriter(sock, LINES)
    sock.close()
    for call in (lambda: writer.send(b"x"), lambda: writer.send_many([b"x"])):
        with pytest.raises(OSError, match=r".") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    writer.flush()  # there is nothing to send
    assert writer.send_many([]) == 0


def test_shutdown_for_writing_is_a_broken_pipe(unix_link):
    sock, _ = unix_link
    writer = fastsock.FrameWriter(sock, LINES)
    sock.shutdown(stdlib.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        writer.send(b"x")
