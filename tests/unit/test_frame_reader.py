# SPDX-License-Identifier: MIT
"""FrameReader: whole frames, ends and errors, over every kind of stream."""

import errno
import functools
import gc
import socket as stdlib

import pytest

import fastsock
from unit.framed import (
    FRAMINGS,
    TAKES,
    connected,
    each_framing,
    each_take,
    link,
    some_frames,
    take_all,
    unix_link,
)

__all__ = ["connected", "link", "unix_link"]  # fixtures

PREFIX = fastsock.LengthPrefix(4)
LINES = fastsock.Delimiter(b"\n")


@each_take
@each_framing
def test_frames_of_one_send_are_given_whole(link, framing, take):
    sock, peer = link
    frames = some_frames(framing)
    reader = fastsock.FrameReader(sock, framing)
    peer.sendall(framing.encode(frames))
    peer.shutdown(stdlib.SHUT_WR)
    assert take_all(reader, take) == frames
    assert reader.pending() == 0


@each_take
@each_framing
def test_stream_byte_by_byte_gives_the_same_frames(unix_link, framing, take):
    sock, peer = unix_link
    frames = some_frames(framing)
    reader = fastsock.FrameReader(sock, framing, readahead=1)
    peer.sendall(framing.encode(frames))
    peer.close()
    assert take_all(reader, take) == frames


@each_take
def test_frame_that_comes_in_two_parts_is_waited_for(link, in_thread, wait_until, take):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX)
    peer.sendall(b"\0\0\0\5fir")
    task = in_thread(take, reader)
    # Over TLS in either, as what the handshake left to be read comes when it comes.
    wait_until(lambda: task.waits_in_call(sock.fileno()) or task.waits_in_poll())
    peer.sendall(b"st\0\0\0\6sec")
    assert task.result() == [b"first"]
    assert reader.pending() == 7
    peer.sendall(b"ond")
    assert take(reader) == [b"second"]


def test_recv_many_of_a_count_keeps_the_rest_and_asks_for_nothing_more(link):
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"a\nb\nc\nd\ne")
    assert reader.recv_many(2) == [b"a", b"b"]
    sock.close()  # so any system call would fail
    assert reader.recv_many(1) == [b"c"]
    assert reader.pending() == 3
    assert next(reader) == b"d"
    assert reader.pending() == 1
    with pytest.raises(OSError, match=r".") as caught:
        reader.recv_many()
    assert caught.value.errno == errno.EBADF
    assert reader.pending() == 1


@each_take
def test_end_between_frames_is_told_by_each_call_again(link, take):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX)
    peer.sendall(PREFIX.encode([b"last"]))
    peer.shutdown(stdlib.SHUT_WR)
    assert take(reader) == [b"last"]
    assert take(reader) == []
    assert take(reader) == []


def test_next_batch_at_the_end_raises_eof_error(unix_link):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, PREFIX)
    peer.close()
    with pytest.raises(EOFError, match="peer has closed"):
        reader.next_batch()


@each_take
@each_framing
def test_end_inside_a_frame_tells_what_came_and_what_is_missing(connected, framing, take):
    frame = some_frames(framing)[-1]
    encoded = framing.encode([frame])
    for cut in range(1, len(encoded)):
        sock, peer = connected("ours_unix")
        reader = fastsock.FrameReader(sock, framing)
        peer.sendall(framing.encode([frame]) + encoded[:cut])
        peer.close()
        assert take(reader) == [frame]
        for _ in range(2):
            with pytest.raises(fastsock.IncompleteFrameError) as caught:
                take(reader)
            assert caught.value.partial == encoded[:cut]
            assert 1 <= caught.value.missing <= len(encoded) - cut
        assert reader.pending() == cut
        sock.close()


@pytest.mark.parametrize("held", [4, 100, 70_000, 199_999], ids=str)
@each_take
def test_end_inside_a_large_frame_tells_exactly_what_is_missing(link, in_thread, take, held):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX)
    stream = (200_000).to_bytes(4, "big") + bytes(held)
    batch = fastsock.Batch(2, 200_000)
    task = in_thread(peer.sendall, stream)
    if take is TAKES["batch"]:
        take = functools.partial(fastsock.FrameReader.recv_batch, batch=batch)
    task.result()
    peer.shutdown(stdlib.SHUT_WR)
    for _ in range(2):
        with pytest.raises(fastsock.IncompleteFrameError) as caught:
            take(reader)
        assert caught.value.partial == stream
        assert caught.value.missing == 200_000 - held


@each_take
def test_frame_over_the_limit_is_an_error_after_the_frames_before_it(link, take):
    sock, peer = link
    reader = fastsock.FrameReader(sock, PREFIX, max_frame=10)
    peer.sendall(PREFIX.encode([b"0123456789", b"last"]) + b"\xff\xff\xff\xff")
    frames = take(reader)
    while len(frames) < 2:
        frames += take(reader)
    assert frames == [b"0123456789", b"last"]
    for _ in range(2):
        with pytest.raises(fastsock.FrameError, match="longer than max_frame, 10") as caught:
            take(reader)
        assert caught.value.errno == errno.EMSGSIZE
        assert caught.value.offset == 22


@each_take
def test_header_that_is_no_length_is_an_error_with_its_offset(unix_link, take):
    sock, peer = unix_link
    framing = fastsock.LengthPrefix(2, includes_header=True)
    reader = fastsock.FrameReader(sock, framing)
    peer.sendall(framing.encode([b"good"]) + b"\0\1")
    assert take(reader) == [b"good"]
    for _ in range(2):
        with pytest.raises(fastsock.FrameError, match="at offset 6") as caught:
            take(reader)
        assert (caught.value.errno, caught.value.offset) == (errno.EBADMSG, 6)


@pytest.mark.parametrize("take", [TAKES["many"], TAKES["own"]], ids=["many", "own"])
@pytest.mark.parametrize("size", [65_535, 65_536, 300_000, 1 << 20], ids=str)
@pytest.mark.parametrize("name", ["length", "varint", "delimiter"])
def test_large_frames_arrive_bit_exact_and_in_order(link, in_thread, name, size, take):
    sock, peer = link
    framing = FRAMINGS[name]
    frames = [bytes([number]) * (size - number) for number in range(65, 69)] + [b"small"]
    reader = fastsock.FrameReader(sock, framing)
    task = in_thread(peer.sendall, framing.encode(frames))
    received = []
    while len(received) < len(frames):
        received += take(reader)
    task.result()
    assert received == frames
    assert reader.pending() == 0


def test_error_after_a_large_frame_has_the_right_offset(unix_link, in_thread):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, PREFIX)
    task = in_thread(peer.sendall, PREFIX.encode([b"x" * 900_000, b"y" * 800_000]) + b"\xff" * 4)
    assert [len(frame) for frame in reader.recv_many() + reader.recv_many()] == [900_000, 800_000]
    task.result()
    with pytest.raises(fastsock.FrameError) as caught:
        reader.recv_many()
    assert caught.value.offset == 1_700_008


def test_fixed_frames_that_are_large_end_cleanly(unix_link, in_thread):
    sock, peer = unix_link
    framing = fastsock.FixedSize(100_000)
    reader = fastsock.FrameReader(sock, framing)
    frames = [bytes([number]) * 100_000 for number in range(5)]
    task = in_thread(peer.sendall, b"".join(frames))
    received = [next(reader) for _ in frames]
    task.result()
    peer.close()
    assert received == frames
    assert reader.recv_many() == []
    assert list(reader) == []
    with pytest.raises(EOFError):
        reader.next_batch()


def test_frames_live_on_when_reader_and_socket_are_gone(unix_link):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, LINES)
    assert reader.sock is sock
    peer.sendall(b"one\ntwo\n")
    batch = reader.next_batch()
    views = [message.data for message in batch]
    del reader, batch
    gc.collect()
    assert [bytes(view) for view in views] == [b"one", b"two"]


def test_recv_exactly_gives_bytes_between_frames(link):
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"GREETfirst\nsecond\nRAWthird\n")
    assert reader.recv_exactly(5) == b"GREET"
    assert reader.recv_exactly(0) == b""
    assert reader.recv_many(1) == [b"first"]
    assert next(reader) == b"second"
    assert reader.recv_exactly(3) == b"RAW"
    assert reader.recv_many() == [b"third"]


@pytest.mark.parametrize("held", [0, 5], ids=["nothing_held", "some_held"])
def test_recv_exactly_of_much_is_received_whole(link, in_thread, held):
    sock, peer = link
    reader = fastsock.FrameReader(sock, LINES)
    data = b"x" * 1_000_000
    peer.sendall(b"a\n" + data[:held])
    assert reader.recv_many() == [b"a"]
    task = in_thread(peer.sendall, data[held:] + b"b\n")
    assert reader.recv_exactly(len(data)) == data
    assert reader.recv_many() == [b"b"]
    task.result()


@pytest.mark.parametrize("size", [6, 100_000], ids=["small", "large"])
def test_recv_exactly_at_the_end_keeps_what_came(unix_link, size):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, LINES)
    peer.sendall(b"ab\nc")
    peer.close()
    for _ in range(2):
        with pytest.raises(fastsock.IncompleteFrameError, match="bytes asked for") as caught:
            reader.recv_exactly(size)
        assert (caught.value.partial, caught.value.missing) == (b"ab\nc", size - 4)
    assert reader.pending() == 4
    assert reader.recv_exactly(1) == b"a"
    assert next(reader) == b"b"
    assert reader.recv_exactly(1) == b"c"
    with pytest.raises(fastsock.IncompleteFrameError) as caught:
        reader.recv_exactly(1)
    assert (caught.value.partial, caught.value.missing) == (b"", 1)
    assert reader.recv_many() == []


@pytest.mark.parametrize("kind", [stdlib.SOCK_DGRAM, stdlib.SOCK_SEQPACKET], ids=["dgram", "seq"])
@pytest.mark.parametrize("make", [fastsock.FrameReader, fastsock.FrameWriter])
def test_socket_with_messages_of_its_own_is_refused(closing, make, kind):
    sock = closing(fastsock.socket(stdlib.AF_UNIX, kind))
    with pytest.raises(OSError, match="recv_many and send_many") as caught:
        make(sock, LINES)
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("make", [fastsock.FrameReader, fastsock.FrameWriter])
def test_wrong_arguments_are_refused(unix_link, make):
    sock, _ = unix_link
    with pytest.raises(TypeError, match="a socket is required, not 'int'"):
        make(sock.fileno(), LINES)
    with pytest.raises(TypeError):
        make(sock, b"\n")
    with pytest.raises(TypeError):
        make(sock, None)
    for number in (0, -1, 1 << 31):
        with pytest.raises(ValueError, match="max_frame must be"):
            make(sock, LINES, max_frame=number)


def test_wrong_numbers_of_a_reader_are_refused(unix_link):
    sock, _ = unix_link
    with pytest.raises(ValueError, match="readahead must be"):
        fastsock.FrameReader(sock, LINES, readahead=0)
    reader = fastsock.FrameReader(sock, LINES)
    with pytest.raises(ValueError, match="count must be"):
        reader.recv_many(0)
    with pytest.raises(ValueError, match="n must be"):
        reader.recv_exactly(-1)
    with pytest.raises(ValueError, match="timeout must be"):
        reader.next_batch(-1)
    with pytest.raises(TypeError):
        reader.recv_batch(None)
