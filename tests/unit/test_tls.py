# SPDX-License-Identifier: MIT
"""TLS: our calls refuse to read and write under it, and ssl can use our sockets below it."""

import socket as stdlib
import ssl

import pytest

import fastsock

CALLS = {
    "recv": (10,),
    "recv_into": (bytearray(10),),
    "recvfrom": (10,),
    "recvfrom_into": (bytearray(10),),
    "recvmsg": (10,),
    "recvmsg_into": ([bytearray(10)],),
    "send": (b"x",),
    "sendall": (b"x",),
    "sendto": (b"x", ("127.0.0.1", 9)),
    "sendmsg": ([b"x"],),
    "accept": (),
    "recv_many": (10,),
    "recvfrom_many": (10,),
    "recv_batch": (fastsock.Batch(2, 10),),
    "recv_fds": (10, 1),
    "send_fds": ([b"x"], [0]),
    "send_many": ([b"x"],),
    "sendto_many": ([(b"x", ("127.0.0.1", 9))],),
    "send_segments": (b"xx", 1),
    "accept_many": (),
    "set_readahead": (1,),
    "set_metadata": (),
}
# Of these ssl has its own, or they carry no data.
OTHERS = {"setsockopt", "connect", "connect_ex", "detach", "dup", "detach_stdlib", "drops"}
OTHERS |= {"get_readahead", "gso_refused", "join_group", "leave_group", "pending"}
OTHERS |= {"readahead_discarded", "truncated", "bind_unix", "peer_credentials"}


@pytest.fixture
def plain_pair(closing):
    """Two connected fastsock sockets: TCP, as ssl wants."""
    listener = closing(fastsock.create_server(("127.0.0.1", 0)))
    client = closing(fastsock.create_connection(listener.getsockname()))
    return closing(listener.accept()[0]), client


@pytest.fixture
def tls_pair(tls_contexts, plain_pair, closing, in_thread):
    """The server's and the client's end of a TLS session over fastsock sockets."""
    task = in_thread(tls_contexts[0].wrap_socket, plain_pair[0], server_side=True)
    client = tls_contexts[1].wrap_socket(plain_pair[1], server_hostname="localhost")
    return closing(task.result()), closing(client)


def test_tls_over_our_sockets_exchanges_data(tls_pair, in_thread):
    server, client = tls_pair
    assert isinstance(client, stdlib.socket)
    task = in_thread(server.sendall, b"x" * 1_000_000)
    received = bytearray()
    while len(received) < 1_000_000:
        received += client.recv(65_536)
    task.result()
    client.send(b"back")
    assert server.recv(100) == b"back"


@pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"])
@pytest.mark.parametrize(("name", "arguments"), CALLS.items(), ids=CALLS)
def test_call_on_tls_session_raises_not_implemented(tls_pair, name, arguments, timeout):
    server, client = tls_pair
    client.settimeout(timeout)
    call = getattr(fastsock.socket, name)
    with pytest.raises(NotImplementedError):
        call(client, *arguments)
    # Nothing of the session was read or written.
    client.settimeout(5)
    server.send(b"whole")
    assert client.recv(100) == b"whole"
    client.send(b"whole")
    assert server.recv(100) == b"whole"


def test_receiver_over_tls_session_raises_not_implemented(tls_pair):
    with pytest.raises(NotImplementedError):
        fastsock.Receiver(tls_pair[1])


def test_every_call_that_carries_data_is_tried_here():
    ours = {name for name in vars(fastsock.socket) if not name.startswith("_")}
    assert ours - OTHERS == set(CALLS)


def test_calls_after_unwrap_are_plain(tls_pair, in_thread):
    server, client = tls_pair
    task = in_thread(server.unwrap)
    client.unwrap()
    task.result()
    assert fastsock.socket.send(client, b"in the clear") == 12
    assert fastsock.socket.recv(server, 100) == b"in the clear"
    assert fastsock.socket.sendmsg(server, [b"and ", b"back"]) == 8
    assert fastsock.socket.recvfrom(client, 100) == (b"and back", None)


def test_calls_before_handshake_are_plain(tls_contexts, plain_pair, closing):
    server, client = plain_pair
    wrapped = closing(
        tls_contexts[1].wrap_socket(
            client, server_hostname="localhost", do_handshake_on_connect=False
        )
    )
    # A session exists from here on, so even now the bytes are TLS's business.
    with pytest.raises(NotImplementedError):
        fastsock.socket.send(wrapped, b"STARTTLS")
    assert fastsock.socket.send(server, b"220 ready") == 9


def test_tls_over_starttls_uses_the_socket_that_was_plain(
    tls_contexts, plain_pair, closing, in_thread
):
    server, client = plain_pair
    client.sendall(b"STARTTLS\r\n")
    assert server.recv(100) == b"STARTTLS\r\n"
    task = in_thread(tls_contexts[0].wrap_socket, server, server_side=True)
    secure = closing(tls_contexts[1].wrap_socket(client, server_hostname="localhost"))
    other = closing(task.result())
    # wrap_socket has taken the descriptors.
    assert (server.fileno(), client.fileno()) == (-1, -1)
    secure.sendall(b"secret")
    assert other.recv(100) == b"secret"


def test_tls_listener_over_our_socket_accepts(tls_contexts, closing, in_thread):
    plain = fastsock.create_server(("127.0.0.1", 0))
    listener = closing(tls_contexts[0].wrap_socket(plain, server_side=True))
    task = in_thread(listener.accept)
    client = closing(
        tls_contexts[1].wrap_socket(
            closing(fastsock.create_connection(listener.getsockname())),
            server_hostname="localhost",
        )
    )
    connection, address = task.result()
    closing(connection)
    assert address == client.getsockname()
    client.sendall(b"secret")
    assert connection.recv(100) == b"secret"
    # A listener has no session: this is what its accept calls when ssl is under install().
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        fastsock.socket.accept(listener)


def test_subclass_of_ssl_socket_is_refused_too(tls_contexts, plain_pair, closing, in_thread):
    class Special(ssl.SSLSocket):
        pass

    tls_contexts[1].sslsocket_class = Special
    try:
        task = in_thread(tls_contexts[0].wrap_socket, plain_pair[0], server_side=True)
        client = closing(tls_contexts[1].wrap_socket(plain_pair[1], server_hostname="localhost"))
        closing(task.result())
    finally:
        tls_contexts[1].sslsocket_class = ssl.SSLSocket
    assert type(client) is Special
    with pytest.raises(NotImplementedError):
        fastsock.socket.recv(client, 10)
