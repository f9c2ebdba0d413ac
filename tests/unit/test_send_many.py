# SPDX-License-Identifier: MIT
"""send_many, sendto_many and send_segments: what arrives is what a loop of sendto would send.

Partial counts and signals are in test_send_many_partly.py, addresses in
test_send_many_addresses.py, trains in test_segmentation.py.
"""

import array
import errno
import gc
import os
import socket as stdlib
import sys

import pytest

import fastsock
from unit.calls import outcome

PAYLOAD = bytes(range(256)) * 512

LAYOUTS = {
    "none": [],
    "one": [10],
    "empty": [0],
    "equal": [100] * 10,
    "short_tail": [100] * 5 + [30],
    "tail_then_equal": [100] * 5 + [30] + [100] * 5,
    "growing": [10, 20, 30, 40],
    "shrinking": [40, 30, 20, 10],
    "mixed": [1, 5, 5, 5, 3, 0, 7, 1400, 1400, 20, 20, 21, 21, 21],
    "empty_among_equal": [0, 0, 50, 50, 0, 50, 50, 0],
    "segments_64": [64] * 64,
    "segments_65": [64] * 65,
    "segments_200": [8] * 200,
    "bytes_over_65000": [1400] * 60,
    "large": [20_000] * 4 + [9000] * 3 + [1],
    "largest": [65_507, 65_000, 65_001, 65_507],
}
each_layout = pytest.mark.parametrize("sizes", LAYOUTS.values(), ids=LAYOUTS)


def messages_of(sizes):
    """A message of each size; each says which it is."""
    return [(b"%d " % i * (size // 2 + 1))[:size] for i, size in enumerate(sizes)]


def cut(buffer, size):
    return [bytes(buffer[start : start + size]) for start in range(0, len(buffer), size)]


@pytest.fixture(params=["udp_ipv4", "udp_ipv6", "unix_datagram", "unix_seqpacket"])
def kind(request):
    return request.param


@pytest.fixture
def make_connected(make_pair):
    """Return make_connected(kind): a pair whose peer has the room of all layouts."""

    def make_connected(kind):
        sock, peer = make_pair(kind)
        peer.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 1 << 20)
        sock.settimeout(10)
        peer.settimeout(5)
        return sock, peer

    return make_connected


@pytest.fixture
def make_unconnected(closing, tmp_path):
    """Return make_unconnected(kind): a bound socket of ours, and two of the standard library's."""

    def make_unconnected(kind):
        made = []
        for number, module in enumerate([fastsock, stdlib, stdlib]):
            if kind == "unix_datagram":
                sock = closing(module.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
                sock.bind(str(tmp_path / f"socket{number}"))
            else:
                family = stdlib.AF_INET if kind == "udp_ipv4" else stdlib.AF_INET6
                sock = closing(module.socket(family, stdlib.SOCK_DGRAM))
                sock.bind(("127.0.0.1" if kind == "udp_ipv4" else "::1", 0))
            sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 1 << 20)
            sock.settimeout(5)
            made.append(sock)
        return made

    return make_unconnected


each_unconnected = pytest.mark.parametrize("kind", ["udp_ipv4", "udp_ipv6", "unix_datagram"])


@pytest.fixture
def receive(in_thread):
    """Return receive(sock, count): a task that gives the next messages, as recvfrom does.

    Of a thread, as the queues of Unix sockets hold few.
    """

    def receive(sock, count):
        return in_thread(lambda: [sock.recvfrom(70_000) for _ in range(count)])

    return receive


def assert_nothing_left(peer):
    peer.settimeout(0)
    with pytest.raises(BlockingIOError):
        peer.recv(1)


CONNECTED_WAYS = {
    "send_many": lambda sock, messages: sock.send_many(messages),
    "send_many_of_fd": lambda sock, messages: fastsock.send_many(sock.fileno(), messages),
    "send_many_of_socket": lambda sock, messages: fastsock.send_many(sock, messages),
    "blocking": lambda sock, messages: [sock.settimeout(None), sock.send_many(messages)][1],
}


@each_layout
@pytest.mark.parametrize("way", CONNECTED_WAYS.values(), ids=CONNECTED_WAYS)
def test_send_many_on_connected_socket_arrives_as_sent(make_connected, receive, kind, sizes, way):
    sock, peer = make_connected(kind)
    if way is CONNECTED_WAYS["send_many_of_fd"]:
        sock.settimeout(None)  # of a descriptor only the mode is known
    messages = messages_of(sizes)
    task = receive(peer, len(messages))
    assert way(sock, messages) == len(messages)
    source = None if kind == "unix_seqpacket" else sock.getsockname() or None
    assert task.result() == [(message, source) for message in messages]
    assert_nothing_left(peer)


UNCONNECTED_WAYS = {
    "send_many": lambda sock, messages, to: sock.send_many(messages, to),
    "send_many_by_name": lambda sock, messages, to: sock.send_many(
        messages=messages, address=to, flags=0
    ),
    "sendto_many": lambda sock, messages, to: sock.sendto_many([(data, to) for data in messages]),
    "sendto_many_of_equal_addresses": lambda sock, messages, to: sock.sendto_many(
        [(data, (*to,) if isinstance(to, tuple) else str(to)) for data in messages]
    ),
    "sendto_many_of_socket": lambda sock, messages, to: fastsock.sendto_many(
        sock, ((data, to) for data in messages)
    ),
}


@each_layout
@each_unconnected
@pytest.mark.parametrize("way", UNCONNECTED_WAYS.values(), ids=UNCONNECTED_WAYS)
def test_send_many_to_address_arrives_as_sent(make_unconnected, receive, kind, sizes, way):
    sock, peer, _ = make_unconnected(kind)
    messages = messages_of(sizes)
    task = receive(peer, len(messages))
    assert way(sock, messages, peer.getsockname()) == len(messages)
    assert task.result() == [(message, sock.getsockname()) for message in messages]
    assert_nothing_left(peer)


@each_unconnected
@pytest.mark.parametrize("run", [1, 2, 7], ids="runs_of_{}".format)
def test_sendto_many_to_alternating_destinations_keeps_the_order_of_each(
    make_unconnected, receive, kind, run
):
    sock, *peers = make_unconnected(kind)
    messages = messages_of([60] * 40 + [61, 0, 9, 9] * 10)
    pairs = [(data, peers[i // run % 2].getsockname()) for i, data in enumerate(messages)]
    expected = [[data for data, to in pairs if to == peer.getsockname()] for peer in peers]
    tasks = [receive(peer, len(data)) for peer, data in zip(peers, expected, strict=True)]
    assert sock.sendto_many(pairs) == len(pairs)
    for task, data in zip(tasks, expected, strict=True):
        assert [message for message, _ in task.result()] == data


def test_sendto_many_on_connected_udp_socket_sends_to_the_address(make_unconnected, receive):
    sock, peer, other = make_unconnected("udp_ipv4")
    sock.connect(peer.getsockname())
    address = other.getsockname()
    assert sock.sendto_many([(b"one", address), (b"two", address)]) == 2
    assert sock.send_many([b"four", b"five"], address) == 2
    assert sock.send_many([b"three"]) == 1
    source = sock.getsockname()
    expected = [(data, source) for data in (b"one", b"two", b"four", b"five")]
    assert receive(other, 4).result() == expected
    assert receive(peer, 1).result() == [(b"three", source)]


def test_send_many_on_seqpacket_to_address_does_as_sendto(make_pair):
    sock, peer = make_pair("unix_seqpacket")
    # Linux ignores the address on SOCK_SEQPACKET.
    assert peer.sendto(b"x", "nowhere") == 1
    assert sock.send_many([b"a", b"b"], "nowhere") == 2
    assert (peer.recv(9), peer.recv(9)) == (b"a", b"b")


SEGMENTS = [(0, 5), (1, 1), (100, 100), (100, 99), (100, 1), (6400, 100), (6500, 100), (6501, 100)]
SEGMENTS += [(84_000, 1400), (130_000, 65_000), (65_507, 65_507), (100, 1 << 40)]


@pytest.mark.parametrize(("length", "size"), SEGMENTS)
def test_send_segments_arrive_cut(make_connected, receive, kind, length, size):
    sock, peer = make_connected(kind)
    buffer = bytearray(PAYLOAD[:length])
    expected = cut(buffer, size)
    for call in (sock.send_segments, lambda *all: fastsock.send_segments(sock, *all)):
        task = receive(peer, len(expected))
        assert call(buffer, size) == len(expected)
        assert [data for data, _ in task.result()] == expected
    buffer.append(1)
    assert_nothing_left(peer)


@each_unconnected
def test_send_segments_to_address_arrive_cut(make_unconnected, receive, kind):
    sock, peer, _ = make_unconnected(kind)
    task = receive(peer, 34)
    assert sock.send_segments(PAYLOAD[:10_000], 300, peer.getsockname()) == 34
    assert task.result() == [(data, sock.getsockname()) for data in cut(PAYLOAD[:10_000], 300)]


def test_send_segments_of_the_largest_size_sends_one(make_connected):
    sock, peer = make_connected("udp_ipv4")
    assert sock.send_segments(b"abc", sys.maxsize) == 1
    assert peer.recv(10) == b"abc"


@pytest.mark.parametrize("size", [0, -1])
def test_send_segments_of_no_size_raises_value_error(make_connected, size):
    sock, peer = make_connected("udp_ipv4")
    with pytest.raises(ValueError, match="size must be at least 1"):
        sock.send_segments(b"abc", size)
    assert_nothing_left(peer)


# Buffers


@pytest.mark.parametrize(
    "messages",
    [
        [b"ab", bytearray(b"cd"), memoryview(b"..ef..")[2:4], array.array("H", [1]), b""],
        (b"x", bytearray()),
        {b"only": 1},
        [memoryview(b"abcd").cast("B", (2, 2))],
    ],
    ids=["list", "tuple", "dict", "two_dimensions"],
)
def test_send_many_takes_any_iterable_of_any_buffers(make_connected, kind, messages):
    sock, peer = make_connected(kind)
    assert sock.send_many(messages) == len(messages)
    assert sock.send_many(iter(messages)) == len(messages)
    assert sock.send_many(data for data in messages) == len(messages)
    for _ in range(3):
        assert [peer.recv(10) for _ in messages] == [bytes(data) for data in messages]


WRONG_MESSAGES = {
    "no_iterable": 5,
    "none": None,
    "bytes": b"abc",
    "text": [b"sent", "text"],
    "int": [b"sent", 5],
    "none_inside": [b"sent", None],
    "not_contiguous": [b"sent", memoryview(b"abcd")[::2]],
    "released": [b"sent", memoryview(b"")],
}
WRONG_MESSAGES["released"][1].release()


@pytest.mark.parametrize("messages", WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_send_many_of_wrong_messages_raises_as_sendto_and_sends_nothing(make_connected, messages):
    sock, peer = make_connected("udp_ipv4")
    expected = TypeError
    if isinstance(messages, list):
        expected = outcome(peer.sendto, messages[1], sock.getsockname())[0]
        pairs = [(data, peer.getsockname()) for data in messages]
        assert outcome(sock.sendto_many, pairs)[0] is expected
        assert outcome(sock.send_segments, messages[1], 2)[0] is expected
    assert outcome(sock.send_many, messages)[0] is expected
    assert outcome(sock.send_many, messages, peer.getsockname())[0] is expected
    assert_nothing_left(peer)


def test_failing_iterable_sends_nothing_and_releases_what_it_gave(make_connected):
    sock, peer = make_connected("udp_ipv4")
    buffer = bytearray(b"abc")

    def messages():
        yield buffer
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sock.send_many(messages())
    with pytest.raises(ZeroDivisionError):
        sock.sendto_many((data, peer.getsockname()) for data in messages())
    buffer.extend(b"more")
    assert_nothing_left(peer)


@pytest.mark.parametrize("pairs", [5, [b"ab", b"c"], [(b"ab",)], [(b"a", 1, 2)], [None]])
def test_sendto_many_of_what_is_no_pair_raises(make_connected, pairs):
    sock, peer = make_connected("udp_ipv4")
    with pytest.raises((TypeError, ValueError)):
        sock.sendto_many(pairs)
    assert_nothing_left(peer)


def test_buffers_are_released_and_not_copied_or_kept(make_connected):
    sock, peer = make_connected("udp_ipv4")
    address = peer.getsockname()
    buffers = [bytearray(b"abcd"), memoryview(b"abcd"), array.array("B", b"abcd"), bytes([1] * 40)]
    counts = [sys.getrefcount(buffer) for buffer in buffers]
    pairs = [(buffer, address) for buffer in buffers] * 250

    def send_all(pairs):
        # Nobody reads: what has no room is dropped by the receiver, as UDP may.
        sock.send_many([buffer for buffer, _ in pairs])
        sock.sendto_many(pairs)
        sock.send_segments(buffers[0], 1)

    send_all(pairs)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for _ in range(50):  # 10^5 messages
        send_all(pairs)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 200
    del pairs
    assert [sys.getrefcount(buffer) for buffer in buffers] == counts
    buffers[0].extend(b"more")
    buffers[2].append(1)


def test_flags_are_the_kernels_and_checked_as_the_stdlib_does(make_connected):
    sock, peer = make_connected("udp_ipv4")
    assert sock.send_many([b"a"], None, stdlib.MSG_DONTWAIT) == 1
    assert sock.sendto_many([(b"b", peer.getsockname())], flags=stdlib.MSG_DONTWAIT) == 1
    assert (peer.recv(9), peer.recv(9)) == (b"a", b"b")
    for flags in ("0", None, 1.0, 2**40, -(2**40), 2**70):
        expected = outcome(peer.send, b"x", flags)[0]
        assert outcome(sock.send_many, [b"x"], None, flags)[0] is expected, flags
        assert outcome(sock.sendto_many, [(b"x", peer.getsockname())], flags)[0] is expected, flags
    with pytest.raises(OSError, match="not supported") as caught:
        sock.send_many([b"x"], None, stdlib.MSG_OOB)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert_nothing_left(peer)


# Sockets


@pytest.mark.parametrize("kind", ["tcp_ipv4", "tcp_ipv6", "unix_stream"])
def test_stream_raises_eopnotsupp_that_names_framing(make_pair, kind):
    sock, peer = make_pair(kind)
    for call in (
        lambda: sock.send_many([b"a"]),
        lambda: sock.sendto_many([(b"a", peer.getsockname())]),
        lambda: sock.send_segments(b"abc", 1),
        lambda: fastsock.send_many(sock.fileno(), []),
    ):
        with pytest.raises(OSError, match="framing") as caught:
            call()
        assert caught.value.errno == errno.EOPNOTSUPP
    assert_nothing_left(peer)


def test_closed_socket_raises_ebadf(make_connected, kind):
    sock, peer = make_connected(kind)
    address = peer.getsockname() or "name"
    sock.close()
    for call in (
        lambda: sock.send_many([b"a", b"b"]),
        lambda: sock.sendto_many([(b"a", address)]),
        lambda: sock.send_segments(b"abc", 1),
        lambda: fastsock.send_many(1 << 20, [b"a"]),
    ):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_functions_serve_stdlib_sockets(make_pair, make_connected, closing):
    ours, plain = make_connected("udp_ipv4")
    address = ours.getsockname()
    assert fastsock.send_many(plain, [b"a", b"b"]) == 2
    assert fastsock.sendto_many(plain, [(b"c", address)]) == 1
    assert fastsock.send_segments(plain, b"dde", 2, address) == 2
    assert [ours.recv(9) for _ in range(5)] == [b"a", b"b", b"c", b"dd", b"e"]
    stream, _ = make_pair("tcp_ipv4")
    with pytest.raises(OSError, match="framing"):
        fastsock.send_many(closing(stream.detach_stdlib()), [b"a"])
    for wrong in (None, "3", 3.0, object()):
        with pytest.raises(TypeError, match="a socket or a descriptor is required"):
            fastsock.send_many(wrong, [b"a"])


@pytest.mark.parametrize("default", [None, 0, 5], ids="default_{}".format)
@pytest.mark.parametrize("is_blocking", [True, False], ids=["blocking", "nonblocking"])
def test_functions_leave_a_descriptor_open_in_its_mode(make_pair, default, is_blocking):
    sock, peer = make_pair("udp_ipv4")
    os.set_blocking(sock.fileno(), is_blocking)
    stdlib.setdefaulttimeout(default)
    try:
        assert fastsock.send_many(sock.fileno(), [b"a", b"b"]) == 2
        assert fastsock.send_segments(sock.fileno(), b"cd", 1) == 2
    finally:
        stdlib.setdefaulttimeout(None)
    assert os.get_blocking(sock.fileno()) == is_blocking
    assert [peer.recv(9) for _ in range(4)] == [b"a", b"b", b"c", b"d"]


def test_subclass_sends(make_connected):
    class Special(fastsock.socket):
        pass

    sock, peer = make_connected("udp_ipv4")
    with Special(fileno=sock.detach()) as special:
        assert special.send_many([b"a", b"b"]) == 2
        assert (peer.recv(9), peer.recv(9)) == (b"a", b"b")


def test_threads_on_one_socket_keep_each_ones_order(make_unconnected, in_thread):
    sock, peer, _ = make_unconnected("udp_ipv4")
    address = peer.getsockname()

    def send(name):
        messages = [b"%s %d" % (name, i) for i in range(10, 70)]
        for start in range(0, 60, 6):
            assert sock.send_many(messages[start : start + 6], address) == 6
        return messages

    tasks = [in_thread(send, name) for name in (b"a", b"b", b"c", b"d")]
    sent = {name: task.result() for name, task in zip(b"abcd", tasks, strict=True)}
    got = [peer.recv(20) for _ in range(240)]
    for name, messages in sent.items():
        assert [data for data in got if data[0] == name] == messages
