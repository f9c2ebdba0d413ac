# SPDX-License-Identifier: MIT
"""install(), uninstall() and installed(): our methods in the standard library's own class."""

import socket as stdlib
import ssl
import sys
import threading

import pytest

import fastsock

METHODS = [
    "accept",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "recvmsg",
    "recvmsg_into",
    "send",
    "sendall",
    "sendmsg",
    "sendto",
    "setsockopt",
]


@pytest.fixture(autouse=True)
def as_before():
    """See to it that every test starts and leaves with CPython's own class."""
    before = dict(vars(stdlib.socket))
    cls = stdlib.socket
    yield
    fastsock.uninstall()
    assert stdlib.socket is cls
    assert dict(vars(cls)) == before
    assert list(vars(cls)) == list(before)


def is_in_place():
    values = {getattr(stdlib.socket, name) is getattr(fastsock.socket, name) for name in METHODS}
    assert len(values) == 1
    return values.pop()


def test_install_puts_every_method_in_place():
    assert not is_in_place()
    fastsock.install()
    assert is_in_place()
    fastsock.uninstall()
    assert not is_in_place()


def test_import_puts_nothing_in_place(run_child):
    text = """if True:
        import socket
        before = dict(vars(socket.socket))
        import fastsock
        print(dict(vars(socket.socket)) == before)
    """
    assert run_child(text) == "True\n"


def test_install_leaves_class_and_ancestors_alone():
    cls, ancestors = stdlib.socket, stdlib.socket.__mro__
    fastsock.install()
    assert stdlib.socket is cls
    assert stdlib.socket.__mro__ == ancestors
    assert ssl.SSLSocket.__mro__[1:] == ancestors
    fastsock.uninstall()
    assert stdlib.socket.__mro__ == ancestors
    for cls in ssl.SSLSocket.__mro__:
        assert not cls.__module__.startswith("fastsock")


def test_install_twice_is_taken_out_by_one_uninstall():
    fastsock.install()
    fastsock.install()
    assert is_in_place()
    fastsock.uninstall()
    assert not is_in_place()
    fastsock.uninstall()
    assert not is_in_place()


def test_installed_blocks_nest():
    with fastsock.installed():
        assert is_in_place()
        with fastsock.installed():
            assert is_in_place()
        assert is_in_place()
    assert not is_in_place()


def test_installed_block_within_install_leaves_it_in_place():
    fastsock.install()
    with fastsock.installed():
        assert is_in_place()
    assert is_in_place()
    fastsock.uninstall()
    assert not is_in_place()


def test_install_within_installed_block_outlasts_it():
    with fastsock.installed():
        fastsock.install()
    assert is_in_place()


def test_installed_block_left_by_an_exception_is_taken_out():
    with pytest.raises(ZeroDivisionError), fastsock.installed():
        raise ZeroDivisionError
    assert not is_in_place()


def test_install_in_many_threads_ends_as_it_began(in_thread):
    start = threading.Barrier(4)

    def toggle(number):
        start.wait(5)
        for _ in range(300):
            if number % 2:
                fastsock.install()
                fastsock.uninstall()
            else:
                with fastsock.installed():
                    assert is_in_place()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for task in [in_thread(toggle, number) for number in range(4)]:
            task.result(15)
    finally:
        sys.setswitchinterval(before)
    assert not is_in_place()


def test_install_serves_sockets_that_exist_and_plain_calls(closing):
    one, other = map(closing, stdlib.socketpair())
    bound_before = one.recv
    with fastsock.installed():
        other.sendall(b"hello")
        assert one.recv(100) == b"hello"
        other.sendall(b"again")
        # A method fetched before is CPython's and goes on working.
        assert bound_before(100) == b"again"
        bound_within = one.recv
    other.sendall(b"after")
    # And one fetched within is ours.
    assert bound_within(100) == b"after"


def test_install_makes_waits_ours(closing, in_thread, wait_until):
    one, other = map(closing, stdlib.socketpair())
    one.settimeout(60)
    with fastsock.installed():
        task = in_thread(one.recv, 10)
        wait_until(task.waits_in_poll)
        fastsock.uninstall()
    # A call under way finishes as it began.
    other.send(b"late")
    assert task.result() == b"late"


def test_accept_under_install_gives_the_stdlib_class(closing):
    listener = closing(stdlib.create_server(("127.0.0.1", 0)))
    client = closing(stdlib.create_connection(listener.getsockname()))
    with fastsock.installed():
        connection, address = listener.accept()
    closing(connection)
    assert type(connection) is stdlib.socket
    assert address == client.getsockname()


def test_our_own_class_works_under_install(closing):
    with fastsock.installed():
        listener = closing(fastsock.create_server(("127.0.0.1", 0)))
        client = closing(fastsock.create_connection(listener.getsockname()))
        connection = closing(listener.accept()[0])
        assert type(connection) is fastsock.socket
        client.sendall(b"hello")
        assert connection.recv(10) == b"hello"


def test_subclass_of_stdlib_class_works_under_install(closing):
    class Special(stdlib.socket):
        __slots__ = ("calls",)

        def recv(self, *arguments):
            self.calls = arguments
            return super().recv(*arguments)

    one, other = stdlib.socketpair()
    special, other = closing(Special(fileno=one.detach())), closing(other)
    with fastsock.installed():
        other.sendall(b"hello")
        assert special.recv(100) == b"hello"
    assert special.calls == (100,)


def test_socket_of_another_family_works_under_install(closing):
    with fastsock.installed():
        sock = closing(stdlib.socket(stdlib.AF_NETLINK, stdlib.SOCK_RAW, stdlib.NETLINK_ROUTE))
        sock.bind((0, 0))
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recvfrom(100)


def test_method_that_somebody_replaced_since_stays(monkeypatch):
    fastsock.install()
    calls = []

    def theirs(self, *arguments):
        calls.append(arguments)
        return b"theirs"

    original = vars(stdlib.socket)["recv"]
    stdlib.socket.recv = theirs
    fastsock.uninstall()
    try:
        # To take it out is their business.
        assert stdlib.socket.recv is theirs
        assert stdlib.socket.send is stdlib.SocketType.send
    finally:
        del stdlib.socket.recv
    assert original is fastsock.socket.recv


# TLS


def exchange_over_tls(in_thread, sockets):
    server, client = sockets
    task = in_thread(server.recv, 100)
    client.sendall(b"secret")
    assert task.result() == b"secret"
    server.send(b"back")
    buffer = bytearray(10)
    assert client.recv_into(buffer) == 4
    for sock in sockets:
        assert isinstance(sock, stdlib.socket)
        assert type(sock) is ssl.SSLSocket


@pytest.fixture
def make_tls_pair(tls_contexts, closing, in_thread):
    server_context, client_context = tls_contexts

    def make_tls_pair():
        plain = stdlib.create_server(("127.0.0.1", 0))
        # SSLSocket.accept calls the class's own accept, which is ours under install().
        listener = closing(server_context.wrap_socket(plain, server_side=True))
        task = in_thread(listener.accept)
        raw = closing(stdlib.create_connection(listener.getsockname()))
        client = closing(client_context.wrap_socket(raw, server_hostname="localhost"))
        return closing(task.result()[0]), client

    return make_tls_pair


def test_tls_socket_made_before_install_works_before_within_and_after(make_tls_pair, in_thread):
    pair = make_tls_pair()
    exchange_over_tls(in_thread, pair)
    with fastsock.installed():
        exchange_over_tls(in_thread, pair)
    exchange_over_tls(in_thread, pair)


def test_tls_socket_made_within_install_works_within_and_after(make_tls_pair, in_thread):
    with fastsock.installed():
        pair = make_tls_pair()
        exchange_over_tls(in_thread, pair)
    exchange_over_tls(in_thread, pair)


def test_tls_socket_under_install_refuses_the_calls_that_ssl_refuses(make_tls_pair):
    with fastsock.installed():
        server, _ = make_tls_pair()
        for call in (
            lambda: server.recvmsg(10),
            lambda: server.sendmsg([b"x"]),
            lambda: server.recvmsg_into([bytearray(10)]),
        ):
            with pytest.raises(NotImplementedError):
                call()
        # ssl's own ValueError, not ours: it looks first.
        with pytest.raises(ValueError, match="recvfrom not allowed"):
            server.recvfrom(10)


def test_tls_unwrapped_under_install_reads_plain(make_tls_pair, in_thread):
    with fastsock.installed():
        server, client = make_tls_pair()
        task = in_thread(server.unwrap)
        client.unwrap()
        task.result()
        client.sendall(b"in the clear")
        # SSLSocket.recv itself calls super().recv() now.
        assert server.recv(100) == b"in the clear"


# Refusals


REPLACED = """if True:
    import socket
    {early}
    before = socket.socket

    class Other(socket.SocketType):
        pass

    Other.__module__, Other.__qualname__ = "gevent._socket3", "socket"
    socket.socket = Other
    import fastsock
    own = dict(vars(before))
    for call in (fastsock.install, fastsock.installed().__enter__):
        try:
            call()
        except RuntimeError as error:
            print(error)
    print(socket.socket is Other, dict(vars(before)) == own)
    fastsock.uninstall()
    socket.socket = before
    with fastsock.installed():
        print(socket.socket.recv is fastsock.socket.recv)
"""


@pytest.mark.parametrize("early", ["import fastsock", "pass"], ids=["imported_before", "after"])
def test_install_over_another_library_raises_and_names_it(run_child, early):
    first, second, *rest = run_child(REPLACED.format(early=early)).splitlines()
    assert "gevent._socket3.socket" in first
    assert first == second
    assert rest == ["True True", "True"]
