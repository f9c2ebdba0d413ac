# SPDX-License-Identifier: MIT
"""Framer: frames out of bytes that somebody else received."""

import errno
import gc
import socket as stdlib
import sys
import threading

import pytest

import fastsock
from fastsock import Delimiter, FixedSize, FrameError, Framer, IncompleteFrameError, LengthPrefix

pytestmark = pytest.mark.one_engine


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(LengthPrefix(4), id="length"),
        pytest.param(LengthPrefix(2, "little", includes_header=True), id="length_with_header"),
        pytest.param(LengthPrefix("varint"), id="varint"),
        pytest.param(Delimiter(b"\n"), id="line"),
        pytest.param(Delimiter(b"--end--"), id="long_delimiter"),
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 7, 100, 70_000])
def test_feed_gives_frames_of_every_size_whatever_the_pieces(framing, piece):
    frames = [bytes([65 + size % 26]) * size for size in (0, 1, 5, 63, 64, 65, 1000, 0, 9000, 2)]
    stream = framing.encode(frames)
    framer = Framer(framing)
    found = []
    for start in range(0, len(stream), piece):
        found += framer.feed(stream[start : start + piece])
    assert found == frames
    assert framer.unfinished == 0
    framer.end()


def test_feed_of_more_frames_than_one_cut_gives_them_all():
    framer = Framer(Delimiter(b"\n"))
    lines = [b"%d" % number for number in range(10_000)]
    assert framer.feed(b"\n".join(lines)) == lines[:-1]
    assert framer.feed(b"\n") == lines[-1:]


def test_feed_takes_any_bytes_like_and_keeps_none_of_it():
    data = bytearray(b"one\ntw")
    framer = Framer(Delimiter(b"\n"))
    assert framer.feed(data) == [b"one"]
    data[:] = b"??"  # would be a BufferError were it still pinned
    assert framer.feed(memoryview(b"o\n")) == [b"two"]
    with pytest.raises(TypeError, match="bytes-like"):
        framer.feed("text")


def test_unfinished_counts_the_header_too():
    framer = Framer(LengthPrefix(4))
    assert framer.unfinished == 0
    assert framer.feed(b"\0\0\0\5ab") == []
    assert framer.unfinished == 6
    assert framer.feed(b"cde\0") == [b"abcde"]
    assert framer.unfinished == 1


@pytest.mark.parametrize(
    ("framing", "data", "missing"),
    [
        pytest.param(LengthPrefix(4), b"\0\0\0\5ab", 3, id="length"),
        pytest.param(LengthPrefix(4), b"\0\0", 2, id="header"),
        pytest.param(LengthPrefix("varint"), b"\xff", 1, id="varint"),
        pytest.param(FixedSize(5), b"abc", 2, id="fixed"),
        pytest.param(Delimiter(b"\r\n"), b"abc\r", 1, id="delimiter"),
    ],
)
def test_end_inside_a_frame_tells_what_came_and_what_is_missing(framing, data, missing):
    framer = Framer(framing)
    framer.feed(framing.encode([b"whole"]) + data)
    with pytest.raises(IncompleteFrameError, match="ended inside a frame") as caught:
        framer.end()
    assert caught.value.partial == data
    assert caught.value.missing == missing
    assert isinstance(caught.value, EOFError)


@pytest.mark.parametrize(
    ("framing", "data", "text"),
    [
        pytest.param(
            LengthPrefix(4), b"\0\0\0\5ab", "6 bytes of it came, and 3 more are", id="many"
        ),
        pytest.param(FixedSize(2), b"a", "1 byte of it came, and 1 more is", id="one"),
        pytest.param(Delimiter(b"\n"), b"a", "1 byte of it came, and its delimiter is", id="line"),
    ],
)
def test_end_inside_a_frame_is_worded_alike_by_framer_and_reader(framing, data, text):
    framer = Framer(framing)
    framer.feed(data)
    with pytest.raises(IncompleteFrameError) as of_framer:
        framer.end()
    sock, peer = fastsock.socketpair()
    with sock, peer:
        peer.sendall(data)
        peer.shutdown(stdlib.SHUT_WR)
        with pytest.raises(IncompleteFrameError) as of_reader:
            fastsock.FrameReader(sock, framing).recv_many()
    assert str(of_reader.value) == str(of_framer.value)
    assert str(of_framer.value) == f"the stream ended inside a frame: {text} missing"


def test_feed_of_a_longer_frame_is_an_error_with_its_offset():
    framer = Framer(LengthPrefix(4), max_frame=10)
    with pytest.raises(FrameError, match="longer than max_frame, 10") as caught:
        framer.feed(b"\0\0\0\x0b")
    assert caught.value.errno == errno.EMSGSIZE
    assert caught.value.offset == 0
    assert isinstance(caught.value, OSError)


def test_feed_of_a_wrong_header_gives_the_frames_before_it_first():
    framer = Framer(LengthPrefix(2, includes_header=True))
    assert framer.feed(b"\0\3a\0\4bc\0\1") == [b"a", b"bc"]
    for call in (lambda: framer.feed(b"\0\3d"), lambda: framer.feed(b""), framer.end):
        with pytest.raises(FrameError, match="offset 7") as caught:
            call()
        assert caught.value.errno == errno.EBADMSG
        assert caught.value.offset == 7


@pytest.mark.parametrize("split", range(8))
def test_feed_of_a_line_over_the_limit_is_an_error_at_every_split(split):
    framer = Framer(Delimiter(b"\n"), max_frame=3)
    data = b"ab\nlong\n"
    frames = []

    def feed_all():
        for piece in (data[:split], data[split:], b""):
            frames.extend(framer.feed(piece))

    with pytest.raises(FrameError) as caught:
        feed_all()
    assert frames == [b"ab"]
    assert caught.value.offset == 3


def test_max_frame_is_a_mebibyte_unless_told():
    framer = Framer(LengthPrefix(4))
    assert framer.feed((1 << 20).to_bytes(4, "big")) == []
    with pytest.raises(FrameError):
        Framer(LengthPrefix(4)).feed(((1 << 20) + 1).to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("framing", "max_frame", "text"),
    [
        pytest.param(LengthPrefix(4), 0, "1 to", id="zero"),
        pytest.param(LengthPrefix(4), 1 << 31, "1 to 2147483647", id="huge"),
        pytest.param(FixedSize(5), 4, "each frame has 5", id="fixed"),
        pytest.param(Delimiter(b"abc", keep=True), 2, "separator of 3", id="separator"),
    ],
)
def test_framer_of_a_wrong_limit_is_refused(framing, max_frame, text):
    with pytest.raises(ValueError, match=text):
        Framer(framing, max_frame=max_frame)


@pytest.mark.parametrize("framing", [b"\n", None, "\n"])
def test_framer_of_no_framing_is_a_type_error(framing):
    with pytest.raises(TypeError):
        Framer(framing)


def test_header_that_claims_much_allocates_little():
    """What is allocated grows with what came, or one header of a peer would cost a megabyte."""
    framers = [Framer(LengthPrefix(4), max_frame=1 << 30) for _ in range(100)]
    before = mapped()
    for framer in framers:
        framer.feed((1 << 30).to_bytes(4, "big") + b"x" * 100)
    assert mapped() - before < 100 * 65536
    assert [framer.unfinished for framer in framers] == [104] * 100


def mapped():
    """Bytes that this process has mapped to write in, touched or not."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * 4096


def test_feed_of_a_long_frame_in_small_pieces_is_linear():
    """Searched or copied again at each piece it would run into the limit of a test."""
    size = 8 << 20
    for framing, head, tail in (
        (LengthPrefix(4), size.to_bytes(4, "big"), b""),
        (Delimiter(b"\r\n"), b"", b"\r\n"),
    ):
        framer = Framer(framing, max_frame=size)
        frames = framer.feed(head)
        for _ in range(size // 64):
            frames += framer.feed(b"x" * 64)
        frames += framer.feed(tail)
        assert frames == [b"x" * size]


def test_feed_in_a_second_thread_at_once_is_refused_and_loses_nothing():
    framer = Framer(Delimiter(b"\n"))
    piece = b"x" * 99 + b"\n"
    data = piece * 20_000  # large enough to be cut without the GIL
    counts = []
    refused = []
    ready = threading.Barrier(4)

    def feed():
        ready.wait()
        for _ in range(20):
            try:
                counts.append(len(framer.feed(data)))
            except RuntimeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) + len(refused) == 80
    assert set(counts) == {20_000}
    assert all("another thread" in text for text in refused)
    assert framer.unfinished == 0


def test_framer_frees_what_it_holds():
    def use():
        framer = Framer(LengthPrefix(4))
        framer.feed(b"\0\0\0\1a" * 1000 + b"\0\0\1")
        bad = Framer(LengthPrefix(1), max_frame=1)
        for _ in range(10):
            with pytest.raises(FrameError):
                bad.feed(b"\2")

    use()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(100):
        use()
    gc.collect()
    # Half of what one lost block a use would be. Not tracemalloc: in CPython 3.11 it loses
    # records of its own, which a search for leaks then reports.
    assert sys.getallocatedblocks() - before < 50


def test_feed_after_an_error_raises_a_new_one_each_time():
    """A single object would gather the tracebacks, and with them the locals, of all its callers."""
    framer = Framer(LengthPrefix(1), max_frame=1)
    errors = []
    for _ in range(3):
        with pytest.raises(FrameError) as caught:
            framer.feed(b"\2")
        errors.append(caught.value)
    assert len(set(map(id, errors))) == 3


def test_names_are_in_the_module():
    assert fastsock.Framer is Framer
    assert {"Framer", "LengthPrefix", "Delimiter", "FixedSize"} <= set(fastsock.__adds__)
