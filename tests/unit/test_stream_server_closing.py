# SPDX-License-Identifier: MIT
"""StreamServer: how connections end, why, and what is sent and told before."""

import contextlib
import socket as stdlib

import pytest

from fastsock import CloseReason, Delimiter, FixedSize, LengthPrefix
from unit.serving import (
    PREFIX,
    Story,
    check_balance,
    echo,
    join,
    receive_all,
    receive_exactly,
    reset,
    serve,
)

__all__ = ["join", "serve"]  # fixtures

KINDS = ["tcp", "unix"]


@pytest.fixture(params=KINDS)
def address(request, tmp_path):
    return ("127.0.0.1", 0) if request.param == "tcp" else tmp_path / "x.sock"


def test_peer_that_sends_nothing_and_closes_is_told_as_eof(serve, join, address):
    server = serve(address)
    join(server).close()
    story = Story(server)
    story.until_closed()
    assert story.reasons() == [CloseReason.EOF]
    assert story.opened[0].unfinished == 0
    assert list(story.frames.values()) == [[]]
    assert check_balance(server).closed[CloseReason.EOF] == 1


def test_connection_may_open_send_and_end_in_one_batch(serve, join):
    server = serve()
    sock = join(server)
    sock.sendall(PREFIX.encode([b"x"]))
    sock.close()
    story = Story(server)
    story.until_closed()
    assert list(story.frames.values()) == [[b"x"]]


def test_half_closed_peer_gets_the_answers_to_its_last_frames(serve, join, in_thread, address):
    """More of them than the kernel takes at once."""
    server = serve(address, max_pending=1 << 24)
    sock = join(server)
    story = Story(server, lambda connection, frame: connection.send(bytes(frame) * 1000))
    sock.sendall(PREFIX.encode([b"%1000d" % number for number in range(10)]))
    sock.shutdown(stdlib.SHUT_WR)
    received = in_thread(receive_all, sock)
    story.until_closed()
    expected = PREFIX.encode([b"%1000d" % number * 1000 for number in range(10)])
    assert received.result() == expected
    assert story.reasons() == [CloseReason.EOF]
    stats = check_balance(server)
    assert (stats.bytes_sent, stats.bytes_unsent, stats.memory) == (len(expected), 0, 0)


def test_end_inside_a_frame_is_eof_with_the_bytes_told(serve, join, address):
    server = serve(address)
    sock = join(server)
    sock.sendall(PREFIX.encode([b"whole", b"cut off"])[:-2])
    sock.close()
    story = Story(server)
    story.until_closed()
    (connection,) = story.opened
    assert story.frames[connection] == [b"whole"]
    assert story.reasons() == [CloseReason.EOF]
    assert connection.unfinished == 4 + 5
    stats = check_balance(server)
    assert (stats.bytes_unfinished, stats.memory) == (9, 0)


def test_reset_is_told_as_such(serve, join):
    server = serve()
    sock = join(server)
    story = Story(server)
    story.until_open()
    reset(sock)
    story.until_closed()
    assert story.reasons() == [CloseReason.RESET]


def test_reset_while_output_waits_is_told_and_the_output_counted(serve, join):
    server = serve(max_pending=1 << 24)
    sock = join(server, receive_buffer=4096)
    story = Story(server)
    connection = story.until_open()
    connection.send(bytes(1 << 20))
    for _ in range(15):
        connection.send(bytes(1 << 20))
    server.flush()
    left = connection.pending
    assert left > 0
    reset(sock)
    story.until_closed()
    assert story.reasons() == [CloseReason.RESET]
    stats = check_balance(server)
    assert (stats.bytes_unsent, stats.memory) == (left, 0)
    assert stats.bytes_sent + stats.bytes_unsent == 16 * ((1 << 20) + 4)


def test_unix_peer_that_goes_with_answers_unread_is_told_as_reset(serve, join, tmp_path):
    server = serve(tmp_path / "x.sock")
    sock = join(server)
    story = Story(server)
    connection = story.until_open()
    connection.send(b"never read")
    server.flush()
    sock.close()
    story.until_closed()
    assert story.reasons() == [CloseReason.RESET]


@pytest.mark.parametrize(
    ("framing", "stream"),
    [
        (LengthPrefix(4), b"\0\0\1\1"),
        (LengthPrefix(8, "little"), b"\xff" * 8),
        (LengthPrefix("varint"), b"\x81\x02"),
        (LengthPrefix("varint"), b"\xff" * 11),
        (LengthPrefix(4, includes_header=True), b"\0\0\0\3"),
        (Delimiter(b"\n"), b"x" * 257),
        (Delimiter(b"\r\n", keep=True), b"x" * 256 + b"\r\n"),
    ],
    ids=["length", "huge", "varint", "endless", "below_header", "no_delimiter", "kept_delimiter"],
)
@pytest.mark.parametrize("before", [0, 3])
def test_stream_that_is_no_frame_ends_after_those_before(serve, join, framing, stream, before):
    server = serve(framing=framing, max_frame=256)
    sock = join(server)
    keeps = framing.encode([b"\r\n"]) == b"\r\n" if "keep" in repr(framing) else False
    frames = [b"%d" % number + (b"\r\n" if keeps else b"") for number in range(before)]
    story = Story(server)
    sock.sendall(framing.encode(frames) + stream)
    story.until_closed()
    assert list(story.frames.values()) == [frames]
    assert story.reasons() == [CloseReason.OVERSIZE]
    assert check_balance(server).memory == 0


def test_frame_is_refused_by_its_header_before_it_comes(serve, join):
    server = serve(max_frame=100)
    sock = join(server)
    sock.sendall((101).to_bytes(4, "big"))
    story = Story(server)
    story.until_closed()
    assert story.reasons() == [CloseReason.OVERSIZE]
    assert check_balance(server).memory_peak < 4096


def test_close_here_is_told_as_local_after_the_output_has_gone(serve, join, in_thread, address):
    server = serve(address, max_pending=1 << 24)
    sock = join(server)
    story = Story(server)
    connection = story.until_open()
    sock.sendall(PREFIX.encode([b"never wanted"]))
    messages = [bytes([number]) * 500_000 for number in range(20)]
    assert connection.send_many(messages) == 20
    connection.close()
    assert connection.send(b"late") is False
    assert connection.send_many([b"late"]) == 0
    connection.close()
    received = in_thread(receive_all, sock)
    story.until_closed()
    assert received.result() == PREFIX.encode(messages)
    assert story.reasons() == [CloseReason.LOCAL]
    assert story.frames[connection] == []
    stats = check_balance(server)
    assert (stats.frames_queued, stats.bytes_unsent, stats.memory) == (20, 0, 0)


def test_close_of_a_peer_that_still_sends_is_clean(serve, join, address):
    """A close with bytes unread would be a reset, which may overtake the answer."""
    server = serve(address)
    sock = join(server)
    story = Story(server)
    connection = story.until_open()
    connection.send(b"bye")
    server.flush()
    sock.sendall(b"\0" * 50_000)
    connection.close()
    story.until_closed()
    assert receive_all(sock) == PREFIX.encode([b"bye"])


def test_close_in_the_batch_of_a_frame_drops_those_that_follow(serve, join):
    framing = FixedSize(1)
    server = serve(framing=framing)
    sock = join(server)
    story = Story(server)
    story.until_open()
    sock.sendall(b"x" * 60_000)  # more than a batch has rows
    batch = server.next_batch(5)
    story.add(batch)
    story.opened[0].close()
    before = len(story.frames[story.opened[0]])
    story.until_closed()
    assert story.reasons() == [CloseReason.LOCAL]
    assert len(story.frames[story.opened[0]]) == before < 60_000


def test_slow_peer_is_told_and_gets_a_reset_no_end(serve, join, address):
    server = serve(address, max_frame=100_000, max_pending=150_000)
    sock = join(server, receive_buffer=4096)
    story = Story(server)
    connection = story.until_open()
    queued = 0
    while connection.send(b"x" * 100_000):
        queued += 1
        assert connection.pending <= 150_000
    assert queued > 0
    assert connection.send(b"late") is False
    story.until_closed()
    assert story.reasons() == [CloseReason.SLOW]
    if sock.family == stdlib.AF_UNIX:  # these have no such end
        assert len(receive_all(sock)) < queued * 100_004
    else:
        with pytest.raises(ConnectionResetError):
            receive_all(sock)
    stats = check_balance(server)
    assert stats.frames_queued == queued
    assert stats.bytes_sent + stats.bytes_unsent == queued * 100_004
    assert stats.memory == 0


def fill_memory(serve, join, most):
    """A server whose one slow peer has most bytes queued, or all that memory allows."""
    server = serve(max_frame=100_000, max_pending=1 << 24, memory=11_000_000)
    sock = join(server, receive_buffer=4096)
    story = Story(server)
    connection = story.until_open()
    while connection.pending + 10_004 <= most and connection.send(bytes(10_000)):
        pass
    return story, sock


def test_peer_whose_frame_found_no_memory_gets_a_reset_though_nothing_was_queued(serve, join):
    """It must not take what came before for all there was."""
    story, _ = fill_memory(serve, join, 1 << 24)
    story.until_closed()
    assert story.reasons() == [CloseReason.SLOW]
    limit = check_balance(story.server).memory_peak
    story, slow = fill_memory(serve, join, limit)
    sock = join(story.server)
    connection = story.until_open(2)
    assert connection.pending == 0
    assert connection.send(bytes(50_000)) is False
    story.until_closed()
    assert story.closed == {connection: CloseReason.SLOW}
    with pytest.raises(ConnectionResetError):
        receive_all(sock)
    assert slow.recv(4) == (10_000).to_bytes(4, "big")


def test_slow_peer_with_overflow_raise_goes_on_when_it_takes_again(serve, join, in_thread):
    server = serve(max_frame=100_000, max_pending=150_000, overflow="raise")
    sock = join(server, receive_buffer=4096)
    story = Story(server)
    connection = story.until_open()
    sent = []

    def send_on():
        while connection.send(b"%100000d" % len(sent)):
            sent.append(b"%100000d" % len(sent))

    with pytest.raises(BlockingIOError, match=r"150000 bytes \(max_pending\)"):
        send_on()
    before = server.stats()
    with pytest.raises(BlockingIOError):
        connection.send_many([b"x" * 100_000, b"short"])
    assert server.stats() == before
    assert connection.send(b"short") is True
    assert connection.send_many([b"short", b"x" * 100_000, b"short"]) == 1
    expected = [*sent, b"short", b"short"]
    received = b""
    while connection.pending:
        received += sock.recv(65536)
        with contextlib.suppress(BlockingIOError):
            story.take(0)
    assert connection.send(b"x" * 100_000) is True
    connection.close()
    rest = in_thread(receive_all, sock)
    story.until_closed()
    received += rest.result()
    assert received == PREFIX.encode([*expected, b"x" * 100_000])
    assert story.reasons() == [CloseReason.LOCAL]


def test_frame_that_no_memory_is_left_for_ends_its_connection(serve, join, in_thread):
    """Unfinished frames of many peers; those of the first stay."""
    server = serve(max_frame=1 << 20, memory=24 << 20)
    story = Story(server)
    part = PREFIX.encode([bytes(1 << 20)])[: 1 << 19]
    for count in range(1, 60):
        sending = in_thread(join(server).sendall, part)
        story.until(lambda: server.stats().bytes_received == count * len(part) or story.closed)  # noqa: B023
        if story.closed:
            with contextlib.suppress(ConnectionError):
                sending.result()
            break
        sending.result()
    assert 10 < count < 40
    assert story.reasons() == [CloseReason.MEMORY]
    assert 20 << 20 > check_balance(server).memory_peak > 8 << 20


def test_server_close_drops_what_is_queued_and_ends_all(serve, join):
    server = serve()
    lacking, served = join(server), join(server)
    story = Story(server)
    story.until_open(2)
    by_peer = {connection.peer: connection for connection in story.opened}
    connection = by_peer[lacking.getsockname()]
    connection.send(b"never sent")
    server.close()
    server.close()
    assert server.closed
    assert connection.closed
    assert connection.send(b"late") is False
    with pytest.raises(ConnectionResetError):
        receive_all(lacking)
    assert receive_all(served) == b""
    with pytest.raises(ConnectionRefusedError):
        join(server)


def test_frames_before_an_end_are_answered_each(serve, join):
    server = serve()
    story = Story(server, echo)
    socks = [join(server) for _ in range(10)]
    for number, sock in enumerate(socks):
        sock.sendall(PREFIX.encode([b"%d" % number] * 10))
        sock.shutdown(stdlib.SHUT_WR)
    story.until_closed(10)
    for number, sock in enumerate(socks):
        assert receive_all(sock) == PREFIX.encode([b"%d" % number] * 10)


def test_numbers_of_many_connections_are_used_again(serve, join):
    server = serve()
    story = Story(server, echo)
    for number in range(300):
        sock = join(server)
        sock.sendall(PREFIX.encode([b"%d" % number]))
        story.until_frames(number + 1)
        server.flush()
        assert receive_exactly(sock, 4) == len(b"%d" % number).to_bytes(4, "big")
        if number % 2:
            reset(sock)
        else:
            sock.close()
        story.until_closed(number + 1)
    assert server.stats().connections == 0


def test_answers_beyond_max_pending_reach_a_peer_that_has_ended(serve, join, in_thread):
    server = serve(max_pending=60_000)
    sock = join(server)
    sock.sendall(PREFIX.encode([b"ask"] * 300))
    sock.shutdown(stdlib.SHUT_WR)
    reading = in_thread(receive_all, sock)
    answer = bytes(300)
    story = Story(server, lambda connection, _: connection.send(answer))
    story.until_closed()
    assert story.reasons() == [CloseReason.EOF]
    assert reading.result() == PREFIX.encode([answer] * 300)


def test_abort_drops_what_is_queued_and_resets(serve, join):
    server = serve()
    sock = join(server)
    story = Story(server)
    connection = story.until_open()
    connection.send(b"never sent")
    connection.abort()
    assert connection.send(b"late") is False
    story.until_closed()
    assert story.reasons() == [CloseReason.LOCAL]
    connection.abort()
    with pytest.raises(ConnectionResetError):
        receive_all(sock)


def test_send_many_of_a_bad_frame_tells_how_many_went_before(serve, join):
    server = serve()
    sock = join(server)
    connection = Story(server).until_open()
    assert connection.send_many([b"one", b"two", "text", b"three"]) == 2
    with pytest.raises(TypeError):
        connection.send_many(["text", b"three"])
    with pytest.raises(ZeroDivisionError):
        connection.send_many(bytes(1 // number) for number in (1, 0))
    server.flush()
    assert receive_exactly(sock, 14) == PREFIX.encode([b"one", b"two"])
