# SPDX-License-Identifier: MIT
"""A StreamServer under load: clients that are killed, slow ones, many, and several processes."""

import contextlib
import os
import random
import resource
import signal
import socket as stdlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastsock import CloseReason
from tools import child
from unit.serving import LOCAL, PREFIX, Story, check_balance, echo, join, receive_exactly, serve

__all__ = ["join", "serve"]  # fixtures

HAS_SHADOW = "asan" in os.environ.get("LD_PRELOAD", "")  # memory that is the sanitizer's


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def start(text, *arguments):
    """A Python of its own, with pipes to its input and output."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{child.TESTS}{os.pathsep}{child.START}"},
    )


KILLED = """
import random, socket, sys
socks = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(8)]
for sock in socks: sock.setblocking(False)
print("ready", flush=True)
while True:
    for sock in socks:
        size = random.choice([0, 5, 3000, 70000])
        try:
            sock.send(size.to_bytes(4, "big") + bytes(size))
            sock.recv(random.choice([1, 1000, 100000]))
        except BlockingIOError:
            pass
"""


def test_kill_of_a_client_at_any_moment_harms_nobody_else(repeats, serve, join, in_thread):
    server = serve(max_pending=1 << 24)
    sock = join(server)
    story = Story(server, echo)
    is_over = []

    def talk():
        source, count = random.Random(5), 0
        while not is_over or count < 10:
            messages = [source.randbytes(source.choice([0, 7, 500, 90_000])) for _ in range(4)]
            stream = PREFIX.encode(messages)
            sock.sendall(stream)
            assert receive_exactly(sock, len(stream)) == stream
            count += 1
        sock.close()
        return count

    def kill():
        for _ in range(max(2, repeats // 5)):
            with start(KILLED, server.getsockname()[1]) as victim:
                assert victim.stdout.readline() == "ready\n"
                time.sleep(random.random() / 20)  # any moment
                victim.send_signal(signal.SIGKILL)
        is_over.append(True)

    talking, killing = in_thread(talk), in_thread(kill)
    victims = 8 * max(2, repeats // 5)
    # The frames are not kept: there are many.
    closed = {}
    while len(closed) < victims + 1:
        batch = server.next_batch(15)
        for connection, frame in batch:
            connection.send(frame)
        closed.update(batch.closed)
        check_balance(server)
    killing.result(15)
    assert talking.result() >= 10
    assert story.closed == {}
    assert set(closed.values()) <= {CloseReason.EOF, CloseReason.RESET, CloseReason.SLOW}
    stats = check_balance(server)
    assert (stats.connections, stats.memory) == (0, 0)


SLOW_READERS = """
import socket, sys
socks = []
for _ in range(int(sys.argv[2])):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    socks.append(sock)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("overflow", ["close", "raise"])
def test_slow_readers_keep_the_memory_at_its_bound(serve, closing, overflow):
    """A thousand, each of which would have more than its share."""
    count, memory = 1000, 48 << 20
    listener = closing(stdlib.socket())
    # Of each connection: else the kernel alone takes half a gigabyte for the thousand.
    listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 4096)
    listener.bind(LOCAL)
    listener.listen(count)
    server = serve(
        listener, max_frame=1 << 18, memory=memory, max_pending=1 << 22, overflow=overflow
    )
    story = Story(server)
    with start(SLOW_READERS, server.getsockname()[1], count) as readers:
        try:
            story.until_open(count)
            assert readers.stdout.readline() == "ready\n"
            before = resident()
            refused = 0
            for _ in range(6):
                for connection in story.opened:
                    try:
                        refused += not connection.send(bytes(100_000))
                    except OSError:
                        refused += 1
                stats = check_balance(server)
                assert stats.memory_peak <= memory
                with contextlib.suppress(BlockingIOError):
                    story.take(0)
            grown = resident() - before
            assert refused > 0
            assert stats.memory_peak > memory // 4
            if not HAS_SHADOW:
                assert grown <= memory + (8 << 20)
            if overflow == "raise":
                assert story.closed == {}
            else:
                assert set(story.reasons()) == {CloseReason.SLOW}
        finally:
            readers.communicate()
    story.until_closed(count)
    assert check_balance(server).memory == 0


WORKER = """
import json, signal, sys, fastsock
address = ("127.0.0.1", int(sys.argv[1]))
server = fastsock.StreamServer(address, fastsock.LengthPrefix(4), reuse_port=True)
signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
print("ready", flush=True)
for batch in server:
    for connection, frame in batch:
        connection.send(frame)
stats = server.stats()
server.close()
print(stats.accepted, stats.frames_received, stats.frames_queued, stats.bytes_unsent, flush=True)
"""


def start_worker(port):
    worker = start(WORKER, port)
    assert worker.stdout.readline() == "ready\n"
    return worker


def end_worker(worker):
    """Stop it; gives what it has done."""
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=15)
    assert worker.returncode == 0
    return [int(number) for number in output.split()]


@pytest.fixture
def workers():
    """A port, and four workers that serve it, each a process that has opened its own server."""
    with stdlib.socket() as placeholder:
        placeholder.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
        placeholder.bind(LOCAL)  # keeps the port, and does not listen
        port = placeholder.getsockname()[1]
        started = [start_worker(port) for _ in range(4)]
        yield port, started
        for worker in started:
            if worker.poll() is None:
                worker.kill()
            worker.communicate()


def ask(port):
    """One connection with one question; "answered", "refused" or "reset"."""
    try:
        with stdlib.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"\0\0\0\1x")
            return "answered" if sock.recv(5) == b"\0\0\0\1x" else "ended"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionError:
        return "reset"


def test_workers_of_one_port_all_get_connections(workers):
    """The kernel chooses by a hash of the addresses: about as many for each."""
    port, started = workers
    count = 400
    assert {ask(port) for _ in range(count)} == {"answered"}
    done = [end_worker(worker) for worker in started]
    accepted = [numbers[0] for numbers in done]
    assert sum(accepted) == count
    assert all(frames == queued for _, frames, queued, _ in done)
    assert min(accepted) > count // 4 // 3, accepted


def test_restart_of_a_worker_under_load_refuses_nobody(repeats, workers, in_thread):
    """What had connected when it stopped is served; the others of the port get what comes.

    A connection whose question had not come yet is ended, and one that is made between the last
    accept and the close of the listener is reset: `StreamServer.stop` tells.
    """
    port, started = workers
    outcomes = {"answered": 0}
    is_over = []

    def load():
        own = {}
        while not is_over:
            outcome = ask(port)
            own[outcome] = own.get(outcome, 0) + 1
        return own

    tasks = [in_thread(load) for _ in range(3)]
    rounds = max(2, repeats // 5)
    for number in range(rounds):
        index = number % len(started)
        successor = start_worker(port)
        _, frames, queued, unsent = end_worker(started[index])
        assert (frames, unsent) == (queued, 0)
        started[index] = successor
    is_over.append(True)
    for task in tasks:
        for outcome, count in task.result(15).items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    assert outcomes.get("refused", 0) == 0, outcomes
    assert outcomes["answered"] >= 10, outcomes
    # A loader has one connection at a time, and so at most one for each restart.
    assert outcomes.get("reset", 0) + outcomes.get("ended", 0) <= 3 * rounds, outcomes


MANY = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]) + 200, hard))
socks = []
for number in range(int(sys.argv[2])):
    sock = socket.socket()
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    socks.append(sock)
print("ready", flush=True)
sys.stdin.read()
"""
CONNECTION_BYTES = 1024  # at most

IDLE = """
import fastsock, resource, sys
from stress.test_stream_server import MANY, resident, start
count = int(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, hard))
with fastsock.StreamServer(("127.0.0.1", 0), fastsock.LengthPrefix(4)) as server:
    with start(MANY, server.getsockname()[1], 100) as clients:
        story = server.next_batch(20).opened  # the first use of everything is over
        clients.communicate()
    while server.stats().connections or not server.stats().accepted == 100:
        server.next_batch(20)
    story.clear()
    before = resident()
    with start(MANY, server.getsockname()[1], count) as clients:
        opened = []
        while len(opened) < count:
            opened += server.next_batch(20).opened
        assert server.stats().memory == 0
        print((resident() - before) // count)
        clients.communicate()
"""


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2000, id="two_thousand"),
        pytest.param(10_000, id="ten_thousand", marks=[pytest.mark.long, pytest.mark.timeout(90)]),
    ],
)
def test_idle_connections_cost_little_memory(count, record_property):
    """In the process, the Connection included; the kernel's own memory is not counted."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < count + 200:
        pytest.skip(f"{count + 200} descriptors were asked for, and the limit is {limit}")
    done = child.python("-W", "default", "-c", IDLE, str(count), deadline=80)
    assert (done.returncode, done.stderr) == (0, "")
    record_property("bytes_of_a_connection", int(done.stdout))
    print(f"{int(done.stdout)} bytes for each of {count} idle connections")
    if not HAS_SHADOW:
        assert 0 < int(done.stdout) <= CONNECTION_BYTES
