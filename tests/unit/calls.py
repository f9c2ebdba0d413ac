# SPDX-License-Identifier: MIT
"""The calls that receive, in one form: the bytes that arrived. And what a call came to."""

import contextlib
import socket as stdlib

import pytest


def recv(sock, size, flags=0):
    return sock.recv(size, flags)


def recv_into(sock, size, flags=0):
    buffer = bytearray(size)
    return bytes(buffer[: sock.recv_into(buffer, 0, flags)])


def recvfrom(sock, size, flags=0):
    return sock.recvfrom(size, flags)[0]


def recvfrom_into(sock, size, flags=0):
    buffer = bytearray(size)
    return bytes(buffer[: sock.recvfrom_into(buffer, 0, flags)[0]])


def recvmsg(sock, size, flags=0):
    return sock.recvmsg(size, 0, flags)[0]


def recvmsg_into(sock, size, flags=0):
    buffer = bytearray(size)
    return bytes(buffer[: sock.recvmsg_into([buffer], 0, flags)[0]])


PLAIN_RECEIVES = [recv, recv_into, recvfrom, recvfrom_into]
RECEIVES = [*PLAIN_RECEIVES, recvmsg, recvmsg_into]

each_receive = pytest.mark.parametrize("receive", RECEIVES, ids=lambda call: call.__name__)
each_plain_receive = pytest.mark.parametrize(
    "receive", PLAIN_RECEIVES, ids=lambda call: call.__name__
)


def fill(sock):
    """Send by the standard library until the queue is full; return how many bytes went."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += stdlib.socket.send(sock, b"x" * 1024, stdlib.MSG_DONTWAIT)
    return sent


def outcome(call, *arguments):
    """Return ("returned", value) or (type, errno, text) of what was raised."""
    try:
        return "returned", call(*arguments)
    except Exception as error:
        return type(error), getattr(error, "errno", None), str(error)
