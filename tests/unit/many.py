# SPDX-License-Identifier: MIT
"""The calls that receive many messages, in one form: the list of them. And what sends many."""

import contextlib
import socket as stdlib
import struct

import pytest

import fastsock

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104  # linux/udp.h

SOME = [b"first", b"second message", b"3"]


def recv_many(sock, *arguments):
    return sock.recv_many(*arguments)


def recvfrom_many(sock, *arguments):
    return [message for message, _ in sock.recvfrom_many(*arguments)]


def function_recv_many(sock, *arguments):
    return fastsock.recv_many(sock, *arguments)


def function_recvfrom_many(sock, *arguments):
    return [message for message, _ in fastsock.recvfrom_many(sock, *arguments)]


METHODS = [recv_many, recvfrom_many]
FUNCTIONS = [function_recv_many, function_recvfrom_many]
each_method = pytest.mark.parametrize("receive", METHODS, ids=lambda call: call.__name__)
each_function = pytest.mark.parametrize("receive", FUNCTIONS, ids=lambda call: call.__name__)
each_call = pytest.mark.parametrize("receive", METHODS + FUNCTIONS, ids=lambda call: call.__name__)
each_mode = pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "5s"])
each_waiting_mode = pytest.mark.parametrize("timeout", [None, 5], ids=["blocking", "timeout"])


def numbered(count, start=0):
    return [b"%d" % number for number in range(start, start + count)]


def send_all(peer, messages):
    for message in messages:
        peer.send(message)


def send_train(peer, size, data):
    """Send data as datagrams of size bytes that travel as one, whatever the engine."""
    peer.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))])


def cut(size, data):
    return [data[start : start + size] for start in range(0, len(data), size)]


def take_all(sock, receive=stdlib.socket.recv, *arguments):
    """Return what single receives give until nothing is there."""
    received = []
    before = sock.gettimeout()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            received.append(receive(sock, *(arguments or (65_536,))))
    sock.settimeout(before)
    return received


def waits(task, sock):
    """Tell whether the thread has come to rest in the kernel, as a call on sock does."""
    return task.waits_in_call(sock.fileno()) or task.waits_in_poll()


def payload(length, first=0):
    return bytes((first + number) % 251 for number in range(length))


@pytest.fixture
def ahead(udp_pair):
    """Return ahead(buffers): a pair whose first socket reads so much ahead."""

    def ahead(buffers=64):
        sock, peer = udp_pair
        sock.settimeout(5)
        sock.set_readahead(buffers)
        return sock, peer

    return ahead
