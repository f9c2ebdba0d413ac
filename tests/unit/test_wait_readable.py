# SPDX-License-Identifier: MIT
"""wait_readable: select that knows what sockets have read ahead."""

import math
import select
import socket as stdlib
import time

import pytest

import fastsock
from unit.many import SOME, ahead, each_waiting_mode, send_all
from unit.test_waiting_cost import CPU_LIMIT

__all__ = ["ahead"]  # a fixture

each_mode = pytest.mark.parametrize("own", [None, 0, 5], ids=["blocking", "nonblocking", "5s"])


@each_mode
def test_wait_readable_finds_what_the_kernel_has(any_pair, own):
    sock, peer = any_pair
    sock.settimeout(own)
    assert fastsock.wait_readable([sock, peer], 0) == []
    peer.send(b"x")
    assert fastsock.wait_readable([sock, peer], 5) == [sock]
    assert fastsock.wait_readable([peer, sock]) == [sock]
    sock.recv(1)
    assert fastsock.wait_readable([sock, peer], 0) == []


@pytest.mark.parametrize("timeout", [None, 0, 60])
def test_wait_readable_finds_what_was_read_ahead(ahead, timeout):
    sock, peer = ahead(64)
    send_all(peer, SOME)
    assert fastsock.wait_readable([sock], timeout) == [sock]
    assert sock.recv(100) == SOME[0]
    # The kernel has nothing, as select tells.
    assert select.select([sock], [], [], 0)[0] == []
    for message in SOME[1:]:
        assert fastsock.wait_readable([sock], timeout) == [sock]
        assert sock.recv(100) == message
    assert fastsock.wait_readable([sock], 0) == []


def test_wait_readable_finds_queued_and_kernel_ready_sockets_in_the_order_given(make_pair):
    pairs = [make_pair("udp_ipv4") for _ in range(5)]
    for _, peer in pairs[:4]:
        send_all(peer, SOME)
    for sock, _ in (pairs[0], pairs[3]):
        sock.set_readahead(8)
        sock.recv(100)
    socks = [sock for sock, _ in pairs]
    assert fastsock.wait_readable(socks, 60) == socks[:4]
    assert fastsock.wait_readable(socks[::-1]) == socks[3::-1]
    assert fastsock.wait_readable(iter(socks[2:]), 60) == socks[2:4]


def test_wait_readable_of_switched_off_readahead_finds_its_rest(ahead):
    sock, peer = ahead(64)
    send_all(peer, SOME)
    sock.recv(100)
    sock.set_readahead(0)
    for message in SOME[1:]:
        assert fastsock.wait_readable([sock], 60) == [sock]
        assert sock.recv(100) == message
    assert fastsock.wait_readable([sock], 0) == []


@each_waiting_mode
def test_wait_readable_waits_until_a_datagram_comes(make_pair, timeout, in_thread, wait_until):
    sock, peer = make_pair("udp_ipv4")
    sock.set_readahead(4)
    task = in_thread(fastsock.wait_readable, [sock], timeout)
    wait_until(task.waits_in_poll)
    peer.send(b"late")
    assert task.result() == [sock]
    assert sock.recv(100) == b"late"


@pytest.mark.parametrize("timeout", [0.05, 1e-9])
def test_wait_readable_with_nothing_by_the_timeout_returns_nothing(make_pair, timeout):
    sock, _ = make_pair("udp_ipv4")
    sock.set_readahead(4)
    start = time.monotonic()
    assert fastsock.wait_readable([sock], timeout) == []
    assert time.monotonic() - start >= timeout


def test_wait_readable_of_no_sockets_only_waits():
    start = time.monotonic()
    assert fastsock.wait_readable([], 0.02) == []
    assert time.monotonic() - start >= 0.02


def test_wait_readable_with_huge_timeout_waits(make_pair, in_thread, wait_until):
    sock, peer = make_pair("udp_ipv4")
    task = in_thread(fastsock.wait_readable, [sock], 1e9)  # beyond poll's INT_MAX milliseconds
    wait_until(task.waits_in_poll)
    peer.send(b"late")
    assert task.result() == [sock]


def test_wait_readable_waits_cheaply(make_pair):
    sock, _ = make_pair("udp_ipv4")
    sock.set_readahead(4)
    start = time.thread_time()
    assert fastsock.wait_readable([sock], 0.5) == []
    assert time.thread_time() - start < CPU_LIMIT / 2


def test_wait_readable_finds_a_socket_in_error(udp_pair):
    sock, peer = udp_pair
    sock.set_readahead(4)
    peer.close()
    sock.send(b"nobody there")
    assert fastsock.wait_readable([sock], 60) == [sock]
    with pytest.raises(ConnectionRefusedError):
        sock.recv(100)
    assert fastsock.wait_readable([sock], 0) == []


def test_wait_readable_finds_the_end_of_a_stream_and_a_connection(stream_pair, closing):
    sock, peer = stream_pair
    peer.close()
    assert fastsock.wait_readable([sock], 60) == [sock]
    listener = closing(fastsock.create_server(("127.0.0.1", 0)))
    assert fastsock.wait_readable([listener], 0) == []
    closing(stdlib.create_connection(listener.getsockname()))
    assert fastsock.wait_readable([listener], 60) == [listener]


def test_wait_readable_beside_urgent_data_only_is_as_select(tcp_pair):
    sock, peer = tcp_pair
    peer.send(b"!", stdlib.MSG_OOB)
    assert select.select([], [], [sock], 5)[2] == [sock]
    # A receive would wait: urgent data is not in its way.
    assert select.select([sock], [], [], 0)[0] == []
    assert fastsock.wait_readable([sock], 0) == []


def test_wait_readable_of_a_socket_given_twice_returns_it_twice(make_pair):
    sock, peer = make_pair("udp_ipv4")
    assert fastsock.wait_readable([sock, sock], 0) == []
    peer.send(b"x")
    assert fastsock.wait_readable([sock, sock], 60) == [sock, sock]


def test_wait_readable_of_closed_socket_raises_value_error(make_pair):
    sock, peer = make_pair("udp_ipv4")
    peer.send(b"x")
    for closed in (make_pair("udp_ipv4")[0], make_pair("udp_ipv4")[1]):
        closed.close()
        with pytest.raises(ValueError, match="closed"):
            fastsock.wait_readable([sock, closed], 0)
    sock.set_readahead(4)
    sock.close()
    with pytest.raises(ValueError, match="closed"):
        fastsock.wait_readable([sock], 0)


@pytest.mark.parametrize("timeout", [-1, -1e-9, math.nan])
def test_wait_readable_with_wrong_timeout_raises_value_error(make_pair, timeout):
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(ValueError, match="timeout"):
        fastsock.wait_readable([sock], timeout)


def test_wait_readable_of_no_socket_raises():
    with pytest.raises((TypeError, AttributeError)):
        fastsock.wait_readable(5)
    with pytest.raises((TypeError, AttributeError)):
        fastsock.wait_readable([0], 0)


def test_wait_readable_loop_drains_several_sockets(make_pair, in_thread):
    pairs = [make_pair("udp_ipv4") for _ in range(4)]
    for sock, _ in pairs:
        sock.setblocking(False)
        sock.set_readahead(16)

    def send():
        for number in range(50):
            for _, peer in pairs:
                peer.send(b"%d" % number)

    task = in_thread(send)
    received = {sock: [] for sock, _ in pairs}
    while sum(map(len, received.values())) < 200:
        ready = fastsock.wait_readable(received, 5)
        assert ready
        for sock in ready:
            received[sock].append(sock.recv(100))  # never BlockingIOError
    assert list(received.values()) == [[b"%d" % number for number in range(50)]] * 4
    task.result()
