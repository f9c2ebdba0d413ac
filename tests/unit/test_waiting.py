# SPDX-License-Identifier: MIT
"""How a call waits, as docs/design.md tells. What it costs: test_waiting_cost.py."""

import errno
import select
import signal
import socket as stdlib
import struct
import threading
import time

import pytest

import fastsock
from unit.calls import each_plain_receive, each_receive, fill, outcome

pytestmark = pytest.mark.one_engine

IP_RECVERR = 11  # linux/in.h; CPython names it from 3.14 on

BURST = 40  # messages; poll calls a Unix socket full when 70 are queued
each_timeout = pytest.mark.parametrize("timeout", [None, 5], ids=["blocking", "timeout"])


def waits(task, sock):
    """Tell whether the thread has come to rest in the kernel, as a call on sock does."""
    return task.waits_in_call(sock.fileno()) or task.waits_in_poll()


# Outcomes by timeout


@each_receive
def test_recv_without_data_and_timeout_none_waits_in_the_call_itself(
    any_pair, receive, in_thread, wait_until
):
    sock, peer = any_pair
    task = in_thread(receive, sock, 100)
    # Never in poll: it doesn't end when the call would, and ends when the call wouldn't.
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    peer.send(b"late")
    assert task.result() == b"late"


@each_receive
def test_recv_without_data_and_timeout_waits_in_poll_until_data(
    any_pair, receive, in_thread, wait_until
):
    sock, peer = any_pair
    sock.settimeout(60)
    task = in_thread(receive, sock, 100)
    wait_until(task.waits_in_poll)
    peer.send(b"late")
    assert task.result() == b"late"


@each_receive
def test_recv_without_data_after_timeout_raises_timeout_error(any_pair, receive):
    sock, _ = any_pair
    sock.settimeout(0.05)
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        receive(sock, 100)
    assert time.monotonic() - start >= 0.05
    assert caught.value.args == ("timed out",)
    assert caught.value.errno is None


@each_receive
def test_recv_without_data_and_timeout_zero_raises_blocking_io_error(any_pair, receive):
    sock, _ = any_pair
    sock.settimeout(0)
    with pytest.raises(BlockingIOError) as caught:
        receive(sock, 100)
    assert caught.value.errno == errno.EAGAIN


@each_receive
@pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"])
def test_recv_with_data_queued_returns_it(any_pair, receive, timeout, wait_until):
    sock, peer = any_pair
    sock.settimeout(timeout)
    peer.send(b"queued")
    wait_until(lambda: select.select([sock], [], [], 0)[0])
    assert receive(sock, 100) == b"queued"


@pytest.mark.parametrize("timeout", [1e9, 9223372036], ids=["1e9", "largest"])
def test_recv_with_huge_timeout_waits(udp_pair, timeout, in_thread, wait_until):
    sock, peer = udp_pair
    # The deadline would lie beyond the clock's end, the wait beyond poll's INT_MAX milliseconds.
    sock.settimeout(timeout)
    task = in_thread(sock.recv, 100)
    wait_until(task.waits_in_poll)
    peer.send(b"late")
    assert task.result() == b"late"


def test_recv_timeout_changed_by_another_thread_keeps_its_deadline(udp_pair, in_thread, wait_until):
    sock, _ = udp_pair
    sock.settimeout(0.3)
    task = in_thread(sock.recv, 100)
    wait_until(task.waits_in_poll)
    sock.settimeout(1e6)
    with pytest.raises(TimeoutError):
        task.result()


def test_recv_with_timeout_interrupted_often_keeps_its_deadline(udp_pair):
    sock, _ = udp_pair
    sock.settimeout(0.3)
    calls = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(None))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    start = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            sock.recv(100)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # A deadline that starts anew with each signal would never come.
    assert 0.3 <= time.monotonic() - start < 3
    assert len(calls) > 1


# What only the blocking system call knows


@each_receive
def test_recv_with_so_rcvtimeo_raises_blocking_io_error(any_pair, receive):
    sock, _ = any_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    start = time.monotonic()
    with pytest.raises(BlockingIOError) as caught:
        receive(sock, 100)
    assert caught.value.errno == errno.EAGAIN
    assert time.monotonic() - start >= 0.04


@pytest.mark.parametrize("name", ["send", "sendall"])
def test_send_with_so_sndtimeo_raises_blocking_io_error(stream_pair, name):
    sock, _ = stream_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDTIMEO, struct.pack("ll", 0, 50_000))
    fill(sock)
    with pytest.raises(BlockingIOError):
        getattr(sock, name)(b"x" * 100_000)


@each_receive
def test_recv_with_so_rcvlowat_waits_for_all_the_bytes(stream_pair, receive, in_thread, wait_until):
    sock, peer = stream_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVLOWAT, 10)
    # The receive first: TCP counts towards the mark only what comes after it has begun to wait.
    task = in_thread(receive, sock, 100)
    for byte in b"012345678":
        wait_until(lambda: waits(task, sock))
        peer.send(bytes([byte]))
    wait_until(lambda: waits(task, sock))
    assert not task.is_done
    peer.send(b"9")
    assert task.result() == b"0123456789"


@each_receive
def test_recv_with_so_rcvlowat_and_less_queued_waits_for_the_rest(
    stream_pair, receive, in_thread, wait_until
):
    sock, peer = stream_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVLOWAT, 10)
    peer.send(b"0123")
    # A try without waiting would be content with these.
    task = in_thread(receive, sock, 100)
    wait_until(lambda: waits(task, sock))
    assert not task.is_done
    peer.send(b"456789abcd")
    assert task.result() == b"0123456789abcd"


def test_recv_with_so_rcvlowat_at_end_of_stream_returns_the_rest(stream_pair):
    sock, peer = stream_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVLOWAT, 10)
    peer.send(b"rest")
    peer.shutdown(stdlib.SHUT_WR)
    assert sock.recv(100) == b"rest"


@each_receive
def test_recv_with_msg_waitall_waits_for_all_the_bytes(stream_pair, receive, in_thread, wait_until):
    sock, peer = stream_pair
    peer.send(b"01234")
    task = in_thread(receive, sock, 10, stdlib.MSG_WAITALL)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    peer.send(b"56789")
    assert task.result() == b"0123456789"


def test_recv_with_msg_waitall_and_timeout_returns_what_is_there(stream_pair):
    sock, peer = stream_pair
    sock.settimeout(5)  # so the descriptor is non-blocking, and the kernel ignores the flag
    peer.send(b"01234")
    assert sock.recv(10, stdlib.MSG_WAITALL) == b"01234"


# The error queue


@pytest.fixture
def refused(closing):
    """A connected UDP socket with a message in its error queue, and the port that refused."""
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.setsockopt(stdlib.IPPROTO_IP, IP_RECVERR, 1)
    sock.bind(("127.0.0.1", 0))
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as absent:
        absent.bind(("127.0.0.1", 0))
        port = absent.getsockname()[1]
    sock.connect(("127.0.0.1", port))
    stdlib.socket.send(sock, b"nobody there")
    return sock, port


@each_receive
def test_recv_of_empty_error_queue_blocking_raises_at_once(udp_pair, receive):
    sock, peer = udp_pair
    peer.send(b"no error")
    # The error queue never waits, and what is in the other queue stays there.
    with pytest.raises(BlockingIOError):
        receive(sock, 100, stdlib.MSG_ERRQUEUE)
    assert sock.recv(100) == b"no error"


@each_receive
def test_recv_of_empty_error_queue_with_timeout_raises_timeout_error(udp_pair, receive):
    sock, _ = udp_pair
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        receive(sock, 100, stdlib.MSG_ERRQUEUE)


@each_receive
@pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"])
def test_recv_of_error_queue_returns_the_refused_message(refused, receive, timeout):
    sock, _ = refused
    sock.settimeout(timeout)
    with pytest.raises(ConnectionRefusedError):
        sock.recv(100)
    assert receive(sock, 100, stdlib.MSG_ERRQUEUE) == b"nobody there"


@each_receive
@each_timeout
def test_recv_beside_error_queue_raises_once_and_waits_for_data(
    refused, receive, timeout, in_thread, wait_until, closing
):
    sock, port = refused
    sock.settimeout(timeout)
    with pytest.raises(ConnectionRefusedError):
        receive(sock, 100)
    # poll reports the queue for ever; the blocking call waits for data all the same.
    task = in_thread(receive, sock, 100)
    if timeout is None:
        wait_until(lambda: task.waits_in_call(sock.fileno()))
    late = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    late.bind(("127.0.0.1", port))
    late.sendto(b"here now", sock.getsockname())
    assert task.result() == b"here now"


# Shutdown and close in another thread


@each_plain_receive
def test_recv_blocking_woken_by_shutdown_returns_nothing(any_pair, receive, in_thread, wait_until):
    sock, _ = any_pair
    task = in_thread(receive, sock, 100)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == b""


@each_plain_receive
def test_recv_with_timeout_on_stream_woken_by_shutdown_returns_nothing(
    stream_pair, receive, in_thread, wait_until
):
    sock, _ = stream_pair
    sock.settimeout(60)
    task = in_thread(receive, sock, 100)
    wait_until(task.waits_in_poll)
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == b""


@each_plain_receive
def test_recv_with_timeout_on_datagrams_after_shutdown_raises_timeout_error(
    datagram_pair, receive, in_thread, wait_until
):
    sock, _ = datagram_pair
    sock.settimeout(0.2)
    task = in_thread(receive, sock, 100)
    wait_until(task.waits_in_poll)
    sock.shutdown(stdlib.SHUT_RD)
    # Only a receive that waits sees the shutdown: as in CPython, whose descriptor doesn't wait.
    with pytest.raises(TimeoutError):
        task.result()


@each_plain_receive
def test_recv_with_timeout_after_close_by_another_thread_raises_ebadf_at_the_timeout(
    any_pair, receive, in_thread, wait_until
):
    sock, _ = any_pair
    sock.settimeout(0.2)
    task = in_thread(receive, sock, 100)
    wait_until(task.waits_in_poll)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        task.result()
    assert caught.value.errno == errno.EBADF


@each_plain_receive
def test_recv_blocking_after_close_by_another_thread_stays_blocked_until_data(
    any_pair, receive, in_thread, wait_until, closing
):
    sock, peer = any_pair
    fd = sock.fileno()
    keeper = closing(sock.dup())  # or the last close would reset the connection
    task = in_thread(receive, sock, 100)
    wait_until(lambda: task.waits_in_call(fd))
    sock.close()
    assert not task.is_done
    peer.send(b"late")
    assert task.result() == b"late"
    assert keeper.fileno() != fd


@each_receive
def test_recv_on_closed_socket_raises_ebadf(any_pair, receive):
    sock, _ = any_pair
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        receive(sock, 100)
    assert caught.value.errno == errno.EBADF


def test_recv_on_uninitialised_socket_raises_ebadf():
    sock = fastsock.socket.__new__(fastsock.socket)
    plain = stdlib.socket.__new__(stdlib.socket)
    assert outcome(sock.recv, 10) == outcome(plain.recv, 10)


# Full queues


@pytest.fixture(params=["connected", "unconnected", "socketpair"])
def full_unix_queue(request, make_pair, closing, tmp_path):
    """Return (send, sock, peer): a call that sends one message, into a full datagram queue."""
    if request.param == "socketpair":
        sock, peer = make_pair("unix_datagram")
        fill(sock)
        return lambda: sock.send(b"more"), sock, peer
    path = str(tmp_path / "queue")
    peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer.bind(path)
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    with stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as filler:
        filler.connect(path)
        fill(filler)
    if request.param == "connected":
        sock.connect(path)
        return lambda: sock.send(b"more"), sock, peer
    return lambda: sock.sendto(b"more", path), sock, peer


def test_send_to_full_unix_queue_with_timeout_raises_timeout_error(full_unix_queue):
    send, sock, _ = full_unix_queue
    sock.settimeout(0.2)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="timed out"):
        send()
    assert 0.2 <= time.monotonic() - start < 5


def test_send_to_full_unix_queue_nonblocking_raises_blocking_io_error(full_unix_queue):
    send, sock, _ = full_unix_queue
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        send()


@each_timeout
def test_send_to_full_unix_queue_goes_when_there_is_room(
    full_unix_queue, timeout, in_thread, wait_until
):
    send, sock, peer = full_unix_queue
    sock.settimeout(timeout)
    task = in_thread(send)
    if timeout is None:
        wait_until(lambda: task.waits_in_call(sock.fileno()))
    peer.settimeout(5)
    while peer.recv(2000) != b"more":
        pass
    assert task.result() == 4


# A socket that mostly waits


@each_plain_receive
@each_timeout
def test_recv_after_many_waits_gets_a_burst_in_order(message_pair, receive, timeout, in_thread):
    sock, peer = message_pair
    sock.settimeout(timeout)
    peer.settimeout(5)
    asked = threading.Semaphore(0)

    def reply():
        for number in range(50):
            asked.acquire(timeout=5)
            peer.send(b"reply %d" % number)

    task = in_thread(reply)
    for number in range(50):
        # Most of these find nothing at first, after which the call no longer tries without waiting.
        asked.release()
        assert receive(sock, 100) == b"reply %d" % number
    task.result()
    for number in range(BURST):
        peer.send(b"burst %d" % number)
    # Whatever it has learned, it must not lose, double or reorder anything on its way back.
    assert [receive(sock, 100) for _ in range(BURST)] == [b"burst %d" % i for i in range(BURST)]


def test_recv_nonblocking_after_many_waits_still_does_not_wait(message_pair, wait_until):
    sock, peer = message_pair
    sock.setblocking(False)
    for number in range(30):
        with pytest.raises(BlockingIOError):
            sock.recv(100)
        if number % 10 == 9:
            peer.send(b"one")
            wait_until(lambda: select.select([sock], [], [], 0)[0])
            assert sock.recv(100) == b"one"
