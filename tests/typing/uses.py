# SPDX-License-Identifier: MIT
"""Uses that a type checker must accept, and, marked to be ignored, uses it must refuse."""

import asyncio
import socket as stdlib
from typing import Any, assert_type

import fastsock
import fastsock as socket
from fastsock import aio

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
assert_type(sock, fastsock.socket)
assert_type(sock.recv(10), bytes)
assert_type(sock.recvfrom(10, socket.MSG_PEEK), tuple[bytes, Any])
assert_type(sock.recv_into(bytearray(4), flags=0), int)
assert_type(sock.sendto(b"x", ("127.0.0.1", 9)), int)
assert_type(sock.sendto(b"x", 0, ("127.0.0.1", 9)), int)
assert_type(sock.accept(), tuple[fastsock.socket, Any])
assert_type(sock.dup(), fastsock.socket)
assert_type(sock.detach_stdlib(), stdlib.socket)
assert_type(socket.socketpair(), tuple[fastsock.socket, fastsock.socket])
assert_type(socket.create_connection(("127.0.0.1", 9)), fastsock.socket)
assert_type(socket.create_server(("", 0)), fastsock.socket)
assert_type(socket.UDP_GRO, int)
plain: stdlib.socket = sock

batch = socket.Batch(16, 100)
assert_type(sock.recv_many(10), list[bytes])
assert_type(sock.recvfrom_many(10, 5), list[tuple[bytes, Any]])
assert_type(sock.recv_batch(batch, minimum=2, timeout=None), int)
assert_type(sock.send_many([b"x", bytearray(1)], ("127.0.0.1", 9)), int)
assert_type(sock.sendto_many([(b"x", ("127.0.0.1", 9))]), int)
assert_type(sock.send_segments(memoryview(b"xx"), 1), int)
assert_type(sock.accept_many(), list[tuple[fastsock.socket, Any]])
assert_type(socket.recv_many(plain, 10), list[bytes])
assert_type(socket.recv_batch(3, batch), int)
assert_type(socket.wait_readable([sock], 0.5), list[fastsock.socket])
assert_type(sock.set_metadata(timestamp=True), None)
assert_type(sock.join_group("239.1.2.3", "eth0"), None)
assert_type(sock.leave_group("ff12::1", interface=2, source="2001:db8::1"), None)
assert_type(sock.bind_unix("/run/x.sock", mode=0o660), None)
assert_type(sock.peer_credentials(), fastsock.PeerCredentials)
assert_type(sock.peer_credentials().uid, int)
assert_type(sock.send_fds([b"x", bytearray(1)], [0, plain]), int)
assert_type(sock.send_fds([b"x"], [0], 0, "/run/x.sock"), int)
assert_type(sock.recv_fds(10, 1, socket.MSG_PEEK), tuple[bytes, list[int], int, Any])
assert_type(fastsock.DescriptorsRefusedError(90, "text").data, bytes)
assert_type(batch[0], fastsock.Message)
assert_type([message.bytes() for message in batch], list[bytes])
assert_type(batch.lengths, memoryview)

assert_type(fastsock.capabilities(), dict[str, fastsock.Capability])
assert_type(fastsock.capabilities()["udp_gro"].reason, str | None)


async def make_endpoint() -> None:
    transport, protocol = await aio.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    assert_type(transport, aio.DatagramTransport)
    assert_type(protocol, asyncio.DatagramProtocol)
    as_asyncio_has_it: asyncio.DatagramTransport = transport
    assert_type(as_asyncio_has_it.sendto(b"x", ("127.0.0.1", 9)), None)
    assert_type(transport.get_write_buffer_size(), int)
    assert_type(transport.is_reading(), bool)
    await aio.create_datagram_endpoint(asyncio.DatagramProtocol, sock=5)  # type: ignore[arg-type]


receiver = fastsock.Receiver(("127.0.0.1", 0), memory=1 << 20, overflow="block", cpu=[0])
assert_type(receiver.next_batch(timeout=0.5), fastsock.ReceivedBatch)
assert_type(list(receiver), list[fastsock.ReceivedBatch])
assert_type(receiver.next_batch()[0].address, Any)
assert_type(receiver.stats(), fastsock.ReceiverStats)
assert_type(receiver.stats().kernel_drops_exact, bool)
assert_type(receiver.fileno(), int)
assert_type(receiver.receive_buffer, int)
fastsock.Receiver(sock, gro=False, metadata="timestamp", groups=["239.1.2.3", ("239.1.2.4", 2)])
with fastsock.Receiver(b"/tmp/x.sock") as entered:
    assert_type(entered, fastsock.Receiver)
shards = fastsock.open_shards(("", 8888), 4, memory=1 << 20)
assert_type(shards, tuple[fastsock.Receiver, ...])

frame_reader = fastsock.FrameReader(sock, fastsock.LengthPrefix(4), max_frame=1 << 24)
assert_type(frame_reader.recv_many(10), list[bytes])
assert_type(frame_reader.recv_batch(fastsock.Batch(), timeout=None), int)
assert_type(frame_reader.next_batch(0.5), fastsock.Batch)
assert_type(frame_reader.recv_exactly(5), bytes)
assert_type(frame_reader.pending(), int)
assert_type(frame_reader.sock, stdlib.socket)
for frame in frame_reader:
    assert_type(frame, bytes)
frame_writer = fastsock.FrameWriter(stdlib.socket(), fastsock.Delimiter(b"\n", keep=True))
frame_writer.send(bytearray(b"x\n"))
assert_type(frame_writer.send_many([b"x\n", memoryview(b"y\n")]), int)
frame_writer.flush()
assert_type(frame_writer.pending() + frame_writer.sent, int)


async def receive() -> None:
    async for received in receiver:
        assert_type(received, fastsock.ReceivedBatch)


prefix = fastsock.LengthPrefix(4, "little", includes_header=True)
assert_type(prefix.encode([b"x", bytearray(1)]), bytes)
framer = fastsock.Framer(fastsock.Delimiter(b"\r\n", keep=True), max_frame=100)
assert_type(framer.feed(memoryview(b"x")), list[bytes])
assert_type(framer.unfinished, int)
assert_type(framer.end(), None)
fastsock.Framer(fastsock.LengthPrefix("varint"))
fastsock.Framer(fastsock.FixedSize(16))

with fastsock.installed():
    fastsock.install()
    fastsock.uninstall()

fastsock.Receiver(("", 0), memory="1 MiB")  # type: ignore[arg-type]
fastsock.Receiver(("", 0), gso=True)  # type: ignore[call-arg]
fastsock.LengthPrefix(3)  # type: ignore[arg-type]
fastsock.Framer(b"\n")  # type: ignore[arg-type]
framer.feed("text")  # type: ignore[arg-type]
receiver.stats().received = 0  # type: ignore[misc]
sock.recv_batch([])  # type: ignore[arg-type]
sock.set_metadata(time=True)  # type: ignore[call-arg]
sock.join_group(b"239.1.2.3")  # type: ignore[arg-type]
sock.leave_group("239.1.2.3", 2.0)  # type: ignore[arg-type]
fastsock.FrameReader(sock, b"\n")  # type: ignore[arg-type]
frame_writer.send("text")  # type: ignore[arg-type]
sock.bind_unix("/run/x.sock", mode="660")  # type: ignore[arg-type]
sock.send_fds(b"x", 0)  # type: ignore[arg-type]
sock.recv("10")  # type: ignore[arg-type]
sock.sendto(b"x")  # type: ignore[call-overload]
sock.send("text")  # type: ignore[arg-type]
print(socket.no_such_name)  # type: ignore[attr-defined]
