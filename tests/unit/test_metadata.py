# SPDX-License-Identifier: MIT
"""set_metadata, the columns it fills, and drops().

The oracle is a socket of the standard library with the same options, whose ancillary data is parsed
here; each datagram goes to both.
"""

import ctypes
import errno
import socket as stdlib
import struct
import time

import pytest

import fastsock
from unit.calls import outcome

# Linux (asm-generic/socket.h, linux/in.h), as not every version of socket has them.
SO_TIMESTAMPNS, SO_ATTACH_FILTER = 35, 26
IP_PKTINFO, IP_RECVTTL, IP_RECVTOS = 8, 12, 13
ALL = {"timestamp": True, "destination": True, "hop_limit": True, "tos": True}
LO = stdlib.if_nametoindex("lo")

# Host to bind, family of the receivers, host to send to, and what is told of it.
WAYS = {
    "ipv4": (stdlib.AF_INET, "0.0.0.0", stdlib.AF_INET, "127.0.0.1", "127.0.0.1"),
    "ipv4_other_address": (stdlib.AF_INET, "0.0.0.0", stdlib.AF_INET, "127.0.0.2", "127.0.0.2"),
    "ipv4_bound": (stdlib.AF_INET, "127.0.0.3", stdlib.AF_INET, "127.0.0.3", "127.0.0.3"),
    "ipv6": (stdlib.AF_INET6, "::1", stdlib.AF_INET6, "::1", "::1"),
    "ipv6_any": (stdlib.AF_INET6, "::", stdlib.AF_INET6, "::1", "::1"),
    "dual_stack": (stdlib.AF_INET6, "::", stdlib.AF_INET, "127.0.0.1", "::ffff:127.0.0.1"),
}


class Pair:
    """Our socket, its twin and a sender to both."""

    def __init__(self, closing, way):
        family, host, sender_family, self.host, self.told = way
        self.sock = closing(fastsock.socket(family, stdlib.SOCK_DGRAM))
        self.twin = closing(stdlib.socket(family, stdlib.SOCK_DGRAM))
        self.sender = closing(stdlib.socket(sender_family, stdlib.SOCK_DGRAM))
        for sock in (self.sock, self.twin):
            if family == stdlib.AF_INET6:
                sock.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 0)
            sock.bind((host, 0))
            sock.settimeout(5)
        self.is_ipv6 = sender_family == stdlib.AF_INET6
        options = [
            (stdlib.SOL_SOCKET, SO_TIMESTAMPNS),
            (stdlib.IPPROTO_IP, IP_PKTINFO),
            (stdlib.IPPROTO_IP, IP_RECVTTL),
            (stdlib.IPPROTO_IP, IP_RECVTOS),
            (stdlib.IPPROTO_IPV6, stdlib.IPV6_RECVPKTINFO),
            (stdlib.IPPROTO_IPV6, stdlib.IPV6_RECVHOPLIMIT),
            (stdlib.IPPROTO_IPV6, stdlib.IPV6_RECVTCLASS),
        ]
        for level, number in options[: 7 if family == stdlib.AF_INET6 else 4]:
            self.twin.setsockopt(level, number, 1)

    def send(self, data, hop_limit=None, tos=None):
        level = stdlib.IPPROTO_IPV6 if self.is_ipv6 else stdlib.IPPROTO_IP
        names = ("IPV6_UNICAST_HOPS", "IPV6_TCLASS") if self.is_ipv6 else ("IP_TTL", "IP_TOS")
        for name, value in zip(names, (hop_limit, tos), strict=True):
            if value is not None:
                self.sender.setsockopt(level, getattr(stdlib, name), value)
        for sock in (self.sock, self.twin):
            self.sender.sendto(data, (self.host, sock.getsockname()[1]))

    def expected(self):
        """What the twin is told of its next datagram."""
        data, control, _, _ = self.twin.recvmsg(2048, 512)
        told = {"data": data}
        for level, number, value in control:
            if (level, number) == (stdlib.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", value)
                told["timestamp"] = seconds * 10**9 + nanoseconds
            elif (level, number) == (stdlib.IPPROTO_IP, IP_PKTINFO):
                index, _, address = struct.unpack("i4s4s", value)
                told.setdefault("destination", stdlib.inet_ntoa(address))
                told.setdefault("interface", index)
            elif (level, number) == (stdlib.IPPROTO_IPV6, stdlib.IPV6_PKTINFO):
                told["destination"] = stdlib.inet_ntop(stdlib.AF_INET6, value[:16])
                told["interface"] = struct.unpack_from("i", value, 16)[0]
            elif number in (stdlib.IP_TTL, stdlib.IPV6_HOPLIMIT):
                told["hop_limit"] = struct.unpack("i", value)[0]
            elif number in (stdlib.IP_TOS, stdlib.IPV6_TCLASS):
                told["tos"] = value[0] if len(value) == 1 else struct.unpack("i", value)[0]
        return told


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def pair(request, closing):
    return Pair(closing, request.param)


@pytest.fixture
def ipv4_pair(closing):
    return Pair(closing, WAYS["ipv4"])


def rows(batch):
    """The columns, as a dict for each message."""
    return [
        {
            "data": batch[i].bytes(),
            "destination": batch.destinations[batch.destination[i]],
            "interface": batch.interface[i],
            "hop_limit": batch.hop_limit[i],
            "tos": batch.tos[i],
        }
        for i in range(len(batch))
    ]


SENDS = [(b"one", 33, 0), (b"two", 1, 0xB8), (b"", 255, 1), (b"four", 64, 2), (b"five", 64, 0xFF)]


@pytest.mark.parametrize("buffers", [0, 4], ids=["plain", "readahead"])
def test_columns_tell_what_the_ancillary_data_of_a_twin_does(pair, buffers):
    batch = fastsock.Batch(16, 65_536)
    pair.sock.set_metadata(**ALL)
    pair.sock.set_readahead(buffers)
    before = time.time_ns()
    for data, hop_limit, tos in SENDS:
        pair.send(data, hop_limit, tos)
    assert pair.sock.recv_batch(batch, minimum=len(SENDS)) == len(SENDS)
    expected = [pair.expected() for _ in SENDS]
    # Linux begins to stamp a moment after the option is set, and till then it stamps the receive.
    after = time.time_ns()
    stamps = [told.pop("timestamp") for told in expected]
    assert rows(batch) == expected
    assert all(before <= stamp <= after for stamp in [*stamps, *batch.timestamps_ns])
    assert list(batch.timestamps_ns) == sorted(batch.timestamps_ns)
    # The oracle itself, against what is known.
    for told, (data, hop_limit, tos) in zip(expected, SENDS, strict=True):
        # Linux keeps the ECN bits that a sender sets on a datagram socket.
        known = {"data": data, "destination": pair.told, "interface": LO, "hop_limit": hop_limit}
        assert told == known | {"tos": tos}


def test_columns_have_the_types_and_length_that_are_told(ipv4_pair):
    batch = fastsock.Batch(4)
    ipv4_pair.sock.set_metadata(**ALL)
    ipv4_pair.send(b"x")
    ipv4_pair.sock.recv_batch(batch)
    for column, form in [
        (batch.timestamps_ns, "q"),
        (batch.destination, "I"),
        (batch.interface, "I"),
        (batch.hop_limit, "B"),
        (batch.tos, "B"),
    ]:
        assert (column.format, len(column), column.readonly) == (form, 1, True)


def test_messages_tell_the_same(pair):
    batch = fastsock.Batch(4)
    pair.sock.set_metadata(**ALL)
    pair.send(b"one", 33, 0x10)
    pair.send(b"two", 34, 0x20)
    pair.sock.recv_batch(batch, minimum=2)
    for number, (message, row) in enumerate(zip(batch, rows(batch), strict=True)):
        assert message.timestamp_ns == batch.timestamps_ns[number] > 0
        assert message.destination == row["destination"] == pair.told
        assert message.interface == row["interface"] == LO
        assert message.hop_limit == row["hop_limit"] == 33 + number
        assert message.tos == row["tos"] == 0x10 * (number + 1)


def test_several_destinations_in_one_fill_are_told_apart(closing):
    pair = Pair(closing, WAYS["ipv4"])
    pair.sock.set_metadata(destination=True)
    hosts = [f"127.0.0.{1 + i % 12}" for i in range(30)]
    for host in hosts:
        pair.sender.sendto(b"x", (host, pair.sock.getsockname()[1]))
    batch = fastsock.Batch(64)
    assert pair.sock.recv_batch(batch, minimum=30) == 30
    assert [batch.destinations[i] for i in batch.destination] == hosts
    assert list(batch.destinations) == hosts[:12]
    assert [message.destination for message in batch] == hosts


def test_recvmsg_gets_the_same_as_ancillary_data(pair):
    pair.sock.set_metadata(**ALL)
    pair.send(b"x", 42, 4)
    _, control, _, _ = pair.sock.recvmsg(100, 512)
    _, twins, _, _ = pair.twin.recvmsg(100, 512)

    def without_time(items):
        return sorted(item for item in items if item[:2] != (stdlib.SOL_SOCKET, SO_TIMESTAMPNS))

    assert without_time(control) == without_time(twins)
    assert len(control) == len(twins)


OF_OPTION = {
    "timestamp": ["timestamps_ns"],
    "destination": ["destination", "destinations", "interface"],
    "hop_limit": ["hop_limit"],
    "tos": ["tos"],
}
OF_MESSAGE = {"timestamps_ns": "timestamp_ns", "destinations": None}


@pytest.mark.parametrize("asked", [None, *OF_OPTION])
def test_column_that_was_not_asked_for_names_set_metadata(ipv4_pair, asked):
    batch = fastsock.Batch(4)
    ipv4_pair.sock.set_metadata(**ALL)
    ipv4_pair.sock.set_metadata(**({asked: True} if asked else {}))
    ipv4_pair.send(b"x", 33)
    ipv4_pair.sock.recv_batch(batch)
    for option, columns in OF_OPTION.items():
        for column in columns:
            attribute = OF_MESSAGE.get(column, column)
            if option == asked:
                getattr(batch, column)
                assert attribute is None or getattr(batch[0], attribute) is not None
                continue
            with pytest.raises(AttributeError, match=rf"{column}.*set_metadata\({option}=True\)"):
                getattr(batch, column)
            if attribute is not None:
                with pytest.raises(AttributeError, match=rf"set_metadata\({option}=True\)"):
                    getattr(batch[0], attribute)


def test_switching_off_restores_the_socket(pair):
    pair.sock.set_metadata(**ALL)
    pair.sock.set_metadata()
    pair.send(b"x")
    assert pair.sock.recvmsg(100, 512)[:2] == (b"x", [])
    batch = fastsock.Batch(4)
    pair.send(b"y")
    assert pair.sock.recv_batch(batch) == 1
    with pytest.raises(AttributeError, match="set_metadata"):
        _ = batch.tos
    pair.sock.set_metadata(hop_limit=True)
    pair.send(b"z", 77)
    pair.sock.recv_batch(batch)
    assert list(batch.hop_limit) == [77]


def test_each_fill_has_the_columns_of_its_socket(ipv4_pair, closing):
    other = Pair(closing, WAYS["ipv6"])
    batch = fastsock.Batch(4)
    ipv4_pair.sock.set_metadata(hop_limit=True)
    ipv4_pair.send(b"x", 9)
    other.send(b"y", 8)
    assert ipv4_pair.sock.recv_batch(batch) == 1
    assert list(batch.hop_limit) == [9]
    assert other.sock.recv_batch(batch) == 1
    with pytest.raises(AttributeError, match="set_metadata"):
        _ = batch.hop_limit
    # A function keeps no state, and so no metadata.
    ipv4_pair.send(b"x", 9)
    assert fastsock.recv_batch(ipv4_pair.sock.fileno(), batch, timeout=5) == 1
    with pytest.raises(AttributeError, match="set_metadata"):
        _ = batch.hop_limit


def test_train_is_stamped_alike_and_keeps_it_in_the_queue(closing):
    pair = Pair(closing, WAYS["ipv4"])
    sender = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sender.setsockopt(stdlib.IPPROTO_IP, stdlib.IP_TTL, 21)
    pair.sock.set_metadata(**ALL)
    pair.sock.set_readahead(4)
    address = ("127.0.0.9", pair.sock.getsockname()[1])
    messages = [b"%03d" % i for i in range(40)]
    before = time.time_ns()
    assert sender.send_many(messages, address) == 40
    batch = fastsock.Batch(8, 10)
    # The first by a plain call, which fills the queue; the next ones from it, in several fills.
    got = [pair.sock.recv(10)]
    stamps = set()
    while len(got) < 40:
        pair.sock.recv_batch(batch)
        got += [message.bytes() for message in batch]
        stamps |= {stamp for stamp, flags in zip(batch.timestamps_ns, batch.flags, strict=True)
                   if flags & fastsock.Batch.COALESCED}  # fmt: skip
        assert set(batch.hop_limit) == {21}
        assert [message.destination for message in batch] == ["127.0.0.9"] * len(batch)
        assert all(before <= stamp <= time.time_ns() for stamp in batch.timestamps_ns)
    assert got == messages
    assert len(stamps) <= 1


@pytest.mark.parametrize("kind", ["tcp_ipv4", "unix_datagram", "unix_stream", "unix_seqpacket"])
def test_socket_that_is_not_udp_raises_capability_error(make_pair, kind):
    sock, _ = make_pair(kind)
    with pytest.raises(fastsock.CapabilityError, match="UDP") as caught:
        sock.set_metadata(timestamp=True)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_wrong_calls_raise(ipv4_pair):
    with pytest.raises(TypeError):
        ipv4_pair.sock.set_metadata(True)
    with pytest.raises(TypeError):
        ipv4_pair.sock.set_metadata(ttl=True)
    ipv4_pair.sock.close()
    for call in (lambda: ipv4_pair.sock.set_metadata(tos=True), ipv4_pair.sock.drops):
        assert outcome(call)[:2] == (OSError, errno.EBADF)


# drops()


def receive_all(sock):
    sock.settimeout(0)
    received = []
    while (result := outcome(sock.recv, 100))[0] == "returned":
        received.append(result[1])
    return received


@pytest.mark.parametrize("way", ["ipv4", "ipv6"])
def test_drops_are_counted_exactly_when_the_buffer_overflows(closing, way):
    pair = Pair(closing, WAYS[way])
    pair.sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 8192)
    assert pair.sock.drops() == 0
    total = 0
    for _ in range(3):
        for _ in range(200):
            pair.send(b"x")
        total += 200 - len(receive_all(pair.sock))
        assert pair.sock.drops() == total
        assert pair.sock.drops() == total
    assert 3 < total < 600


def test_drops_of_a_socket_that_lost_nothing_are_none(ipv4_pair):
    ipv4_pair.send(b"x")
    assert ipv4_pair.sock.recv(10) == b"x"
    assert ipv4_pair.sock.drops() == 0


@pytest.mark.parametrize("kind", ["unix_datagram", "unix_seqpacket", "unix_stream"])
def test_drops_of_unix_sockets_are_none(make_pair, kind):
    sock, peer = make_pair(kind)
    peer.settimeout(0)
    while outcome(peer.send, b"x" * 1000)[0] == "returned":
        pass
    assert sock.drops() == 0


class Instruction(ctypes.Structure):
    _fields_ = [(name, kind) for name, kind in zip(
        ("code", "yes", "no", "k"), (ctypes.c_uint16, ctypes.c_uint8, ctypes.c_uint8,
                                     ctypes.c_uint32), strict=True)]  # fmt: skip


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("first", ctypes.POINTER(Instruction))]


def test_drops_count_what_a_filter_rejects(ipv4_pair):
    # The filter of a UDP socket sees its header of 8 bytes first.
    instructions = (Instruction * 4)(
        Instruction(0x30, 0, 0, 8),  # load the first byte of the data
        Instruction(0x15, 0, 1, ord("x")),  # is it x?
        Instruction(0x06, 0, 0, 0),  # yes: nothing is let through
        Instruction(0x06, 0, 0, 0xFFFF),
    )
    program = Program(len(instructions), instructions)
    ipv4_pair.sock.setsockopt(stdlib.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))
    for data in [b"a", b"x", b"b", b"xx", b"x", b"c"]:
        ipv4_pair.send(data)
    assert receive_all(ipv4_pair.sock) == [b"a", b"b", b"c"]
    assert ipv4_pair.sock.drops() == 3
