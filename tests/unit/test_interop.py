# SPDX-License-Identifier: MIT
"""Our sockets in the hands of the standard library, and what the module's own functions make."""

import asyncio
import copy
import gc
import os
import pickle
import select
import selectors
import socket as stdlib
import subprocess
import sys
import warnings
import weakref

import pytest

import fastsock
from tools import child

# Functions that make sockets


def test_socketpair_gives_two_of_our_sockets(closing):
    one, other = map(closing, fastsock.socketpair())
    assert type(one) is type(other) is fastsock.socket
    assert one.family == stdlib.AF_UNIX
    one.sendall(b"hello")
    assert other.recv(10) == b"hello"


def test_fromfd_gives_our_socket_over_a_copy(closing):
    one, other = map(closing, stdlib.socketpair())
    copied = closing(fastsock.fromfd(one.fileno(), stdlib.AF_UNIX, stdlib.SOCK_STREAM))
    assert type(copied) is fastsock.socket
    assert copied.fileno() != one.fileno()
    assert not copied.get_inheritable()
    other.send(b"hello")
    assert copied.recv(10) == b"hello"


def test_create_connection_and_server_give_our_sockets(closing):
    server = closing(fastsock.create_server(("127.0.0.1", 0)))
    client = closing(fastsock.create_connection(server.getsockname(), timeout=5))
    connection, address = server.accept()
    closing(connection)
    assert {type(sock) for sock in (server, client, connection)} == {fastsock.socket}
    assert address == client.getsockname()
    assert client.gettimeout() == 5
    assert connection.gettimeout() is None


def test_dup_gives_the_class_of_its_origin_and_its_timeout(closing):
    class Special(fastsock.socket):
        pass

    for cls in (fastsock.socket, Special):
        sock = closing(cls(stdlib.AF_INET, stdlib.SOCK_DGRAM))
        sock.settimeout(3.5)
        copied = closing(sock.dup())
        assert type(copied) is cls
        assert copied.gettimeout() == 3.5
        assert not copied.get_inheritable()


def test_constructor_of_a_descriptor_detects_its_kind(closing):
    with stdlib.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM) as plain:
        sock = closing(fastsock.socket(fileno=plain.detach()))
    assert (sock.family, sock.type) == (stdlib.AF_INET6, stdlib.SOCK_DGRAM)
    assert isinstance(sock, stdlib.socket)
    assert isinstance(sock, stdlib.SocketType)


def test_detach_stdlib_hands_descriptor_and_timeout_over(closing):
    for timeout in (None, 0, 2.5):
        sock, other = fastsock.socketpair()
        closing(other)
        sock.settimeout(timeout)
        fd = sock.fileno()
        plain = closing(sock.detach_stdlib())
        assert type(plain) is stdlib.socket
        assert (plain.fileno(), plain.gettimeout()) == (fd, timeout)
        assert os.get_blocking(fd) == (timeout is None)
        assert (plain.family, plain.type) == (other.family, other.type)
        assert sock.fileno() == -1
        other.send(b"hello")
        assert plain.recv(10) == b"hello"


def test_detach_stdlib_of_closed_socket_raises_ebadf():
    sock = fastsock.socket()
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.detach_stdlib()


# What a socket object is


def test_repr_names_our_class_and_the_state():
    sock = fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    plain = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM, 0, fileno=sock.fileno())
    assert repr(sock) == repr(plain).replace("socket.socket", "fastsock.socket")
    plain.detach()  # the descriptor is sock's
    sock.close()
    assert "[closed] fd=-1" in repr(sock)


def test_socket_has_weak_references_but_no_dictionary():
    with fastsock.socket() as sock:
        assert weakref.ref(sock)() is sock
        with pytest.raises(AttributeError):
            sock.anything = 1


def test_pickle_and_copy_raise_type_error():
    with fastsock.socket() as sock:
        for call in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle 'socket' object"):
                call(sock)


def test_unclosed_socket_warns_with_its_repr():
    sock = fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    text = f"unclosed {sock!r}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del sock
        gc.collect()
    assert [(item.category, str(item.message)) for item in caught] == [(ResourceWarning, text)]
    assert "<fastsock.socket fd=" in text


def test_unclosed_accepted_socket_warns(closing):
    server = closing(fastsock.create_server(("127.0.0.1", 0)))
    closing(fastsock.create_connection(server.getsockname()))
    connection, _ = server.accept()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del connection
        gc.collect()
    assert [item.category for item in caught] == [ResourceWarning]


def test_close_waits_for_the_last_makefile(make_pair):
    sock, peer = make_pair("unix_stream")
    reader, writer = sock.makefile("rb"), sock.makefile("w")
    fd = sock.fileno()
    assert sock._io_refs == 2
    sock.close()
    assert sock.fileno() == fd
    writer.write("out\n")
    writer.close()
    peer.sendall(b"in\n")
    assert reader.readline() == b"in\n"
    reader.close()
    assert sock.fileno() == -1
    assert peer.recv(10) == b"out\n"
    assert peer.recv(10) == b""


def test_makefile_of_timed_out_socket_cannot_be_read_again(make_pair):
    sock, _ = make_pair("unix_stream")
    sock.settimeout(0.05)
    with sock.makefile("rb") as reader:
        with pytest.raises(TimeoutError, match="timed out"):
            reader.read(1)
        with pytest.raises(OSError, match="cannot read from timed out object"):
            reader.read(1)


def test_sendfile_sends_the_file(make_pair, tmp_path, in_thread):
    sock, peer = make_pair("tcp_ipv4")
    content = os.urandom(500_000)
    (tmp_path / "file").write_bytes(content)
    with open(tmp_path / "file", "rb") as file:
        task = in_thread(sock.sendfile, file)
        received = bytearray()
        while len(received) < len(content):
            received += peer.recv(65_536)
        assert task.result() == len(content)
    assert received == content


# Other modules


@pytest.mark.parametrize(
    "make", [selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector]
)
def test_selectors_tell_when_our_socket_is_readable(make, make_pair):
    sock, peer = make_pair("udp_ipv4")
    with make() as selector:
        selector.register(sock, selectors.EVENT_READ, "data")
        assert selector.select(0) == []
        peer.send(b"x")
        [(key, _)] = selector.select(5)
        assert key.data == "data"
        selector.unregister(sock)
    assert select.select([sock], [sock], [], 5)[:2] == ([sock], [sock])


def test_subprocess_uses_our_socket_as_its_standard_streams(make_pair):
    sock, peer = make_pair("unix_stream")
    program = "import sys; sys.stdout.write(sys.stdin.readline().upper())"
    with subprocess.Popen([sys.executable, "-c", program], stdin=sock, stdout=sock) as process:
        peer.sendall(b"hello\n")
        assert process.wait(10) == 0
    assert peer.recv(100) == b"HELLO\n"


def test_asyncio_socket_calls_work(make_pair):
    async def exchange():
        loop = asyncio.get_running_loop()
        sock, peer = make_pair("udp_ipv4")
        sock.setblocking(False)
        receiving = asyncio.ensure_future(loop.sock_recv(sock, 100))
        # The loop runs once, so the receive has found nothing and waits.
        await asyncio.sleep(0)
        peer.send(b"one")
        assert await receiving == b"one"
        buffer = bytearray(10)
        peer.send(b"two")
        assert await loop.sock_recv_into(sock, buffer) == 3
        peer.send(b"three")
        assert await loop.sock_recvfrom(sock, 100) == (b"three", peer.getsockname())
        await loop.sock_sendall(sock, b"four")
        assert peer.recv(100) == b"four"
        assert await loop.sock_sendto(sock, b"five", peer.getsockname()) == 4
        assert peer.recv(100) == b"five"

    asyncio.run(exchange())


def test_asyncio_stream_over_our_sockets_works():
    async def exchange():
        loop = asyncio.get_running_loop()

        async def echo(reader, writer):
            writer.write(await reader.readexactly(200_000))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, sock=fastsock.create_server(("127.0.0.1", 0)))
        sock = fastsock.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"x" * 200_000)
        assert await reader.readexactly(200_000) == b"x" * 200_000
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    asyncio.run(exchange())


def test_asyncio_datagram_endpoint_over_our_socket_works(closing):
    received = []

    async def exchange():
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                received.append((data, address))
                arrived.set_result(None)

        sock = fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        transport, _ = await loop.create_datagram_endpoint(Protocol, sock=sock)
        other.sendto(b"hello", sock.getsockname())
        await asyncio.wait_for(arrived, 5)
        transport.sendto(b"back", other.getsockname())
        assert await loop.run_in_executor(None, other.recv, 100) == b"back"
        transport.close()

    other = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    other.bind(("127.0.0.1", 0))
    other.settimeout(5)
    asyncio.run(exchange())
    assert received == [(b"hello", other.getsockname())]


MULTIPROCESSING = """if True:
    {imports}

    def work(pipe):
        sock = pipe.recv()
        print(type(sock).__module__, type(sock).__qualname__, sock.family.name, sock.type.name)
        sock.sendall(b"from the child")
        sock.close()

    context = multiprocessing.get_context("fork")
    {here_there}
    # Started before the sharing of descriptors starts a thread, which a fork would warn about.
    child = context.Process(target=work, args=(there,))
    child.start()
    one, other = fastsock.socketpair()
    here.{send}(one)
    print(other.recv(100))
    child.join(10)
    print(child.exitcode)
    one.close()
    other.close()
"""


@pytest.mark.parametrize("order", ["multiprocessing, fastsock", "fastsock, multiprocessing"])
def test_multiprocessing_sends_our_socket_through_a_pipe(order):
    text = MULTIPROCESSING.format(
        imports=f"import {order}", here_there="there, here = context.Pipe(False)", send="send"
    )
    expected = ["fastsock socket AF_UNIX SOCK_STREAM", "b'from the child'", "0"]
    told = child.run(text, environment=child.NO_LEAK_SEARCH)
    assert sorted(told.splitlines()) == sorted(expected)


def test_multiprocessing_sends_our_socket_through_a_queue():
    text = MULTIPROCESSING.format(
        imports="import fastsock, multiprocessing",
        here_there="here = there = context.SimpleQueue()",
        send="put",
    ).replace("pipe.recv()", "pipe.get()")
    expected = ["fastsock socket AF_UNIX SOCK_STREAM", "b'from the child'", "0"]
    told = child.run(text, environment=child.NO_LEAK_SEARCH)
    assert sorted(told.splitlines()) == sorted(expected)


def test_import_does_not_import_multiprocessing_or_ssl(run_child):
    text = "import sys, fastsock; print(sorted({'multiprocessing', 'ssl'} & set(sys.modules)))"
    assert run_child(text) == "[]\n"
