# SPDX-License-Identifier: MIT
"""Abstract names, in every call that tells or takes one, over each type of Unix socket."""

import os
import socket as stdlib

import pytest

import fastsock

SERVER = b"\0fastsock server %d \0\xff" % os.getpid()
CLIENT = b"\0fastsock client %d" % os.getpid()
MESSAGES = [b"one", b"two", b"three"]

each_connected = pytest.mark.parametrize(
    "kind", [stdlib.SOCK_STREAM, stdlib.SOCK_SEQPACKET], ids=["stream", "seqpacket"]
)


@pytest.fixture
def bound(closing):
    """bound(kind, name): a socket of ours with that abstract name."""

    def bound(kind, name):
        sock = closing(fastsock.socket(stdlib.AF_UNIX, kind))
        sock.bind_unix(name)
        sock.settimeout(5)
        return sock

    return bound


@pytest.fixture
def connect(bound, closing):
    """connect(kind, accept): both ends of a connection, and the name that accept told."""

    def connect(kind, accept):
        listener, client = bound(kind, SERVER), bound(kind, CLIENT)
        listener.listen()
        client.connect(SERVER)
        connection, address = accept(listener)
        connection.settimeout(5)
        return closing(connection), client, address

    return connect


@each_connected
@pytest.mark.parametrize(
    "accept", [lambda sock: sock.accept(), lambda sock: sock.accept_many()[0]], ids=["one", "many"]
)
def test_accept_tells_the_name_of_the_peer(connect, kind, accept):
    connection, client, address = connect(kind, accept)
    assert address == connection.getpeername() == client.getsockname() == CLIENT
    assert client.getpeername() == connection.getsockname() == SERVER
    connection.sendall(b"x")
    assert client.recv(10) == b"x"


def test_messages_of_a_connection_keep_their_borders_in_every_call(connect):
    connection, client, _ = connect(stdlib.SOCK_SEQPACKET, lambda sock: sock.accept())
    batch = fastsock.Batch(10, 100)
    assert client.send_many(MESSAGES) == len(MESSAGES)
    assert connection.recv_many(10) == MESSAGES
    client.send_many(MESSAGES)
    assert connection.recv_batch(batch) == len(MESSAGES)
    assert [message.bytes() for message in batch] == MESSAGES
    client.sendmsg([b"a", b"b"])
    assert connection.recvmsg(10)[0] == b"ab"
    client.send_fds([b"a", b"b"], [])
    assert connection.recv_fds(10, 1)[:2] == (b"ab", [])
    assert connection.peer_credentials().pid == os.getpid()


def test_receiver_of_a_connection_gives_its_messages(connect):
    connection, client, _ = connect(stdlib.SOCK_SEQPACKET, lambda sock: sock.accept())
    with fastsock.Receiver(connection) as receiver:
        client.send_many(MESSAGES)
        received = []
        while len(received) < len(MESSAGES):
            received += [message.bytes() for message in receiver.next_batch(5)]
        assert received == MESSAGES
        assert receiver.getsockname() == SERVER


def test_datagrams_tell_the_name_of_their_sender_in_every_call(bound):
    sock, sender = bound(stdlib.SOCK_DGRAM, SERVER), bound(stdlib.SOCK_DGRAM, CLIENT)
    batch = fastsock.Batch(10, 100)
    assert sender.sendto_many([(data, SERVER) for data in MESSAGES]) == len(MESSAGES)
    assert sock.recvfrom_many(10) == [(data, CLIENT) for data in MESSAGES]
    sender.sendto(b"x", SERVER)
    assert sock.recvfrom(10) == (b"x", CLIENT)
    sender.sendto(b"x", SERVER)
    assert sock.recv_batch(batch) == 1
    assert batch[0].address == CLIENT
    sender.sendmsg([b"x"], [], 0, SERVER)
    assert sock.recvmsg(10) == (b"x", [], 0, CLIENT)
    sender.send_fds([b"x"], [], address=SERVER)
    assert sock.recv_fds(10, 0) == (b"x", [], 0, CLIENT)


def test_receiver_at_an_abstract_name_tells_its_senders(bound):
    with fastsock.Receiver(SERVER) as receiver:
        bound(stdlib.SOCK_DGRAM, CLIENT).sendto(b"x", SERVER)
        batch = receiver.next_batch(5)
        assert [(message.bytes(), message.address) for message in batch] == [(b"x", CLIENT)]
