# SPDX-License-Identifier: MIT
"""What a StreamServer refuses, and how it says so."""

import errno
import socket as stdlib

import pytest

import fastsock
from fastsock import Delimiter, FixedSize, LengthPrefix
from fastsock.native.framing import Framing
from unit.serving import LOCAL, PREFIX, Story, join, serve

__all__ = ["join", "serve"]  # fixtures

REFUSED = [
    ({"framing": "lines"}, TypeError, "framing must be a LengthPrefix"),
    ({"framing": None}, TypeError, "framing must be a LengthPrefix"),
    ({"max_frame": 0}, ValueError, "max_frame must be 1 to"),
    ({"max_frame": 1 << 31}, ValueError, "max_frame must be 1 to"),
    ({"max_frame": "1 MiB"}, TypeError, "str"),
    ({"max_frame": 1.5}, TypeError, "float"),
    ({"max_pending": 0}, ValueError, "max_pending"),
    ({"max_pending": b"1"}, TypeError, ""),
    ({"max_connections": 0}, ValueError, "max_connections"),
    ({"max_connections": 1 << 32}, ValueError, "max_connections must be 1 to 2147483646"),
    ({"max_connections": None}, TypeError, ""),
    ({"memory": 1 << 20}, ValueError, "memory must be at least [0-9]+ bytes"),
    ({"memory": -1}, ValueError, "memory must be at least"),
    ({"memory": "64 MiB"}, TypeError, ""),
    ({"memory": 1 << 80}, OverflowError, ""),
    ({"idle_timeout": 0}, ValueError, "idle_timeout must be more than 0 seconds, not 0"),
    ({"idle_timeout": -1}, ValueError, "idle_timeout must be more than 0"),
    ({"idle_timeout": float("nan")}, ValueError, "idle_timeout must be more than 0"),
    ({"idle_timeout": 1e300}, ValueError, "idle_timeout"),
    ({"idle_timeout": "1"}, TypeError, ""),
    ({"overflow": "block"}, ValueError, "overflow must be one of close, raise"),
    ({"overflow": None}, ValueError, "overflow must be one of close, raise"),
    ({"backlog": "many"}, TypeError, ""),
    ({"framing": FixedSize(200), "max_frame": 100}, ValueError, "max_frame is 100"),
    ({"address": None}, TypeError, "tcp://127.0.0.1:8888"),
    ({"address": 8888}, TypeError, "tcp://127.0.0.1:8888"),
    ({"address": "udp://127.0.0.1:0"}, ValueError, "datagrams; this takes a stream"),
    ({"address": ""}, ValueError, "empty"),
    ({"address": ("127.0.0.1", 65536)}, ValueError, "port"),
    ({"address": ("127.0.0.1", "http")}, TypeError, "str and an int"),
]


def name_of(case):
    ((name, value),) = list(case[0].items())[-1:]
    return f"{name}={value!r}".replace("\0", "")


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_argument_that_is_wrong_is_refused(no_descriptor_leak, case):
    options, error, text = case
    arguments = {"address": LOCAL, "framing": PREFIX, **options}
    with pytest.raises(error) as caught:
        fastsock.StreamServer(**arguments)
    assert not text or caught.match(text)


def test_framing_of_no_kind_is_refused():
    with pytest.raises(TypeError):
        fastsock.StreamServer(LOCAL, Framing())


def test_refused_arguments_leave_no_path(tmp_path):
    path = tmp_path / "x.sock"
    with pytest.raises(ValueError, match="memory"):
        fastsock.StreamServer(path, PREFIX, memory=1)
    assert not path.exists()


def test_address_in_use_is_named_in_the_error(serve):
    server = serve()
    port = server.getsockname()[1]
    with pytest.raises(OSError, match=f"tcp://127.0.0.1:{port}") as caught:
        fastsock.StreamServer(("127.0.0.1", port), PREFIX)
    assert caught.value.errno == errno.EADDRINUSE


def test_path_in_use_is_left_as_it_is(tmp_path, serve, join):
    path = tmp_path / "x.sock"
    server = serve(path)
    with pytest.raises(OSError, match=r"x\.sock") as caught:
        fastsock.StreamServer(path, PREFIX)
    assert caught.value.errno == errno.EADDRINUSE
    join(server)


@pytest.mark.parametrize("kind", ["datagram", "unbound", "connected", "seqpacket"])
def test_socket_that_does_not_listen_is_refused(closing, make_pair, kind):
    if kind == "datagram":
        sock = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    elif kind == "unbound":
        sock = closing(stdlib.socket())
    elif kind == "connected":
        sock, _ = make_pair("tcp_ipv4")
    else:
        sock = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_SEQPACKET))
        sock.bind(b"")
        sock.listen()
    with pytest.raises(ValueError, match=r"stream socket that listens; call listen\(\)"):
        fastsock.StreamServer(sock, PREFIX)
    assert sock.fileno() >= 0


def test_listener_of_tls_is_refused(closing, tls_contexts):
    listener = closing(stdlib.socket())
    listener.bind(LOCAL)
    listener.listen()
    listener = closing(tls_contexts[0].wrap_socket(listener, server_side=True))
    with pytest.raises(NotImplementedError, match=r"TLS.*FrameReader"):
        fastsock.StreamServer(listener, PREFIX)


def test_closed_socket_is_refused(closing):
    sock = closing(stdlib.socket())
    sock.close()
    with pytest.raises(OSError) as caught:  # noqa: PT011
        fastsock.StreamServer(sock, PREFIX)
    assert caught.value.errno == errno.EBADF


def test_closed_server_says_so_to_every_call(serve, join):
    server = serve()
    join(server)
    connection = Story(server).until_open()
    name = server.getsockname()
    server.close()
    for call in (server.next_batch, lambda: server.next_batch(0), server.flush, server.fileno):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            call()
        assert caught.value.errno == errno.EBADF
    assert list(server) == []
    server.stop()
    server.close()
    assert server.getsockname() == name
    assert server.stats().accepted == 1
    assert "closed" in repr(server)
    assert (connection.send(b"x"), connection.pending, connection.fileno()) == (False, 0, -1)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1"])
def test_timeout_that_is_none_is_refused(serve, timeout):
    with pytest.raises((ValueError, TypeError)):
        serve().next_batch(timeout)


@pytest.mark.parametrize("drain", [-1, float("nan"), 1e300])
def test_drain_out_of_range_is_refused(serve, drain):
    server = serve()
    with pytest.raises(ValueError, match="drain must be at least 0"):
        server.stop(drain)
    with pytest.raises(BlockingIOError):
        server.next_batch(0)


@pytest.mark.parametrize(
    ("framing", "frame", "text"),
    [
        (PREFIX, b"x" * 101, "101 bytes is longer than max_frame, 100"),
        (LengthPrefix(1), b"x" * 101, "longer than max_frame"),
        (Delimiter(b"\n"), b"a\nb", "must not contain the delimiter"),
        (Delimiter(b"\n", keep=True), b"ab", "must end with the delimiter"),
        (FixedSize(4), b"abc", "4 bytes by FixedSize, not 3"),
    ],
)
def test_frame_that_is_none_is_refused_and_the_connection_goes_on(
    serve, join, framing, frame, text
):
    server = serve(framing=framing, max_frame=100)
    join(server)
    connection = Story(server).until_open()
    with pytest.raises(ValueError, match=text):
        connection.send(frame)
    with pytest.raises(ValueError, match=text):
        connection.send_many([frame])
    assert (connection.pending, server.stats().frames_queued) == (0, 0)
    assert not connection.closed


def test_frame_longer_than_max_pending_is_refused_with_the_number(serve, join):
    server = serve(max_frame=100, max_pending=50)
    join(server)
    connection = Story(server).until_open()
    with pytest.raises(ValueError, match="longer than max_pending, 50"):
        connection.send(b"x" * 47)
    assert connection.send(b"x" * 46) is True


@pytest.mark.parametrize("frame", ["text", None, 5, [b"x"], memoryview(b"abcd")[::2]])
def test_frame_that_is_no_bytes_is_refused(serve, join, frame):
    server = serve()
    join(server)
    connection = Story(server).until_open()
    with pytest.raises((TypeError, BufferError, ValueError)):
        connection.send(frame)
    with pytest.raises(TypeError):
        connection.send()


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_frame_is_copied_when_it_is_queued(serve, join, kind):
    server = serve()
    sock = join(server)
    connection = Story(server).until_open()
    source = bytearray(b"before")
    connection.send(kind(source))
    source[:] = b"after!"
    source.append(0)
    server.flush()
    assert sock.recv(100) == PREFIX.encode([b"before"])


def test_connections_are_refused_to_other_threads(serve, join, in_thread):
    server = serve()
    join(server)
    connection = Story(server).until_open()
    uses = [
        lambda: connection.send(b"x"),
        lambda: connection.send_many([b"x"]),
        connection.close,
        connection.fileno,
        lambda: connection.pending,
        lambda: connection.peer,
        server.flush,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="only the thread that takes the server's batches"):
            in_thread(use).result()
    assert server.stats().frames_queued == 0
    assert connection.send(b"x") is True


def test_second_thread_in_next_batch_is_refused(serve, join, in_thread, wait_until):
    server = serve()
    waiting = in_thread(server.next_batch)
    wait_until(lambda: waiting.waits_in_poll() or waiting.waits_in_call(poll_fd(server)))
    for call in (server.next_batch, lambda: server.next_batch(0), lambda: next(server)):
        with pytest.raises(RuntimeError, match=r"another thread is in next_batch.*reuse_port"):
            call()
    with pytest.raises(RuntimeError, match="only the thread"):
        server.flush()
    assert server.stats().accepted == 0
    join(server)
    assert len(waiting.result().opened) == 1


def poll_fd(server):
    try:
        return server.fileno()
    except OSError:
        return -1


def test_another_thread_may_take_the_batches_when_none_does(serve, join, in_thread):
    server = serve()
    sock = join(server)
    connection = Story(server).until_open()
    sock.sendall(PREFIX.encode([b"x"]))

    def answer():
        (row,) = server.next_batch(5)
        assert row[0] is connection
        row[0].send(b"y")
        server.flush()

    in_thread(answer).result()
    assert sock.recv(100) == PREFIX.encode([b"y"])
    with pytest.raises(RuntimeError, match="only the thread"):
        connection.send(b"z")
