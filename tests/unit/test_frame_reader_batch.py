# SPDX-License-Identifier: MIT
"""FrameReader.recv_batch and next_batch: what a batch holds, and what does not fit."""

import contextlib
import errno

import pytest

import fastsock
from unit.framed import FRAMINGS, connected, link, unix_link

__all__ = ["connected", "link", "unix_link"]  # fixtures

PREFIX = fastsock.LengthPrefix(4)
LINES = fastsock.Delimiter(b"\n")


def frames_of(batch):
    return [message.bytes() for message in batch]


def test_columns_describe_each_frame(link):
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    batch = fastsock.Batch(8, 100)
    peer.sendall(b"one\n\nthree\nunfinished")
    assert reader.recv_batch(batch) == len(batch) == 3
    assert list(batch.lengths) == list(batch.wire_lengths) == [3, 0, 5]
    assert list(batch.flags) == [0, 0, 0]
    assert list(batch.source) == [fastsock.Batch.NO_ADDRESS] * 3
    assert batch.sources == ()
    places = zip(batch.offsets, batch.lengths, strict=True)
    cut = [bytes(batch.data)[at : at + size] for at, size in places]
    assert cut == [b"one", b"", b"three"]
    assert batch[0].address is None
    assert not batch[0].truncated
    assert reader.pending() == len(b"unfinished")
    with pytest.raises(AttributeError, match="set_metadata"):
        _ = batch.timestamps_ns


def test_rows_that_are_full_leave_the_rest_for_the_next_call(link):
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    frames = [b"%d" % number for number in range(1000)]
    peer.sendall(LINES.encode(frames))
    peer.close()
    received = []
    for capacity in (1, 2, 3, 100, 1000):
        batch = fastsock.Batch(capacity, 2000)
        count = reader.recv_batch(batch)
        assert 1 <= count <= capacity
        received += frames_of(batch)
    batch = fastsock.Batch(7, 2000)
    while reader.recv_batch(batch) > 0:
        received += frames_of(batch)
    assert received == frames


def test_other_calls_go_on_where_a_batch_ended(link):
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"one\ntwo\nthree\nfour\nfive\nsix")
    batch = fastsock.Batch(1, 100)
    reader.recv_batch(batch)
    assert frames_of(batch) == [b"one"]
    assert next(reader) == b"two"
    assert reader.recv_many(1) == [b"three"]
    assert reader.recv_batch(batch) == 1
    assert frames_of(batch) == [b"four"]
    assert reader.recv_exactly(2) == b"fi"
    assert frames_of(reader.next_batch()) == [b"ve"]
    peer.sendall(b"!\n")
    assert frames_of(reader.next_batch()) == [b"six!"]


def test_views_of_a_batch_stay_valid_and_unchanged(unix_link):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, LINES)
    views = []
    for number in range(5):
        peer.sendall(b"frame %d\n" % number)
        batch = reader.next_batch()
        views.append(batch[0].data)
    assert [bytes(view) for view in views] == [b"frame %d" % number for number in range(5)]
    assert batch.slabs >= 5


def test_batch_is_empty_after_a_call_that_raised(unix_link):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, LINES)
    batch = fastsock.Batch(8, 100)
    peer.sendall(b"one\ntwo")
    assert reader.recv_batch(batch) == 1
    with pytest.raises(TimeoutError):
        reader.recv_batch(batch, timeout=0.01)
    assert len(batch) == 0
    assert list(batch) == []
    assert reader.pending() == 3


@pytest.mark.parametrize("sent_at_once", [True, False], ids=["at_once", "later"])
@pytest.mark.parametrize("name", ["length", "varint", "delimiter"])
def test_frame_longer_than_a_message_is_not_cut(link, in_thread, name, sent_at_once):
    sock, peer = link
    framing = FRAMINGS[name]
    reader = fastsock.FrameReader(sock, framing)
    batch = fastsock.Batch(100, 100)
    encoded = framing.encode([b"x" * 9000, b"y"])
    if not sent_at_once:
        peer.sendall(encoded[:5000])
        with pytest.raises(TimeoutError):
            reader.recv_batch(batch, timeout=0.01)
        encoded = encoded[5000:]
    peer.sendall(encoded)
    received = []
    while len(received) < 2:
        reader.recv_batch(batch)
        received += frames_of(batch)
        assert list(batch.flags) == [0] * len(batch)
    assert received == [b"x" * 9000, b"y"]


@pytest.mark.parametrize("shape", [(1, 1000), (10, 100)], ids=["one_row", "ten_rows"])
@pytest.mark.parametrize("name", ["length", "varint", "delimiter", "delimiter_kept"])
@pytest.mark.parametrize("parts", [1, 2, 7], ids=str)
def test_frame_that_just_fits_without_its_header_is_given(unix_link, name, shape, parts):
    sock, peer = unix_link
    framing = FRAMINGS[name]
    reader = fastsock.FrameReader(sock, framing)
    arena = fastsock.Batch(*shape)
    frame = b"x" * 999 + b"\n" if name == "delimiter_kept" else b"x" * 1000
    encoded = framing.encode([frame, frame])
    size = -(-len(encoded) // parts)
    sock.settimeout(0)
    received = []
    for start in range(0, len(encoded), size):
        peer.sendall(encoded[start : start + size])
        with contextlib.suppress(BlockingIOError):
            while True:
                assert reader.recv_batch(arena) == 1
                received += frames_of(arena)
    assert received == [frame, frame]


@pytest.mark.parametrize("extra", [1, 5, 50, 5000])
@pytest.mark.parametrize("name", ["length", "varint", "delimiter"])
@pytest.mark.parametrize("parts", [1, 3], ids=str)
def test_frame_that_does_not_fit_is_an_error_that_loses_nothing(unix_link, name, extra, parts):
    sock, peer = unix_link
    framing = FRAMINGS[name]
    reader = fastsock.FrameReader(sock, framing)
    small = fastsock.Batch(10, 100)
    frames = [b"first", b"x" * (1000 + extra), b"last"]
    encoded = framing.encode(frames)
    size = -(-len(encoded) // parts)
    sock.settimeout(0)
    received = []
    for start in range(0, len(encoded), size):
        peer.sendall(encoded[start : start + size])
        try:
            while True:
                reader.recv_batch(small)
                received += frames_of(small)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
    assert received == [b"first"]
    for _ in range(2):
        with pytest.raises(OSError, match="more capacity x max_message") as caught:
            reader.recv_batch(small)
        assert caught.value.errno == errno.ENOBUFS
    assert len(small) == 0
    large = fastsock.Batch(10, 1000)
    assert reader.recv_batch(large) >= 1
    received += frames_of(large)
    while len(received) < 3:
        received += reader.recv_many()
    assert received == frames


def test_own_batch_takes_the_longest_frame_there_may_be(unix_link, in_thread):
    sock, peer = unix_link
    for limit in (1, 1000, 3_000_000):
        reader = fastsock.FrameReader(sock, PREFIX, max_frame=limit)
        task = in_thread(peer.sendall, PREFIX.encode([b"x" * limit]))
        assert frames_of(reader.next_batch()) == [b"x" * limit]
        task.result()


def test_small_frames_come_many_at_a_time(unix_link):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"\n" * 5000)
    assert len(reader.next_batch()) == 4096
    assert len(reader.next_batch()) == 904
