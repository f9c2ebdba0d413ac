# SPDX-License-Identifier: MIT
"""What the receiving calls return. How they wait is in test_waiting.py."""

import array
import gc
import os
import socket as stdlib
import threading

import pytest

import fastsock
from unit.calls import each_plain_receive, outcome, recv, recvfrom, recvmsg

pytestmark = pytest.mark.one_engine

# Where the memory that is received into changes: stack, scratch, the result itself.
SIZES = [1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 300_000]
LARGEST_UDP = 65_507  # bytes; 65,535 less the headers of IP and UDP

each_size = pytest.mark.parametrize("size", SIZES)


def payload(length):
    return (bytes(range(256)) * (length // 256 + 1))[:length]


def lengths(sock):
    """Return the lengths of message to try on a kind of socket."""
    if sock.family != stdlib.AF_UNIX:
        return [0, *(size for size in SIZES if size < LARGEST_UDP), LARGEST_UDP]
    # An empty message on SOCK_SEQPACKET would be the end of the stream.
    return SIZES if sock.type == stdlib.SOCK_SEQPACKET else [0, *SIZES]


def send_whole(peer, sock, length):
    for side, option in [(peer, stdlib.SO_SNDBUF), (sock, stdlib.SO_RCVBUF)]:
        side.setsockopt(stdlib.SOL_SOCKET, option, 2 * length + 4096)
    peer.send(payload(length))


# Sizes


@each_plain_receive
@each_size
def test_receive_of_message_returns_it_cut_to_size(message_pair, receive, size):
    sock, peer = message_pair
    for length in lengths(sock):
        send_whole(peer, sock, length)
        assert receive(sock, size) == payload(length)[:size]


@each_plain_receive
@each_size
def test_receive_of_stream_returns_all_bytes_in_order(stream_pair, receive, size, in_thread):
    sock, peer = stream_pair
    whole = payload(3 * size)
    task = in_thread(peer.sendall, whole)
    received = bytearray()
    while len(received) < len(whole):
        part = receive(sock, size)
        assert 0 < len(part) <= size
        received += part
    assert received == whole
    task.result()


@each_plain_receive
@pytest.mark.parametrize("length", [1, 4096, 4097, 65_536, 65_537, 300_000])
def test_receive_of_exactly_what_the_stream_holds_returns_it(
    stream_pair, receive, length, in_thread
):
    sock, peer = stream_pair
    task = in_thread(peer.sendall, payload(length))
    assert receive(sock, length, stdlib.MSG_WAITALL) == payload(length)
    task.result()


@each_plain_receive
def test_receive_at_end_of_stream_returns_nothing(stream_pair, receive):
    sock, peer = stream_pair
    peer.close()
    assert receive(sock, 100) == b""
    assert receive(sock, 100_000) == b""


@each_plain_receive
def test_receive_results_are_independent(datagram_pair, receive):
    # They come from one scratch memory; a later message must not show through an earlier result.
    sock, peer = datagram_pair
    results = []
    for byte in range(5):
        peer.send(bytes([byte]) * 5000)
        results.append(receive(sock, 20_000))
    assert results == [bytes([byte]) * 5000 for byte in range(5)]


@each_plain_receive
def test_receive_with_msg_peek_leaves_the_message(datagram_pair, receive):
    sock, peer = datagram_pair
    peer.send(b"there")
    assert receive(sock, 100, stdlib.MSG_PEEK) == b"there"
    assert receive(sock, 100) == b"there"


def test_receive_accepts_msg_flag_enum_and_index(datagram_pair):
    sock, peer = datagram_pair

    class Size:
        def __index__(self):
            return 3

    peer.send(b"abcdef")
    assert sock.recv(Size(), stdlib.MSG_PEEK | stdlib.MSG_DONTWAIT) == b"abc"
    assert sock.recvfrom(True, Size().__index__() - 1)[0] == b"a"


# A size of 0


@pytest.mark.parametrize("name", ["recv", "recv_into"])
def test_receive_of_no_bytes_makes_no_call(datagram_pair, name):
    sock, peer = datagram_pair
    peer.send(b"kept")
    call = getattr(sock, name)
    argument, nothing = (0, b"") if name == "recv" else (bytearray(), 0)
    assert call(argument) == nothing
    assert sock.recv(100) == b"kept"
    sock.close()
    # CPython tells nobody that the socket is closed.
    assert call(argument) == nothing


@pytest.mark.parametrize("name", ["recvfrom", "recvfrom_into"])
def test_receive_of_no_bytes_with_sender_consumes_a_datagram(datagram_pair, name):
    sock, peer = datagram_pair
    peer.send(b"lost")
    peer.send(b"next")
    if name == "recvfrom":
        assert sock.recvfrom(0) == (b"", peer_name(sock, peer))
    else:
        assert sock.recvfrom_into(bytearray()) == (0, peer_name(sock, peer))
    assert sock.recv(100) == b"next"
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.recvfrom(0)


def peer_name(sock, peer):
    """Return the sender's name as the receiver gets it: a Unix socket without a name has none."""
    return None if sock.family == stdlib.AF_UNIX else peer.getsockname()


# Arguments


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("recv", (-1,)),
        ("recv", ()),
        ("recv", (1, 2, 3)),
        ("recv", ("1",)),
        ("recv", (1.0,)),
        ("recv", (2**70,)),
        ("recv", (1, 2**40)),
        ("recv", (1, "0")),
        ("recvfrom", (-1,)),
        ("recvfrom", (2**70,)),
        ("recvfrom", ()),
        ("recv_into", ()),
        ("recv_into", (b"read-only",)),
        ("recv_into", ("text",)),
        ("recv_into", (None,)),
        ("recv_into", (memoryview(b"read-only"),)),
        ("recv_into", (memoryview(bytearray(8))[::2],)),
        ("recv_into", (bytearray(8), -1)),
        ("recv_into", (bytearray(8), 9)),
        ("recv_into", (bytearray(8), 2**70)),
        ("recv_into", (bytearray(8), "1")),
        ("recvfrom_into", (b"read-only",)),
        ("recvfrom_into", (memoryview(bytearray(8))[::2],)),
        ("recvfrom_into", (bytearray(8), -1)),
        ("recvfrom_into", (bytearray(8), 9)),
        ("recvfrom_into", (bytearray(8), 2**70)),
    ],
)
def test_receive_with_wrong_arguments_raises_as_the_stdlib(make_pair, name, arguments):
    sock, peer = make_pair("udp_ipv4")
    ours = outcome(getattr(sock, name), *arguments)
    plain = outcome(getattr(peer, name), *arguments)
    assert ours[0] == plain[0]
    if plain[0] is ValueError:
        assert ours == plain


@pytest.mark.parametrize("name", ["recv_into", "recvfrom_into"])
def test_receive_into_read_only_buffer_names_call_and_type(make_pair, name):
    sock, _ = make_pair("udp_ipv4")
    text = rf"{name}\(\) argument 1 must be read-write bytes-like object, not bytes"
    with pytest.raises(TypeError, match=text):
        getattr(sock, name)(b"read-only")


@pytest.mark.parametrize(
    ("arguments", "keywords", "expected"),
    [
        ((), {}, b"abcdef--"),
        ((0,), {}, b"abcdef--"),
        ((3,), {}, b"abc-----"),
        ((), {"nbytes": 2}, b"ab------"),
        ((4,), {"flags": stdlib.MSG_PEEK}, b"abcd----"),
        ((8, stdlib.MSG_DONTWAIT), {}, b"abcdef--"),
    ],
)
@pytest.mark.parametrize("name", ["recv_into", "recvfrom_into"])
def test_receive_into_fills_no_more_than_asked(make_pair, name, arguments, keywords, expected):
    sock, peer = make_pair("udp_ipv4")
    peer.send(b"abcdef")
    buffer = bytearray(b"--------")
    result = getattr(sock, name)(buffer, *arguments, **keywords)
    length = len(expected.rstrip(b"-"))
    assert result == (length if name == "recv_into" else (length, peer.getsockname()))
    assert buffer == expected


@pytest.mark.parametrize("name", ["recv_into", "recvfrom_into"])
@pytest.mark.parametrize(
    "make_buffer",
    [
        lambda: bytearray(12),
        lambda: memoryview(bytearray(12)),
        lambda: memoryview(bytearray(20))[4:16],
        lambda: array.array("i", [0, 0, 0]),
        lambda: memoryview(bytearray(12)).cast("B", (3, 4)),
    ],
    ids=["bytearray", "memoryview", "slice", "array", "two_dimensions"],
)
def test_receive_into_any_writable_buffer_counts_bytes(make_pair, name, make_buffer):
    sock, peer = make_pair("udp_ipv4")
    peer.send(b"abcdefghijklmnop")
    buffer = make_buffer()
    result = getattr(sock, name)(buffer)
    assert (result if name == "recv_into" else result[0]) == 12
    assert memoryview(buffer).tobytes() == b"abcdefghijkl"


# Memory


@pytest.mark.parametrize("receive", [recv, recvfrom, recvmsg], ids=lambda call: call.__name__)
@pytest.mark.parametrize("size", [2, 4097, 65_537])
def test_receive_with_msg_trunc_never_returns_more_than_was_stored(datagram_pair, receive, size):
    sock, peer = datagram_pair
    length = max(length for length in lengths(sock) if length < size + 100_000)
    send_whole(peer, sock, length)
    # With the flag the kernel tells the real length; CPython 3.10 to 3.13 then returns heap memory.
    assert receive(sock, size, stdlib.MSG_TRUNC) == payload(length)[:size]


@pytest.mark.parametrize("name", ["recv_into", "recvfrom_into"])
def test_receive_into_with_msg_trunc_returns_the_real_length(datagram_pair, name):
    sock, peer = datagram_pair
    peer.send(b"abcdef")
    buffer = bytearray(b"----")
    result = getattr(sock, name)(buffer, 2, stdlib.MSG_TRUNC)
    assert (result if name == "recv_into" else result[0]) == 6
    assert buffer == b"ab--"


@pytest.mark.parametrize("size", [100, 5000, 70_000])
def test_receive_from_tcp_with_msg_trunc_shows_no_memory(tcp_pair, size):
    sock, peer = tcp_pair
    peer.sendall(b"x" * size)
    # What lay in the memory before, were it to show.
    marked = [b"\xaa" * size for _ in range(10)]
    del marked
    gc.collect()
    # tcp(7): the bytes are thrown away, so nothing at all is stored.
    received = sock.recv(size, stdlib.MSG_TRUNC)
    assert len(received) <= size
    assert not received.strip(b"\0")


@pytest.mark.parametrize("name", ["recv_into", "recvfrom_into", "recvmsg_into"])
@pytest.mark.parametrize("timeout", [None, 60], ids=["blocking", "timeout"])
def test_receive_pins_its_buffer_while_it_waits(make_pair, name, timeout, in_thread, wait_until):
    sock, peer = make_pair("udp_ipv4")
    sock.settimeout(timeout)
    buffer = bytearray(100)
    argument = [buffer] if name == "recvmsg_into" else buffer
    task = in_thread(getattr(sock, name), argument)
    wait_until(lambda: task.waits_in_call(sock.fileno()) or task.waits_in_poll())
    with pytest.raises(BufferError, match="Existing exports of data"):
        buffer.extend(b"more")
    peer.send(b"late")
    task.result()
    assert buffer[:4] == b"late"
    buffer.extend(b"more")


@pytest.mark.parametrize("name", ["recv_into", "recvfrom_into"])
def test_receive_into_that_fails_releases_its_buffer(make_pair, name):
    sock, _ = make_pair("udp_ipv4")
    sock.setblocking(False)
    buffer = bytearray(8)
    for arguments in [(), (-1,), (9,)]:
        with pytest.raises((BlockingIOError, ValueError)):
            getattr(sock, name)(buffer, *arguments)
    buffer.extend(b"more")


@each_plain_receive
def test_receive_in_many_threads_uses_memory_of_its_own(make_pair, receive, in_thread):
    # The scratch memory is a thread's; were it shared, messages would mix.
    start = threading.Barrier(4)

    def exchange(number):
        sock, peer = pairs[number]
        start.wait(5)
        for round_number in range(200):
            message = b"%d %d " % (number, round_number) * 1000
            peer.send(message)
            assert receive(sock, 60_000) == message

    pairs = [make_pair("udp_ipv4") for _ in range(4)]
    for task in [in_thread(exchange, number) for number in range(4)]:
        task.result(15)


# Other families and classes


def test_receive_from_netlink_is_left_to_the_stdlib(closing):
    sock = closing(fastsock.socket(stdlib.AF_NETLINK, stdlib.SOCK_RAW, stdlib.NETLINK_ROUTE))
    sock.bind((0, 0))
    # RTM_GETLINK for all links: linux/rtnetlink.h. The kernel's own port is 0.
    request = b"\x20\0\0\0\x12\0\x01\x03\x01\0\0\0\0\0\0\0" + bytes(16)
    sock.sendto(request, (0, 0))
    data, address = sock.recvfrom(65_536)
    assert data
    assert address == (0, 0)


def test_receive_on_subclass_and_plain_socket_works(closing):
    class Special(fastsock.socket):
        pass

    one, other = stdlib.socketpair()
    special, plain = closing(Special(fileno=one.detach())), closing(other)
    special.send(b"from special")
    assert fastsock.socket.recv(plain, 100) == b"from special"
    plain.send(b"from plain")
    assert special.recv(100) == b"from plain"


@pytest.mark.parametrize("value", [None, 5, "socket", object()], ids=repr)
def test_receive_on_what_is_no_socket_raises_type_error(value):
    with pytest.raises(TypeError):
        fastsock.socket.recv(value, 10)


def test_receive_result_is_exact_bytes(make_pair):
    sock, peer = make_pair("udp_ipv4")
    for size in (10, 5000, 70_000):
        peer.send(os.urandom(10))
        assert type(sock.recv(size)) is bytes
