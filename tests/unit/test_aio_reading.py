# SPDX-License-Identifier: MIT
"""fastsock.aio: what a protocol is given, when, and how it stops that."""

import asyncio
import socket as stdlib
import threading
import time

import pytest

import fastsock
from fastsock.aio.transport import TURN_NS
from fastsock.native.delivery import Delivery
from unit.endpoints import (
    BatchRecorder,
    Recorder,
    each_endpoint,
    each_own_endpoint,
    end,
    peer_of,
    take_reports,
    turns,
    until,
)
from unit.many import numbered, send_train

LOCAL = ("127.0.0.1", 0)
FAR = 1 << 62  # nanoseconds, a deadline that does not come


@pytest.fixture
def peer(closing):
    return peer_of(closing)


async def make(create, peer, factory=Recorder):
    """An endpoint that peer is connected to: its protocol."""
    transport, protocol = await create(factory, local_addr=LOCAL)
    peer.connect(transport.get_extra_info("sockname"))
    return protocol


def send_numbered(peer, count, start=0):
    for data in numbered(count, start):
        peer.send(data)


@each_endpoint
def test_datagrams_come_in_order_and_once(kind, peer):
    async def program(create):
        protocol = await make(create, peer)
        for start in range(0, 400, 100):
            send_numbered(peer, 100, start)
            await until(lambda wanted=start + 100: len(protocol.datagrams) >= wanted)
        peer.send(b"")
        peer.send(b"x" * 60000)
        await until(lambda: len(protocol.datagrams) >= 402)
        await turns()
        assert protocol.datagrams == [*numbered(400), b"", b"x" * 60000]
        assert {event[1] for event in protocol.events[1:]} == {peer.getsockname()}
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_long_unix_datagram_is_whole(kind, closing, tmp_path):
    path = str(tmp_path / "endpoint")
    peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))

    async def program(create):
        _, protocol = await create(Recorder, local_addr=path, family=stdlib.AF_UNIX)
        peer.sendto(b"y" * 150000, path)
        await until(lambda: protocol.datagrams)
        assert protocol.events[1:] == [(b"y" * 150000, None)]
        await end(protocol)

    kind.run(program)


@each_own_endpoint
@pytest.mark.parametrize("factory", [Recorder, BatchRecorder], ids=["one_by_one", "batches"])
def test_trains_are_cut_and_nothing_is_left_behind(kind, factory, peer, monkeypatch):
    """One train fills several batches, and no readiness tells of the rest."""
    monkeypatch.setattr("fastsock.aio.transport.UDP_ROWS", 16)
    segments = [b"%06d" % number for number in range(240)]

    async def program(create):
        protocol = await make(create, peer, factory)
        for start in range(0, 240, 60):
            send_train(peer, 6, b"".join(segments[start : start + 60]))
        if factory is BatchRecorder:
            await until(lambda: sum(map(len, protocol.batches)) >= 240)
            assert max(map(len, protocol.batches)) <= 16
            received = [data for batch in protocol.batches for data, _ in batch]
        else:
            await until(lambda: len(protocol.datagrams) >= 240)
            received = protocol.datagrams
        assert received == segments
        await end(protocol)

    kind.run(program)


@each_own_endpoint
def test_batches_tell_addresses_and_their_views_last(kind, peer):
    views = []

    async def program(create):
        def keep(protocol, batch):
            views.extend(message.data for message in batch)

        protocol = await make(create, peer, lambda: BatchRecorder(keep))
        send_numbered(peer, 3)
        await until(lambda: sum(map(len, protocol.batches)) == 3)
        peer.send(b"later")
        await until(lambda: sum(map(len, protocol.batches)) == 4)
        flat = [pair for batch in protocol.batches for pair in batch]
        assert flat == [(data, peer.getsockname()) for data in [*numbered(3), b"later"]]
        assert views == [data for data, _ in flat]
        assert protocol.datagrams == []
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_pausing_in_a_callback_stops_at_once_and_loses_nothing(kind, peer):
    def pause(protocol, data):
        if data in (b"1", b"3"):
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()

    async def program(create):
        protocol = await make(create, peer, lambda: Recorder(pause))
        protocol.transport.pause_reading()
        send_numbered(peer, 6)
        await turns()
        assert protocol.datagrams == []
        protocol.transport.resume_reading()
        protocol.transport.resume_reading()
        assert protocol.datagrams == []
        for wanted in (2, 4, 6):
            await until(lambda wanted=wanted: len(protocol.datagrams) >= wanted)
            await turns()
            assert protocol.datagrams == numbered(wanted)
            protocol.transport.resume_reading()
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_pausing_and_resuming_in_a_callback_keeps_the_order(kind, peer):
    def pause(protocol, data):
        protocol.transport.pause_reading()
        protocol.transport.resume_reading()

    async def program(create):
        protocol = await make(create, peer, lambda: Recorder(pause))
        send_numbered(peer, 20)
        await until(lambda: len(protocol.datagrams) >= 20)
        await turns()
        assert protocol.datagrams == numbered(20)
        await end(protocol)

    kind.run(program)


@each_endpoint
@pytest.mark.parametrize("how", ["close", "abort"])
def test_nothing_is_delivered_after_closing_in_a_callback(kind, how, peer):
    def close(protocol, data):
        if data == b"2":
            getattr(protocol.transport, how)()

    async def program(create):
        protocol = await make(create, peer, lambda: Recorder(close))
        protocol.transport.pause_reading()
        send_numbered(peer, 10)
        protocol.transport.resume_reading()
        await until(lambda: protocol.is_lost)
        await turns()
        assert protocol.datagrams == numbered(3)
        if kind.is_ours:
            assert protocol.transport.get_extra_info("discarded") == 7

    kind.run(program)


@each_endpoint
def test_exception_in_a_callback_is_reported_and_the_next_datagram_comes(kind, peer):
    def fail(protocol, data):
        if data in (b"1", b"2"):
            raise ZeroDivisionError

    async def program(create):
        reports = take_reports()
        protocol = await make(create, peer, lambda: Recorder(fail))
        protocol.transport.pause_reading()
        send_numbered(peer, 5)
        protocol.transport.resume_reading()
        await until(lambda: len(protocol.datagrams) >= 5)
        assert protocol.datagrams == numbered(5)
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError] * 2
        assert all(report["message"].startswith("Exception in callback") for report in reports)
        assert not protocol.transport.is_closing()
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_new_protocol_gets_the_next_datagram(kind, peer):
    second = Recorder()

    def replace(protocol, data):
        if data == b"1":
            protocol.transport.set_protocol(second)

    async def program(create):
        first = await make(create, peer, lambda: Recorder(replace))
        transport = first.transport
        transport.pause_reading()
        send_numbered(peer, 4)
        transport.resume_reading()
        await until(lambda: len(second.datagrams) >= 2)
        assert (first.datagrams, second.datagrams) == ([b"0", b"1"], [b"2", b"3"])
        assert transport.get_protocol() is second
        transport.close()
        await until(lambda: second.is_lost)

    kind.run(program)


@each_endpoint
def test_refused_datagram_is_told_by_error_received(kind, closing):
    gone = peer_of(closing)
    address = gone.getsockname()
    gone.close()

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=address)
        transport.sendto(b"nobody there")
        await until(lambda: len(protocol.events) > 1)
        assert protocol.events == ["made", ("error", ConnectionRefusedError)]
        assert not transport.is_closing()
        await end(protocol)

    kind.run(program)


def take_a_turns_time():
    end = time.monotonic_ns() + TURN_NS
    while time.monotonic_ns() < end:
        pass


@each_endpoint
def test_other_callbacks_have_their_turn_while_datagrams_are_queued(kind, peer):
    """A protocol that takes a whole turn's time for each datagram gets one a turn."""
    order = []

    def work(protocol, data):
        order.append(data)
        if data == b"0":
            peer.send(b"6")  # readable again, while a batch is being delivered
        asyncio.get_running_loop().call_soon(order.append, "other")
        take_a_turns_time()

    async def program(create):
        protocol = await make(create, peer, lambda: Recorder(work))
        protocol.transport.pause_reading()
        send_numbered(peer, 6)
        protocol.transport.resume_reading()
        await until(lambda: len(order) >= 14)
        # The last of the batch and the one that came later may share a turn.
        assert order[:10] == [item for data in numbered(5) for item in (data, "other")]
        assert protocol.datagrams == numbered(7)
        await end(protocol)

    kind.run(program)


@each_own_endpoint
def test_other_callbacks_have_their_turn_between_batches(kind, peer, monkeypatch):
    monkeypatch.setattr("fastsock.aio.transport.UDP_ROWS", 16)
    order = []

    def note(protocol, batch):
        order.append(len(batch))
        asyncio.get_running_loop().call_soon(order.append, "other")
        take_a_turns_time()

    async def program(create):
        protocol = await make(create, peer, lambda: BatchRecorder(note))
        protocol.transport.pause_reading()
        send_numbered(peer, 40)
        protocol.transport.resume_reading()
        await until(lambda: sum(order[::2]) >= 40 and len(order) % 2 == 0)
        assert order == [16, "other", 16, "other", 8, "other"]
        await end(protocol)

    kind.run(program)


def filled_delivery(udp_pair, count):
    sock, peer = udp_pair
    send_numbered(peer, count)
    batch = fastsock.Batch(count)
    sock.recv_batch(batch, minimum=count, timeout=5)
    return Delivery(batch)


def test_delivery_counts_what_is_left(udp_pair):
    delivery = filled_delivery(udp_pair, 3)
    got = []
    assert delivery.is_whole()
    delivery.run(lambda data, address: got.append(data) or delivery.stop(), FAR)
    assert (got, delivery.left(), delivery.is_whole()) == ([b"0"], 2, False)
    delivery.run(lambda data, address: got.append(data), 0)
    assert (got, delivery.left()) == ([b"0", b"1"], 1)
    delivery.skip()
    delivery.run(lambda data, address: got.append(data), FAR)
    assert (got, delivery.left()) == ([b"0", b"1"], 0)
    delivery.begin()
    delivery.run(lambda data, address: got.append(data), FAR)
    assert got == [b"0", b"1", *numbered(3)]


def test_delivery_refuses_to_run_twice_at_once(udp_pair, in_thread):
    delivery = filled_delivery(udp_pair, 2)
    entered, leave = threading.Event(), threading.Event()

    def hold(data, address):
        entered.set()
        leave.wait(5)

    task = in_thread(delivery.run, hold, FAR)
    assert entered.wait(5)
    try:
        with pytest.raises(RuntimeError, match="another call"):
            delivery.run(hold, 0)
    finally:
        leave.set()
    task.result()
    assert delivery.left() == 0
