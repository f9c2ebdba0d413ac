# SPDX-License-Identifier: MIT
"""Receiver: every message is accounted for.

    received == delivered + ring_drops + queued + discarded
    sent == received + kernel_drops       (of trains, when the kernel drops any: a lower bound)

Over the loopback device a datagram is in the receiver's queue, or dropped, when its send returns.
So all that was sent is accounted for after close(), without waiting for anything.
"""

import array
import contextlib
import faulthandler
import itertools
import os
import resource
import socket as stdlib
import time

import pytest

import fastsock
from fastsock.native import library
from unit.many import send_all
from unit.receiving import (
    LEAST,
    LOCAL,
    count_descriptors,
    is_whole,
    numbered,
    receive,
    send_segments,
    send_singly,
    send_to,
    take,
    take_queued,
)

__all__ = ["receive", "send_to"]  # fixtures

HAS_GRO = library.engine_name() == "linux"
RUNS = 20
POLICIES = ["drop-newest", "drop-oldest", "block"]
MORE = 1500  # messages of 1000 bytes: more than fit in the least memory
SENDERS = {"one_by_one": send_singly, "trains": send_segments}

each_policy = pytest.mark.parametrize("overflow", POLICIES)
each_gro = pytest.mark.parametrize("gro", [False, True], ids=["plain", "gro"])
each_sender = pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)


def check_sum(stats, sent, gro, send):
    """The second equation, as exact as it can be."""
    assert is_whole(stats)
    if HAS_GRO and gro and send is send_segments and stats.kernel_drops > 0:
        assert not stats.kernel_drops_exact
        assert stats.received + stats.kernel_drops <= sent
    else:
        assert stats.received + stats.kernel_drops == sent


def take_rest(receiver):
    """Return what waits, and what the thread has received and not yet stored."""
    received = []
    while receiver.stats().queued > 0:
        received += take_queued(receiver)
    return received


def is_ascending(messages):
    return all(one < other for one, other in itertools.pairwise(messages))


@each_sender
@each_gro
@each_policy
def test_nothing_is_unaccounted_for_when_the_consumer_comes_late(
    receive, send_to, overflow, gro, send
):
    messages = numbered(MORE)
    for run in range(RUNS):
        # In every second run the kernel's buffer overflows too.
        buffer = 8 << 20 if run % 2 else 200_000
        receiver = receive(memory=LEAST, overflow=overflow, gro=gro, receive_buffer=buffer)
        send(send_to(receiver), messages)
        assert is_whole(receiver.stats())
        received = take_queued(receiver)
        receiver.close()
        stats = receiver.stats()
        check_sum(stats, MORE, gro, send)
        assert (stats.delivered, stats.queued, stats.pinned) == (len(received), 0, 0)
        assert stats.delivered + stats.ring_drops + stats.discarded + stats.kernel_drops <= MORE
        assert set(received) <= set(messages)
        assert is_ascending(received)
        assert stats.bytes == 1000 * stats.received
        if overflow == "block":
            assert stats.ring_drops == 0


@each_sender
@each_gro
@pytest.mark.parametrize("overflow", ["drop-newest", "drop-oldest"])
def test_drop_policy_keeps_that_end_of_what_was_sent(
    receive, send_to, wait_until, overflow, gro, send
):
    messages = numbered(MORE)
    receiver = receive(memory=LEAST, overflow=overflow, gro=gro, receive_buffer=8 << 20)
    send(send_to(receiver), messages)
    wait_until(lambda: receiver.stats().received == MORE)
    received = take_rest(receiver)
    stats = receiver.stats()
    assert (stats.delivered, stats.ring_drops) == (len(received), MORE - len(received))
    assert 100 < len(received) < MORE
    if overflow == "drop-newest":
        assert received == messages[: len(received)]
    else:
        assert received == messages[-len(received) :]


@each_gro
@each_policy
def test_every_snapshot_of_another_thread_is_whole(receive, send_to, in_thread, overflow, gro):
    receiver = receive(memory=LEAST, overflow=overflow, gro=gro)
    sender = send_to(receiver)
    is_over = []

    def watch():
        snapshots = 0
        last = receiver.stats()
        while not is_over:
            stats = receiver.stats()
            assert is_whole(stats)
            assert stats.queued <= stats.received
            for name in ("received", "delivered", "ring_drops", "kernel_drops", "discarded"):
                assert getattr(stats, name) >= getattr(last, name)
            last = stats
            snapshots += 1
            time.sleep(0)
        return snapshots

    watchers = [in_thread(watch) for _ in range(2)]
    delivered = 0
    try:
        for number in range(60):
            (send_segments if number % 2 else send_singly)(sender, numbered(200, 500))
            if number % 3 == 0:
                delivered += len(take_queued(receiver))
        receiver.close()
    finally:
        is_over.append(True)
    assert all(task.result() > 10 for task in watchers)
    stats = receiver.stats()
    assert is_whole(stats)
    assert stats.delivered == delivered
    check_sum(stats, 12_000, gro, send_segments)


@pytest.mark.parametrize("gro", [False, True], ids=["plain", "gro"])
def test_nothing_is_dropped_while_the_consumer_keeps_up(receive, send_to, gro):
    receiver = receive(memory=LEAST, gro=gro)
    sender = send_to(receiver)
    for start in range(0, 6000, 300):
        messages = [b"%08d" % number for number in range(start, start + 300)]
        send_segments(sender, messages)
        assert take(receiver, 300) == messages
    stats = receiver.stats()
    assert (stats.received, stats.delivered, stats.kernel_drops, stats.ring_drops) == (
        (6000, 6000, 0, 0)
    )
    assert stats.kernel_drops_exact
    assert stats.bytes == 48_000


def test_block_over_a_unix_socket_loses_nothing(receive, send_to, in_thread, tmp_path):
    """The sender is held up, by ten datagrams that the kernel takes."""
    receiver = receive(tmp_path / "x.sock", memory=LEAST, overflow="block")
    sender = send_to(receiver)
    messages = numbered(4000)
    task = in_thread(send_all, sender, messages)
    assert take(receiver, 4000) == messages
    task.result()
    stats = receiver.stats()
    assert (stats.received, stats.ring_drops, stats.kernel_drops) == (4000, 0, 0)
    assert stats.kernel_drops_exact


def test_block_holds_up_the_sender_until_the_consumer_comes(receive, send_to, tmp_path, wait_until):
    receiver = receive(tmp_path / "x.sock", memory=LEAST, overflow="block")
    sender = send_to(receiver)
    sender.setblocking(False)
    sent = 0

    def is_full():
        nonlocal sent
        before = sent
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(b"%08d" % sent + bytes(992))
                sent += 1
        return sent == before and receiver.stats().queued > 500

    wait_until(is_full)
    assert take(receiver, sent) == numbered(sent)


def test_close_counts_what_the_kernel_holds(receive, send_to):
    for gro in (False, True):
        receiver = receive(memory=LEAST, overflow="block", gro=gro, receive_buffer=16 << 20)
        send_singly(send_to(receiver), numbered(4000))
        held = 4000 - receiver.stats().received
        assert held > 1000
        receiver.close()
        stats = receiver.stats()
        assert (stats.received, stats.discarded, stats.delivered) == (4000, 4000, 0)
        assert (stats.kernel_drops, stats.queued) == (0, 0)


def test_close_counts_what_was_taken_as_delivered(receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    send_singly(sender, numbered(3))
    kept = []
    while sum(map(len, kept)) < 3:
        kept.append(receiver.next_batch(5))
    send_singly(sender, numbered(2))
    receiver.close()
    stats = receiver.stats()
    assert (stats.received, stats.delivered, stats.discarded) == (5, 3, 2)
    assert stats.pinned == len(kept)
    assert [message.bytes() for batch in kept for message in batch] == numbered(3)
    kept.clear()
    assert receiver.stats().pinned == 0


def test_kernel_drops_begin_when_it_is_opened(closing, receive):
    sock = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 4096)
    sock.bind(LOCAL)
    sender = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sender.connect(sock.getsockname())
    send_singly(sender, numbered(100))
    receiver = receive(sock, gro=False)
    received = len(receiver.next_batch(5)) + len(take_rest(receiver))
    receiver.close()
    assert receiver.stats().kernel_drops == 0
    assert 0 < received <= receiver.stats().received < 100


def test_message_longer_than_64_kib_is_cut_delivered_and_counted(receive, send_to, tmp_path):
    receiver = receive(tmp_path / "x.sock")
    sender = send_to(receiver)
    sender.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 300_000)
    sender.send(b"long" * 25_000)
    sender.send(b"fits" * 16_384)
    rows = []
    while len(rows) < 2:
        rows += receiver.next_batch(5)
    assert [row.truncated for row in rows] == [True, False]
    assert [row.bytes() for row in rows] == [b"long" * 16_384, b"fits" * 16_384]
    assert [row.wire_length for row in rows] == [100_000, 65_536]
    stats = receiver.stats()
    assert (stats.truncated, stats.delivered, stats.bytes) == (1, 2, 165_536)


@pytest.mark.parametrize("kind", ["unix_datagram", "unix_seqpacket"])
def test_descriptors_that_a_peer_sends_are_closed_and_counted(receive, make_pair, kind):
    sock, peer = make_pair(kind)
    receiver = receive(sock)
    before = count_descriptors()
    for count in (1, 10, 50, 250):
        with open(os.devnull) as file:
            fds = array.array("i", [file.fileno()] * count)
            peer.sendmsg([b"%d" % count], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, fds)])
        assert take(receiver, 1) == [b"%d" % count]
    assert count_descriptors() == before
    stats = receiver.stats()
    assert stats.received == 4
    assert stats.control_truncated > 0  # 250 are more than the control data has room for
    assert 11 <= stats.fds_refused <= 311


def test_descriptors_in_messages_at_close_are_closed(make_pair):
    sock, peer = make_pair("unix_datagram")
    before = count_descriptors()
    with open(os.devnull) as file:
        fds = array.array("i", [file.fileno()])
        receiver = fastsock.Receiver(sock, overflow="block")
        for _ in range(50):
            peer.sendmsg([b"x"], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, fds)])
        receiver.close()
    assert count_descriptors() == before


def test_icmp_errors_are_counted_and_receiving_goes_on(receive, make_pair, wait_until):
    sock, peer = make_pair("udp_ipv4")
    address = peer.getsockname()
    peer.close()
    receiver = receive(sock)
    for number in range(1, 4):
        sock.send(b"refused")
        wait_until(lambda number=number: receiver.stats().errors == number)
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as again:
        again.bind(address)
        again.connect(sock.getsockname())
        again.send(b"x")
        assert take(receiver, 1) == [b"x"]
    stats = receiver.stats()
    assert (stats.received, stats.errors) == (1, 3)


@pytest.mark.parametrize("size", [1, 100, 65_000], ids=lambda size: f"{size}_bytes")
def test_messages_of_every_size_use_the_memory(receive, send_to, wait_until, size):
    """A ring of small messages must not be full of their rows, nor one of large ones of gaps."""
    receiver = receive(memory=4 * LEAST, receive_buffer=16 << 20)
    sender = send_to(receiver)
    message = b"x" * size
    count = 0
    while receiver.stats().ring_drops == 0:
        # 64 bytes a message are the columns'.
        assert count * (size + 64) < 8 * LEAST
        for _ in range(50):
            sender.send(message)
        count += 50
        wait_until(lambda count=count: receiver.stats().received == count)
    stats = receiver.stats()
    assert stats.kernel_drops == 0
    assert (count - stats.ring_drops) * (size + 64) > LEAST
    # What one system call brought has waited too, before some of it was dropped.
    assert -stats.largest_batch <= count - stats.high_water - stats.ring_drops <= 100


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def stall(sender, seconds):
    """Send without rest while nobody takes; return the messages sent and the growth, bytes/s."""
    messages = numbered(64)
    sent = 0
    begin = now = time.monotonic()
    early = None
    while now < begin + seconds:
        send_segments(sender, messages)
        sent += 64
        now = time.monotonic()
        if early is None and now > begin + min(5, seconds / 2):
            early = (now, resident_bytes())
    return sent, (resident_bytes() - early[1]) / (now - early[0])


@each_policy
@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        pytest.param(0.5, 1 << 20, id="short"),
        pytest.param(60, 1024, id="60s", marks=[pytest.mark.long, pytest.mark.timeout(150)]),
    ],
)
def test_stalled_consumer_costs_no_memory_and_resumes(receive, send_to, overflow, seconds, limit):
    faulthandler.cancel_dump_traceback_later()  # it is to be this long
    receiver = receive(memory=4 * LEAST, overflow=overflow)
    sender = send_to(receiver)
    sent, growth = stall(sender, seconds)
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps what is freed
        assert growth < limit  # bytes a second, after all memory has been used once
    stats = receiver.stats()
    assert is_whole(stats)
    assert (stats.delivered, stats.pinned) == (0, 0)
    assert stats.kernel_drops <= sent - stats.received
    if stats.kernel_drops == 0 and overflow != "block":
        assert stats.ring_drops > 0
    assert set(take_rest(receiver)) <= set(numbered(64))
    sender.send(b"after")
    received = []
    while b"after" not in received:
        received += [message.bytes() for message in receiver.next_batch(5)]
    receiver.close()
    stats = receiver.stats()
    assert is_whole(stats)
    assert stats.received + stats.kernel_drops <= sent + 1
    if stats.kernel_drops == 0:
        assert stats.received == sent + 1
