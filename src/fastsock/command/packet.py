# SPDX-License-Identifier: MIT
"""IPv4 and IPv6 packets with a UDP datagram inside: how they are made and taken apart."""

from __future__ import annotations

import socket as stdlib
import struct
from functools import lru_cache
from typing import Any

UDP = 17
HOP_LIMIT = 64
DO_NOT_FRAGMENT = 0x4000  # with it the identification may be 0: RFC 6864, section 4.1
UDP_HEADER = struct.Struct(">HHHH")
IP4_HEADER = struct.Struct(">BBHHHBBH4s4s")
IP6_HEADER = struct.Struct(">IHBB16s16s")
# The extension headers that may stand between IPv6 and UDP, whose length counts 8 bytes and leaves
# out the first 8: hop-by-hop options, routing, destination options. RFC 8200, section 4.
IP6_OPTIONS = {0, 43, 60}
IP6_FRAGMENT = 44


class NoDatagram(Exception):
    """The packet holds no whole UDP datagram; `reason` is the name of a count of `Skipped`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def build(source: tuple[Any, ...], destination: tuple[Any, ...], payload: bytes) -> bytes:
    """Make the packet that carries a datagram, with valid checksums.

    Parameters
    ----------
    source, destination : tuple
        (host, port) or (host, port, flowinfo, scope_id), the host numeric; both IPv4 or both IPv6.
        IPv4-mapped IPv6 addresses make an IPv4 packet, as it was on the wire.
    payload : bytes
        At most 65,507 bytes over IPv4 and 65,527 over IPv6.

    Raises
    ------
    ValueError
        A host is not numeric, the families differ, or the payload is too long.
    """
    family, hosts, ports, pseudo_header = _flow(source[:2], destination[:2])
    length = UDP_HEADER.size + len(payload)
    # The pseudo header's protocol and length, the ports and the length again. RFC 768 and RFC 8200,
    # section 8.1: a sum of 0 is sent as 0xffff, as 0 says that there is none.
    words = pseudo_header + length + length
    checksum = _checksum(payload, words) or 0xFFFF
    datagram = UDP_HEADER.pack(*ports, length & 0xFFFF, checksum) + payload
    if family == stdlib.AF_INET6:
        if length > 0xFFFF:
            raise ValueError(f"{len(payload)} bytes are too long for a datagram over IPv6")
        return IP6_HEADER.pack(6 << 28, length, UDP, HOP_LIMIT, *hosts) + datagram
    if IP4_HEADER.size + length > 0xFFFF:
        raise ValueError(f"{len(payload)} bytes are too long for a datagram over IPv4")
    fields = (0x45, 0, IP4_HEADER.size + length, 0, DO_NOT_FRAGMENT, HOP_LIMIT, UDP)
    checksum = _checksum(IP4_HEADER.pack(*fields, 0, *hosts))
    return IP4_HEADER.pack(*fields, checksum, *hosts) + datagram


def _flow_of(
    source: tuple[str, int], destination: tuple[str, int]
) -> tuple[int, tuple[bytes, bytes], tuple[int, int], int]:
    """The family, packed hosts, ports, and the sum of what the UDP checksum has of them."""
    families, hosts = zip(*(_packed(host) for host, _ in (source, destination)), strict=True)
    if families[0] != families[1]:
        raise ValueError(f"{source[0]} and {destination[0]} are not of one family")
    ports = (source[1], destination[1])
    words = sum(ports) + UDP + int.from_bytes(b"".join(hosts), "big")
    return families[0], hosts, ports, words


_flow = lru_cache(maxsize=1024)(_flow_of)


def _packed(host: str) -> tuple[int, bytes]:
    try:
        if ":" not in host:
            return stdlib.AF_INET, stdlib.inet_pton(stdlib.AF_INET, host)
        packed = stdlib.inet_pton(stdlib.AF_INET6, host.partition("%")[0])
    except OSError:
        raise ValueError(f"{host!r} is not a numeric address") from None
    if packed.startswith(bytes(10) + b"\xff\xff"):
        return stdlib.AF_INET, packed[12:]
    return stdlib.AF_INET6, packed


def _checksum(data: bytes, words: int = 0) -> int:
    """The Internet checksum (RFC 1071) of data, padded to 16 bits, and of words summed before."""
    # 2**16 is 1 modulo 0xffff, so the number that the bytes spell is the sum of its 16-bit words.
    number = int.from_bytes(data, "big")
    total = (number << 8 if len(data) % 2 else number) + words
    # Folding carries never makes a sum of 0 from words that are not all 0.
    return 0xFFFF - (total % 0xFFFF or 0xFFFF) if total else 0xFFFF


def parse(packet: memoryview) -> tuple[tuple[Any, ...], tuple[Any, ...], bytes]:
    """Take the datagram out of an IPv4 or IPv6 packet.

    Checksums are not looked at: a capture on the sending host has them unfinished.

    Returns
    -------
    tuple
        (source, destination, payload), the addresses as a socket of that family has them.

    Raises
    ------
    NoDatagram
        It is a fragment, of another protocol, not all there, or contradicts itself.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        source, destination, start, end = _inside_ip4(packet)
        extra: tuple[int, ...] = ()
    elif version == 6:
        source, destination, start, end = _inside_ip6(packet)
        extra = (0, 0)
    else:
        raise NoDatagram("malformed" if packet else "cut")
    if start + UDP_HEADER.size > end:
        raise NoDatagram("malformed")
    if start + UDP_HEADER.size > len(packet):
        raise NoDatagram("cut")
    source_port, destination_port, length, _ = UDP_HEADER.unpack_from(packet, start)
    if not UDP_HEADER.size <= length <= end - start:
        raise NoDatagram("malformed")
    if start + length > len(packet):
        raise NoDatagram("cut")
    payload = bytes(packet[start + UDP_HEADER.size : start + length])
    return (source, source_port, *extra), (destination, destination_port, *extra), payload


def _inside_ip4(packet: memoryview) -> tuple[str, str, int, int]:
    """The hosts, and where in the packet UDP begins and IP ends."""
    if len(packet) < IP4_HEADER.size:
        raise NoDatagram("cut")
    head, _, total, _, fragment, _, protocol, _, source, destination = IP4_HEADER.unpack_from(
        packet
    )
    start = (head & 15) * 4
    # Linux captures a packet that the card is still to cut with a length of 0.
    end = total or len(packet)
    if start < IP4_HEADER.size or end < start:
        raise NoDatagram("malformed")
    if fragment & 0x3FFF:  # more to come, or not the first
        raise NoDatagram("fragments")
    if protocol != UDP:
        raise NoDatagram("others")
    return stdlib.inet_ntoa(source), stdlib.inet_ntoa(destination), start, end


def _inside_ip6(packet: memoryview) -> tuple[str, str, int, int]:
    if len(packet) < IP6_HEADER.size:
        raise NoDatagram("cut")
    _, length, following, _, source, destination = IP6_HEADER.unpack_from(packet)
    start = IP6_HEADER.size
    end = start + length
    while following != UDP:
        if following not in IP6_OPTIONS and following != IP6_FRAGMENT:
            raise NoDatagram("others")
        if start + 8 > end:
            raise NoDatagram("malformed")
        if start + 8 > len(packet):
            raise NoDatagram("cut")
        if following == IP6_FRAGMENT:
            # One that is whole (an atomic fragment, RFC 6946) is a datagram like any other.
            if int.from_bytes(packet[start + 2 : start + 4], "big") & 0xFFF9:
                raise NoDatagram("fragments")
            size = 8
        else:
            size = 8 + packet[start + 1] * 8
        following = packet[start]
        start += size
    hosts = (stdlib.inet_ntop(stdlib.AF_INET6, host) for host in (source, destination))
    return (*hosts, start, end)
