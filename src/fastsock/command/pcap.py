# SPDX-License-Identifier: MIT
"""UDP datagrams in pcap files, which tcpdump and Wireshark read and write.

Source: draft-ietf-opsawg-pcap and the registry of link types at tcpdump.org.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsock.command import packet as _packet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

NANOSECOND_MAGIC = 0xA1B23C4D
MICROSECOND_MAGIC = 0xA1B2C3D4
OTHER_MAGICS = {
    0x0A0D0D0A: "pcapng; editcap -F nsecpcap makes it a pcap file",
    0xA1B2CD34: "a pcap file with the fields of an old patch; editcap -F nsecpcap mends it",
}
LINK_RAW = 101
# No record of a sane file is longer: libpcap has this limit, and USB captures, which need more,
# hold no datagrams.
LONGEST_RECORD = 262144  # bytes
HEADER = "IHHiIII"  # magic, version, time zone, accuracy, longest record, link type
RECORD = "IIII"  # seconds, their fraction, bytes here, bytes on the wire

IP4, IP6 = 0x0800, 0x86DD  # EtherTypes
VLAN_TAGS = {0x8100, 0x88A8, 0x9100}
# The number of AF_INET, and those that AF_INET6 has on different systems.
NULL_FAMILIES = {2, 10, 24, 28, 30}
RAW_LINKS = {LINK_RAW, 12, 14, 228, 229}
# Where the EtherType stands in the header of the link, and how long that is: Ethernet and the two
# versions of Linux' "cooked" capture, which -i any makes.
ETHERTYPE_LINKS = {1: (12, 14), 113: (14, 16), 276: (0, 20)}
NULL_LINKS = {0, 108}


class PcapError(ValueError):
    """The file is no pcap file, or is damaged; the text tells at which byte."""


class Datagram(NamedTuple):
    """A UDP datagram of a file; the addresses are as a socket of that family has them."""

    timestamp_ns: int
    source: tuple[Any, ...]
    destination: tuple[Any, ...]
    payload: bytes


@dataclass
class Skipped:
    """How many records gave no datagram, by cause."""

    fragments: int = 0
    others: int = 0  # other protocols than UDP
    cut: int = 0  # by the longest length that the capture kept
    malformed: int = 0

    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


class PcapWriter:
    """Write datagrams as a pcap file with nanoseconds, each a whole IP packet (LINKTYPE_RAW).

    Parameters
    ----------
    file : binary file
        Open for writing; the header goes there at once. It stays the caller's to flush and close.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._record = struct.Struct("<" + RECORD)
        header = (NANOSECOND_MAGIC, 2, 4, 0, 0, LONGEST_RECORD, LINK_RAW)
        file.write(struct.pack("<" + HEADER, *header))

    def write(
        self,
        timestamp_ns: int,
        source: tuple[Any, ...],
        destination: tuple[Any, ...],
        payload: bytes,
    ) -> None:
        """Write one datagram, with headers made for it and none of its payload cut.

        Parameters
        ----------
        timestamp_ns : int
            Nanoseconds since 1970, before 2106: the format has 32 bits for the seconds.
        source, destination : tuple
            (host, port, ...), the host numeric, both of one family.
        payload : bytes

        Raises
        ------
        ValueError
            The file can't hold it; nothing is written.
        """
        packet = _packet.build(source, destination, payload)
        seconds, fraction = divmod(timestamp_ns, 10**9)
        if not 0 <= seconds < 1 << 32:
            raise ValueError(f"the time {timestamp_ns} ns is not between 1970 and 2106")
        # In one piece: a file that ends at any time should not end between two.
        self._file.write(self._record.pack(seconds, fraction, len(packet), len(packet)) + packet)


class PcapReader:
    """Read the UDP datagrams of a pcap file, of any byte order and either resolution of time.

    Iteration gives a `Datagram` each; `skipped` counts the records that gave none. The link may be
    raw IP, Ethernet (VLAN tags are passed over), Linux cooked, or the loopback of BSD.

    A capture taken on the host of a sender with GSO has a train of datagrams as one.

    Parameters
    ----------
    file : binary file
        Open for reading; it may be a pipe.

    Raises
    ------
    PcapError
        It is no pcap file, or of another link; while iterating: it is damaged, and where.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self.skipped: Skipped = Skipped()
        head = self._take(struct.calcsize("=" + HEADER), "the header")
        if head is None:
            raise PcapError("the file is empty, not a pcap file")
        order, nanoseconds = _format_of(head)
        _, major, minor, _, _, longest, link = struct.unpack(order + HEADER, head)
        if (major, minor) != (2, 4):
            raise PcapError(f"byte 4: version {major}.{minor} of the format, not 2.4")
        self._record = struct.Struct(order + RECORD)
        self._fractions = 10**9 if nanoseconds else 10**6  # in a second
        self._longest = max(longest, LONGEST_RECORD)
        # The upper bits tell whether frames end in a checksum, which IP's length leaves out anyway.
        self.link_type: int = link & 0x03FFFFFF
        if self.link_type not in RAW_LINKS | ETHERTYPE_LINKS.keys() | NULL_LINKS:
            raise PcapError(f"byte 20: link type {self.link_type} is none that is read here")

    def __iter__(self) -> Iterator[Datagram]:
        while (found := self._next_record()) is not None:
            timestamp_ns, frame, is_cut = found
            try:
                addresses_and_payload = _packet.parse(_ip_inside(frame, self.link_type))
            except _packet.NoDatagram as error:
                # Bytes that are missing although the capture kept all were never there.
                reason = "malformed" if error.reason == "cut" and not is_cut else error.reason
                setattr(self.skipped, reason, getattr(self.skipped, reason) + 1)
            else:
                yield Datagram(timestamp_ns, *addresses_and_payload)

    def _next_record(self) -> tuple[int, memoryview, bool] | None:
        start = self._offset
        head = self._take(self._record.size, "a record's header")
        if head is None:
            return None
        seconds, fraction, length, wire_length = self._record.unpack(head)
        if fraction >= self._fractions:
            raise PcapError(
                f"byte {start}: the record's time has {fraction} for a part of a second"
            )
        if length > self._longest:
            raise PcapError(
                f"byte {start}: a record of {length} bytes; {self._longest} are allowed"
            )
        data = self._take(length, "a record")
        if data is None and length:
            raise PcapError(f"byte {self._offset}: the file ends inside a record")
        timestamp_ns = seconds * 10**9 + fraction * (10**9 // self._fractions)
        return timestamp_ns, memoryview(data or b""), length < wire_length

    def _take(self, size: int, what: str) -> bytes | None:
        """Read size bytes; None where the file ends."""
        data = self._file.read(size)
        if data and len(data) < size:
            end = self._offset + len(data)
            raise PcapError(
                f"byte {end}: the file ends inside {what} that begins at {self._offset}"
            )
        self._offset += len(data)
        return data or None


def _format_of(head: bytes) -> tuple[str, bool]:
    """The byte order of the file, for struct, and whether its times are nanoseconds."""
    for order in "<>":
        (magic,) = struct.unpack_from(order + "I", head)
        if magic in (NANOSECOND_MAGIC, MICROSECOND_MAGIC):
            return order, magic == NANOSECOND_MAGIC
        if magic in OTHER_MAGICS:
            raise PcapError(f"byte 0: this is {OTHER_MAGICS[magic]}")
    raise PcapError(f"byte 0: no pcap file begins with {head[:4].hex(' ')}")


def _ip_inside(frame: memoryview, link_type: int) -> memoryview:
    """The IP packet of a frame."""
    if link_type in RAW_LINKS:
        return frame
    if link_type in NULL_LINKS:
        if len(frame) < 4:
            raise _packet.NoDatagram("cut")
        # In the byte order of whoever captured, which need not be the file's.
        families = {int.from_bytes(frame[:4], "little"), int.from_bytes(frame[:4], "big")}
        if not families & NULL_FAMILIES:
            raise _packet.NoDatagram("others")
        return frame[4:]
    place, start = ETHERTYPE_LINKS[link_type]
    kind = int.from_bytes(frame[place : place + 2], "big")
    while kind in VLAN_TAGS and len(frame) >= start + 4:
        kind = int.from_bytes(frame[start + 2 : start + 4], "big")
        start += 4
    if len(frame) < start or kind in VLAN_TAGS:
        raise _packet.NoDatagram("cut")
    if kind not in (IP4, IP6):
        raise _packet.NoDatagram("others")
    return frame[start:]
