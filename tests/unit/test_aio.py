# SPDX-License-Identifier: MIT
"""fastsock.aio: how an endpoint is made, what it tells, and how it ends."""

import asyncio
import gc
import socket as stdlib
import warnings

import pytest

import fastsock
from fastsock.aio import create_datagram_endpoint
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

LOCAL = ("127.0.0.1", 0)

each_host = pytest.mark.parametrize(
    ("family", "host"),
    [(stdlib.AF_INET, "127.0.0.1"), (stdlib.AF_INET6, "::1")],
    ids=["ipv4", "ipv6"],
)


@each_endpoint
@each_host
def test_unconnected_endpoint_tells_and_takes_addresses(kind, family, host, closing):
    peer = peer_of(closing, family, (host, 0))

    async def program(create):
        transport, protocol = await create(Recorder, local_addr=(host, 0))
        own = transport.get_extra_info("sockname")
        assert transport.get_extra_info("peername") is None
        peer.sendto(b"request", own)
        await until(lambda: protocol.datagrams)
        transport.sendto(b"reply", protocol.events[1][1])
        await turns()
        assert peer.recvfrom(100) == (b"reply", own)
        assert protocol.events == ["made", (b"request", peer.getsockname())]
        await end(protocol)

    kind.run(program)


@each_endpoint
@each_host
def test_connected_endpoint_needs_no_address(kind, family, host, closing):
    peer = peer_of(closing, family, (host, 0))

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=peer.getsockname()[:2])
        assert transport.get_extra_info("peername") == peer.getsockname()
        transport.sendto(b"one")
        transport.sendto(b"two", peer.getsockname())
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            transport.sendto(b"three", (host, 1))
        await turns()
        assert [peer.recv(10), peer.recv(10)] == [b"one", b"two"]
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_broadcast_endpoint_is_not_connected(kind, closing):
    peer = peer_of(closing)

    async def program(create):
        transport, protocol = await create(
            Recorder, remote_addr=peer.getsockname(), allow_broadcast=True
        )
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_BROADCAST)
        assert transport.get_extra_info("peername") is None
        transport.sendto(b"one")
        with pytest.raises(ValueError, match="Invalid address"):
            transport.sendto(b"two", ("127.0.0.1", 1))
        await turns()
        assert peer.recv(10) == b"one"
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_unix_paths(kind, closing, tmp_path):
    path, other = str(tmp_path / "endpoint"), str(tmp_path / "peer")
    peer = peer_of(closing, stdlib.AF_UNIX, other)
    stale = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    stale.bind(path)

    async def program(create):
        transport, protocol = await create(
            Recorder, local_addr=path, remote_addr=other, family=stdlib.AF_UNIX
        )
        peer.sendto(b"in", path)
        await until(lambda: protocol.datagrams)
        transport.sendto(b"out")
        await turns()
        assert peer.recvfrom(10) == (b"out", path)
        assert protocol.events == ["made", (b"in", other)]
        await end(protocol)

    kind.run(program)


@each_endpoint
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, ValueError),
        ({"local_addr": "127.0.0.1"}, TypeError),
        ({"local_addr": ("127.0.0.1", 0, 0, 0)}, TypeError),
        ({"local_addr": 5, "family": stdlib.AF_UNIX}, TypeError),
        ({"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 9)}, ValueError),
        ({"local_addr": ("::1", 0), "family": stdlib.AF_INET}, stdlib.gaierror),
        ({"local_addr": ("192.0.2.1", 0)}, OSError),
        ({"remote_addr": "/no/such/path", "family": stdlib.AF_UNIX}, FileNotFoundError),
    ],
    ids=["none", "text", "4-tuple", "unix_number", "families", "family", "foreign", "no_path"],
)
def test_arguments_are_refused(kind, arguments, error, no_descriptor_leak):
    async def program(create):
        with pytest.raises(error):
            await create(Recorder, **arguments)

    kind.run(program)


@each_endpoint
def test_sock_is_refused_with_other_arguments_or_a_stream(kind, closing):
    datagram = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    stream = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_STREAM))

    async def program(create):
        with pytest.raises(ValueError, match=r"can not be used .*\(flags=1, reuse_port=True\)"):
            await create(Recorder, sock=datagram, reuse_port=True, flags=1)
        with pytest.raises(ValueError, match="ocket was expected"):
            await create(Recorder, sock=stream)

    kind.run(program)


def test_sock_of_a_family_that_is_not_served_is_refused(closing):
    netlink = closing(stdlib.socket(stdlib.AF_NETLINK, stdlib.SOCK_RAW))
    with pytest.raises(ValueError, match=r"loop\.create_datagram_endpoint"):
        asyncio.run(create_datagram_endpoint(Recorder, sock=netlink))


@each_endpoint
def test_reuse_port_lets_two_bind(kind):
    async def program(create):
        one, first = await create(Recorder, local_addr=LOCAL, reuse_port=True)
        address = one.get_extra_info("sockname")
        _, second = await create(Recorder, local_addr=address, reuse_port=True)
        with pytest.raises(OSError, match="in use"):
            await create(Recorder, local_addr=address)
        await end(first)
        await end(second)

    kind.run(program)


@each_endpoint
def test_failing_factory_leaves_the_given_socket_alone(kind, closing):
    sock = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))

    async def program(create):
        with pytest.raises(ZeroDivisionError):
            await create(lambda: 1 / 0, sock=sock)

    kind.run(program)
    sock.bind(LOCAL)


@each_endpoint
@pytest.mark.parametrize("library", [stdlib, fastsock], ids=["stdlib", "fastsock"])
def test_given_socket_is_used_and_closed(kind, library, closing, no_descriptor_leak):
    peer = peer_of(closing)
    sock = closing(library.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(LOCAL)

    async def program(create):
        transport, protocol = await create(Recorder, sock=sock)
        assert sock.gettimeout() == 0
        assert transport.get_extra_info("sockname") == sock.getsockname()
        peer.sendto(b"in", sock.getsockname())
        await until(lambda: protocol.datagrams)
        transport.sendto(b"out", peer.getsockname())
        await turns()
        assert peer.recv(10) == b"out"
        await end(protocol)
        assert sock.fileno() == transport.get_extra_info("socket").fileno() == -1

    kind.run(program)
    peer.close()


@each_own_endpoint
def test_given_socket_that_has_read_ahead_delivers_its_queue(kind, closing):
    peer = peer_of(closing)
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(LOCAL)
    sock.set_readahead(8)
    for number in range(4):
        peer.sendto(b"%d" % number, sock.getsockname())
    assert sock.recv(10) == b"0"
    assert sock.pending() == 3

    async def program(create):
        _, protocol = await create(Recorder, sock=sock)
        await until(lambda: len(protocol.datagrams) == 3)
        assert protocol.datagrams == [b"1", b"2", b"3"]
        assert sock.get_readahead() == 8
        await end(protocol)

    kind.run(program)


@each_endpoint
def test_connection_made_comes_first_and_connection_lost_later(kind):
    async def program(create):
        transport, protocol = await create(Recorder, local_addr=LOCAL)
        assert protocol.events == ["made"]
        assert transport.get_protocol() is protocol
        assert not transport.is_closing()
        assert transport.is_reading()
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        assert protocol.events == ["made"]
        await turns()
        assert protocol.events == ["made", ("lost", type(None))]
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()
        await turns()
        assert protocol.events == ["made", ("lost", type(None))]

    kind.run(program)


@each_endpoint
def test_cancelled_creation_closes(kind, no_descriptor_leak):
    async def program(create):
        protocol = Recorder()
        task = asyncio.create_task(create(lambda: protocol, local_addr=LOCAL, family=2))
        # Up to the wait for connection_made, however many turns resolving takes.
        protocol.connection_made = lambda transport: task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: protocol.is_lost)

    kind.run(program)


@each_endpoint
@pytest.mark.parametrize("how", ["close", "abort"])
def test_what_was_sent_before_the_end_arrives(kind, how, closing):
    peer = peer_of(closing)

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=peer.getsockname())
        for number in range(3):
            transport.sendto(b"%d" % number)
        getattr(transport, how)()
        await until(lambda: protocol.is_lost)
        assert [peer.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]

    kind.run(program)


@each_endpoint
def test_sending_after_the_end_is_ignored(kind, closing, caplog):
    peer = peer_of(closing)

    async def program(create):
        transport, protocol = await create(Recorder, remote_addr=peer.getsockname())
        transport.close()
        for _ in range(7):
            transport.sendto(b"late")
        await until(lambda: protocol.is_lost)
        transport.sendto(b"later")
        await turns()

    kind.run(program)
    assert [record.message for record in caplog.records] == ["socket.send() raised exception."] * 4
    peer.settimeout(0)
    with pytest.raises(BlockingIOError):
        peer.recv(10)


@each_own_endpoint
def test_sending_after_the_end_without_a_peer_is_ignored(kind, closing):
    peer = peer_of(closing)

    async def program(create):
        transport, protocol = await create(Recorder, local_addr=LOCAL)
        await end(protocol)
        transport.sendto(b"late", peer.getsockname())
        await turns()

    kind.run(program)


@each_endpoint
def test_unclosed_endpoint_warns_and_closes(kind, no_descriptor_leak):
    async def program(create):
        await create(Recorder, local_addr=LOCAL)

    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kind.run(program)
        gc.collect()
    # In a cycle the socket may come before the transport, and warns too.
    assert {warning.category for warning in caught} == {ResourceWarning}
    texts = [str(warning.message) for warning in caught]
    assert len([text for text in texts if text.startswith("unclosed transport <")]) == 1


@each_endpoint
def test_exception_in_connection_made_is_reported(kind):
    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError

    async def program(create):
        reports = take_reports()
        _, protocol = await create(Failing, local_addr=LOCAL)
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]
        await end(protocol)

    kind.run(program)


@each_own_endpoint
def test_repr_tells_the_state(kind):
    async def program(create):
        transport, protocol = await create(Recorder, local_addr=LOCAL)
        fd = transport.get_extra_info("socket").fileno()
        assert repr(transport) == f"<fastsock.aio.DatagramTransport fd={fd}>"
        transport.close()
        assert repr(transport) == f"<fastsock.aio.DatagramTransport closing fd={fd}>"
        await until(lambda: protocol.is_lost)
        assert repr(transport) == f"<fastsock.aio.DatagramTransport closed fd={fd}>"

    kind.run(program)
