# SPDX-License-Identifier: MIT
"""What the tests of frame readers and writers have in common."""

import socket as stdlib
import ssl

import pytest

import fastsock

FRAMINGS = {
    "length": fastsock.LengthPrefix(4),
    "length_little": fastsock.LengthPrefix(2, "little", includes_header=True),
    "varint": fastsock.LengthPrefix("varint"),
    "delimiter": fastsock.Delimiter(b"\r\n"),
    "delimiter_kept": fastsock.Delimiter(b"\n", keep=True),
    "fixed": fastsock.FixedSize(5),
}
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
LINKS = ("stdlib_tcp", "ours_tcp", "ours_unix", "tls")
# What a socket raises that does not wait.
WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@pytest.fixture
def connected(closing, in_thread, request):
    """Return connected(kind): two ends of a stream, the first of the kind that is tested."""

    def connected(kind):
        if kind == "ours_unix":
            one, other = fastsock.socketpair(stdlib.AF_UNIX, stdlib.SOCK_STREAM)
            return closing(one), closing(other)
        module = stdlib if kind == "stdlib_tcp" else fastsock
        listener = closing(module.create_server(("127.0.0.1", 0)))
        one = closing(module.create_connection(listener.getsockname()))
        other = closing(listener.accept()[0])
        if kind != "tls":
            return one, other
        server, client = request.getfixturevalue("tls_contexts")
        task = in_thread(server.wrap_socket, other, server_side=True)
        one = closing(client.wrap_socket(one, server_hostname="localhost"))
        return one, closing(task.result())

    return connected


@pytest.fixture(params=LINKS)
def link(request, connected):
    """The end that is tested and the other one: of each kind of stream."""
    return connected(request.param)


@pytest.fixture
def unix_link(connected):
    return connected("ours_unix")


def some_frames(framing, count=20):
    """Frames that the framing can send, of different sizes where it has them."""
    if framing is FRAMINGS["fixed"]:
        return [b"%05d" % number for number in range(count)]
    end = b"\n" if framing is FRAMINGS["delimiter_kept"] else b""
    return [b"%d," % number * (number % 7) + end for number in range(count)]


def by_many(reader):
    return reader.recv_many()


def by_iteration(reader):
    return [frame for frame in [next(reader, None)] if frame is not None]


def by_batch(reader):
    batch = fastsock.Batch(64, 64)
    assert reader.recv_batch(batch) == len(batch)
    return [message.bytes() for message in batch]


def by_own_batch(reader):
    try:
        return [message.bytes() for message in reader.next_batch()]
    except EOFError as error:
        if isinstance(error, fastsock.IncompleteFrameError):
            raise
        return []


TAKES = {"many": by_many, "iteration": by_iteration, "batch": by_batch, "own": by_own_batch}
# A call that gives frames: a list, empty at the end of the stream.
each_take = pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)


def take_all(reader, take=by_many):
    """Return the frames up to the end of the stream."""
    frames = []
    while given := take(reader):
        frames += given
    return frames
