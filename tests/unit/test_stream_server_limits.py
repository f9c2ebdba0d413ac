# SPDX-License-Identifier: MIT
"""StreamServer: idle peers, too many connections, no descriptors, and a loud one among many."""

import contextlib
import itertools
import re
import time

import pytest

from fastsock import CloseReason, Delimiter, LengthPrefix
from tools import child
from unit.serving import (
    DEADLINE,
    PREFIX,
    Story,
    check_balance,
    echo,
    join,
    receive_all,
    receive_exactly,
    serve,
)

__all__ = ["join", "serve"]  # fixtures


def test_silent_peer_meets_idle_timeout(serve, join):
    server = serve(idle_timeout=0.05)
    sock = join(server)
    story = Story(server)
    story.until_open()
    story.take()  # the wait ends by itself
    assert story.reasons() == [CloseReason.IDLE]
    assert receive_all(sock) == b""


@pytest.mark.parametrize("framing", [PREFIX, Delimiter(b"\n")], ids=["prefix", "delimiter"])
def test_slowloris_meets_idle_timeout_though_bytes_come(serve, join, framing):
    server = serve(framing=framing, idle_timeout=0.3, max_frame=10_000)
    sock = join(server)
    story = Story(server)
    story.until_open()
    stream = itertools.chain(framing.encode([b"x" * 9000]))
    sent = 0
    while not story.closed:
        with contextlib.suppress(ConnectionError):
            sock.sendall(bytes([next(stream)]))
            sent += 1
        with contextlib.suppress(TimeoutError):
            story.take(0.01)
    (connection,) = story.opened
    assert story.reasons() == [CloseReason.IDLE]
    assert 1 < connection.unfinished <= sent < 9000


def test_peer_that_sends_frames_is_not_idle(serve, join):
    server = serve(idle_timeout=0.3)
    lively, silent = join(server), join(server)
    story = Story(server)
    while not story.closed:
        lively.sendall(PREFIX.encode([b"x"]))
        story.until_frames(server.stats().frames_received + 1)
    (ended,) = story.closed
    assert story.closed[ended] == CloseReason.IDLE
    assert ended.peer == silent.getsockname()
    assert server.stats().connections == 1


@pytest.mark.parametrize("sent", [PREFIX.encode([b"x"]), PREFIX.encode([bytes(500_000)])[:-1]])
def test_peer_is_not_idle_because_the_caller_was_away(serve, join, sent, in_thread):
    """What it had sent in time is received before its idleness is judged."""
    server = serve(idle_timeout=0.2)
    sock = join(server)
    story = Story(server)
    story.until_open()
    in_thread(sock.sendall, sent).result()
    time.sleep(0.3)  # the condition that is tested: more than the timeout has passed
    if len(sent) > 10:
        sock.sendall(b"\0")
    story.take()
    assert story.closed == {}
    assert sum(map(len, story.frames.values())) == 1


def test_peer_that_had_ended_while_the_caller_was_away_is_told_as_eof(serve, join):
    server = serve(idle_timeout=0.2)
    sock = join(server)
    story = Story(server)
    story.until_open()
    sock.sendall(PREFIX.encode([b"x"]))
    sock.close()
    time.sleep(0.3)  # as above
    story.until_closed()
    assert list(story.frames.values()) == [[b"x"]]
    assert story.reasons() == [CloseReason.EOF]


def test_connections_over_the_most_wait_and_are_served_then(serve, join):
    server = serve(max_connections=3)
    socks = [join(server) for _ in range(8)]
    story = Story(server, echo)
    for sock in socks:
        sock.sendall(PREFIX.encode([b"x"]))
    story.until_frames(3)
    with pytest.raises(TimeoutError):
        server.next_batch(0.05)
    assert server.stats().connections == 3
    for number, sock in enumerate(socks):
        story.until_frames(number + 1)
        server.flush()
        assert server.stats().connections <= 3
        assert receive_exactly(sock, 5) == PREFIX.encode([b"x"])
        sock.close()
    story.until_closed(8)
    assert check_balance(server).accept_pauses == 0


def test_no_descriptor_left_pauses_accepting_and_serves_the_others():
    told = child.run(
        """
import resource, socket, sys, threading
import fastsock
from unit.serving import Story, echo, PREFIX, receive_exactly

clients = [socket.create_connection, None]
server = fastsock.StreamServer(("127.0.0.1", 0), PREFIX)
socks = [socket.socket() for _ in range(20)]
lowest = server.getsockname() and max(sock.fileno() for sock in socks)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 6, lowest + 6))
for sock in socks:
    sock.settimeout(5)
    sock.connect(server.getsockname())
    sock.sendall(PREFIX.encode([b"x"]))
story = Story(server, echo)
story.until(lambda: server.stats().accept_pauses >= 1)
served = len(story.opened)
assert 1 <= served <= 5, served
story.until_frames(served)
for number, sock in enumerate(socks):
    story.until_frames(number + 1)
    server.flush()
    assert receive_exactly(sock, 5) == PREFIX.encode([b"x"])
    sock.close()
story.until_closed(20)
print(server.stats().accepted, server.stats().accept_pauses > 0)
server.close()
"""
    )
    assert told == "20 True\n"


FRAME = LengthPrefix(1)


@pytest.mark.parametrize("loud_count", [1, 3])
def test_loud_connection_does_not_keep_the_quiet_ones_waiting(
    serve, join, in_thread, closing, loud_count
):
    """The shortest frames there are: of 64 KiB of them many batches are made."""
    server = serve(framing=FRAME)
    louds = [join(server) for _ in range(loud_count)]
    quiets = [join(server) for _ in range(20)]
    story = Story(server)
    story.until_open(loud_count + len(quiets))
    noise = FRAME.encode([b""] * 100_000)

    def be_loud(sock):
        with contextlib.suppress(ConnectionError, OSError):
            while True:
                sock.sendall(noise)

    tasks = [in_thread(be_loud, sock) for sock in louds]
    story.until_frames(50_000 * loud_count)
    names = {sock.getsockname() for sock in quiets}
    for _ in range(3):
        for sock in quiets:
            sock.sendall(FRAME.encode([b"x"]))
        waiting, batches = set(names), 0
        while waiting:
            batch = server.next_batch(5)
            batches += 1
            waiting -= {
                connection.peer
                for connection, frame in batch
                if len(frame) == 1 and connection.peer in names
            }
        # Each loud one has the rows of 65536 frames at most before its next turn, 8 batches.
        assert batches <= 2 + 2 * 9 * loud_count
    server.close()
    for task in tasks:
        task.result()


def test_bound_of_a_turn_gives_each_of_many_large_senders_its_part(serve, join, in_thread):
    """Of a frame of a megabyte one turn takes a part, and the others have theirs between."""
    server = serve()
    socks = [join(server) for _ in range(4)]
    story = Story(server)
    stream = PREFIX.encode([bytes(1 << 20)] * 3)
    tasks = [in_thread(sock.sendall, stream) for sock in socks]
    story.until_frames(12)
    for task in tasks:
        task.result()
    assert [len(frames) for frames in story.frames.values()] == [3] * 4
    assert check_balance(server).memory == 0


def test_least_memory_is_enough_for_a_loop_that_holds_its_last_frame(serve, join):
    with pytest.raises(ValueError, match="memory must be at least") as caught:
        serve(memory=1)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    with pytest.raises(ValueError, match="memory must be at least"):
        serve(memory=least - 1)
    server = serve(memory=least)
    sock = join(server)
    server.next_batch(DEADLINE)
    for number in range(20):
        sock.sendall(PREFIX.encode([b"%d" % number]))
        batch = server.next_batch(DEADLINE)
        for _, frame in batch:  # as the last of a loop, it stays bound
            assert bytes(frame) == b"%d" % number
        join(server)
        batch = server.next_batch(DEADLINE)
        assert len(batch.opened) == 1


def test_memory_error_in_a_batch_closes_the_server_and_nothing_worse(run_child):
    """Each allocation of the call fails in turn."""
    printed = run_child("""
import gc, socket
import _testcapi
import fastsock
gc.disable()
failed = 0
for which in range(1, 30):
    server = fastsock.StreamServer(("127.0.0.1", 0), fastsock.Delimiter(b"\\n"))
    sock = socket.create_connection(server.getsockname())
    sock.sendall(b"frame\\n")
    try:
        _testcapi.set_nomemory(which, which + 1)
        batch = server.next_batch(8)
    except MemoryError:
        failed += 1
    finally:
        _testcapi.remove_mem_hooks()
    try:
        while server.next_batch(0.001) is not None:
            pass
    except (TimeoutError, OSError):
        pass
    server.close()
    sock.close()
print(failed)
""")
    assert int(printed) > 0
