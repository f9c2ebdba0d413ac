# SPDX-License-Identifier: MIT
"""pcap files written and read. scapy reads what we write and makes the frames that we read."""

import io
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.packet import Raw
from scapy.utils import RawPcapReader

from fastsock.command.pcap import Datagram, PcapError, PcapReader, PcapWriter
from unit.test_packet import PAIRS, PAYLOADS, checked

pytestmark = pytest.mark.one_engine

MICROSECOND, NANOSECOND = 0xA1B2C3D4, 0xA1B23C4D
TIMES = st.integers(0, (1 << 32) * 10**9 - 1)
DATAGRAMS = st.builds(
    lambda time, pair, payload: Datagram(time, *pair, payload), TIMES, PAIRS, PAYLOADS
)
ONE = Datagram(1_700_000_000_123_456_789, ("192.0.2.1", 5000), ("192.0.2.2", 6000), b"payload")
SIX = Datagram(7, ("2001:db8::1", 5000, 0, 0), ("2001:db8::2", 6000, 0, 0), b"payload")
# With addresses, for which scapy would ask the network otherwise.
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
IP4 = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=5000, dport=6000) / Raw(b"payload")
IP6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5000, dport=6000) / Raw(b"payload")


def written(*datagrams):
    file = io.BytesIO()
    writer = PcapWriter(file)
    for datagram in datagrams:
        writer.write(*datagram)
    return file.getvalue()


def file_of(link, *frames, order="<", magic=NANOSECOND, snaplen=65535, kept=None):
    """A pcap file of frames, of which the first bytes are kept."""
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)
    for frame in map(bytes, frames):
        part = frame[:kept]
        data += struct.pack(order + "IIII", 0, 7, len(part), len(frame)) + part
    return data


def reader_of(data):
    return PcapReader(io.BytesIO(data))


@given(st.lists(DATAGRAMS, max_size=5))
def test_datagrams_written_are_read_again(datagrams):
    reader = reader_of(written(*datagrams))
    assert list(reader) == datagrams
    assert reader.skipped.total() == 0


@given(st.lists(DATAGRAMS, min_size=1, max_size=5))
def test_file_written_is_read_by_scapy(datagrams):
    with RawPcapReader(io.BytesIO(written(*datagrams))) as reader:
        assert (reader.linktype, reader.nano) == (101, True)
        records = list(reader)
    assert len(records) == len(datagrams)
    for (data, told), datagram in zip(records, datagrams, strict=True):
        assert told.sec * 10**9 + told.usec == datagram.timestamp_ns
        assert told.caplen == told.wirelen == len(data)
        assert bytes(checked(data)[UDP].payload) == datagram.payload


@pytest.mark.parametrize("time_ns", [-1, (1 << 32) * 10**9], ids=["1969", "2106"])
def test_time_that_the_file_cannot_hold_is_refused_and_nothing_written(time_ns):
    file = io.BytesIO()
    writer = PcapWriter(file)
    before = file.getvalue()
    with pytest.raises(ValueError, match="not between 1970 and 2106"):
        writer.write(*ONE._replace(timestamp_ns=time_ns))
    assert file.getvalue() == before


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize(
    ("magic", "time_ns"), [(MICROSECOND, 7000), (NANOSECOND, 7)], ids=["micro", "nano"]
)
def test_either_byte_order_and_resolution_is_read(order, magic, time_ns):
    data = file_of(101, IP4, IP6, order=order, magic=magic)
    assert list(reader_of(data)) == [
        ONE._replace(timestamp_ns=time_ns),
        SIX._replace(timestamp_ns=time_ns),
    ]


LINKS = {
    "raw": (101, lambda packet: packet),
    "raw_bsd": (12, lambda packet: packet),
    "raw_openbsd": (14, lambda packet: packet),
    "ethernet": (1, lambda packet: ETHER / packet),
    "ethernet_fcs": (1 | 0x24000000, lambda packet: ETHER / packet / Raw(bytes(4))),
    "vlan": (1, lambda packet: ETHER / Dot1Q(vlan=5) / packet),
    "vlan_in_vlan": (1, lambda packet: ETHER / Dot1AD(vlan=5) / Dot1Q(vlan=6) / packet),
    "cooked": (113, lambda packet: CookedLinux() / packet),
    "cooked_2": (276, lambda packet: CookedLinuxV2() / packet),
}


@pytest.mark.parametrize(("link", "wrap"), LINKS.values(), ids=LINKS)
def test_datagram_is_found_behind_each_link(link, wrap):
    four, six = (bytes(packet) for packet in (IP4, IP6))
    reader = reader_of(file_of(link, wrap(IP(four)), wrap(IPv6(six))))
    assert list(reader) == [ONE._replace(timestamp_ns=7), SIX]
    assert reader.skipped.total() == 0


@pytest.mark.parametrize("link", [0, 108], ids=["null", "loop"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_datagram_is_found_behind_loopback_of_any_system(link, order):
    families = [(2, IP4)] + [(number, IP6) for number in (10, 24, 28, 30)]
    frames = [number.to_bytes(4, order) + bytes(packet) for number, packet in families]
    reader = reader_of(file_of(link, *frames, Loopback(type=7) / Raw(bytes(20))))
    assert list(reader) == [ONE._replace(timestamp_ns=7), SIX, SIX, SIX, SIX]
    assert vars(reader.skipped) == {"fragments": 0, "others": 1, "cut": 0, "malformed": 0}


def test_records_without_a_datagram_are_counted_by_cause():
    frames = [
        ETHER / IP4,
        ETHER / ARP(),
        ETHER / IP(proto=6) / Raw(bytes(20)),
        ETHER / IP(flags="MF", proto=17) / Raw(bytes(24)),
        ETHER / IP() / UDP(len=100),
        Raw(bytes(5)),
        Raw(b""),
    ]
    reader = reader_of(file_of(1, *frames))
    assert [datagram.payload for datagram in reader] == [b"payload"]
    assert vars(reader.skipped) == {"fragments": 1, "others": 2, "cut": 0, "malformed": 3}
    assert reader.skipped.total() == 6


@pytest.mark.parametrize(("link", "wrap"), LINKS.values(), ids=LINKS)
def test_datagrams_cut_by_the_capture_are_counted(link, wrap):
    frame = bytes(wrap(IP(bytes(IP4))))
    whole = frame.index(b"payload") + len(b"payload")
    for kept in range(whole):
        reader = reader_of(file_of(link, frame, kept=kept))
        assert list(reader) == []
        assert (reader.skipped.cut, reader.skipped.total()) == (1, 1)
    assert len(list(reader_of(file_of(link, frame, kept=whole)))) == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\nexit 0; # and more", "byte 0: no pcap file begins with 23 21 2f 62"),
        (file_of(101)[:23], "byte 23: the file ends inside the header that begins at 0"),
        (b"\n\r\r\n" + bytes(24), "byte 0: this is pcapng; editcap"),
        (struct.pack("<I", 0xA1B2CD34) + bytes(24), "byte 0: .*editcap"),
        (struct.pack("<IHH", NANOSECOND, 2, 3) + bytes(16), "byte 4: version 2.3"),
        (file_of(147), "byte 20: link type 147"),
    ],
    ids=["empty", "text", "short", "pcapng", "patched", "version", "link"],
)
def test_what_is_no_pcap_file_is_refused_at_once(data, told):
    with pytest.raises(PcapError, match=told):
        reader_of(data)


def test_file_that_ends_inside_a_record_tells_where_after_the_others():
    data = written(ONE, ONE)
    second = 24 + (len(data) - 24) // 2
    for size in range(second + 1, len(data)):
        reader = iter(reader_of(data[:size]))
        assert next(reader) == ONE
        with pytest.raises(PcapError, match=f"^byte {size}: the file ends inside"):
            next(reader)
    assert list(reader_of(data[:second])) == [ONE]


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (4, 10**9, "the record's time has 1000000000"),
        (8, 262145, "a record of 262145 bytes; 262144 are allowed"),
        (8, 0xFFFFFFFF, "a record of 4294967295 bytes"),
    ],
    ids=["time", "length", "huge"],
)
def test_damaged_record_tells_where_it_begins(place, value, told):
    first = written(ONE)
    data = bytearray(written(ONE, ONE))
    struct.pack_into("<I", data, len(first) + place, value)
    reader = iter(reader_of(bytes(data)))
    assert next(reader) == ONE
    with pytest.raises(PcapError, match=f"^byte {len(first)}: {told}"):
        next(reader)


def test_record_longer_than_usual_is_read_where_the_header_allows_it():
    frame = bytes(ETHER / IP4) + bytes(300_000)
    assert len(list(reader_of(file_of(1, frame, snaplen=400_000)))) == 1


@given(
    st.sampled_from([0, 1, 12, 101, 113, 276]),
    st.lists(st.binary(max_size=80), max_size=4),
    st.binary(max_size=40),
)
def test_any_bytes_are_read_or_refused_with_a_place(link, frames, rest):
    reader = reader_of(file_of(link, *frames) + rest)
    found, refusal = 0, None
    try:
        for _ in reader:
            found += 1
    except PcapError as error:
        refusal = str(error)
    assert refusal is None or re.match(r"byte \d+: ", refusal)
    assert found + reader.skipped.total() >= len(frames)
