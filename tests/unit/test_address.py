# SPDX-License-Identifier: MIT
"""Addresses both ways, through the caches of numeric ones."""

import os
import socket as stdlib

import pytest

import fastsock
from unit.calls import outcome

CACHE_CAPACITY = 64  # entries of each cache in address.pyx


@pytest.fixture(params=[stdlib.AF_INET, stdlib.AF_INET6], ids=["ipv4", "ipv6"])
def receiver(request, closing):
    """A bound UDP socket."""
    sock = closing(fastsock.socket(request.param, stdlib.SOCK_DGRAM))
    try:
        sock.bind((host_of(request.param), 0))
    except OSError as error:
        pytest.skip(f"binding {host_of(request.param)} was tried and gave: {error}")
    sock.settimeout(5)
    return sock


def host_of(family):
    return "127.0.0.1" if family == stdlib.AF_INET else "::1"


RECEIVES = {
    "recvfrom": lambda sock: sock.recvfrom(100)[1],
    "recvfrom_into": lambda sock: sock.recvfrom_into(bytearray(100))[1],
    "recvmsg": lambda sock: sock.recvmsg(100)[3],
    "recvmsg_into": lambda sock: sock.recvmsg_into([bytearray(100)])[3],
}
SENDS = {
    "sendto": lambda sock, address: sock.sendto(b"x", address),
    "sendto_with_flags": lambda sock, address: sock.sendto(b"x", 0, address),
    "sendmsg": lambda sock, address: sock.sendmsg([b"x"], [], 0, address),
}
each_receive = pytest.mark.parametrize("receive", RECEIVES.values(), ids=RECEIVES)
each_send = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)


# Senders


@each_receive
def test_sender_is_the_address_of_its_socket(receiver, receive):
    with stdlib.socket(receiver.family, stdlib.SOCK_DGRAM) as sender:
        sender.bind((host_of(receiver.family), 0))
        for _ in range(3):
            sender.sendto(b"x", receiver.getsockname())
            address = receive(receiver)
            assert address == sender.getsockname()
            assert [type(item) for item in address][:2] == [str, int]


@pytest.mark.parametrize("name", ["recvfrom", "recvfrom_into"])
def test_sender_seen_again_is_the_same_tuple(receiver, name):
    receive = RECEIVES[name]
    with stdlib.socket(receiver.family, stdlib.SOCK_DGRAM) as sender:
        sender.bind((host_of(receiver.family), 0))
        addresses = []
        for _ in range(5):
            sender.sendto(b"x", receiver.getsockname())
            addresses.append(receive(receiver))
    assert all(address is addresses[0] for address in addresses)


@each_receive
def test_senders_beyond_the_cache_are_all_right(receiver, receive):
    senders = []
    try:
        # They collide in the cache's slots, each way round.
        for _ in range(1000 if receiver.family == stdlib.AF_INET else 300):
            senders.append(stdlib.socket(receiver.family, stdlib.SOCK_DGRAM))
            senders[-1].bind((host_of(receiver.family), 0))
        for sender in [*senders, *reversed(senders), *senders[: CACHE_CAPACITY // 2]]:
            sender.sendto(b"x", receiver.getsockname())
            assert receive(receiver) == sender.getsockname()
    finally:
        for sender in senders:
            sender.close()


def test_senders_of_equal_port_and_other_host_differ(closing):
    receiver = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    receiver.bind(("127.0.0.1", 0))
    port = None
    for number in range(200):
        with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as sender:
            sender.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
            sender.bind((f"127.0.{number}.1", port or 0))
            port = sender.getsockname()[1]
            sender.sendto(b"x", receiver.getsockname())
            assert receiver.recvfrom(10)[1] == (f"127.0.{number}.1", port)


def test_sender_of_ipv4_on_dual_stack_socket_is_mapped(closing):
    receiver = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    receiver.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 0)
    receiver.bind(("::", 0))
    receiver.settimeout(5)
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.sendto(b"x", ("127.0.0.1", receiver.getsockname()[1]))
        port = sender.getsockname()[1]
    assert receiver.recvfrom(10)[1] == ("::ffff:127.0.0.1", port, 0, 0)


@each_receive
def test_sender_of_connected_stream_is_none(stream_pair, receive):
    sock, peer = stream_pair
    peer.send(b"x")
    # As CPython on Linux: the kernel names no sender on a stream.
    assert receive(sock) is None


@each_receive
@pytest.mark.parametrize(
    "name",
    ["path", "nön-ascii", b"\0abstract", b"\0\xff\0"],
    ids=["path", "utf8", "abstract", "nul"],
)
def test_unix_sender_is_named_as_by_the_stdlib(closing, tmp_path, monkeypatch, receive, name):
    monkeypatch.chdir(tmp_path)  # short names: a socket's path has 108 bytes
    if isinstance(name, bytes):
        name += os.urandom(8)  # abstract names are the whole machine's
    receiver = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    receiver.bind("receiver")
    sender = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    sender.bind(name)
    sender.sendto(b"x", "receiver")
    address = receive(receiver)
    assert address == sender.getsockname()
    assert type(address) is type(name)


@each_receive
def test_unix_sender_without_name_is_none(closing, tmp_path, monkeypatch, receive):
    monkeypatch.chdir(tmp_path)
    receiver = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    receiver.bind("receiver")
    with stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as sender:
        sender.sendto(b"x", "receiver")
    assert receive(receiver) is None


# Destinations


@each_send
def test_destination_of_the_same_tuple_and_of_equal_ones_arrives(receiver, send, closing):
    sock = closing(fastsock.socket(receiver.family, stdlib.SOCK_DGRAM))
    address = receiver.getsockname()
    short = address[:2]
    # Equal to the cached tuple, not the same one.
    copies = [("".join(list(short[0])), int(str(short[1]))) for _ in range(2)]
    for destination in [address, address, short, short, *copies, *copies]:
        assert send(sock, destination) == 1
        assert receiver.recv(10) == b"x"


@each_send
def test_destination_equal_to_a_cached_one_but_of_other_types_is_as_in_the_stdlib(
    receiver, send, closing
):
    sock = closing(fastsock.socket(receiver.family, stdlib.SOCK_DGRAM))
    plain = closing(stdlib.socket(receiver.family, stdlib.SOCK_DGRAM))
    host, port = receiver.getsockname()[:2]

    class Host(str):
        pass

    class Port(int):
        pass

    class Pair(tuple):
        pass

    send(sock, (host, port))
    receiver.recv(10)
    for destination in [
        (host, float(port)),
        (host, complex(port)),
        (host, str(port)),
        (host, None),
        (host, Port(port)),
        (Host(host), port),
        (host.encode(), port),
        (bytearray(host.encode()), port),
        Pair((host, port)),
        [host, port],
        (host,),
        (host, port, 0),
        (host, port, 0.0),
        (host, port, 0, 0),
        (host, port, 0, 0, 0),
        (host, port + 65_536),
        (host, -1),
        (host, 2**70),
        (host + "\0", port),
        (host, port, 2**20),
        (host, port, -1),
        None,
        host,
    ]:
        result = outcome(send, sock, destination)
        expected = outcome(send, plain, destination)
        assert result[:2] == expected[:2], destination
        for _ in range(2 if expected[0] == "returned" else 0):
            assert receiver.recv(10) == b"x"


@pytest.mark.parametrize("port", [0, 1])
def test_destination_with_bool_as_port_is_as_in_the_stdlib(closing, port):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    plain = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    for value in (port, bool(port), port):
        result = outcome(sock.sendto, b"x", ("127.0.0.1", value))
        assert result[:2] == outcome(plain.sendto, b"x", ("127.0.0.1", value))[:2]


def test_destination_cached_for_one_family_is_not_used_for_another(closing):
    sock4 = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock6 = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    plain6 = closing(stdlib.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    plain4 = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    numeric4, numeric6 = ("127.0.0.1", 9), ("::1", 9)
    for _ in range(2):
        assert sock4.sendto(b"x", numeric4) == 1
        for sock, plain, address in [(sock6, plain6, numeric4), (sock4, plain4, numeric6)]:
            result = outcome(sock.sendto, b"x", address)
            assert result == outcome(plain.sendto, b"x", address)
            assert issubclass(result[0], stdlib.gaierror)


@each_send
def test_destinations_beyond_the_cache_all_arrive(send, closing):
    receivers = []
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    for _ in range(3 * CACHE_CAPACITY):
        receivers.append(closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)))
        receivers[-1].bind(("127.0.0.1", 0))
        receivers[-1].settimeout(5)
    for receiver in [*receivers, *reversed(receivers)]:
        send(sock, receiver.getsockname())
        assert receiver.recv(10) == b"x"


@each_send
@pytest.mark.parametrize("host", ["localhost", "", "<broadcast>", "127.1", "0x7f.1", "LOCALHOST"])
def test_destination_by_name_is_resolved_as_by_the_stdlib(send, closing, host):
    # Never cached: the name may mean another host the next time.
    receiver = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    receiver.bind(("", 0))
    receiver.settimeout(5)
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    plain = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    address = (host, receiver.getsockname()[1])
    for _ in range(2):
        result = outcome(send, sock, address)
        assert result == outcome(send, plain, address)
        for _ in range(2 if result[0] == "returned" else 0):
            assert receiver.recv(10) == b"x"


def test_destination_that_does_not_resolve_raises_gaierror(closing):
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    for _ in range(2):
        with pytest.raises(stdlib.gaierror):
            sock.sendto(b"x", ("name.invalid", 9))


@each_send
def test_destination_scopes_are_not_mixed_up(closing, send):
    sock = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    plain = closing(stdlib.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    interfaces = [number for number, _ in stdlib.if_nameindex()]
    absent = max(interfaces) + 1000
    # The same address but for its last item. Without it the address of a link means nothing.
    for scope in [*interfaces, absent, 0, *interfaces, absent, 0]:
        address = ("fe80::fa57:50c4", 9, 0, scope)
        assert outcome(send, sock, address) == outcome(send, plain, address)
    assert outcome(send, sock, ("fe80::fa57:50c4", 9, 0, absent))[0] is OSError


def test_addresses_of_the_link_keep_their_scope(closing):
    found = [
        (line.split()[0], int(line.split()[1], 16))
        for line in (open_if_inet6() or [])
        if line.split()[3] == "20"  # IPV6_ADDR_LINKLOCAL
    ]
    if not found:
        pytest.skip("/proc/net/if_inet6 was read and has no address of scope link")
    digits, interface = found[0]
    host = stdlib.inet_ntop(stdlib.AF_INET6, bytes.fromhex(digits))
    receiver = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    try:
        receiver.bind((host, 0, 0, interface))
    except OSError as error:
        pytest.skip(f"binding {host} of interface {interface} was tried and gave: {error}")
    receiver.settimeout(5)
    sender = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    sender.bind((host, 0, 0, interface))
    for _ in range(2):
        sender.sendto(b"x", receiver.getsockname())
        assert receiver.recvfrom(10)[1] == sender.getsockname()
    assert sender.getsockname()[3] == interface


def open_if_inet6():
    try:
        with open("/proc/net/if_inet6") as file:
            return file.readlines()
    except FileNotFoundError:
        return None


def test_flow_information_reaches_the_kernel(closing):
    receiver = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    receiver.bind(("::1", 0))
    receiver.settimeout(5)
    flow_information, flow_send = 11, 33  # IPV6_FLOWINFO, IPV6_FLOWINFO_SEND: linux/in6.h
    receiver.setsockopt(stdlib.IPPROTO_IPV6, flow_information, 1)
    sock = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    sock.setsockopt(stdlib.IPPROTO_IPV6, flow_send, 1)
    port = receiver.getsockname()[1]
    # Twice each, and equal but for this item: a cache that left it out would mix them up.
    for flow in (5, 0x54321, 5, 0x54321):
        assert sock.sendto(b"x", ("::1", port, flow, 0)) == 1
        _, ancillary, _, _ = receiver.recvmsg(10, 100)
        sent = (stdlib.IPPROTO_IPV6, flow_information, flow.to_bytes(4, "big"))
        assert ancillary == [sent]


@pytest.mark.parametrize(
    "name", ["path", b"path", "\0abstract", b"\0abstract\0", bytearray(b"path")]
)
@each_send
def test_unix_destination_in_each_form_arrives(closing, tmp_path, monkeypatch, send, name):
    monkeypatch.chdir(tmp_path)
    if name[0] in (0, "\0"):
        random = os.urandom(8).hex()
        name = name + (random if isinstance(name, str) else random.encode())
    receiver = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    receiver.bind(name)
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    assert send(sock, name) == 1
    assert receiver.recv(10) == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "absent",
        "",
        b"",
        "x" * 200,
        b"x" * 108,
        "\0" + "x" * 108,
        "a\0b",
        "\ud800",
        5,
        ("path", 1),
        None,
    ],
    ids=ascii,
)
@each_send
def test_unix_destination_that_is_wrong_raises_as_the_stdlib(
    closing, tmp_path, monkeypatch, send, name
):
    monkeypatch.chdir(tmp_path)
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    plain = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    result = outcome(send, sock, name)
    assert result[0] != "returned"
    assert result[:2] == outcome(send, plain, name)[:2]
