# SPDX-License-Identifier: MIT
"""recv_batch: how it waits, for how many, and what the batch holds afterwards.

The batch itself is in test_batch.py.
"""

import contextlib
import errno
import math
import os
import queue
import signal
import socket as stdlib
import threading
import time

import pytest

import fastsock
from unit.calls import outcome
from unit.many import (
    SOME,
    each_mode,
    each_waiting_mode,
    numbered,
    send_all,
    take_all,
    waits,
)

SIGNALS = 1000


def contents(batch):
    return [message.bytes() for message in batch]


# recv_batch in its two forms, the method and the function.
each_form = pytest.mark.parametrize(
    "recv_batch", [fastsock.socket.recv_batch, fastsock.recv_batch], ids=["method", "function"]
)


# How many


@each_form
@each_mode
def test_recv_batch_returns_what_is_queued(message_pair, recv_batch, timeout):
    sock, peer = message_pair
    sock.settimeout(timeout)
    batch = fastsock.Batch(100, 100)
    send_all(peer, SOME)
    assert recv_batch(sock, batch) == len(SOME)
    assert contents(batch) == SOME


@each_form
def test_recv_batch_takes_no_more_than_capacity(message_pair, recv_batch):
    sock, peer = message_pair
    batch = fastsock.Batch(70, 10)
    send_all(peer, numbered(150))
    assert recv_batch(sock, batch) == 70
    assert contents(batch) == numbered(70)
    assert recv_batch(sock, batch) == 70
    assert recv_batch(sock, batch) == 10
    assert contents(batch) == numbered(10, 140)


@each_form
@each_mode
@pytest.mark.parametrize("minimum", [1, 2, 5, 10])
def test_recv_batch_with_minimum_queued_does_not_wait(message_pair, recv_batch, timeout, minimum):
    sock, peer = message_pair
    sock.settimeout(timeout)
    batch = fastsock.Batch(10, 10)
    send_all(peer, numbered(10))
    assert recv_batch(sock, batch, minimum=minimum) == 10
    assert contents(batch) == numbered(10)


@each_form
@pytest.mark.parametrize("own", [None, 0, 0.01, 60], ids=["blocking", "nonblocking", "10ms", "60s"])
@pytest.mark.parametrize("timeout", [None, 60], ids=["for_ever", "timeout"])
def test_recv_batch_waits_for_minimum_whatever_the_sockets_timeout(
    message_pair, recv_batch, own, timeout, in_thread, wait_until
):
    sock, peer = message_pair
    sock.settimeout(own)
    batch = fastsock.Batch(10, 10)
    peer.send(b"0")
    task = in_thread(recv_batch, sock, batch, minimum=3, timeout=timeout)
    for message in (b"1", b"2"):
        wait_until(lambda: waits(task, sock))
        assert not task.is_done
        peer.send(message)
    assert task.result() == 3
    assert contents(batch) == numbered(3)
    assert sock.gettimeout() == own


@each_waiting_mode
def test_recv_batch_of_more_than_1024_beside_a_sender_gets_all_in_order(
    make_pair, timeout, in_thread
):
    sock, peer = make_pair("unix_datagram")
    sock.settimeout(timeout)
    batch = fastsock.Batch(1500, 10)
    task = in_thread(send_all, peer, numbered(1500))
    assert sock.recv_batch(batch, minimum=1500) == 1500
    assert contents(batch) == numbered(1500)
    task.result()


@each_form
@pytest.mark.parametrize("own", [None, 0, 60], ids=["blocking", "nonblocking", "timeout"])
def test_recv_batch_with_fewer_by_the_deadline_returns_them(message_pair, recv_batch, own):
    sock, peer = message_pair
    sock.settimeout(own)
    batch = fastsock.Batch(10, 10)
    send_all(peer, SOME)
    start = time.monotonic()
    assert recv_batch(sock, batch, minimum=4, timeout=0.03) == 3
    assert time.monotonic() - start >= 0.03
    assert [message[:3] for message in contents(batch)] == [message[:3] for message in SOME]


def test_recv_batch_with_fewer_by_the_sockets_own_timeout_returns_them(message_pair):
    sock, peer = message_pair
    sock.settimeout(0.03)
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    start = time.monotonic()
    assert sock.recv_batch(batch, minimum=10) == 3
    assert time.monotonic() - start >= 0.03


def test_recv_batch_deadline_is_one_for_all_messages(udp_pair, in_thread):
    sock, peer = udp_pair
    batch = fastsock.Batch(1000, 10)
    is_over = threading.Event()

    def send_slowly():
        while not is_over.wait(0.02):
            peer.send(b"x")

    task = in_thread(send_slowly)
    start = time.monotonic()
    try:
        # A deadline that starts anew with each message would never come.
        received = sock.recv_batch(batch, minimum=1000, timeout=0.3)
    finally:
        is_over.set()
    assert 0 < received == len(batch) < 1000
    assert 0.3 <= time.monotonic() - start < 5
    task.result()


@each_form
@each_mode
def test_recv_batch_with_timeout_0_takes_what_is_there(message_pair, recv_batch, timeout):
    sock, peer = message_pair
    sock.settimeout(timeout)
    batch = fastsock.Batch(10, 100)
    with pytest.raises(BlockingIOError) as caught:
        recv_batch(sock, batch, timeout=0)
    assert caught.value.errno == errno.EAGAIN
    send_all(peer, SOME)
    assert recv_batch(sock, batch, minimum=10, timeout=0) == 3
    assert contents(batch) == SOME


@each_form
@each_mode
def test_recv_batch_with_msg_dontwait_takes_what_is_there(message_pair, recv_batch, timeout):
    sock, peer = message_pair
    sock.settimeout(timeout)
    batch = fastsock.Batch(10, 100)
    with pytest.raises(BlockingIOError):
        recv_batch(sock, batch, stdlib.MSG_DONTWAIT)
    send_all(peer, SOME)
    assert recv_batch(sock, batch, stdlib.MSG_DONTWAIT, minimum=10) == 3


@each_form
@pytest.mark.parametrize("own", [None, 0, 60], ids=["blocking", "nonblocking", "timeout"])
@pytest.mark.parametrize("minimum", [1, 10])
def test_recv_batch_with_nothing_by_the_deadline_raises_timeout_error(
    message_pair, recv_batch, own, minimum
):
    sock, _ = message_pair
    sock.settimeout(own)
    batch = fastsock.Batch(10, 100)
    start = time.monotonic()
    assert outcome(lambda: recv_batch(sock, batch, minimum=minimum, timeout=0.02)) == (
        TimeoutError,
        None,
        "timed out",
    )
    assert time.monotonic() - start >= 0.02
    assert len(batch) == 0


def test_recv_batch_without_timeout_uses_the_sockets_own(message_pair):
    sock, _ = message_pair
    batch = fastsock.Batch(10, 100)
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv_batch(batch)
    sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        sock.recv_batch(batch)


# Arguments


@each_form
@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"minimum": 0}, ValueError),
        ({"minimum": -1}, ValueError),
        ({"minimum": 11}, ValueError),
        ({"minimum": 2**70}, ValueError),
        ({"minimum": 1.5}, TypeError),
        ({"minimum": "1"}, TypeError),
        ({"minimum": None}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"timeout": -1e-9}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": 1e300}, (ValueError, OverflowError)),
        ({"timeout": 10**400}, (ValueError, OverflowError)),
        ({"timeout": "1"}, TypeError),
        ({"unknown": 1}, TypeError),
    ],
)
def test_recv_batch_with_wrong_arguments_raises_and_keeps_the_batch(
    make_pair, recv_batch, keywords, error
):
    sock, peer = make_pair("udp_ipv4")
    sock.settimeout(0.05)
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    recv_batch(sock, batch)
    send_all(peer, SOME)
    with pytest.raises(error):
        recv_batch(sock, batch, **keywords)
    assert contents(batch) == SOME
    assert recv_batch(sock, batch) == 3


@pytest.mark.parametrize("wrong", [None, [], bytearray(100), 10])
@each_form
def test_recv_batch_into_no_batch_raises_type_error(make_pair, recv_batch, wrong):
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(TypeError):
        recv_batch(sock, wrong)


@each_form
@pytest.mark.parametrize("flag", ["MSG_PEEK", "MSG_WAITALL", "MSG_ERRQUEUE", "MSG_OOB"])
def test_recv_batch_refuses_flags_without_sense_for_many(datagram_pair, recv_batch, flag):
    sock, peer = datagram_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    with pytest.raises(ValueError, match="MSG_DONTWAIT"):
        recv_batch(sock, batch, getattr(stdlib, flag))
    assert recv_batch(sock, batch) == 3


@each_form
@pytest.mark.parametrize("flag", [stdlib.MSG_TRUNC, stdlib.MSG_CMSG_CLOEXEC])
def test_recv_batch_takes_flags_that_change_nothing(message_pair, recv_batch, flag):
    sock, peer = message_pair
    batch = fastsock.Batch(10, 4)
    send_all(peer, [b"abcdef", b"a"])
    assert recv_batch(sock, batch, flag) == 2
    assert contents(batch) == [b"abcd", b"a"]


@each_form
def test_recv_batch_on_a_stream_points_to_framing(stream_pair, recv_batch):
    sock, peer = stream_pair
    peer.send(b"kept")
    with pytest.raises(OSError, match="framing") as caught:
        recv_batch(sock, fastsock.Batch(1, 1))
    assert caught.value.errno == errno.EOPNOTSUPP
    assert sock.recv(100) == b"kept"


@each_form
def test_recv_batch_on_closed_socket_raises_ebadf_and_empties_the_batch(message_pair, recv_batch):
    sock, peer = message_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    recv_batch(sock, batch)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        recv_batch(sock, batch)
    assert caught.value.errno == errno.EBADF
    assert len(batch) == 0


def test_recv_batch_by_descriptor_leaves_it_open_and_as_it_was(message_pair):
    sock, peer = message_pair
    batch = fastsock.Batch(10, 100)
    peer.setblocking(False)
    sock.send(b"one")
    assert fastsock.recv_batch(peer.fileno(), batch) == 1
    assert contents(batch) == [b"one"]
    assert not os.get_blocking(peer.fileno())
    # None waits, though the descriptor would not.
    with pytest.raises(TimeoutError):
        fastsock.recv_batch(peer.fileno(), batch, timeout=0.05)
    sock.send(b"two")
    assert peer.recv(100) == b"two"


# Ends


@each_form
@pytest.mark.parametrize("minimum", [1, 10])
def test_recv_batch_of_seqpacket_ends_at_an_empty_message_and_the_end(
    make_pair, recv_batch, minimum
):
    sock, peer = make_pair("unix_seqpacket")
    batch = fastsock.Batch(10, 100)
    send_all(peer, [b"one", b"", b"two"])
    peer.close()
    for expected in ([b"one", b""], [b"two", b""], [b""]):
        assert recv_batch(sock, batch, minimum=minimum) == len(expected)
        assert contents(batch) == expected


@each_form
@pytest.mark.parametrize("minimum", [1, 10])
def test_recv_batch_of_shut_down_udp_gives_the_rest_and_then_0(udp_pair, recv_batch, minimum):
    sock, peer = udp_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    sock.shutdown(stdlib.SHUT_RD)
    assert recv_batch(sock, batch, minimum=minimum) == 3
    assert contents(batch) == SOME
    assert recv_batch(sock, batch, minimum=minimum) == 0
    assert contents(batch) == []


def test_recv_batch_waiting_for_minimum_returns_what_came_when_udp_is_shut_down(
    udp_pair, in_thread, wait_until
):
    sock, peer = udp_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    task = in_thread(sock.recv_batch, batch, minimum=10)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == 3
    assert contents(batch) == SOME


def test_recv_batch_of_empty_datagrams_counts_them_towards_minimum(datagram_pair):
    sock, peer = datagram_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, [b"", b"x", b""])
    assert sock.recv_batch(batch, minimum=3) == 3
    assert contents(batch) == [b"", b"x", b""]


# What is kept when something is raised


def test_recv_batch_raises_an_error_that_comes_while_it_waits_and_keeps_the_messages(
    udp_pair, in_thread, wait_until
):
    sock, peer = udp_pair
    batch = fastsock.Batch(10, 100)
    send_all(peer, SOME)
    task = in_thread(sock.recv_batch, batch, minimum=10)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    peer.close()
    sock.send(b"nobody there")
    with pytest.raises(ConnectionRefusedError):
        task.result()
    assert contents(batch) == SOME
    with pytest.raises(BlockingIOError):
        sock.recv_batch(batch, timeout=0)
    assert len(batch) == 0


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop, TimeoutError, BlockingIOError])
@each_waiting_mode
def test_recv_batch_keeps_what_arrived_when_a_handler_raises(
    message_pair, error, timeout, in_thread, wait_until, main_waits_in_call
):
    sock, peer = message_pair
    batch = fastsock.Batch(10, 100)
    fd = sock.fileno()

    def interrupt():
        wait_until(lambda: len(batch) == 3 and main_waits_in_call(fd))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def handler(*_):
        raise error

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        send_all(peer, SOME)
        task = in_thread(interrupt)
        # Also an error of the kind that ends the wait is the handler's, and not to be swallowed.
        with pytest.raises(error):
            sock.recv_batch(batch, minimum=10, timeout=timeout)
        task.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert contents(batch) == SOME
    peer.send(b"next")
    assert sock.recv_batch(batch) == 1
    assert contents(batch) == [b"next"]


@pytest.mark.parametrize("kind", ["unix_datagram", "unix_seqpacket", "udp_ipv4"])
@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@each_waiting_mode
def test_recv_batch_under_many_signals_loses_nothing(make_pair, kind, raises, timeout, in_thread):
    sock, peer = make_pair(kind)
    main = threading.main_thread().ident
    handled = queue.SimpleQueue()
    is_over, is_left = threading.Event(), threading.Event()
    is_armed = False

    def handler(*_):
        nonlocal is_armed
        handled.put(None)
        if is_armed:
            is_armed = False
            raise Stop

    def signal_until_handled():
        # One that comes just before the call goes to sleep is not noticed by it.
        while True:
            signal.pthread_kill(main, signal.SIGUSR1)
            with contextlib.suppress(queue.Empty):
                return handled.get(timeout=0.01)

    def send_and_signal():
        # The signal meets the message at every point of its way.
        for number in range(SIGNALS):
            peer.send(b"%d" % number)
            signal_until_handled()
        is_over.set()
        while not is_left.is_set():
            peer.send(b"end")
            is_left.wait(0.001)

    received = []
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        task = in_thread(send_and_signal)
        while not is_over.is_set():
            batch = fastsock.Batch(50, 10)  # a new one: empty when the signal comes before the call
            with contextlib.suppress(Stop):
                is_armed = raises
                sock.recv_batch(batch, minimum=50, timeout=timeout)
                is_armed = False
            received += contents(batch)
    finally:
        is_left.set()
        task.result()
        signal.signal(signal.SIGUSR1, before)
    received += take_all(sock)
    assert [message for message in received if message != b"end"] == numbered(SIGNALS)
