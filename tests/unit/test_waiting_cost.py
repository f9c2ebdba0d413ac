# SPDX-License-Identifier: MIT
"""Nothing may spin: the CPU time of a wait, whatever poll says meanwhile.

Each wait that poll gets wrong is one in which the standard library spins, or would.
"""

import contextlib
import socket as stdlib
import struct
import time

import pytest

import fastsock
from unit.calls import each_plain_receive, fill

pytestmark = pytest.mark.one_engine

# Of the wait, the part in which the waiting thread may have a CPU. A wait that spins takes nearly
# all of it; one that looks again now and then a few hundredths, most of them the sanitizers' and
# the machine's own.
CPU_LIMIT = 0.25
IP_RECVERR = 11  # linux/in.h
SO_PEEK_OFF = 42  # asm-generic/socket.h


def assert_waits_cheaply(call, wait, expected=TimeoutError):
    start, cpu_start = time.monotonic(), time.thread_time()
    with pytest.raises(expected):
        call()
    cpu, elapsed = time.thread_time() - cpu_start, time.monotonic() - start
    # SO_RCVTIMEO counts in jiffies and may end one early.
    assert wait - 0.02 <= elapsed < wait + 3
    assert cpu < CPU_LIMIT * wait


@each_plain_receive
def test_recv_on_idle_socket_waits_cheaply(udp_pair, receive, wait):
    sock, _ = udp_pair
    sock.settimeout(wait)
    assert_waits_cheaply(lambda: receive(sock, 100), wait)


@pytest.mark.parametrize("kind", ["tcp_ipv4", "unix_stream", "unix_datagram", "unix_seqpacket"])
def test_recv_on_idle_socket_of_each_kind_waits_cheaply(make_pair, kind, wait):
    sock, _ = make_pair(kind)
    sock.settimeout(wait)
    assert_waits_cheaply(lambda: sock.recv(100), wait)


def test_recv_with_so_rcvtimeo_waits_cheaply(any_pair, wait):
    sock, _ = any_pair
    timeval = struct.pack("ll", *divmod(round(wait * 1_000_000), 1_000_000))
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, timeval)
    assert_waits_cheaply(lambda: sock.recv(100), wait, BlockingIOError)


@pytest.mark.parametrize("name", ["send", "sendall"])
def test_send_on_full_stream_waits_cheaply(stream_pair, name, wait):
    sock, _ = stream_pair
    fill(sock)
    sock.settimeout(wait)
    assert_waits_cheaply(lambda: getattr(sock, name)(b"x" * 100_000), wait)


@each_plain_receive
def test_recv_after_shutdown_of_datagrams_waits_cheaply(datagram_pair, receive, wait):
    sock, _ = datagram_pair
    sock.settimeout(wait)
    # Readable for ever; but a receive that doesn't wait finds nothing.
    sock.shutdown(stdlib.SHUT_RD)
    assert_waits_cheaply(lambda: receive(sock, 100), wait)


@each_plain_receive
def test_recv_beside_filled_error_queue_waits_cheaply(closing, receive, wait):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.setsockopt(stdlib.IPPROTO_IP, IP_RECVERR, 1)
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as absent:
        absent.bind(("127.0.0.1", 0))
        sock.connect(absent.getsockname())
    stdlib.socket.send(sock, b"nobody there")
    sock.settimeout(wait)
    with pytest.raises(ConnectionRefusedError):
        receive(sock, 100)
    # The error is told; its message stays queued, and poll reports that for ever.
    assert_waits_cheaply(lambda: receive(sock, 100), wait)


@each_plain_receive
def test_recv_of_empty_error_queue_beside_data_waits_cheaply(udp_pair, receive, wait):
    sock, peer = udp_pair
    sock.settimeout(wait)
    peer.send(b"ordinary")
    assert_waits_cheaply(lambda: receive(sock, 100, stdlib.MSG_ERRQUEUE), wait)


@pytest.mark.parametrize("kind", ["udp_ipv4", "unix_datagram", "unix_stream"])
def test_recv_peeking_past_the_queued_data_waits_cheaply(make_pair, kind, wait):
    sock, peer = make_pair(kind)
    sock.setsockopt(stdlib.SOL_SOCKET, SO_PEEK_OFF, 0)
    peer.send(b"one")
    assert sock.recv(100, stdlib.MSG_PEEK) == b"one"
    sock.settimeout(wait)
    # What was peeked at keeps the socket readable; the offset hides it from the receive.
    assert_waits_cheaply(lambda: sock.recv(100, stdlib.MSG_PEEK), wait)


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "unconnected"])
def test_send_to_full_unix_datagram_queue_waits_cheaply(closing, tmp_path, is_connected, wait):
    path = str(tmp_path / "queue")
    server = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    server.bind(path)
    with stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as filler:
        filler.connect(path)
        fill(filler)
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    sock.settimeout(wait)
    # An unconnected socket does not know whose queue is full, so it is always writable.
    if is_connected:
        sock.connect(path)
        assert_waits_cheaply(lambda: sock.send(b"more"), wait)
    else:
        assert_waits_cheaply(lambda: sock.sendto(b"more", path), wait)
        assert_waits_cheaply(lambda: sock.sendmsg([b"more"], [], 0, path), wait)


def test_recv_whose_data_another_thread_takes_waits_cheaply(udp_pair, in_thread, wait):
    sock, peer = udp_pair
    thief = sock.dup()
    thief.setblocking(False)
    end = time.monotonic() + wait
    sock.settimeout(wait)

    def steal():
        # Both wake for each datagram and one comes second, to a socket that was called readable.
        sent = taken = 0
        while time.monotonic() < end:
            sent += peer.send(b"b")
            with contextlib.suppress(BlockingIOError):
                taken += len(stdlib.socket.recv(thief, 100))
            time.sleep(0.005)
        return sent, taken

    received = 0
    cpu_start = time.thread_time()
    task = in_thread(steal)
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            received += len(sock.recv(100))
    assert time.thread_time() - cpu_start < CPU_LIMIT * wait
    sent, taken = task.result()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            received += len(sock.recv(100))
    assert sent == received + taken
    thief.close()
