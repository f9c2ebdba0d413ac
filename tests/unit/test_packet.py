# SPDX-License-Identifier: MIT
"""IP packets made and taken apart. The oracle is scapy, which knows nothing of ours."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

from fastsock.command import packet

pytestmark = pytest.mark.one_engine

PORTS = st.integers(0, 65535)
IP4 = st.tuples(st.ip_addresses(v=4).map(str), PORTS)
IP6 = st.tuples(st.ip_addresses(v=6).map(str), PORTS, st.just(0), st.just(0)).filter(
    lambda address: not address[0].startswith("::ffff:")
)
PAIRS = st.one_of(st.tuples(IP4, IP4), st.tuples(IP6, IP6))
PAYLOADS = st.binary(max_size=70)
SOURCE4, DESTINATION4 = ("192.0.2.1", 5000), ("192.0.2.2", 6000)
SOURCE6, DESTINATION6 = ("2001:db8::1", 5000, 0, 0), ("2001:db8::2", 6000, 0, 0)
ENDS = [
    pytest.param(SOURCE4, DESTINATION4, id="ipv4"),
    pytest.param(SOURCE6, DESTINATION6, id="ipv6"),
]


def checked(data):
    """What scapy makes of the packet, which it must make again byte for byte without being told
    lengths and checksums."""
    read = (IP if data[0] >> 4 == 4 else IPv6)(data)
    again = read.copy()
    for layer, names in ((IP, ("len", "chksum")), (IPv6, ("plen",)), (UDP, ("len", "chksum"))):
        for name in names:
            if layer in again:
                again[layer].delfieldval(name)
    assert bytes(again) == data
    return read


@given(PAIRS, PAYLOADS)
@example((SOURCE4, DESTINATION4), b"")
@example((SOURCE6, DESTINATION6), b"\xff")
@example((("0.0.0.0", 0), ("0.0.0.0", 0)), bytes(7))
def test_built_packet_is_one_that_scapy_makes(pair, payload):
    source, destination = pair
    read = checked(packet.build(source, destination, payload))
    assert (read.src, read[UDP].sport) == source[:2]
    assert (read.dst, read[UDP].dport) == destination[:2]
    assert bytes(read[UDP].payload) == payload


@given(PAIRS, PAYLOADS)
def test_packet_taken_apart_gives_what_it_was_built_of(pair, payload):
    assert packet.parse(memoryview(packet.build(*pair, payload))) == (*pair, payload)


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_udp_checksum_of_zero_is_sent_as_all_ones(source, destination):
    place = 26 if len(source) == 2 else 46
    # A payload that is the checksum of its absence makes the sum 0xffff.
    payload = packet.build(source, destination, bytes(2))[place : place + 2]
    data = packet.build(source, destination, payload)
    assert data[place : place + 2] == b"\xff\xff"
    checked(data)


def test_ip_checksum_of_zero_is_sent_as_it_is():
    high, low = packet.build(("10.0.0.0", 1), DESTINATION4, b"")[10:12]
    data = packet.build((f"10.0.{high}.{low}", 1), DESTINATION4, b"")
    assert data[10:12] == b"\0\0"
    checked(data)


@pytest.mark.parametrize(
    ("source", "destination", "longest"),
    [(SOURCE4, DESTINATION4, 65507), (SOURCE6, DESTINATION6, 65527)],
    ids=["ipv4", "ipv6"],
)
def test_payload_of_any_length_that_udp_has_is_kept_whole(source, destination, longest):
    payload = bytes(range(256)) * 256
    data = packet.build(source, destination, payload[:longest])
    checked(data)
    assert packet.parse(memoryview(data))[2] == payload[:longest]
    with pytest.raises(ValueError, match=f"^{longest + 1} bytes are too long"):
        packet.build(source, destination, payload[: longest + 1])


def test_mapped_addresses_make_the_ipv4_packet_that_came():
    source, destination = ("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:192.0.2.2", 2, 0, 0)
    expected = packet.build(("192.0.2.1", 1), ("192.0.2.2", 2), b"x")
    assert packet.build(source, destination, b"x") == expected


def test_scope_of_an_address_is_left_out():
    source = ("fe80::1%lo", 1, 0, 1)
    assert packet.parse(memoryview(packet.build(source, SOURCE6, b"")))[0] == ("fe80::1", 1, 0, 0)


@pytest.mark.parametrize(
    ("source", "destination", "cure"),
    [
        (("localhost", 1), DESTINATION4, "'localhost' is not a numeric address"),
        (SOURCE4, ("::g", 1), "'::g' is not a numeric address"),
        (SOURCE4, DESTINATION6, "192.0.2.1 and 2001:db8::2 are not of one family"),
    ],
    ids=["name", "misspelt", "families"],
)
def test_addresses_that_no_packet_can_have_are_refused(source, destination, cure):
    with pytest.raises(ValueError, match=cure):
        packet.build(source, destination, b"")


UDP_X = UDP(sport=5000, dport=6000) / Raw(b"payload")
OPTIONS = IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt()


@pytest.mark.parametrize(
    "built",
    [
        IP(src="192.0.2.1", dst="192.0.2.2", options=b"\x01" * 8) / UDP_X,
        IP(src="192.0.2.1", dst="192.0.2.2", len=0) / UDP_X,
        IPv6(src="2001:db8::1", dst="2001:db8::2") / OPTIONS / UDP_X,
        IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrFragment(offset=0, m=0) / UDP_X,
    ],
    ids=["options", "length_left_to_the_card", "extension_headers", "atomic_fragment"],
)
def test_datagram_is_found_behind_what_stands_before_it(built):
    source, destination, payload = packet.parse(memoryview(bytes(built)))
    assert (source[1], destination[1], payload) == (5000, 6000, b"payload")
    assert {source[0], destination[0]} <= {"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"}


def test_bytes_that_follow_the_datagram_are_left_out():
    data = packet.build(SOURCE4, DESTINATION4, b"x") + bytes(17)  # a frame has 46 bytes at least
    assert packet.parse(memoryview(data))[2] == b"x"


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        (IP(proto=6) / Raw(bytes(20)), "others"),
        (IPv6(nh=6) / Raw(bytes(20)), "others"),
        (IP(flags="MF") / UDP_X, "fragments"),
        (IP(frag=5, proto=17) / Raw(bytes(20)), "fragments"),
        (IPv6() / IPv6ExtHdrFragment(m=1) / UDP_X, "fragments"),
        (IPv6() / IPv6ExtHdrFragment(offset=5, nh=17) / Raw(bytes(20)), "fragments"),
        (IP(ihl=4) / UDP_X, "malformed"),
        (IP(proto=17, len=24) / Raw(bytes(4)), "malformed"),
        (IP() / UDP(len=7), "malformed"),
        (IP() / UDP(len=100), "malformed"),
        (IPv6(nh=17, plen=4) / Raw(bytes(4)), "malformed"),
        (IPv6(nh=0, plen=4) / Raw(bytes(4)), "malformed"),
        (Raw(b"\x50" + bytes(40)), "malformed"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.summary().replace(" ", ""),
)
def test_packet_without_a_whole_datagram_tells_why(built, reason):
    with pytest.raises(packet.NoDatagram) as caught:
        packet.parse(memoryview(bytes(built)))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_packet_that_ends_early_is_cut(source, destination):
    whole = packet.build(source, destination, b"payload")
    for size in range(len(whole)):
        with pytest.raises(packet.NoDatagram) as caught:
            packet.parse(memoryview(whole)[:size])
        assert caught.value.reason == "cut"


@given(st.sampled_from([b"", b"\x45", b"\x60"]), st.binary(max_size=120))
def test_any_bytes_are_a_datagram_or_told_why_not(start, rest):
    reason = None
    try:
        packet.parse(memoryview(start + rest))
    except packet.NoDatagram as error:
        reason = error.reason
    assert reason in {None, "fragments", "others", "cut", "malformed"}
