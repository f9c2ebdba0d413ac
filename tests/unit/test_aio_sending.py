# SPDX-License-Identifier: MIT
"""fastsock.aio: how datagrams leave, what is told of those that don't, and flow control."""

import asyncio
import socket as stdlib
import sys
import time

import pytest

import fastsock
from fastsock.aio.outbox import RETRY_SECONDS
from unit.endpoints import (
    Recorder,
    each_endpoint,
    each_own_endpoint,
    end,
    peer_of,
    take_reports,
    turns,
    until,
)
from unit.many import numbered, take_all

LOCAL = ("127.0.0.1", 0)


class Counting(fastsock.socket):
    """Counts its calls that send."""

    calls = 0

    def send_many(self, *arguments):
        self.calls += 1
        return super().send_many(*arguments)

    def sendto_many(self, *arguments):
        self.calls += 1
        return super().sendto_many(*arguments)


@pytest.fixture
def peer(closing):
    return peer_of(closing)


async def make(create, peer, sock=None):
    """An endpoint without a peer, or over sock: transport and protocol."""
    if sock is None:
        return await create(Recorder, local_addr=LOCAL)
    return await create(Recorder, sock=sock)


@each_endpoint
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "unconnected"])
def test_datagrams_leave_in_order_as_they_were(kind, is_connected, peer):
    messages = [*numbered(500), b"equal size", b"equal size", b"x" * 30000, b"tail"]

    async def program(create):
        address = peer.getsockname()
        addresses = {"remote_addr": address} if is_connected else {"local_addr": LOCAL}
        transport, protocol = await create(Recorder, **addresses)
        received = []
        for number, message in enumerate(messages):
            transport.sendto(message, None if is_connected else address)
            if number % 100 == 99:
                await turns()
                received += take_all(peer)
        await until(lambda: received.extend(take_all(peer)) or len(received) >= len(messages))
        assert received == messages
        await end(protocol)

    peer.settimeout(0)
    kind.run(program)


@each_endpoint
@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "unconnected"])
def test_data_is_taken_as_it_is_when_sent(kind, is_connected, peer):
    async def program(create):
        address = peer.getsockname()
        addresses = {"remote_addr": address} if is_connected else {"local_addr": LOCAL}
        transport, protocol = await create(Recorder, **addresses)
        buffer = bytearray(b"before")
        transport.sendto(buffer, address)
        buffer[:] = b"afterwards"
        transport.sendto(memoryview(buffer)[:5], address)
        buffer[:] = b"0000000000"
        await turns()
        assert [peer.recv(20), peer.recv(20)] == [b"before", b"after"]
        for wrong in ("text", 5, [b"x"]):
            with pytest.raises(TypeError, match="bytes-like"):
                transport.sendto(wrong)
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_empty_datagram_is_sent_as_by_the_running_asyncio(kind, peer):
    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=peer.getsockname())
        transport.sendto(b"")
        transport.sendto(b"x")
        await turns()
        assert peer.recv(10) == (b"" if sys.version_info >= (3, 13) else b"x")
        await end(protocol)

    kind.run(program)


@each_own_endpoint
def test_datagrams_of_a_turn_leave_by_one_call(kind, peer, closing):
    sock = closing(Counting(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(LOCAL)

    async def program(create):
        transport, protocol = await make(create, peer, sock)
        for message in numbered(20):
            transport.sendto(message, peer.getsockname())
        assert transport.get_write_buffer_size() >= 30
        assert sock.calls == 0
        await turns()
        assert sock.calls == 1
        assert transport.get_write_buffer_size() == 0
        assert [peer.recv(10) for _ in range(20)] == numbered(20)
        transport.set_write_buffer_limits(0)
        transport.sendto(b"now", peer.getsockname())
        assert peer.recv(10) == b"now"
        await end(protocol)

    kind.run(program)


@each_own_endpoint
def test_answers_to_a_batch_leave_by_one_call(kind, peer, closing, monkeypatch):
    monkeypatch.setattr("fastsock.aio.transport.TURN_NS", 1 << 62)  # however busy the machine is
    sock = closing(Counting(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(LOCAL)

    async def program(create):
        transport, protocol = await make(create, peer, sock)
        protocol.on_datagram = lambda _, data: transport.sendto(data, peer.getsockname())
        transport.pause_reading()
        for message in numbered(20):
            peer.sendto(message, sock.getsockname())
        transport.resume_reading()
        await until(lambda: len(protocol.datagrams) == 20)
        await turns()
        assert [peer.recv(10) for _ in range(20)] == numbered(20)
        assert sock.calls == 1
        await end(protocol)

    kind.run(program)


@each_endpoint
@pytest.mark.parametrize(
    ("destination", "error"),
    [(("::1", 9), stdlib.gaierror), (("255.255.255.255", 9), PermissionError)],
    ids=["family", "broadcast"],
)
def test_error_of_one_datagram_is_told_once_and_the_others_go(kind, destination, error, peer):
    async def program(create):
        transport, protocol = await make(create, peer)
        for number in range(4):
            transport.sendto(b"%d" % number, peer.getsockname())
            if number in (1, 2):
                transport.sendto(b"refused", destination)
        await until(lambda: len(protocol.events) >= 3)
        await turns()
        assert protocol.events == ["made", ("error", error), ("error", error)]
        assert [peer.recv(10) for _ in range(4)] == numbered(4)
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_error_of_a_pending_refusal_costs_one_datagram(kind, closing):
    """ECONNREFUSED of an earlier datagram is told to the next send, which sends nothing."""
    gone = peer_of(closing)
    address = gone.getsockname()
    gone.close()

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=address)
        transport.pause_reading()
        transport.sendto(b"nobody there")
        await turns()
        peer = peer_of(closing, address=address)
        for message in numbered(3):
            transport.sendto(message)
        await turns()
        assert protocol.events == ["made", ("error", ConnectionRefusedError)]
        assert [peer.recv(10), peer.recv(10)] == [b"1", b"2"]
        await end(protocol)

    kind.run(program)


@each_endpoint
@pytest.mark.parametrize(
    ("destination", "error"),
    [(None, TypeError), (("127.0.0.1", "http"), TypeError), (("127.0.0.1", 70000), OverflowError)],
    ids=["none", "name", "port"],
)
def test_address_that_is_none_ends_the_endpoint(kind, destination, error, peer):
    async def program(create):
        reports = take_reports()
        transport, protocol = await make(create, peer)
        transport.sendto(b"good", peer.getsockname())
        transport.sendto(b"bad", destination)
        await until(lambda: protocol.events[-1] == ("lost", error))
        assert peer.recv(10) == b"good"
        assert [type(report["exception"]) for report in reports] == [error]
        assert reports[0]["message"] == "Fatal write error on datagram transport"
        assert reports[0]["transport"] is transport
        assert reports[0]["protocol"] is protocol
        assert transport.is_closing()

    kind.run(program)


@each_endpoint
def test_flow_control_pauses_and_resumes_the_protocol(kind, closing, tmp_path):
    path = str(tmp_path / "peer")
    peer = peer_of(closing, stdlib.AF_UNIX, path)
    sent, received = [], []

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=path, family=stdlib.AF_UNIX)
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=4000, low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        while "pause" not in protocol.events:
            sent.append(b"%0200d" % len(sent))
            transport.sendto(sent[-1])
        assert transport.get_write_buffer_size() > 4000
        await turns()
        assert protocol.events == ["made", "pause"]
        await until(lambda: received.extend(take_all(peer)) or len(received) >= len(sent))
        await until(lambda: protocol.events[-1] == "resume")
        assert protocol.events == ["made", "pause", "resume"]
        assert received == sent
        if kind.is_ours:  # CPython 3.13.0 does not take back all that it counts
            assert transport.get_write_buffer_size() == 0
        await end(protocol)

    peer.settimeout(0)
    kind.run(program)


@each_endpoint
def test_close_waits_for_what_the_kernel_does_not_take_and_abort_does_not(kind, closing, tmp_path):
    path = str(tmp_path / "peer")
    peer = peer_of(closing, stdlib.AF_UNIX, path)
    peer.settimeout(0)

    async def program(create, how):
        transport, protocol = await create(Recorder, remote_addr=path, family=stdlib.AF_UNIX)
        sent, received = numbered(40), []
        for message in sent:
            transport.sendto(message)
        await turns()
        waiting = transport.get_write_buffer_size()
        assert waiting > 0
        getattr(transport, how)()
        await turns()
        assert protocol.is_lost == (how == "abort")
        await until(lambda: received.extend(take_all(peer)) or protocol.is_lost)
        received += take_all(peer)
        assert (received == sent) == (how == "close")
        assert received == sent[: len(received)]
        assert protocol.events[-1] == ("lost", type(None))

    kind.run(program, "close")
    kind.run(program, "abort")


@each_endpoint
def test_closing_in_the_turn_in_which_the_queue_empties(kind, closing, tmp_path):
    """The socket is still waited for then, and must not be when it is closed."""
    path = str(tmp_path / "peer")
    peer = peer_of(closing, stdlib.AF_UNIX, path)
    sent, received = [], []

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=path, family=stdlib.AF_UNIX)
        transport.set_write_buffer_limits(high=12)
        # After the loop has looked at the descriptors, and before what sendto has planned.
        asyncio.get_running_loop().call_soon(lambda: received.extend(take_all(peer)))
        while "pause" not in protocol.events:
            sent.append(b"%d" % len(sent))
            transport.sendto(sent[-1])
        asyncio.get_running_loop().call_soon(transport.close)
        await until(lambda: protocol.is_lost)
        await turns()
        assert received + take_all(peer) == sent
        assert protocol.events[-1] == ("lost", type(None))

    kind.run(program)


@each_own_endpoint
def test_full_queue_of_an_unconnected_unix_peer_does_not_spin(kind, closing, tmp_path):
    """poll says writable for ever there; a try a millisecond is made instead."""
    path = str(tmp_path / "peer")
    peer = peer_of(closing, stdlib.AF_UNIX, path)
    peer.settimeout(0)
    sock = closing(Counting(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))

    async def program(create):
        transport, protocol = await make(create, peer, sock)
        sent, received = numbered(40), []
        for message in sent:
            transport.sendto(message, path)
        await until(lambda: sock.calls >= 3)
        start, calls = time.monotonic(), sock.calls
        await until(lambda: sock.calls >= calls + 4)
        assert time.monotonic() - start > 3 * RETRY_SECONDS
        await until(lambda: received.extend(take_all(peer)) or len(received) >= len(sent))
        assert received == sent
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_limits_are_checked(kind):
    async def program(create):
        transport, protocol = await create(Recorder, local_addr=LOCAL)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        transport.set_write_buffer_limits(high=100)
        assert transport.get_write_buffer_limits() == (25, 100)
        for wrong in ({"high": 1, "low": 2}, {"high": -1, "low": -1}):
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(**wrong)
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_exception_in_error_received_leaves_the_other_datagrams(kind, peer):
    class Failing(Recorder):
        def error_received(self, error):
            raise ZeroDivisionError

    async def program(create):
        reports = take_reports()
        transport, protocol = await create(Failing, local_addr=LOCAL)
        loop = asyncio.get_running_loop()
        # Each in a callback of its own: asyncio raises in sendto, ours at the end of the turn.
        for data, address in ((b"refused", ("::1", 9)), (b"good", peer.getsockname())):
            loop.call_soon(transport.sendto, data, address)
        await until(lambda: reports)
        await turns()
        assert peer.recv(10) == b"good"
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]
        await end(protocol)

    kind.run(program)
