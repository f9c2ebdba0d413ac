# SPDX-License-Identifier: MIT
"""recv_many and recvfrom_many: what they return and how they wait.

Their arguments, and the functions: test_recv_many_arguments.py. recv_batch: test_recv_batch.py.
"""

import errno
import itertools
import os
import socket as stdlib
import struct

import pytest

import fastsock
from unit.calls import outcome
from unit.many import (
    SOME,
    each_call,
    each_function,
    each_method,
    each_mode,
    each_waiting_mode,
    numbered,
    send_all,
    waits,
)

IP_RECVERR = 11  # linux/in.h; CPython names it from 3.14 on


# What arrives


@each_call
@each_mode
def test_recv_many_returns_the_queued_messages_in_order(message_pair, receive, timeout):
    sock, peer = message_pair
    sock.settimeout(timeout)
    send_all(peer, SOME)
    messages = receive(sock, 100)
    assert messages == SOME
    assert {type(message) for message in messages} == {bytes}


@each_call
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 128, 150])
def test_recv_many_returns_no_more_than_count_and_leaves_the_rest(message_pair, receive, count):
    sock, peer = message_pair
    sock.setblocking(False)
    send_all(peer, numbered(150))
    assert receive(sock, 10, count) == numbered(150)[:count]
    rest = receive(sock, 10, 150) if count < 150 else []
    assert rest == numbered(150)[count:]
    with pytest.raises(BlockingIOError):
        receive(sock, 10, count)


@each_method
def test_recv_many_without_count_returns_at_most_64(message_pair, receive):
    sock, peer = message_pair
    send_all(peer, numbered(70))
    assert receive(sock, 10) == numbered(64)
    assert receive(sock, 10) == numbered(70)[64:]


@each_method
def test_recv_many_of_more_than_1024_queued_returns_them_by_one_call(closing, receive):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    asked, needed = 4 << 20, 2 << 20
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, asked)
    given = sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF)
    if given < needed:
        pytest.skip(f"a receive buffer of {asked} bytes was asked for, {given} came back")
    peer = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    peer.connect(sock.getsockname())
    messages = numbered(1500)
    send_all(peer, messages)
    assert receive(sock, 10, 1400) == messages[:1400]
    assert receive(sock, 10, 5000) == messages[1400:]


@each_method
@each_waiting_mode
def test_recv_many_beside_a_sender_gets_each_message_once(make_pair, receive, timeout, in_thread):
    sock, peer = make_pair("unix_datagram")  # whose sender waits while the queue is full
    sock.settimeout(timeout)
    messages = numbered(3000)
    task = in_thread(send_all, peer, messages)
    received = []
    counts = itertools.cycle((1, 3, 64, 65, 1025))
    while len(received) < len(messages):
        some = receive(sock, 10, next(counts))
        assert some
        received += some
    assert received == messages
    task.result()


def test_recvfrom_many_gives_each_message_its_sender(closing):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    peers = [closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)) for _ in range(5)]
    for peer in peers:
        peer.bind(("127.0.0.1", 0))
    expected = []
    for number in range(20):
        peer = peers[number * number % 5]
        peer.sendto(b"%d" % number, sock.getsockname())
        expected.append((b"%d" % number, peer.getsockname()))
    assert sock.recvfrom_many(10, 20) == expected


def test_recvfrom_many_of_ipv6_gives_addresses_as_recvfrom(make_pair):
    sock, peer = make_pair("udp_ipv6")
    send_all(peer, SOME)
    first = stdlib.socket.recvfrom(sock, 100)
    assert [first, *sock.recvfrom_many(100)] == [(message, peer.getsockname()) for message in SOME]
    assert len(first[1]) == 4


def unix_receiver(closing, path):
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    sock.bind(path)
    return sock


def test_recvfrom_many_of_unix_names_paths_abstract_names_and_none(closing, tmp_path):
    path = str(tmp_path / "receiver")
    sock = unix_receiver(closing, path)
    longest = str(tmp_path / "sender")
    longest += "x" * (107 - len(os.fsencode(longest)))
    names = [str(tmp_path / "a"), b"\0fastsock test %d" % os.getpid(), None, longest]
    for name in names:
        peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
        if name is not None:
            peer.bind(name)
        peer.sendto(b"hello", path)
    assert sock.recvfrom_many(100) == [(b"hello", name) for name in names]


def test_recvfrom_many_of_seqpacket_gives_none_as_recvfrom(make_pair):
    sock, peer = make_pair("unix_seqpacket")
    send_all(peer, SOME)
    assert stdlib.socket.recvfrom(sock, 100) == (SOME[0], None)
    assert sock.recvfrom_many(100) == [(message, None) for message in SOME[1:]]


# Cut messages


@each_method
def test_recv_many_cuts_long_messages_and_counts_them(message_pair, receive):
    sock, peer = message_pair
    assert sock.truncated() == 0
    send_all(peer, [b"1234", b"12345", b"123456789", b"1"])
    assert receive(sock, 4) == [b"1234", b"1234", b"1234", b"1"]
    assert sock.truncated() == 2
    send_all(peer, [b"12", b"1"])
    assert receive(sock, 1) == [b"1", b"1"]
    assert sock.truncated() == 3


@each_function
def test_recv_many_function_on_a_stdlib_socket_cuts_long_messages(message_pair, receive):
    sock, peer = message_pair
    sock.send(b"12345")
    sock.send(b"1")
    assert receive(peer, 3) == [b"123", b"1"]


def test_truncated_of_an_unused_socket_is_0():
    with fastsock.socket() as sock:
        assert sock.truncated() == 0


@each_method
def test_recv_many_of_full_size_datagrams_returns_them_whole(datagram_pair, receive):
    sock, peer = datagram_pair
    messages = [bytes([byte]) * size for byte, size in enumerate((65_507, 0, 1, 30_000))]
    for side, option in [(peer, stdlib.SO_SNDBUF), (sock, stdlib.SO_RCVBUF)]:
        side.setsockopt(stdlib.SOL_SOCKET, option, 1 << 20)
    send_all(peer, messages)
    assert receive(sock, 65_535) == messages
    assert sock.truncated() == 0


def test_recv_many_results_are_independent_of_later_calls(datagram_pair):
    # They come from memory that is kept between calls.
    sock, peer = datagram_pair
    results = []
    for byte in range(5):
        send_all(peer, [bytes([byte]) * 500] * 3)
        results.append(sock.recv_many(1000))
    assert results == [[bytes([byte]) * 500] * 3 for byte in range(5)]


# Ends


@each_call
def test_recv_many_delivers_empty_datagrams(datagram_pair, receive):
    sock, peer = datagram_pair
    messages = [b"", b"one", b"", b"", b"two", b""]
    send_all(peer, messages)
    assert receive(sock, 100) == messages


@each_call
def test_recv_many_of_seqpacket_ends_at_the_first_empty_message(make_pair, receive):
    sock, peer = make_pair("unix_seqpacket")
    send_all(peer, [b"one", b"", b"", b"two"])
    assert receive(sock, 100) == [b"one", b""]
    assert receive(sock, 100) == [b""]
    assert receive(sock, 100) == [b"two"]


@each_call
@each_mode
def test_recv_many_of_seqpacket_at_end_of_stream_gives_one_empty_message(
    make_pair, receive, timeout
):
    sock, peer = make_pair("unix_seqpacket")
    sock.settimeout(timeout)
    send_all(peer, SOME)
    peer.close()
    assert receive(sock, 100) == [*SOME, b""]
    assert receive(sock, 100) == [b""]


@each_call
def test_recv_many_of_shut_down_udp_gives_the_rest_and_then_nothing(udp_pair, receive):
    sock, peer = udp_pair
    send_all(peer, SOME)
    sock.shutdown(stdlib.SHUT_RD)
    assert receive(sock, 100) == SOME
    # recvmmsg would give 64 empty messages, for ever.
    assert receive(sock, 100) == []
    assert receive(sock, 100) == []


@each_method
def test_recv_many_blocking_woken_by_shutdown_of_udp_returns_nothing(
    udp_pair, receive, in_thread, wait_until
):
    sock, _ = udp_pair
    task = in_thread(receive, sock, 100)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == []


@each_method
def test_recv_many_with_timeout_after_shutdown_of_udp_times_out_as_recv(udp_pair, receive):
    sock, _ = udp_pair
    sock.settimeout(0.05)
    sock.shutdown(stdlib.SHUT_RD)
    assert outcome(receive, sock, 100) == outcome(sock.recv, 100)
    with pytest.raises(TimeoutError):
        receive(sock, 100)


# Waiting


@each_call
@each_waiting_mode
def test_recv_many_waits_for_the_first_message_only(
    message_pair, receive, timeout, in_thread, wait_until
):
    sock, peer = message_pair
    sock.settimeout(timeout)
    task = in_thread(receive, sock, 100)
    wait_until(lambda: waits(task, sock))
    peer.send(b"late")
    assert task.result() == [b"late"]


@each_method
def test_recv_many_with_nothing_by_the_timeout_raises_timeout_error(message_pair, receive):
    sock, _ = message_pair
    sock.settimeout(0.05)
    assert outcome(receive, sock, 100) == (TimeoutError, None, "timed out")


@each_call
def test_recv_many_nonblocking_with_nothing_raises_blocking_io_error(message_pair, receive):
    sock, _ = message_pair
    sock.setblocking(False)
    assert outcome(receive, sock, 100) == outcome(sock.recv, 100)
    with pytest.raises(BlockingIOError):
        receive(sock, 100)


@each_call
@each_mode
def test_recv_many_with_msg_dontwait_and_nothing_raises_blocking_io_error(
    message_pair, receive, timeout
):
    sock, peer = message_pair
    sock.settimeout(timeout)
    with pytest.raises(BlockingIOError):
        receive(sock, 100, 64, stdlib.MSG_DONTWAIT)
    send_all(peer, SOME)
    assert receive(sock, 100, 64, stdlib.MSG_DONTWAIT) == SOME


@each_method
def test_recv_many_with_so_rcvtimeo_raises_blocking_io_error(message_pair, receive):
    sock, _ = message_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    with pytest.raises(BlockingIOError):
        receive(sock, 100)


@each_method
def test_recv_many_with_timeout_after_close_by_another_thread_ends_as_recv(
    message_pair, receive, in_thread, wait_until
):
    sock, _ = message_pair
    sock.settimeout(0.15)
    task = in_thread(receive, sock, 100)
    wait_until(task.waits_in_poll)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        task.result()
    assert caught.value.errno == errno.EBADF


@each_method
def test_recv_many_blocking_after_close_by_another_thread_stays_blocked_until_data(
    message_pair, receive, in_thread, wait_until, closing
):
    sock, peer = message_pair
    fd = sock.fileno()
    closing(sock.dup())  # or the last close would reset the connection
    task = in_thread(receive, sock, 100)
    wait_until(lambda: task.waits_in_call(fd))
    sock.close()
    peer.send(b"late")
    assert task.result() == [b"late"]


@each_call
def test_recv_many_on_closed_socket_raises_ebadf(message_pair, receive):
    sock, _ = message_pair
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        receive(sock, 100)
    assert caught.value.errno == errno.EBADF


# Errors of the socket


def drain(receive, sock):
    """Return all messages and all errors until nothing is there."""
    messages, errors = [], []
    while True:
        try:
            messages += receive(sock, 100, 80)
        except BlockingIOError:
            return messages, errors
        except OSError as error:
            errors.append(error.errno)


@each_call
@pytest.mark.parametrize("count", [0, 3, 200])
def test_recv_many_tells_a_pending_error_once_beside_all_messages(udp_pair, receive, count):
    sock, peer = udp_pair
    sock.setblocking(False)
    send_all(peer, numbered(count))
    peer.close()
    sock.send(b"nobody there")
    assert drain(receive, sock) == (numbered(count), [errno.ECONNREFUSED])


@each_method
def test_recv_many_woken_by_an_error_raises_it(udp_pair, receive, in_thread, wait_until):
    sock, peer = udp_pair
    peer.close()
    task = in_thread(receive, sock, 100)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    sock.send(b"nobody there")
    with pytest.raises(ConnectionRefusedError):
        task.result()


@each_method
def test_recv_many_beside_filled_error_queue_gets_messages(make_pair, receive, closing):
    sock, peer = make_pair("udp_ipv4")
    sock.setsockopt(stdlib.IPPROTO_IP, IP_RECVERR, 1)
    name = peer.getsockname()
    peer.close()
    sock.send(b"nobody there")
    with pytest.raises(ConnectionRefusedError):
        receive(sock, 100)
    # What is in the error queue stays there, and poll reports it for ever.
    late = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    late.bind(name)
    late.connect(sock.getsockname())
    send_all(late, numbered(100))
    received = []
    while len(received) < 100:
        received += receive(sock, 100, 100)
    assert received == numbered(100)
    assert sock.recv(100, stdlib.MSG_ERRQUEUE) == b"nobody there"
