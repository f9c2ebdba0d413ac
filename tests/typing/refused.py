# SPDX-License-Identifier: MIT
"""Uses that mypy and pyright must refuse: an ignore that is not needed is an error to both.

Each is a mistake that Python tells of only when the line runs, or never.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# What is not there is of no known type either; the first of these errors is enough.

import asyncio
import socket as stdlib

import fastsock
import fastsock as socket
from fastsock import aio


def drop_in(sock: socket.socket) -> None:
    sock.recv("10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.recv()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sock.send("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.sendto(b"x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    sock.sendto(b"x", ("127.0.0.1", 9), 0)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    sock.sendmsg("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.connect(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.no_such_method()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    socket.create_connection("127.0.0.1:9")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(socket.socketpair()[0].port)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(socket.no_such_name)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(socket.SO_TIMESTAMPNS_NEWER)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    plain: fastsock.socket = stdlib.socket()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(plain)


def more_of_a_socket(sock: socket.socket) -> None:
    sock.set_metadata(time=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sock.set_metadata(True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sock.set_readahead(buffers=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sock.drops = 0  # type: ignore[assignment, method-assign]  # pyright: ignore[reportAttributeAccessIssue]
    sock.gso_refused = 0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    sock.join_group(b"239.1.2.3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.leave_group("239.1.2.3", 2.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.bind_unix("/run/x.sock", mode="660")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.bind_unix(("127.0.0.1", 9))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.peer_credentials().gid = 0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    sock.send_fds(b"x", [0])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.send_fds([b"x"], 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.recv_fds(10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def many_messages(sock: socket.socket, batch: fastsock.Batch) -> None:
    sock.recv_many(10.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.recv_many(bufsize=10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sock.recv_batch([])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.recv_batch(16)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.recv_batch(batch, timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.send_many(b"text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.send_many("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.send_many([b"x"], socket.MSG_DONTWAIT)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.sendto_many([b"x"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    sock.sendto_many([(("127.0.0.1", 9), b"x")])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    sock.sendto_many([(b"x", None)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    sock.sendto_many((message, message.address) for message in batch)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    sock.send_segments([b"x", b"y"], 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sock.send_segments(b"xy")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    socket.recv_many(10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    socket.recv_many(sock, 10, count=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    socket.send_many([b"x"], ("127.0.0.1", 9))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    socket.wait_readable(sock)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    socket.wait_readable([3])  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def batches(batch: fastsock.Batch) -> None:
    fastsock.Batch("16")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Batch(size=16)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    batch.capacity = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    print(batch[0:2])  # type: ignore[index]  # pyright: ignore[reportArgumentType]
    print(batch["first"])  # type: ignore[index]  # pyright: ignore[reportArgumentType]
    print(batch[0].data.decode())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(batch[0].text)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(memoryview(batch[0]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    batch[0] = b"x"  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    text: str = batch[0].bytes()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    host: str = batch[0].destination  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(text, host)


class Batch(fastsock.Batch):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    pass


class Narrower(fastsock.socket):
    def recv_many(self, bufsize: int) -> list[bytes]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().recv_many(bufsize)


def facts() -> None:
    fastsock.capabilities()["udp_gro"].working = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    print(fastsock.capabilities().udp_gro)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    fastsock.capabilities("udp_gro")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with fastsock.install():  # type: ignore[attr-defined, func-returns-value]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    fastsock.installed.stop()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def receivers(sock: fastsock.socket, receiver: fastsock.Receiver) -> None:
    fastsock.Receiver()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.Receiver(8888)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Receiver("0.0.0.0", 8888)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.Receiver(("", 0), memory="1 MiB")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Receiver(("", 0), gso=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.Receiver(("", 0), overflow="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Receiver(("", 0), metadata=["time"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    fastsock.Receiver(("", 0), metadata="time")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Receiver(("", 0), groups=[b"239.1.2.3"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    fastsock.Receiver(("", 0), cpu="0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.open_shards(("", 0))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.open_shards(("", 0), 2, buffer=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.open_shards(sock, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    receiver.stats().received = 0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    receiver.receive_buffer = 1 << 20  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    receiver.recv(10)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    receiver.next_batch(timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(receiver.next_batch().capacity)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(receiver.stats().dropped)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def framings(framer: fastsock.Framer) -> None:
    fastsock.LengthPrefix(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.LengthPrefix(4, "network")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.LengthPrefix(4, "big", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.Delimiter("\n")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.FixedSize()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.LengthPrefix(4).encode(b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Framer(b"\n")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.Framer(fastsock.Delimiter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    framer.feed("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    framer.feed([b"x"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def frames(sock: fastsock.socket) -> None:
    fastsock.FrameReader(sock, b"\n")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.FrameReader(sock.fileno(), fastsock.FixedSize(4))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.FrameReader(sock, fastsock.FixedSize(4), 1 << 20)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.FrameReader(sock, fastsock.FixedSize(4)).send(b"1234")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    writer = fastsock.FrameWriter(sock, fastsock.FixedSize(4))
    writer.send("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    writer.send_many(b"1234")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    writer.sent = 0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def serve(server: fastsock.StreamServer, connection: fastsock.Connection) -> None:
    fastsock.StreamServer(("", 0))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fastsock.StreamServer(("", 0), b"\n")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.StreamServer(8888, fastsock.FixedSize(8))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.StreamServer(("", 0), fastsock.FixedSize(8), overflow="drop-newest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fastsock.StreamServer(("", 0), fastsock.FixedSize(8), shards=4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    server.stats().accepted = 0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    server.stop("now")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for line in server.next_batch():
        line.upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    for client, frame in server.next_batch():
        client.sendall(frame)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        frame.split(b" ")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    for closed in server.next_batch().closed:
        print(closed.reason)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    connection.send("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connection.send_many(b"text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connection.peer = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    connection.name = "anyone"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(fastsock.CloseReason.TIMEOUT)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def make_endpoint(transport: aio.DatagramTransport) -> None:
    await aio.create_datagram_endpoint(asyncio.DatagramProtocol, sock=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await aio.create_datagram_endpoint(asyncio.DatagramProtocol())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await aio.create_datagram_endpoint(asyncio.DatagramProtocol, ("", "9"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await aio.create_datagram_endpoint(asyncio.DatagramProtocol, reuse_address=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    aio.create_datagram_endpoint(asyncio.DatagramProtocol).sendto(b"x")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    transport.sendto("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    transport.write(b"x")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
