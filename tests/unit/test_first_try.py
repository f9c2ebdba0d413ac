# SPDX-License-Identifier: MIT
"""What is remembered of first tries must not show, whatever the descriptor's number did before."""

import os
import signal
import socket as stdlib
import threading

import pytest

import fastsock


def make_it_mostly_wait(sock, peer):
    """Make the calls on sock's descriptor number skip their first try."""
    sock.settimeout(5)
    for _ in range(8):
        timer = threading.Timer(0.001, peer.send, (b"x",))
        timer.start()
        assert sock.recv(10) == b"x"
        timer.join()


def test_recv_with_timeout_zero_on_a_descriptor_made_blocking_does_not_wait(make_pair):
    sock, peer = make_pair("unix_stream")
    make_it_mostly_wait(sock, peer)
    sock.settimeout(0)
    os.set_blocking(sock.fileno(), True)  # as another process that shares it may do
    for _ in range(40):
        with pytest.raises(BlockingIOError):
            sock.recv(10)


def test_recv_of_urgent_data_that_is_not_there_waits_for_the_timeout(make_pair):
    """Without waiting the kernel says EINVAL; CPython asks poll first and times out."""
    sock, _ = make_pair("tcp_ipv4")
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv(1, fastsock.MSG_OOB)


@pytest.mark.parametrize("bufsize", [100, 10_000, 70_000], ids=["stack", "scratch", "in_place"])
def test_recv_in_a_signal_handler_leaves_the_interrupted_recv_intact(make_pair, bufsize):
    """The handler runs inside the call that waits, and receives into the same thread's memory."""
    sock, peer = make_pair("unix_datagram")
    inner_sock, inner_peer = make_pair("unix_datagram")
    inner = []

    def handler(number, frame):
        inner_peer.send(b"i" * 60)
        inner.append(inner_sock.recv(bufsize))
        peer.send(b"o" * 80)

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        assert sock.recv(bufsize) == b"o" * 80
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert inner == [b"i" * 60]


def test_recv_of_large_and_small_messages_in_turn_gives_each_whole(make_pair):
    """A large one makes the next receive go into the result itself, a small one back again."""
    sock, peer = make_pair("unix_datagram")
    for size in (60, 40_000, 40_001, 60, 61, 30_000, 60):
        data = os.urandom(size)
        peer.send(data)
        assert sock.recv(65_536) == data


def test_accept_with_timeout_on_a_listener_made_blocking_lets_other_threads_run(in_thread):
    """accept has no flag for a call that does not wait: with the GIL held nobody could connect."""
    with fastsock.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        os.set_blocking(listener.fileno(), True)
        task = in_thread(listener.accept)
        with stdlib.create_connection(listener.getsockname()) as client:
            connection, address = task.result()
            with connection:
                assert address == client.getsockname()


def test_accept_that_a_default_timeout_and_an_audit_hook_meet_leaks_nothing(run_child):
    """The new socket's initialiser fails before it takes the descriptor: it is closed, once."""
    run_child("""
import os, socket, sys
import fastsock
listener = fastsock.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
fastsock.setdefaulttimeout(5)
refusing = True
def hook(event, arguments):
    if refusing and event == "socket.__new__":
        raise RuntimeError("refused")
before = len(os.listdir("/proc/self/fd"))
sys.addaudithook(hook)
try:
    listener.accept()
except RuntimeError:
    pass
else:
    raise AssertionError("the hook was to refuse it")
refusing = False
assert len(os.listdir("/proc/self/fd")) == before
listener.close()
client.close()
""")
