# SPDX-License-Identifier: MIT
"""FrameReader when memory runs out: no frame is skipped, and no call goes on after a loss."""

import pytest

from tools import child

pytestmark = pytest.mark.one_engine

HEAD = """
import _testcapi, contextlib, socket, fastsock
sock, peer = fastsock.socketpair(type=socket.SOCK_STREAM)
stack = contextlib.ExitStack()
for end in (sock, peer):
    stack.enter_context(end)
sock.settimeout(5)
"""
TAIL = """
stack.close()
"""
# Every allocation of a call fails in its turn.
TAKE_ALL = """
lines = fastsock.Delimiter(b"\\n")
reader = fastsock.FrameReader(sock, lines)
frames = [b"frame %d" % number for number in range(700)]
failed = 0
for allowed in range(330):
    peer.sendall(lines.encode(frames))
    received = [next(reader)]
    _testcapi.set_nomemory(allowed, allowed + 1)
    try:
        given = {call}
    except MemoryError:
        failed += 1
        given = []
    finally:
        _testcapi.remove_mem_hooks()
    received += [given] if type(given) is bytes else given
    while len(received) < len(frames):
        received += reader.recv_many()
    assert received == frames, allowed
assert failed > 0
"""
IN_PLACE = """
prefix = fastsock.LengthPrefix(4)
reader = fastsock.FrameReader(sock, prefix)
frame = bytes(100_000)
failed = 0
for allowed in range(40):
    peer.sendall(prefix.encode([frame]))
    _testcapi.set_nomemory(allowed, allowed + 1)
    try:
        given = reader.recv_many()
    except MemoryError:
        failed += 1
        given = None
    finally:
        _testcapi.remove_mem_hooks()
    assert (given or reader.recv_many()) == [frame]
    assert reader.pending() == 0
assert failed > 0
"""
# What does not fit any more is the reader's own buffer, which the first call makes.
LIMIT = """
import resource
prefix = fastsock.LengthPrefix(4)
reader = fastsock.FrameReader(sock, prefix, max_frame=1 << 26, readahead=1 << 26)
batch = fastsock.Batch(1, 1 << 26)
sock.settimeout(0)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20), limits[1]))
"""
IS_LOST = """
resource.setrlimit(resource.RLIMIT_AS, limits)
peer.sendall(prefix.encode([b"after"]))
calls = [reader.recv_many, reader.next_batch, lambda: reader.recv_batch(batch),
         lambda: next(reader), lambda: reader.recv_exactly(1 << 20)]
for call in calls:
    with contextlib.suppress(MemoryError):
        assert False, call()
"""


def run(text):
    child.run(HEAD + text + TAIL)


@pytest.mark.parametrize(
    "call", ["reader.recv_many()", "reader.recv_many(3)", "next(reader)"], ids=str
)
def test_frame_without_memory_is_given_by_the_next_call(call):
    run(TAKE_ALL.format(call=call))


def test_large_frame_without_memory_is_given_by_the_next_call():
    run(IN_PLACE)


@pytest.fixture
def limited():
    """Skip where memory can't be limited: a sanitizer ends the process instead."""
    if "libasan" in child.python("-c", "print(open('/proc/self/maps').read())").stdout:
        pytest.skip("the address sanitizer ends a process that gets no memory")


@pytest.mark.usefixtures("limited")
def test_rest_behind_the_rows_without_memory_fails_every_later_call():
    run(
        LIMIT
        + """
peer.sendall(prefix.encode([b"first", b"lost" * 1000, b"lost" * 1000]))
assert reader.recv_batch(batch) == 1
assert batch[0].bytes() == b"first"
"""
        + IS_LOST
    )


@pytest.mark.usefixtures("limited")
def test_unfinished_frame_without_memory_fails_every_later_call():
    run(
        LIMIT
        + """
peer.sendall(prefix.encode([b"lost" * 1000])[:2000])
with contextlib.suppress(MemoryError):
    assert False, reader.recv_batch(batch)
"""
        + IS_LOST
    )


def test_deadline_without_memory_is_kept():
    """An error where it is computed could only be written to stderr; run() wants nothing there."""
    run(
        """
reader = fastsock.FrameReader(sock, fastsock.Delimiter(b"\\n"))
sock.settimeout(0.001)
for allowed in range(40):
    _testcapi.set_nomemory(allowed, allowed + 1)
    try:
        reader.recv_many()
    except (MemoryError, TimeoutError):
        pass
    finally:
        _testcapi.remove_mem_hooks()
"""
    )
