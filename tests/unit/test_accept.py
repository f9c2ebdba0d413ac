# SPDX-License-Identifier: MIT
"""accept: the class, mode and address of the new socket. Audit events: test_audit.py."""

import errno
import os
import select
import socket as stdlib
import struct

import pytest

import fastsock
from unit.test_waiting_cost import assert_waits_cheaply


@pytest.fixture(params=["tcp_ipv4", "tcp_ipv6", "unix_stream", "unix_seqpacket"])
def listener(request, closing, tmp_path):
    if request.param.startswith("unix"):
        kind = stdlib.SOCK_STREAM if request.param == "unix_stream" else stdlib.SOCK_SEQPACKET
        sock = closing(fastsock.socket(stdlib.AF_UNIX, kind))
        sock.bind(str(tmp_path / "listener"))
    else:
        family = stdlib.AF_INET if request.param == "tcp_ipv4" else stdlib.AF_INET6
        sock = closing(fastsock.socket(family))
        try:
            sock.bind(("127.0.0.1" if family == stdlib.AF_INET else "::1", 0))
        except OSError as error:
            pytest.skip(f"binding {request.param} was tried and gave: {error}")
    sock.listen()
    return sock


each_timeout = pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "zero", "timeout"])


@each_timeout
def test_accept_returns_our_class_and_the_address(listener, connect, closing, timeout):
    client = connect(listener)
    listener.settimeout(timeout)
    connection, address = listener.accept()
    closing(connection)
    assert type(connection) is fastsock.socket
    assert address == client.getsockname()
    assert (connection.family, connection.type) == (listener.family, listener.type)
    assert connection.proto == listener.proto
    client.send(b"hello")
    assert connection.recv(100) == b"hello"


@each_timeout
def test_accept_gives_a_blocking_uninheritable_socket(listener, connect, closing, timeout):
    connect(listener)
    listener.settimeout(timeout)
    connection = closing(listener.accept()[0])
    assert connection.gettimeout() is None
    assert os.get_blocking(connection.fileno())
    assert not os.get_inheritable(connection.fileno())
    assert connection._io_refs == 0
    assert not connection._closed


@pytest.mark.parametrize("default", [0, 7.5], ids=["zero", "timeout"])
@each_timeout
def test_accept_honours_the_default_timeout(
    listener, connect, closing, timeout, default, monkeypatch
):
    connect(listener)
    listener.settimeout(timeout)
    stdlib.setdefaulttimeout(default)
    try:
        connection = closing(listener.accept()[0])
    finally:
        stdlib.setdefaulttimeout(None)
    assert connection.gettimeout() == default
    assert not os.get_blocking(connection.fileno())


def test_accept_on_subclass_gives_the_plain_class(connect, closing):
    class Special(fastsock.socket):
        def __init__(self, *arguments):
            assert not arguments or len(arguments) == 2, "accept must not construct its own class"
            super().__init__(*arguments)

    listener = closing(Special(stdlib.AF_INET, stdlib.SOCK_STREAM))
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    connect(listener)
    connection = closing(listener.accept()[0])
    # CPython's rule: not type(self), whose constructor may want other arguments.
    assert type(connection) is fastsock.socket


def test_accept_on_stdlib_listener_gives_the_stdlib_class(connect, closing):
    listener = closing(stdlib.create_server(("127.0.0.1", 0)))
    connect(listener)
    connection = closing(fastsock.socket.accept(listener)[0])
    assert type(connection) is stdlib.socket


def test_accept_of_many_leaves_no_descriptor(listener, connect, no_descriptor_leak):
    for _ in range(20):
        with connect(listener) as client:
            connection, _ = listener.accept()
            connection.close()
            assert client.recv(1) == b""


def test_accept_blocking_waits_in_the_call_itself(listener, connect, in_thread, wait_until):
    task = in_thread(listener.accept)
    # accept4 has no flag for a call that does not wait, so a blocking listener makes one call.
    wait_until(lambda: task.waits_in_call(listener.fileno()))
    client = connect(listener)
    connection, address = task.result()
    with connection:
        assert address == client.getsockname()


def test_accept_with_timeout_waits_in_poll(listener, connect, in_thread, wait_until):
    listener.settimeout(60)
    task = in_thread(listener.accept)
    wait_until(task.waits_in_poll)
    connect(listener)
    task.result()[0].close()


def test_accept_without_connection_raises_by_timeout(listener):
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError, match="timed out") as caught:
        listener.accept()
    assert caught.value.errno is None
    listener.settimeout(0)
    with pytest.raises(BlockingIOError) as blocked:
        listener.accept()
    assert blocked.value.errno == errno.EAGAIN


def test_accept_on_wrong_socket_raises_as_the_stdlib(make_pair, closing):
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(OSError, match="not supported") as caught:
        sock.accept()
    assert caught.value.errno == errno.EOPNOTSUPP
    idle = closing(fastsock.socket())
    with pytest.raises(OSError, match="Invalid argument") as caught:
        idle.accept()
    assert caught.value.errno == errno.EINVAL
    idle.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        idle.accept()
    assert caught.value.errno == errno.EBADF
    with pytest.raises(TypeError):
        idle.accept(1)


def test_accept_without_free_descriptor_raises_emfile_and_goes_on(run_child):
    text = """if True:
        import errno, os, resource, socket
        import fastsock
        listener = fastsock.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = [os.dup(0) for _ in range(50)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
        try:
            listener.accept()
        except OSError as error:
            print(errno.errorcode[error.errno])
        os.close(spare.pop())
        connection, address = listener.accept()
        print(address == client.getsockname())
        connection.close(); client.close(); listener.close()
    """
    assert run_child(text) == "EMFILE\nTrue\n"


def test_accept_in_the_order_of_connecting(listener, connect, closing):
    clients = [connect(listener) for _ in range(10)]
    listener.settimeout(5)
    for number, client in enumerate(clients):
        connection = closing(listener.accept()[0])
        client.send(b"%d" % number)
        assert connection.recv(10) == b"%d" % number
    assert not select.select([listener], [], [], 0)[0]


# Waiting: the other calls' in test_waiting.py and test_waiting_cost.py


def test_accept_with_so_rcvtimeo_raises_blocking_io_error(listener):
    listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_accept_without_connection_waits_cheaply(closing, wait):
    listener = closing(fastsock.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(wait)
    assert_waits_cheaply(listener.accept, wait)
