# SPDX-License-Identifier: MIT
"""Uses that mypy and pyright must accept, and the types that they must find. Never run."""

import asyncio
import selectors
import socket as stdlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import fastsock
import fastsock as socket
from fastsock import aio


def drop_in(sock: socket.socket, plain: stdlib.socket) -> None:
    assert_type(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), fastsock.socket)
    assert_type(sock.recv(10), bytes)
    assert_type(sock.recvfrom(10, socket.MSG_PEEK), tuple[bytes, Any])
    assert_type(sock.recv_into(bytearray(4), flags=0), int)
    assert_type(sock.recvfrom_into(bytearray(4), 4), tuple[int, Any])
    assert_type(sock.recvmsg(10, 20), tuple[bytes, list[tuple[int, int, bytes]], int, Any])
    assert_type(
        sock.recvmsg_into([bytearray(4)]), tuple[int, list[tuple[int, int, bytes]], int, Any]
    )
    assert_type(sock.send(b"x"), int)
    assert_type(sock.sendall(memoryview(b"x")), None)
    assert_type(sock.sendto(b"x", ("127.0.0.1", 9)), int)
    assert_type(sock.sendto(b"x", 0, ("127.0.0.1", 9)), int)
    assert_type(sock.sendmsg([b"x"], [], 0, ("127.0.0.1", 9)), int)
    assert_type(sock.connect("/run/x.sock"), None)
    assert_type(sock.connect_ex(("::1", 9, 0, 1)), int)
    assert_type(sock.setsockopt(socket.SOL_UDP, socket.UDP_GRO, 1), None)
    assert_type(sock.accept(), tuple[fastsock.socket, Any])
    assert_type(sock.dup(), fastsock.socket)
    assert_type(sock.detach(), int)
    assert_type(sock.detach_stdlib(), stdlib.socket)
    assert_type(sock.family, socket.AddressFamily)
    assert_type(socket.socketpair(), tuple[fastsock.socket, fastsock.socket])
    assert_type(socket.create_connection(("127.0.0.1", 9), 1.5, all_errors=True), fastsock.socket)
    assert_type(socket.create_server(("", 0), reuse_port=True), fastsock.socket)
    assert_type(socket.fromfd(3, socket.AF_INET, socket.SOCK_DGRAM), fastsock.socket)
    assert_type(socket.gethostname(), str)
    assert_type(socket.UDP_GRO, int)
    assert_type(socket.SO_TIMESTAMPNS_NEW, int)
    assert_type(socket.EBADF, int)
    with sock as entered:
        assert_type(entered, fastsock.socket)
    with socket.create_connection(("localhost", 9)) as connected, connected.makefile("rb") as file:
        assert_type(file.read(), bytes)
    selectors.DefaultSelector().register(sock, selectors.EVENT_READ)
    ssl.create_default_context().wrap_socket(sock)
    try:
        assert_type(socket.wait_readable([sock], 0.5), list[fastsock.socket])
        mixed: list[stdlib.socket] = [plain, sock]
        assert_type(socket.wait_readable(mixed), list[stdlib.socket])
    except socket.gaierror as error:
        assert_type(error.errno, int | None)
    except (socket.timeout, OSError):
        pass


def more_of_a_socket(sock: socket.socket, plain: stdlib.socket) -> None:
    assert_type(sock.accept_many(), list[tuple[fastsock.socket, Any]])
    assert_type(sock.set_metadata(timestamp=True), None)
    assert_type(sock.set_readahead(8), None)
    assert_type(sock.get_readahead() + sock.pending() + sock.drops() + sock.truncated(), int)
    assert_type(sock.readahead_discarded + sock.gso_refused, int)
    assert_type(sock.join_group("239.1.2.3", "eth0"), None)
    assert_type(sock.leave_group("ff12::1", interface=2, source="2001:db8::1"), None)
    assert_type(sock.bind_unix("/run/x.sock", mode=0o660), None)
    assert_type(sock.bind_unix(Path("/run/x.sock")), None)
    assert_type(sock.peer_credentials(), fastsock.PeerCredentials)
    assert_type(sock.peer_credentials().uid, int)
    assert_type(sock.send_fds([b"x", bytearray(1)], [0, plain]), int)
    assert_type(sock.send_fds([b"x"], [0], 0, "/run/x.sock"), int)
    assert_type(sock.recv_fds(10, 1, socket.MSG_PEEK), tuple[bytes, list[int], int, Any])


class Counting(socket.socket):
    """A subclass: what it overrides has the types of what it is."""

    count = 0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self.count += 1
        return super().recv(bufsize, flags)

    def recv_many(self, bufsize: int, count: int = 64, flags: int = 0, /) -> list[bytes]:
        received = super().recv_many(bufsize, count, flags)
        self.count += len(received)
        return received


def many_messages(sock: socket.socket, plain: stdlib.socket, address: tuple[str, int]) -> None:
    batch = socket.Batch(16, max_message=100)
    assert_type(sock.recv_many(10), list[bytes])
    assert_type(sock.recvfrom_many(10, 5), list[tuple[bytes, Any]])
    assert_type(sock.recv_batch(batch, minimum=2, timeout=None), int)
    assert_type(sock.recv_batch(batch, socket.MSG_DONTWAIT, timeout=...), int)
    assert_type(sock.send_many([b"x", bytearray(1)], address), int)
    assert_type(sock.send_many((message.data for message in batch), flags=0), int)
    assert_type(sock.sendto_many([(b"x", address)]), int)
    assert_type(sock.sendto_many((message.data, message.address) for message in batch), int)
    assert_type(sock.send_segments(memoryview(b"xx"), 1), int)
    assert_type(socket.recv_many(plain, 10), list[bytes])
    assert_type(socket.recvfrom_many(3, 10, 5), list[tuple[bytes, Any]])
    assert_type(socket.recv_batch(3, batch, timeout=0.5), int)
    assert_type(socket.send_many(plain, [b"x"], "/run/x.sock"), int)
    assert_type(socket.sendto_many(plain, [(b"x", b"\0name")]), int)
    assert_type(socket.send_segments(sock, b"xx", size=1, address=address), int)
    assert_type(socket.accept_many(plain), list[tuple[stdlib.socket, Any]])


def batches(batch: fastsock.Batch | fastsock.ReceivedBatch) -> Iterator[str]:
    assert_type(len(batch), int)
    assert_type(batch[0], fastsock.Message)
    assert_type([message.bytes() for message in batch], list[bytes])
    assert_type(batch.lengths, memoryview)
    assert_type(batch.lengths[0] + sum(batch.timestamps_ns), int)
    assert_type(batch.sources, tuple[Any, ...])
    assert_type(batch.destinations, tuple[str, ...])
    assert_type(batch.flags[0] & batch.TRUNCATED, int)
    for message in batch:
        assert_type(message.data, memoryview)
        assert_type(bytes(message), bytes)
        assert_type(message.truncated, bool)
        assert_type(message.timestamp_ns + message.wire_length + len(message), int)
        assert_type(message.interface + message.hop_limit + message.tos, int)
        assert_type(message.destination, str | None)
        host, port = message.address
        yield f"{host}:{port}"


def batch_alone(batch: fastsock.Batch) -> int:
    return batch.capacity + batch.max_message + batch.slabs + batch.nbytes


def facts() -> None:
    assert_type(fastsock.capabilities(), dict[str, fastsock.Capability])
    assert_type(fastsock.capabilities()["udp_gro"].reason, str | None)
    assert_type(fastsock.capabilities()["udp_gro"].working, bool)
    assert_type(fastsock.get_include(), str)
    assert_type(fastsock.get_library(), str)
    assert_type(fastsock.__version__, str)
    assert_type(fastsock.__adds__, tuple[str, ...])


def errors() -> None:
    assert_type(fastsock.CapabilityError(95, "text").errno, int | None)
    assert_type(fastsock.DescriptorsRefusedError(90, "text").data, bytes)
    assert_type(fastsock.DescriptorsRefusedError(90, "text").fds_refused, int)
    assert_type(fastsock.FrameError(90, "text", 3).offset, int)
    assert_type(fastsock.IncompleteFrameError("text", b"x", 3).partial, bytes)
    assert_type(fastsock.IncompleteFrameError("text", b"x", 3).missing, int)
    is_an_eof: EOFError = fastsock.IncompleteFrameError("text", b"x", 3)
    is_a_runtime_error: RuntimeError = fastsock.StaleMessageError()
    raise is_an_eof from is_a_runtime_error


def in_place() -> None:
    fastsock.install()
    with fastsock.installed() as nothing:
        assert_type(nothing, None)
    fastsock.uninstall()


def make_receivers(sock: socket.socket, plain: stdlib.socket) -> None:
    fastsock.Receiver(("127.0.0.1", 0), memory=1 << 20, overflow="block", cpu=[0])
    fastsock.Receiver(sock, gro=False, metadata="timestamp", groups=["239.1.2.3", ("239.1.2.4", 2)])
    fastsock.Receiver("udp://[::]:8888", metadata=["tos", "hop_limit"], receive_buffer=1 << 22)
    fastsock.Receiver(plain, groups=[("239.1.2.4", None, "192.0.2.1")], priority=1, busy_poll=50)
    fastsock.Receiver(Path("/tmp/x.sock"))
    fastsock.Receiver(sock.getsockname(), groups="239.1.2.3", shards=2)
    fastsock.Receiver(stdlib.getaddrinfo("localhost", 8888)[0][4])
    with fastsock.Receiver(b"/tmp/x.sock") as entered:
        assert_type(entered, fastsock.Receiver)
    shards = fastsock.open_shards(("", 8888), 4, memory=1 << 20, overflow="drop-oldest", cpu=[0, 1])
    assert_type(shards, tuple[fastsock.Receiver, ...])


async def receive(receiver: fastsock.Receiver) -> None:
    assert_type(receiver.next_batch(timeout=0.5), fastsock.ReceivedBatch)
    assert_type(list(receiver), list[fastsock.ReceivedBatch])
    assert_type(receiver.next_batch()[0].address, Any)
    assert_type(receiver.stats(), fastsock.ReceiverStats)
    assert_type(receiver.stats().kernel_drops_exact, bool)
    assert_type(receiver.stats().bytes, int)
    assert_type(receiver.fileno() + receiver.receive_buffer, int)
    assert_type(receiver.getsockname(), Any)
    assert_type(receiver.closed, bool)
    async for received in receiver:
        assert_type(received, fastsock.ReceivedBatch)
    receiver.close()


def framings(either: fastsock.LengthPrefix | fastsock.Delimiter | fastsock.FixedSize) -> None:
    prefix = fastsock.LengthPrefix(4, "little", includes_header=True)
    assert_type(prefix.encode([b"x", bytearray(1)]), bytes)
    assert_type({prefix: 1}, dict[fastsock.LengthPrefix, int])
    fastsock.LengthPrefix(size="varint")
    framer = fastsock.Framer(fastsock.Delimiter(b"\r\n", keep=True), max_frame=100)
    assert_type(framer.feed(memoryview(b"x")), list[bytes])
    assert_type(framer.unfinished, int)
    assert_type(framer.end(), None)
    fastsock.Framer(fastsock.FixedSize(16))
    fastsock.Framer(either)


def frames(sock: socket.socket, over_tls: ssl.SSLSocket) -> None:
    reader = fastsock.FrameReader(sock, fastsock.LengthPrefix(4), max_frame=1 << 24)
    assert_type(reader.recv_many(10), list[bytes])
    assert_type(reader.recv_batch(fastsock.Batch(), timeout=None), int)
    assert_type(reader.next_batch(0.5), fastsock.Batch)
    assert_type(reader.recv_exactly(5), bytes)
    assert_type(reader.pending(), int)
    assert_type(reader.sock, stdlib.socket)
    assert_type(next(reader), bytes)
    for frame in fastsock.FrameReader(over_tls, fastsock.FixedSize(8), readahead=4096):
        assert_type(frame, bytes)
    writer = fastsock.FrameWriter(over_tls, fastsock.Delimiter(b"\n", keep=True), max_frame=9)
    writer.send(bytearray(b"x\n"))
    assert_type(writer.send_many([b"x\n", memoryview(b"y\n")]), int)
    assert_type(writer.flush(), None)
    assert_type(writer.pending() + writer.sent, int)
    assert_type(writer.sock, stdlib.socket)


def make_servers(sock: socket.socket) -> None:
    fastsock.StreamServer(("", 8888), fastsock.LengthPrefix(4), idle_timeout=5, overflow="raise")
    fastsock.StreamServer(sock, fastsock.FixedSize(8), reuse_port=True, max_pending=None)
    fastsock.StreamServer("tcp://[::]:8888", fastsock.Delimiter(b"\n"), backlog=9, nodelay=False)
    with fastsock.StreamServer(b"/tmp/x.sock", fastsock.Delimiter(b"\n")) as serving:
        assert_type(serving, fastsock.StreamServer)


async def serve(server: fastsock.StreamServer) -> None:
    people: set[fastsock.Connection] = set()
    for batch in server:
        assert_type(batch, fastsock.ServerBatch)
        assert_type(batch.opened, list[fastsock.Connection])
        assert_type(batch.closed, list[tuple[fastsock.Connection, fastsock.CloseReason]])
        assert_type(batch[0], tuple[fastsock.Connection, memoryview])
        assert_type(batch.connections, tuple[fastsock.Connection, ...])
        assert_type(batch.offsets[0] + batch.lengths[0] + len(batch), int)
        people.update(batch.opened)
        for connection, frame in batch:
            assert_type(connection.send(b": " + frame), bool)
            assert_type(connection.send_many([b"x", frame]), int)
        for connection, reason in batch.closed:
            people.discard(connection)
            if reason is not fastsock.CloseReason.EOF:
                text: str = reason.value
                print(reason.name, text)
    assert_type(server.next_batch(timeout=0.5), fastsock.ServerBatch)
    assert_type(server.stats(), fastsock.ServerStats)
    assert_type(server.stats().closed[fastsock.CloseReason.EOF], int)
    assert_type(server.stats().memory_peak, int)
    assert_type(server.stop(drain=1.5), None)
    assert_type(server.flush(), None)
    assert_type(server.fileno(), int)
    assert_type(server.getsockname(), Any)
    async for told in server:
        assert_type(told, fastsock.ServerBatch)


def speak(connection: fastsock.Connection) -> None:
    connection.context = {"name": "anyone"}
    assert_type(connection.context, Any)
    assert_type(connection.peer, Any)
    assert_type(connection.pending + connection.unfinished + connection.fileno(), int)
    assert_type(connection.closed, bool)
    assert_type(connection.credentials.pid, int)
    connection.close()
    connection.abort()


class Echo(asyncio.DatagramProtocol):
    def datagrams_received(self, batch: fastsock.Batch) -> None:
        assert_type(batch.sources, tuple[Any, ...])


async def make_endpoint(plain: stdlib.socket) -> None:
    transport, protocol = await aio.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    assert_type(transport, aio.DatagramTransport)
    assert_type(protocol, Echo)
    as_asyncio_has_it: asyncio.DatagramTransport = transport
    assert_type(as_asyncio_has_it.sendto(b"x", ("127.0.0.1", 9)), None)
    assert_type(transport.get_write_buffer_size(), int)
    assert_type(transport.is_reading(), bool)
    assert_type(transport.get_extra_info("discarded"), Any)
    transport.pause_reading()
    transport.resume_reading()
    transport.abort()
    await aio.create_datagram_endpoint(lambda: Echo(), sock=plain)
    await aio.create_datagram_endpoint(Echo, local_addr="/run/x.sock", family=stdlib.AF_UNIX)
    await aio.create_datagram_endpoint(Echo, remote_addr=("::1", 9), allow_broadcast=True)
