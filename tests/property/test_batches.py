# SPDX-License-Identifier: MIT
"""Datagrams sent by any call and received by any other are the same, in the same order.

A program sends groups of messages to two receivers, and between them receives and switches
read-ahead. The model is two lists: what was sent to whom and is not received yet.
"""

import contextlib
import dataclasses
import errno
import faulthandler
import itertools
import socket as stdlib
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsock

UDP = ["udp_ipv4", "udp_ipv6"]
# What is queued must have room: the kernel counts the memory of a message, up to twice its length
# and some 800 bytes, against twice net.core.rmem_max and wmem_max, whose default is 212,992.
ROOM = 400_000
SIZES = [0, 1, 2, 2, 9, 100, 100, 100, 101, 700, 1472, 5000, 20_000]


@dataclasses.dataclass(frozen=True)
class Send:
    way: str
    sizes: tuple  # of the messages
    turns: tuple  # to which receiver, in turn

    def __repr__(self):
        return f"{self.way}({self.sizes}, to {self.turns})"


@dataclasses.dataclass(frozen=True)
class Receive:
    receiver: int
    way: str
    size: int  # of the room of a message
    count: int

    def __repr__(self):
        return f"{self.way}_{self.receiver}({self.size}, {self.count})"


@dataclasses.dataclass(frozen=True)
class ReadAhead:
    receiver: int
    buffers: int


# Ways to send: way(sock, messages, addresses); connected ones send to the first receiver


def one_by_one(call):
    return lambda sock, messages, addresses: sum(
        call(sock, data, to) == len(data) for data, to in zip(messages, addresses, strict=True)
    )


def pairs(messages, addresses):
    return list(zip(messages, addresses, strict=True))


TO_ADDRESSES = {
    "sendto": one_by_one(lambda sock, data, to: sock.sendto(data, to)),
    "sendmsg": one_by_one(lambda sock, data, to: sock.sendmsg([data], [], 0, to)),
    "stdlib_sendto": one_by_one(lambda sock, data, to: stdlib.socket.sendto(sock, data, to)),
    "sendto_many": lambda sock, messages, addresses: sock.sendto_many(pairs(messages, addresses)),
    "function_sendto_many": lambda sock, messages, addresses: fastsock.sendto_many(
        sock.fileno(), map(tuple, pairs(map(bytearray, messages), addresses))
    ),
}
CONNECTED = {
    "send": one_by_one(lambda sock, data, to: sock.send(data)),
    "sendall": one_by_one(lambda sock, data, to: sock.sendall(data) or len(data)),
    "stdlib_send": one_by_one(lambda sock, data, to: stdlib.socket.send(sock, data)),
    "send_many": lambda sock, messages, _: sock.send_many(messages),
    "function_send_many": lambda sock, messages, _: fastsock.send_many(
        sock.fileno(), (memoryview(data) for data in messages)
    ),
    "send_segments": lambda sock, messages, _: sock.send_segments(
        b"".join(messages), len(messages[0]) if messages else 1
    ),
}
ONE_ADDRESS = {
    "send_many_to": lambda sock, messages, addresses: sock.send_many(messages, *addresses[:1]),
    "send_segments_to": lambda sock, messages, addresses: sock.send_segments(
        b"".join(messages), len(messages[0]) if messages else 1, *addresses[:1]
    ),
}

# Ways to receive: way(sock, size, count) -> list of (bytes, address or None, was cut or None)


def recv(sock, size, count):
    return [(sock.recv(size), None, None)]


def recv_into(sock, size, count):
    buffer = bytearray(size)
    length = sock.recv_into(buffer)
    return [(bytes(buffer[:length]), None, None)]


def recvfrom(sock, size, count):
    return [(*sock.recvfrom(size), None)]


def recvmsg(sock, size, count):
    data, _, flags, address = sock.recvmsg(size)
    return [(data, address, bool(flags & stdlib.MSG_TRUNC))]


def recv_many(sock, size, count):
    return [(data, None, None) for data in sock.recv_many(size, count)]


def recvfrom_many(sock, size, count):
    return [(data, address, None) for data, address in sock.recvfrom_many(size, count)]


def recv_batch(sock, size, count):
    batch = fastsock.Batch(count, size)
    assert sock.recv_batch(batch) == len(batch)
    return [(message.bytes(), message.address, message.truncated) for message in batch]


def columns(sock, size, count):
    batch = fastsock.Batch(count, size)
    sock.recv_batch(batch)
    data, sources = bytes(batch.data), batch.sources
    return [
        (data[start : start + length], sources[source] if source != batch.NO_ADDRESS else None,
         wire_length > length)
        for start, length, wire_length, source in zip(
            batch.offsets, batch.lengths, batch.wire_lengths, batch.source, strict=True)
    ]  # fmt: skip


def function_recv_many(sock, size, count):
    return [(data, None, None) for data in fastsock.recv_many(sock, size, count)]


def stdlib_recvfrom(sock, size, count):
    return [(*stdlib.socket.recvfrom(sock, size), None)]


RECEIVES = {
    way.__name__: way
    for way in [
        recv, recv_into, recvfrom, recvmsg, recv_many, recvfrom_many, recv_batch, columns,
        function_recv_many, stdlib_recvfrom,
    ]
}  # fmt: skip
# These know nothing of the read-ahead, and are not for a socket that reads ahead.
PLAIN = {"function_recv_many", "stdlib_recvfrom"}
INSTEAD = {"function_recv_many": "recv_many", "stdlib_recvfrom": "recvfrom"}


class World:
    """A sender, two receivers and the model."""

    def __init__(self, kind, stack):
        self.kind = kind
        self.is_udp = kind in UDP
        self.receivers, self.queues = [], [[], []]
        self.numbers = itertools.count()
        if kind in ("unix_seqpacket", "unix_datagram"):
            self.make_pair(kind, stack)
        else:
            self.make_bound(kind, stack)
        for sock in (self.sender, *self.receivers):
            sock.settimeout(5)
            for option in (stdlib.SO_RCVBUF, stdlib.SO_SNDBUF):
                sock.setsockopt(stdlib.SOL_SOCKET, option, 1 << 20)

    def make_pair(self, kind, stack):
        number = stdlib.SOCK_SEQPACKET if kind == "unix_seqpacket" else stdlib.SOCK_DGRAM
        one, other = fastsock.socketpair(stdlib.AF_UNIX, number)
        self.sender, self.receivers = stack.enter_context(one), [stack.enter_context(other)]
        self.addresses, self.name = [None], None

    def make_bound(self, kind, stack):
        family = stdlib.AF_INET if kind == "udp_ipv4" else stdlib.AF_INET6
        if kind == "unix_bound":
            family = stdlib.AF_UNIX
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fsk"))
        made = []
        for number in range(3):
            sock = stack.enter_context(fastsock.socket(family, stdlib.SOCK_DGRAM))
            host = "127.0.0.1" if kind == "udp_ipv4" else "::1"
            sock.bind(f"{folder}/{number}" if kind == "unix_bound" else (host, 0))
            made.append(sock)
        self.sender, *self.receivers = made
        self.addresses = [sock.getsockname() for sock in self.receivers]
        self.name = self.sender.getsockname()
        self.sender.connect(self.addresses[0])

    def ways(self):
        if self.addresses == [None]:
            return CONNECTED
        return {**TO_ADDRESSES, **ONE_ADDRESS, **CONNECTED}

    def send(self, step):
        sizes = list(step.sizes)
        if self.kind == "unix_seqpacket":
            # One that is empty is the end of a batch: a case of its own, in unit/test_recv_many.
            sizes = [size or 1 for size in sizes]
        ways = self.ways()
        way = step.way if step.way in ways else "send_many"
        if "segments" in way:
            first = (sizes or [0])[0] or 1
            sizes = [first] * (min(len(sizes), 10_000 // first + 1) - 1) + [max(1, first // 2)]
        turns = step.turns if way in TO_ADDRESSES else (step.turns[0] if way in ONE_ADDRESS else 0,)
        to = [turn % len(self.receivers) for turn, _ in zip(itertools.cycle(turns), sizes)]
        if not self.has_room(sizes, to):
            return
        messages = [(b"%d." % next(self.numbers) * (size // 2 + 1))[:size] for size in sizes]
        # An empty list says not whereto; the first address is for that.
        sent = ways[way](self.sender, messages, [self.addresses[i] for i in to])
        assert sent == len(messages)
        for data, receiver in zip(messages, to, strict=True):
            self.queues[receiver].append(data)

    def has_room(self, sizes, to):
        if self.kind == "unix_bound":
            # Linux queues net.unix.max_dgram_qlen + 1, which is 11 by default.
            return all(len(self.queues[i]) + to.count(i) <= 10 for i in range(2))
        queued = [*map(len, self.queues[0] + self.queues[1]), *sizes]
        return sum(1024 + 3 * size for size in queued) <= ROOM

    def set_readahead(self, step):
        if not self.is_udp:
            return
        sock = self.receivers[step.receiver]
        queued = sock.pending()
        is_new = sock.get_readahead() == 0
        if step.buffers == 0 or (is_new and queued == 0) or step.buffers == sock.get_readahead():
            sock.set_readahead(step.buffers)
            assert sock.get_readahead() == step.buffers
            return
        with contextlib.suppress(OSError):
            sock.set_readahead(step.buffers)
            assert queued == 0

    def receive(self, step):
        number = step.receiver % len(self.receivers)
        sock, queue = self.receivers[number], self.queues[number]
        if not queue:
            return
        way = step.way
        if way in PLAIN and (sock.get_readahead() or sock.pending()):
            way = INSTEAD[way]
        before = sock.truncated()
        was_ahead = sock.get_readahead() > 0 or sock.pending() > 0
        got = RECEIVES[way](sock, step.size, step.count)
        assert 1 <= len(got) <= step.count
        expected, queue[:] = queue[: len(got)], queue[len(got) :]
        assert [data for data, _, _ in got] == [data[: step.size] for data in expected]
        cut = [len(data) > step.size for data in expected]
        for (_, address, is_cut), should_be_cut in zip(got, cut, strict=True):
            if way in ("recvfrom", "recvfrom_many", "recv_batch", "columns", "stdlib_recvfrom"):
                assert address == self.name or (self.name is None and not address)
            assert is_cut is None or is_cut == should_be_cut
        if was_ahead or way in ("recv_many", "recvfrom_many", "recv_batch", "columns"):
            assert sock.truncated() - before == sum(cut)
        assert sock.pending() <= len(queue)
        if not self.is_udp and way in ("recv_many", "recvfrom_many", "recv_batch", "columns"):
            # Unix sockets deliver at once: all that is queued comes.
            assert len(got) == min(step.count, len(expected) + len(queue))

    def run(self, step):
        if isinstance(step, Send):
            self.send(step)
        elif isinstance(step, Receive):
            self.receive(step)
        elif step.receiver < len(self.receivers):
            self.set_readahead(step)

    def finish(self, last):
        """Receive the rest; nothing is left then."""
        for number, sock in enumerate(self.receivers):
            while self.queues[number]:
                self.receive(dataclasses.replace(last, receiver=number))
            sock.settimeout(0)
            assert sock.pending() == 0
            with pytest.raises(BlockingIOError) as caught:
                sock.recv_many(100)
            assert caught.value.errno == errno.EAGAIN


SIZE_RUNS = st.lists(
    st.tuples(st.sampled_from(SIZES), st.sampled_from([1, 1, 2, 5, 40])), max_size=6
).map(lambda runs: tuple(itertools.chain(*([size] * count for size, count in runs))))
SENDS = st.builds(
    Send,
    st.sampled_from(sorted({**TO_ADDRESSES, **CONNECTED, **ONE_ADDRESS})),
    SIZE_RUNS,
    st.sampled_from([(0,), (1,), (0, 1), (0, 0, 1), (0, 0, 0, 1, 1)]),
)
WHICH = st.integers(0, 1)
ROOMS = st.sampled_from([1, 2, 50, 100, 1472, 20_000, 65_536])
RECEIVE_STEPS = st.builds(
    Receive, WHICH, st.sampled_from(sorted(RECEIVES)), ROOMS, st.sampled_from([1, 2, 7, 64, 300])
)
READ_AHEADS = st.builds(ReadAhead, WHICH, st.sampled_from([0, 0, 1, 2, 16, 64]))
STEPS = st.lists(st.one_of(SENDS, SENDS, RECEIVE_STEPS, RECEIVE_STEPS, READ_AHEADS), max_size=14)
KINDS = st.sampled_from([*UDP, *UDP, "unix_datagram", "unix_bound", "unix_seqpacket"])


def check(kind, steps, last):
    with contextlib.ExitStack() as stack:
        world = World(kind, stack)
        for step in steps:
            world.run(step)
        world.finish(last)


def examples(count, **more):
    return settings(
        max_examples=count,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **more,
    )


@examples(400, derandomize=True)
@given(KINDS, STEPS, RECEIVE_STEPS)
def test_datagrams_arrive_as_sent_whatever_the_calls(kind, steps, last):
    check(kind, steps, last)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_datagrams_of_many_programs_arrive_as_sent():
    # As in test_differential.py: nothing hangs here.
    faulthandler.cancel_dump_traceback_later()

    @examples(20_000)
    @given(KINDS, STEPS, RECEIVE_STEPS)
    def run(kind, steps, last):
        check(kind, steps, last)

    run()
