# SPDX-License-Identifier: MIT
"""accept_many: accept for many connections at once. What one accept does is in test_accept.py."""

import errno
import os
import socket as stdlib
import struct

import pytest

import fastsock
from unit.calls import outcome

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets


@pytest.fixture(params=["tcp_ipv4", "tcp_ipv6", "unix_stream", "unix_seqpacket"])
def listener(request, closing, tmp_path):
    kind = stdlib.SOCK_SEQPACKET if "seqpacket" in request.param else stdlib.SOCK_STREAM
    family, address = {
        "tcp_ipv4": (stdlib.AF_INET, ("127.0.0.1", 0)),
        "tcp_ipv6": (stdlib.AF_INET6, ("::1", 0)),
    }.get(request.param, (stdlib.AF_UNIX, str(tmp_path / "listener")))
    sock = closing(fastsock.socket(family, kind))
    sock.bind(address)
    sock.listen(100)
    return sock


def take(listener, total, count=64):
    """Call accept_many until so many connections are there; also return how many each call gave."""
    taken, calls = [], []
    while len(taken) < total:
        more = listener.accept_many(count)
        assert 1 <= len(more) <= count
        taken += more
        calls.append(len(more))
    return taken, calls


each_timeout = pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "zero", "timeout"])


@each_timeout
def test_queued_connections_come_in_order(listener, connect, closing, timeout):
    clients = [connect(listener) for _ in range(10)]
    listener.settimeout(timeout)
    taken, calls = take(listener, 10)
    for number, (client, (connection, address)) in enumerate(zip(clients, taken, strict=True)):
        closing(connection)
        assert type(connection) is fastsock.socket
        assert address == client.getsockname()
        assert connection.gettimeout() is None
        assert os.get_blocking(connection.fileno())
        assert not os.get_inheritable(connection.fileno())
        assert (connection.family, connection.type) == (listener.family, listener.type)
        client.send(b"%d" % number)
        assert connection.recv(10) == b"%d" % number
    # What is queued comes with one call; on a listener that waits it may be one by one.
    assert timeout is None or calls == [10]


@each_timeout
def test_count_limits_a_call(listener, connect, closing, timeout):
    clients = [connect(listener) for _ in range(5)]
    listener.settimeout(timeout)
    taken, calls = take(listener, 5, 2)
    for connection, _ in taken:
        closing(connection)
    assert [address for _, address in taken] == [client.getsockname() for client in clients]
    assert timeout is None or calls == [2, 2, 1]


@pytest.mark.parametrize("count", [0, -1])
def test_count_below_one_raises_value_error(listener, connect, count):
    connect(listener)
    with pytest.raises(ValueError, match="count must be at least 1"):
        listener.accept_many(count)
    with pytest.raises(TypeError):
        listener.accept_many("1")
    listener.settimeout(5)
    listener.accept()[0].close()


def test_blocking_call_waits_for_the_first(listener, connect, in_thread, wait_until):
    task = in_thread(listener.accept_many)
    wait_until(lambda: task.waits_in_call(listener.fileno()))
    client = connect(listener)
    [(connection, address)] = task.result()
    with connection:
        assert address == client.getsockname()


def test_call_with_timeout_waits_for_the_first(listener, connect, in_thread, wait_until):
    listener.settimeout(60)
    task = in_thread(listener.accept_many)
    wait_until(task.waits_in_poll)
    client = connect(listener)
    [(connection, address)] = task.result()
    with connection:
        assert address == client.getsockname()


def test_without_connection_raises_by_timeout(listener):
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError, match="timed out") as caught:
        listener.accept_many()
    assert caught.value.errno is None
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept_many(3)


@pytest.mark.parametrize("default", [0, 7.5], ids=["zero", "timeout"])
def test_default_timeout_is_honoured(listener, connect, closing, default):
    for _ in range(2):
        connect(listener)
    listener.settimeout(5)
    stdlib.setdefaulttimeout(default)
    try:
        taken = listener.accept_many()
    finally:
        stdlib.setdefaulttimeout(None)
    assert len(taken) == 2
    for connection, _ in taken:
        assert closing(connection).gettimeout() == default
        assert not os.get_blocking(connection.fileno())


def test_wrong_sockets_raise_as_accept(make_pair, closing):
    sock, _ = make_pair("udp_ipv4")
    idle = closing(fastsock.socket())
    closed = fastsock.socket()
    closed.close()
    for one, number in [(sock, errno.EOPNOTSUPP), (idle, errno.EINVAL), (closed, errno.EBADF)]:
        assert outcome(one.accept_many)[:2] == outcome(one.accept)[:2]
        assert outcome(one.accept_many)[1] == number


def test_subclass_gives_the_plain_class(connect, closing):
    class Special(fastsock.socket):
        pass

    listener = closing(Special())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(5)
    connect(listener)
    [(connection, _)] = listener.accept_many()
    assert type(closing(connection)) is fastsock.socket


@each_timeout
def test_function_on_descriptor_gives_stdlib_sockets_and_leaves_it_open(
    listener, connect, closing, timeout
):
    clients = [connect(listener) for _ in range(3)]
    listener.settimeout(timeout)
    taken = []
    while len(taken) < 3:
        taken += fastsock.accept_many(listener.fileno(), 3 - len(taken))
    for client, (connection, address) in zip(clients, taken, strict=True):
        assert type(closing(connection)) is stdlib.socket
        assert address == client.getsockname()
    assert os.get_blocking(listener.fileno()) == (timeout is None)
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        fastsock.accept_many(listener.fileno())
    assert outcome(fastsock.accept_many, 1 << 20)[:2] == (OSError, errno.EBADF)


def test_function_on_sockets_gives_their_class(listener, connect, closing):
    connect(listener)
    [(connection, _)] = fastsock.accept_many(listener, 1)
    assert type(closing(connection)) is fastsock.socket
    plain = closing(stdlib.create_server(("127.0.0.1", 0)))
    connect(plain)
    [(connection, _)] = fastsock.accept_many(plain)
    assert type(closing(connection)) is stdlib.socket


def test_many_leave_no_descriptor(listener, connect, no_descriptor_leak):
    listener.settimeout(5)
    for _ in range(5):
        clients = [connect(listener) for _ in range(5)]
        for connection, _ in take(listener, 5)[0]:
            connection.close()
        for client in clients:
            client.close()


@each_timeout
def test_connection_reset_before_it_is_accepted_is_harmless(connect, closing, timeout):
    """Linux hands it out all the same; elsewhere accept gives ECONNABORTED, which is skipped."""
    listener = closing(fastsock.create_server(("127.0.0.1", 0)))
    clients = [connect(listener) for _ in range(4)]
    names = [client.getsockname() for client in clients]
    for client in clients[::2]:
        client.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, RESET)
        client.close()
    listener.settimeout(timeout)
    taken = {}
    while names[3] not in taken:
        taken.update((address, closing(one)) for one, address in listener.accept_many())
    assert set(taken) <= set(names)
    for number in (1, 3):
        clients[number].send(b"alive")
        assert taken[names[number]].recv(10) == b"alive"
    for number in (0, 2):
        if names[number] in taken:
            with pytest.raises(ConnectionResetError):
                taken[names[number]].recv(10)


EMFILE = """if True:
    import errno, os, resource, socket, sys
    import fastsock
    listener = fastsock.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(None if sys.argv[1] == "blocking" else 5)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.dup(0) for _ in range(50)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
    for _ in range(2):
        os.close(spare.pop())
    taken = []
    while len(taken) < 2:
        taken += listener.accept_many()
    print(len(taken))
    for _ in range(2):
        try:
            listener.accept_many()
        except OSError as error:
            print(errno.errorcode[error.errno])
    for fd in spare:
        os.close(fd)
    while len(taken) < 5:
        taken += listener.accept_many()
    print([address for _, address in taken] == [client.getsockname() for client in clients])
    for client, (connection, _) in zip(clients, taken):
        client.send(b"x")
        assert connection.recv(1) == b"x"
        connection.close()
        client.close()
    listener.close()
"""


@pytest.mark.parametrize("mode", ["blocking", "timeout"])
def test_without_free_descriptor_returns_those_accepted_and_loses_none(run_child, mode):
    assert run_child(EMFILE, mode) == "2\nEMFILE\nEMFILE\nTrue\n"


REFUSED = """if True:
    import os, socket, sys, warnings
    import fastsock
    # The connection accepted before has nobody to go to, and is closed as any forgotten socket.
    warnings.simplefilter("ignore", ResourceWarning)
    listener = fastsock.create_server(("127.0.0.1", 0))
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    listener.settimeout(5)
    count = len(os.listdir("/proc/self/fd"))
    made = 0
    def hook(event, arguments):
        global made
        if event == "socket.__new__":
            made += 1
            if made == 2:
                raise RuntimeError("refused")
    sys.addaudithook(hook)
    try:
        listener.accept_many()
    except RuntimeError as error:
        print(error)
    print(len(os.listdir("/proc/self/fd")) - count)
    for sock in [listener, *clients]:
        sock.close()
"""


def test_refusing_audit_hook_leaves_no_descriptor(run_child):
    assert run_child(REFUSED) == "refused\n0\n"
