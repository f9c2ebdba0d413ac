# SPDX-License-Identifier: MIT
"""What receives give while they read ahead: what a socket gives that does not.

How they wait: test_readahead_waiting.py. Switching it on and off, sharing and closing:
test_readahead_switch.py.
"""

import random
import socket as stdlib

import pytest

import fastsock
from unit.calls import PLAIN_RECEIVES, each_receive, outcome
from unit.many import (
    SOL_UDP,
    SOME,
    UDP_GRO,
    ahead,
    cut,
    numbered,
    payload,
    send_all,
    send_train,
    waits,
)

IP_RECVTTL, IP_PKTINFO = 12, 8  # linux/in.h
IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT = 49, 51  # linux/in6.h

__all__ = ["ahead"]  # a fixture

each_size = pytest.mark.parametrize("buffers", [1, 4, 64])


def has_gro(sock):
    return stdlib.socket.getsockopt(sock, SOL_UDP, UDP_GRO) == 1


# Senders: each sends `messages`, of which neighbours of one size may travel together.


def one_by_one(peer, messages):
    send_all(peer, messages)


def by_send_many(peer, messages):
    assert fastsock.send_many(peer, messages) == len(messages)


def by_segments(peer, messages):
    for start, length in runs_of(messages):
        run = messages[start : start + length]
        if len(run) > 1:
            assert fastsock.send_segments(peer, b"".join(run), len(run[0])) == len(run)
        else:
            peer.send(run[0])


def by_trains(peer, messages):
    for start, length in runs_of(messages):
        run = messages[start : start + length]
        if len(run) > 1:
            send_train(peer, len(run[0]), b"".join(run))
        else:
            peer.send(run[0])


def runs_of(messages):
    """The runs of messages that can be one train: equal sizes, up to 64, and up to 60,000 bytes."""
    start = 0
    while start < len(messages):
        size, length = len(messages[start]), 1
        limit = min(64, 60_000 // max(size, 1)) if 0 < size <= 1400 else 1
        while length < limit and len(messages[start + length : start + length + 1]) == 1:
            if len(messages[start + length]) != size:
                break
            length += 1
        yield start, length
        start += length


SENDERS = [one_by_one, by_send_many, by_segments, by_trains]
each_sender = pytest.mark.parametrize("send", SENDERS, ids=lambda send: send.__name__)


def some_messages(chance):
    """Messages of all sorts, among them runs of one size."""
    messages = []
    while len(messages) < 60:
        size = chance.choice([0, 1, 2, 7, 100, 100, 1000, 1400, 3000])
        for _ in range(chance.choice([1, 1, 2, 5, 20]) if size <= 100 else 2):
            messages.append(payload(size, first=len(messages)))
    return messages


# Every call on either socket, in one form: what it comes to, with the sender's name left out.


def call_many(sock, size, count):
    return sock.recv_many(size, count)


def call_from_many(sock, size, count):
    return [(message, len(address)) for message, address in sock.recvfrom_many(size, count)]


def call_batch(sock, size, count):
    batch = fastsock.Batch(count, size)
    sock.recv_batch(batch, timeout=0)
    flags = [flag & ~batch.COALESCED for flag in batch.flags]
    return [message.bytes() for message in batch], list(batch.wire_lengths), flags


def call_message(sock, size, flags):
    data, ancillary, flags, address = sock.recvmsg(size, 0, flags)
    return data, ancillary, flags, len(address)


def call_message_into(sock, size, flags):
    parts = [bytearray(size // 3), bytearray(), bytearray(size)]
    received, ancillary, flags, _ = sock.recvmsg_into(parts, 0, flags)
    return received, parts, ancillary, flags


def call_into(sock, size, flags):
    buffer = bytearray(b"-" * size)
    return sock.recv_into(buffer, 0, flags), buffer


def call_from_into(sock, size, flags):
    buffer = bytearray(b"-" * size)
    received, address = sock.recvfrom_into(buffer, 0, flags)
    return received, buffer, len(address)


SINGLE = [*PLAIN_RECEIVES, call_message, call_message_into, call_into, call_from_into]
MANY = [call_many, call_from_many, call_batch]
FLAGS = [
    0,
    0,
    stdlib.MSG_PEEK,
    stdlib.MSG_TRUNC,
    stdlib.MSG_DONTWAIT,
    stdlib.MSG_PEEK | stdlib.MSG_TRUNC,
]


def random_call(chance):
    if chance.random() < 0.7:
        size, flags = chance.choice([1, 5, 100, 150, 5000, 65_537]), chance.choice(FLAGS)
        return chance.choice(SINGLE), size, flags
    return chance.choice(MANY), chance.choice([1, 5, 100, 65_536]), chance.choice([1, 3, 70])


@each_sender
@each_size
def test_every_call_reading_ahead_gives_what_it_gives_without(make_pair, send, buffers):
    for seed in range(12):
        chance = random.Random(seed)
        pairs = [make_pair(("udp_ipv4", "udp_ipv6")[seed % 2]) for _ in range(2)]
        messages = some_messages(chance)
        for sock, _ in pairs:
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 1 << 20)
            sock.setblocking(False)
        (ahead, _), (plain, _) = pairs
        ahead.set_readahead(buffers)
        for _, peer in pairs:
            send(peer, messages[:40])
        more = messages[40:]
        for turn in range(500):
            call, size, argument = random_call(chance)
            expected = outcome(call, plain, size, argument)
            assert outcome(call, ahead, size, argument) == expected, (seed, turn, call, argument)
            if expected[0] is BlockingIOError and not more:
                break
            if turn % 5 == 4 and more:
                for _, peer in pairs:
                    send(peer, more[:6])
                more = more[6:]
        assert ahead.pending() == 0
        for sock, peer in pairs:
            sock.close()
            peer.close()


@each_receive
@each_sender
def test_recv_loop_reading_ahead_gets_each_datagram_by_itself(ahead, receive, send):
    sock, peer = ahead(8)
    messages = [*(payload(100, first) for first in range(50)), payload(30), b"", payload(1000)]
    send(peer, messages)
    assert [receive(sock, 2000) for _ in messages] == messages
    assert sock.pending() == 0


def test_recvfrom_reading_ahead_names_each_sender(closing):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    sock.set_readahead(64)
    peers = [closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)) for _ in range(4)]
    expected = []
    for number, peer in enumerate(peers * 3):
        peer.connect(sock.getsockname())
        send_train(peer, 10, payload(35, number))
        expected += [(part, peer.getsockname()) for part in cut(10, payload(35, number))]
    assert [sock.recvfrom(100) for _ in expected[:20]] == expected[:20]
    assert sock.recvfrom_many(100, 100) == expected[20:]


def test_recv_of_no_bytes_reading_ahead_makes_no_call(ahead):
    sock, peer = ahead()
    send_all(peer, [b"lost", b"kept"])
    assert sock.recv(0) == b""
    assert sock.recv_into(bytearray()) == 0
    assert sock.recvfrom(0)[0] == b""
    assert sock.recv(100) == b"kept"


def test_recvmsg_reading_ahead_returns_the_flags_that_were_given_as_the_kernel(make_pair):
    pairs = [make_pair("udp_ipv4") for _ in range(2)]
    pairs[0][0].set_readahead(4)
    results = []
    for sock, peer in pairs:
        peer.send(b"abcdef")
        results.append(sock.recvmsg(4, 0, stdlib.MSG_CMSG_CLOEXEC)[:3])
    assert results[0] == results[1]


# Counting


def test_pending_counts_datagrams(ahead):
    sock, peer = ahead(64)
    assert sock.pending() == 0
    send_all(peer, numbered(30))
    assert sock.pending() == 0  # nothing has been read ahead yet
    assert sock.recv(100) == b"0"
    assert sock.pending() == 29
    assert sock.recv(100, stdlib.MSG_PEEK) == b"1"
    assert sock.pending() == 29
    assert len(sock.recv_many(100, 10)) == 10
    assert sock.pending() == 19


def test_pending_of_a_train_counts_its_datagrams(ahead):
    sock, peer = ahead(2)
    if not has_gro(sock):
        pytest.skip("UDP_GRO was asked for by set_readahead, and the socket does not have it")
    send_train(peer, 10, payload(595))
    assert sock.recv(100) == payload(10)
    assert sock.pending() == 59


def test_truncated_counts_what_receives_reading_ahead_cut(ahead):
    sock, peer = ahead()
    send_all(peer, [b"12345"] * 8)
    sock.recv(4, stdlib.MSG_PEEK)
    assert sock.truncated() == 0
    sock.recv(4), sock.recvfrom(4), sock.recv(5), sock.recvmsg(4)
    sock.recv_into(bytearray(4))
    assert sock.truncated() == 4
    assert sock.recv_many(4, 2) == [b"1234"] * 2
    assert sock.truncated() == 6
    sock.recv_batch(fastsock.Batch(10, 1))
    assert sock.truncated() == 7


# Batches


@pytest.mark.parametrize("max_message", [20, 65_536], ids=["by_the_queue", "straight"])
@each_size
def test_train_larger_than_the_batch_is_carried_over(ahead, max_message, buffers):
    sock, peer = ahead(buffers)
    batch = fastsock.Batch(7, max_message)
    for turn in range(3):
        send_train(peer, 10, payload(505, turn))
        peer.send(b"single")
    expected = [part for turn in range(3) for part in [*cut(10, payload(505, turn)), b"single"]]
    received = []
    while len(received) < len(expected):
        assert sock.recv_batch(batch) == min(7, len(expected) - len(received))
        received += [bytes(message.data) for message in batch]
    assert received == expected
    with pytest.raises(BlockingIOError):
        sock.recv_batch(batch, timeout=0)


@pytest.mark.parametrize("max_message", [100, 65_536], ids=["by_the_queue", "straight"])
def test_batch_flags_what_came_in_a_train(ahead, max_message):
    sock, peer = ahead()
    batch = fastsock.Batch(10, max_message)
    peer.send(b"single")
    send_train(peer, 10, payload(35))
    assert sock.recv_batch(batch) == 5
    coalesced = batch.COALESCED if has_gro(sock) else 0
    assert list(batch.flags) == [0, coalesced, coalesced, coalesced, coalesced]
    assert list(batch.wire_lengths) == [6, 10, 10, 10, 5]
    assert list(batch.sources) == [peer.getsockname()]


def test_recv_batch_reading_ahead_cuts_and_flags_long_datagrams(ahead):
    sock, peer = ahead()
    batch = fastsock.Batch(10, 4)
    send_train(peer, 10, payload(23))
    assert sock.recv_batch(batch) == 3
    assert [message.bytes() for message in batch] == [payload(4), payload(4, 10), payload(3, 20)]
    assert [message.truncated for message in batch] == [True, True, False]
    assert list(batch.wire_lengths) == [10, 10, 3]


@pytest.mark.parametrize("max_message", [20, 65_536], ids=["by_the_queue", "straight"])
def test_recv_batch_reading_ahead_waits_for_minimum(ahead, max_message, in_thread, wait_until):
    sock, peer = ahead(4)
    batch = fastsock.Batch(50, max_message)
    send_train(peer, 10, payload(40))
    task = in_thread(sock.recv_batch, batch, minimum=9, timeout=None)
    wait_until(lambda: waits(task, sock))
    assert not task.is_done
    send_train(peer, 10, payload(60, 40))
    assert task.result() == 10
    assert [message.bytes() for message in batch] == cut(10, payload(100))
    send_all(peer, SOME)
    assert sock.recv_batch(batch, minimum=50, timeout=0.05) == 3


# Ancillary data


def ask_for_ancillary_data(sock):
    if sock.family == stdlib.AF_INET:
        sock.setsockopt(stdlib.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(stdlib.IPPROTO_IP, IP_RECVTTL, 1)
    else:
        sock.setsockopt(stdlib.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        sock.setsockopt(stdlib.IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)


@pytest.mark.parametrize("kind", ["udp_ipv4", "udp_ipv6"])
@pytest.mark.parametrize("name", ["recvmsg", "recvmsg_into"])
def test_ancillary_data_reading_ahead_is_as_without(make_pair, kind, name):
    pairs = [make_pair(kind) for _ in range(2)]
    pairs[0][0].set_readahead(8)
    for sock, _ in pairs:
        ask_for_ancillary_data(sock)
    rooms = [*range(0, 100, 4), 17, 21, 53, stdlib.CMSG_LEN(4), stdlib.CMSG_SPACE(20), 1000]
    for room in rooms:
        results = []
        for sock, peer in pairs:
            send_train(peer, 10, payload(25))
            for _ in range(3):
                argument = 100 if name == "recvmsg" else [bytearray(100)]
                results.append(getattr(sock, name)(argument, room)[1:3])
        assert results[:3] == results[3:], room
    assert (SOL_UDP, UDP_GRO) not in [item[:2] for item in results[0][0]]
    assert len(results[0][0]) == 2


def test_ancillary_data_of_a_peeked_datagram_is_its_own(ahead):
    sock, peer = ahead()
    ask_for_ancillary_data(sock)
    peer.send(b"x")
    peeked = sock.recvmsg(10, 100, stdlib.MSG_PEEK)
    assert len(peeked[1]) == 2
    assert sock.recvmsg(10, 100) == peeked
