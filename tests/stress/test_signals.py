# SPDX-License-Identifier: MIT
"""Signals during blocking calls: Ctrl+C ends them, a handler that returns does not.

The signal comes from a helper thread, once the kernel says that the call waits. So no round depends
on luck, and a KeyboardInterrupt can't hit what is around the call.
"""

import contextlib
import functools
import os
import signal
import socket as stdlib
import threading
import time

import pytest

import fastsock

pytestmark = pytest.mark.usefixtures("no_descriptor_leak")

SOON = 5  # seconds in which a call that is to end must have ended
MUCH = b"x" * (8 << 20)

KILLS = {
    "process": lambda number: os.kill(os.getpid(), number),
    "thread": lambda number: signal.pthread_kill(threading.main_thread().ident, number),
}
each_kill = pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
each_timeout = pytest.mark.parametrize("timeout", [None, 60], ids=["blocking", "timeout"])


def waiting_receive(name, argument, stack):
    """Return a socket, a call on it that waits, and what lets the call end."""
    sock, peer = (stack.enter_context(sock) for sock in fastsock.socketpair())
    return sock, lambda: getattr(sock, name)(argument()), lambda: peer.send(b"x")


def waiting_accept(stack):
    listener = stack.enter_context(fastsock.create_server(("127.0.0.1", 0)))

    def connect():
        stack.enter_context(stdlib.create_connection(listener.getsockname()))

    return listener, lambda: stack.enter_context(listener.accept()[0]), connect


def waiting_send(name, stack):
    sock, peer = (stack.enter_context(sock) for sock in fastsock.socketpair())

    def drain():
        peer.settimeout(SOON)
        with contextlib.suppress(TimeoutError):
            received = 0
            while received < len(MUCH):
                received += len(peer.recv(1 << 20))

    def start_draining():
        thread = threading.Thread(target=drain)
        stack.callback(thread.join)
        thread.start()

    return sock, lambda: getattr(sock, name)(MUCH), start_draining


def waiting_connect(stack):
    """A Unix connect to a listener whose queue is full; there is no TCP one that waits for sure."""
    listener = stack.enter_context(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_STREAM))
    listener.bind("")
    listener.listen(0)
    first = stack.enter_context(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_STREAM))
    first.connect(listener.getsockname())
    sock = stack.enter_context(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_STREAM))

    def accept():
        stack.enter_context(listener.accept()[0])

    return sock, lambda: sock.connect(listener.getsockname()), accept


RECEIVES = {
    "recv": lambda: 100,
    "recv_into": lambda: bytearray(100),
    "recvfrom": lambda: 100,
    "recvfrom_into": lambda: bytearray(100),
    "recvmsg": lambda: 100,
    "recvmsg_into": lambda: [bytearray(100)],
}
CALLS = {
    **{
        name: functools.partial(waiting_receive, name, argument)
        for name, argument in RECEIVES.items()
    },
    "accept": waiting_accept,
    "sendall": functools.partial(waiting_send, "sendall"),
    "connect": waiting_connect,
}
each_call = pytest.mark.parametrize("prepare", CALLS.values(), ids=CALLS)


@pytest.fixture
def handle():
    """Return handle(number, handler), which is undone when the test ends."""
    with contextlib.ExitStack() as stack:

        def handle(number, handler):
            stack.callback(signal.signal, number, signal.signal(number, handler))

        yield handle


@each_call
@each_kill
@each_timeout
def test_ctrl_c_ends_a_waiting_call_at_once(
    prepare, kill, timeout, repeats, handle, in_thread, wait_until, main_waits_in_call
):
    if prepare is waiting_connect and timeout is not None:
        timeout = None  # a Unix connect that may not block fails at once
    handle(signal.SIGINT, signal.default_int_handler)
    for _ in range(repeats):
        with contextlib.ExitStack() as stack:
            sock, call, _ = prepare(stack)
            sock.settimeout(timeout)
            fd, sent = sock.fileno(), []

            def interrupt(fd=fd, sent=sent):
                wait_until(lambda: main_waits_in_call(fd))
                sent.append(time.monotonic())
                kill(signal.SIGINT)

            task = in_thread(interrupt)
            with pytest.raises(KeyboardInterrupt):
                call()
            task.result()
            assert time.monotonic() - sent[0] < SOON


@each_call
@each_timeout
def test_handler_that_returns_lets_the_call_go_on(
    prepare, timeout, repeats, handle, in_thread, wait_until, main_waits_in_call
):
    if prepare is waiting_connect and timeout is not None:
        timeout = None
    finish = []
    # The handler itself brings what the call waits for, so it must have run within the call.
    handle(signal.SIGUSR1, lambda *_: finish.pop()())
    for _ in range(repeats):
        with contextlib.ExitStack() as stack:
            sock, call, let_end = prepare(stack)
            sock.settimeout(timeout)
            finish.append(let_end)
            fd = sock.fileno()

            def interrupt(fd=fd):
                wait_until(lambda: main_waits_in_call(fd))
                KILLS["thread"](signal.SIGUSR1)

            task = in_thread(interrupt)
            call()
            task.result()
            assert not finish


@pytest.mark.parametrize("name", [*RECEIVES, "accept", "sendall"])
def test_handler_that_returns_does_not_move_the_deadline(
    name, repeats, handle, in_thread, wait_until, main_waits_in_call
):
    handled = []
    handle(signal.SIGUSR1, lambda *_: handled.append(None))
    for _ in range(repeats):
        with contextlib.ExitStack() as stack:
            sock, call, _ = CALLS[name](stack)
            sock.settimeout(0.05)
            fd = sock.fileno()

            def interrupt(fd=fd):
                wait_until(lambda: main_waits_in_call(fd))
                KILLS["thread"](signal.SIGUSR1)

            start = time.monotonic()
            task = in_thread(interrupt)
            with pytest.raises(TimeoutError):
                call()
            assert 0.05 <= time.monotonic() - start < SOON
            task.result()
    assert len(handled) == repeats


@each_timeout
def test_handler_that_raises_leaves_the_data_for_the_next_call(
    timeout, repeats, handle, in_thread, wait_until, main_waits_in_call
):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    handle(signal.SIGUSR1, stop)
    sock, peer = fastsock.socketpair(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
    with sock, peer:
        sock.settimeout(timeout)
        fd = sock.fileno()
        for number in range(repeats):

            def interrupt():
                wait_until(lambda: main_waits_in_call(fd))
                KILLS["thread"](signal.SIGUSR1)

            task = in_thread(interrupt)
            with pytest.raises(Stop):
                sock.recv(100)
            task.result()
            peer.send(b"%d" % number)
            assert sock.recv(100) == b"%d" % number


def test_wakeup_descriptor_is_written_during_a_waiting_call(
    repeats, handle, in_thread, wait_until, main_waits_in_call
):
    # asyncio and others rest on signal.set_wakeup_fd; the call must not swallow the signal.
    handle(signal.SIGUSR1, lambda *_: peer.send(b"x"))
    reader, writer = stdlib.socketpair()
    sock, peer = fastsock.socketpair()
    with reader, writer, sock, peer:
        writer.setblocking(False)
        reader.settimeout(SOON)
        before = signal.set_wakeup_fd(writer.fileno())
        fd = sock.fileno()
        try:
            for _ in range(repeats):

                def interrupt():
                    wait_until(lambda: main_waits_in_call(fd))
                    KILLS["process"](signal.SIGUSR1)

                task = in_thread(interrupt)
                assert sock.recv(100) == b"x"
                task.result()
                assert reader.recv(1) == bytes([signal.SIGUSR1])
        finally:
            signal.set_wakeup_fd(before)
