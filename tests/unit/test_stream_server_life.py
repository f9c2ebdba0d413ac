# SPDX-License-Identifier: MIT
"""The life of a StreamServer: its stop and close, threads, signals, forks, and the program's end."""

import contextlib
import errno
import gc
import os
import signal
import socket as stdlib
import sys
import threading
import time
import warnings
import weakref

import pytest

import fastsock
from fastsock import CloseReason
from tools import child
from unit.serving import (
    LOCAL,
    PREFIX,
    Story,
    check_balance,
    echo,
    join,
    receive_all,
    receive_exactly,
    serve,
)

__all__ = ["join", "serve"]  # fixtures


def in_wait(task):
    """Whether a thread is in epoll_wait or poll; the numbers are of x86_64 and aarch64."""
    from conftest import waiting_call

    return lambda: waiting_call(task._thread.native_id)[0] in (232, 281, 7, 271, 22, 73)


def test_close_ends_the_wait_of_another_thread(serve, join, in_thread, wait_until):
    server = serve()
    sock = join(server)
    Story(server).until_open()
    waiting = in_thread(list, server)
    wait_until(in_wait(waiting))
    server.close()
    assert waiting.result() == []
    assert receive_all(sock) == b""
    assert server.stats().accepted == 1
    with pytest.raises(ConnectionRefusedError):
        join(server)


def test_close_makes_next_batch_of_another_thread_fail(serve, in_thread, wait_until):
    server = serve()
    waiting = in_thread(server.next_batch, 10)
    wait_until(in_wait(waiting))
    server.close()
    with pytest.raises(OSError) as caught:  # noqa: PT011
        waiting.result()
    assert caught.value.errno == errno.EBADF


def test_threads_that_close_at_once_close_it_once(in_thread, tmp_path):
    path = tmp_path / "x.sock"
    for _ in range(10):
        server = fastsock.StreamServer(path, PREFIX)
        start = threading.Barrier(4)

        def close(server=server, start=start):
            start.wait(5)
            server.close()

        for task in [in_thread(close) for _ in range(4)]:
            task.result()
        assert not path.exists()


def test_stop_of_another_thread_ends_the_iteration(serve, join, in_thread, wait_until):
    server = serve()
    sock = join(server)
    Story(server).until_open()
    waiting = in_thread(list, server)
    wait_until(in_wait(waiting))
    server.stop()
    (batch,) = waiting.result()
    assert [reason for _, reason in batch.closed] == [CloseReason.LOCAL]
    assert receive_all(sock) == b""
    with pytest.raises(ConnectionRefusedError):
        join(server)
    with pytest.raises(EOFError):
        server.next_batch(0)
    assert list(server) == []
    assert not server.closed


def test_stop_between_batches_ends_idle_connections_at_once(serve, join):
    server = serve()
    join(server)
    story = Story(server)
    story.until_open()
    server.stop(drain=3600)
    story.take()
    assert story.reasons() == [CloseReason.LOCAL]
    assert list(server) == []


def test_stop_lets_an_unfinished_frame_come_and_be_answered(serve, join):
    server = serve()
    sock = join(server)
    story = Story(server, echo)
    stream = PREFIX.encode([b"unfinished"])
    sock.sendall(stream[:7])
    story.until(lambda: server.stats().bytes_received == 7)
    server.stop(drain=3600)
    with pytest.raises(TimeoutError):
        server.next_batch(0.05)
    sock.sendall(stream[7:])
    for batch in server:
        story.add(batch)
    assert receive_all(sock) == stream
    assert story.reasons() == [CloseReason.LOCAL]


def test_stop_lets_queued_output_go(serve, join, in_thread):
    server = serve(max_pending=1 << 24)
    sock = join(server, receive_buffer=4096)
    story = Story(server)
    connection = story.until_open()
    messages = [bytes(1 << 20)] * 12
    connection.send_many(messages)
    server.stop(drain=3600)
    receiving = in_thread(receive_all, sock)
    for batch in server:
        story.add(batch)
    assert receiving.result() == PREFIX.encode(messages)
    assert check_balance(server).bytes_unsent == 0


def test_drain_that_is_over_ends_what_is_left(serve, join):
    server = serve(max_pending=1 << 24)
    slow, unfinished = join(server, receive_buffer=4096), join(server)
    story = Story(server)
    story.until_open(2)
    unfinished.sendall(b"\0\0")
    story.until(lambda: server.stats().bytes_received == 2)
    for connection in story.opened:
        if connection.peer == slow.getsockname():
            connection.send_many([bytes(1 << 20)] * 12)
    server.stop(drain=0.1)
    for batch in server:
        story.add(batch)
    assert story.reasons() == [CloseReason.LOCAL] * 2
    stats = check_balance(server)
    assert stats.bytes_unsent > 0
    assert stats.bytes_unfinished == 2
    with pytest.raises(ConnectionResetError):
        receive_all(slow)


def test_stop_serves_who_had_connected_before(serve, join):
    server = serve()
    socks = [join(server) for _ in range(200)]
    for sock in socks:
        sock.sendall(PREFIX.encode([b"x"]))
    server.stop()
    story = Story(server, echo)
    for batch in server:
        story.add(batch)
    for sock in socks:
        assert receive_all(sock) == PREFIX.encode([b"x"])
    assert server.stats().accepted == 200


def test_port_is_free_at_once_for_the_next_server(join, closing):
    """Though old connections of it linger in TIME_WAIT, on this side."""
    name, socks = LOCAL, []
    for _ in range(3):
        with fastsock.StreamServer(name, PREFIX) as server:
            name = server.getsockname()
            story = Story(server, echo)
            for _ in range(5):
                socks.append(join(server))
                socks[-1].sendall(PREFIX.encode([b"x"]))
            story.until_frames(5)
            server.flush()
            for connection in story.opened:
                connection.close()  # who ends first has the TIME_WAIT
            story.until_closed(5)
            for sock in socks[-5:]:
                assert receive_all(sock) == PREFIX.encode([b"x"])
                sock.close()


def test_reuse_port_lets_several_servers_share(serve, join):
    first = serve(reuse_port=True)
    second = serve(first.getsockname(), reuse_port=True)
    for _ in range(50):
        join(first)
    stories = [Story(first), Story(second)]
    end = time.monotonic() + 5
    while sum(story.server.stats().accepted for story in stories) < 50:
        assert time.monotonic() < end
        for story in stories:
            with contextlib.suppress(BlockingIOError):
                story.take(0)
    assert all(story.server.stats().accepted > 0 for story in stories)


@pytest.fixture
def on_signal():
    """Return on_signal(handler): what SIGUSR1 calls."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *_: handler())
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def interrupt(in_thread, wait_until):
    """Return interrupt(): SIGUSR1 comes when the test itself waits in the server."""
    from conftest import waiting_call

    main = threading.main_thread()

    def kill():
        wait_until(lambda: waiting_call(main.native_id)[0] in (232, 281, 7, 271, 22, 73))
        signal.pthread_kill(main.ident, signal.SIGUSR1)

    return lambda: in_thread(kill)


def test_signal_handler_that_stops_ends_the_iteration(serve, join, on_signal, interrupt):
    server = serve()
    join(server)
    story = Story(server)
    story.until_open()
    on_signal(server.stop)
    interrupt()
    for batch in server:
        story.add(batch)
    assert story.reasons() == [CloseReason.LOCAL]


def test_signal_handler_that_closes_ends_the_iteration(serve, join, on_signal, interrupt):
    server = serve()
    join(server)
    Story(server).until_open()
    on_signal(server.close)
    interrupt()
    assert list(server) == []


def test_signal_handler_that_sends_is_in_the_right_thread(serve, join, on_signal, interrupt):
    server = serve()
    sock = join(server)
    connection = Story(server).until_open()
    on_signal(lambda: connection.send(b"from the handler"))
    interrupt()
    with pytest.raises(TimeoutError):
        server.next_batch(0.3)
    assert receive_exactly(sock, 20) == PREFIX.encode([b"from the handler"])


def test_signal_handler_that_raises_ends_the_call_and_loses_nothing(
    serve, join, on_signal, interrupt
):
    server = serve()
    sock = join(server)
    story = Story(server)
    story.until_open()

    def fail():
        raise KeyboardInterrupt

    on_signal(fail)
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        server.next_batch(10)
    sock.sendall(PREFIX.encode([b"x"]))
    story.until_frames(1)


SERVED = """
import fastsock, os, signal, socket, sys, threading, warnings
from unit.serving import Story, PREFIX, echo, receive_all, receive_exactly
server = fastsock.StreamServer(("127.0.0.1", 0), PREFIX)
sock = socket.create_connection(server.getsockname())
sock.settimeout(5)
story = Story(server, echo)
connection = story.until_open()
"""


def test_ctrl_c_ends_the_program_as_it_does_any():
    told = child.run(
        SERVED
        + """
threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    for batch in server:
        story.add(batch)
except KeyboardInterrupt:
    print("interrupted", server.stats().connections)
server.close()
sock.close()
"""
    )
    assert told == "interrupted 1\n"


def test_child_of_a_fork_is_refused_and_the_parent_goes_on():
    told = child.run(
        SERVED
        + """
connection.send(b"queued before")
pid = os.fork()
if pid == 0:
    calls = [server.next_batch, lambda: server.next_batch(0), lambda: next(server), server.flush,
             server.fileno, server.stats, server.stop, lambda: connection.send(b"x"),
             lambda: connection.send_many([b"x"]), connection.close, connection.fileno,
             lambda: connection.pending]
    refused = 0
    for call in calls:
        try:
            call()
        except RuntimeError as error:
            refused += "opened by process" in str(error)
    server.close()
    server.close()
    os._exit(len(calls) - refused)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
sock.sendall(PREFIX.encode([b"x"]))
story.until_frames(1)
server.flush()
answer = PREFIX.encode([b"queued before", b"x"])
assert receive_exactly(sock, len(answer)) == answer
with socket.create_connection(server.getsockname()):
    story.until_open(2)
server.close()
sock.close()
""",
        environment=child.NO_LEAK_SEARCH,
    )
    assert told == ""


def test_child_that_ends_removes_no_path(tmp_path):
    child.run(
        f"""
import fastsock, os, sys
path = {str(tmp_path / "x.sock")!r}
server = fastsock.StreamServer(path, fastsock.LengthPrefix(4))
pid = os.fork()
if pid == 0:
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert os.path.exists(path)
server.close()
assert not os.path.exists(path)
""",
        environment=child.NO_LEAK_SEARCH,
    )


def test_program_ends_with_a_daemon_thread_in_its_server(tmp_path):
    done = child.python(
        "-c",
        f"""
import threading, fastsock
def serve(path):
    server = fastsock.StreamServer(path, fastsock.LengthPrefix(4))
    ready.set()
    for batch in server: pass
ready = threading.Event()
threading.Thread(target=serve, args=({str(tmp_path / "x.sock")!r},), daemon=True).start()
ready.wait()
""",
        environment=child.NO_LEAK_SEARCH,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == []


def test_collected_without_close_warns_and_leaves_nothing(no_descriptor_leak, tmp_path, join):
    path = tmp_path / "x.sock"
    for number in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            server = fastsock.StreamServer(path, PREFIX)
            if number == 1:
                server.cycle = server
            del server
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        assert str(caught[0].message).startswith("unclosed <fastsock.StreamServer open at unix://")
        assert not path.exists()


def test_collected_where_warnings_are_errors_leaves_no_path(tmp_path, monkeypatch):
    path = tmp_path / "x.sock"
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.append(told.exc_type))
    server = fastsock.StreamServer(path, PREFIX)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del server
        gc.collect()
    assert raised == [ResourceWarning]
    assert not path.exists()


class Context:
    pass


def test_cycles_through_a_connections_context_are_collected(join):
    """Programs keep there what knows the connection."""
    server = fastsock.StreamServer(LOCAL, PREFIX)
    join(server)
    batch = server.next_batch(5)
    context = Context()
    context.all = (server, batch, batch.opened[0])
    batch.opened[0].context = context
    server.story = batch
    gone = weakref.ref(context)
    server.close()
    del server, batch, context
    gc.collect()
    assert gone() is None


def test_descriptors_are_closed_once_when_a_signal_ends_the_opening(no_descriptor_leak):
    class Interrupted(fastsock.StreamServer):
        def _open(self, *arguments):
            super()._open(*arguments)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(LOCAL, PREFIX)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    gc.collect()
    for other in others:
        os.close(other)  # EBADF: the server has closed it


def test_descriptors_do_not_go_to_programs_that_are_started(serve, join):
    server = serve()
    join(server)
    connection = Story(server).until_open()
    inherited = {
        number
        for number in map(int, os.listdir("/proc/self/fd"))
        if number > 2 and is_inherited(number)
    }
    assert connection.fileno() not in inherited
    assert not any(is_socket(number) for number in inherited)


def is_inherited(number):
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def is_socket(number):
    try:
        with stdlib.socket(fileno=os.dup(number)):
            return True
    except OSError:
        return False
