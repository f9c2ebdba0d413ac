# SPDX-License-Identifier: MIT
"""GSO: what of a call leaves as a train. Routes that refuse trains are in test_gso_faults.py.

A receiver with UDP_GRO, of the standard library, sees the trains as they were made: loopback
itself merges nothing.
"""

import socket as stdlib
import struct

import pytest

import fastsock
from fastsock.native import library

UDP_GRO = 104  # linux/udp.h


@pytest.fixture
def make_receiver_of_trains(make_pair):
    """Return make_receiver_of_trains(kind): (sock, peer), the peer with UDP_GRO."""

    def make_receiver_of_trains(kind):
        sock, peer = make_pair(kind)
        peer.setsockopt(stdlib.IPPROTO_UDP, UDP_GRO, 1)
        peer.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 1 << 20)
        peer.settimeout(5)
        return sock, peer

    return make_receiver_of_trains


def expected(sizes, trains):
    """Return what is to come: the portable engine makes no trains."""
    return trains if library.engine_name() == "linux" else [(size, 1) for size in sizes]


def receive_trains(peer, count):
    """Return (bytes, datagrams) of each buffer until count datagrams have come."""
    trains = []
    while sum(datagrams for _, datagrams in trains) < count:
        data, control, _, _ = peer.recvmsg(65_536, 64)
        sizes = [
            struct.unpack_from("i", value)[0]
            for level, number, value in control
            if (level, number) == (stdlib.IPPROTO_UDP, UDP_GRO)
        ]
        trains.append((len(data), -(-len(data) // sizes[0]) if sizes else 1))
    return trains


TRAINS = {
    "one": ([100], [(100, 1)]),
    "equal": ([100] * 10, [(1000, 10)]),
    "short_tail": ([100] * 5 + [30] + [100] * 2, [(530, 6), (200, 2)]),
    "growing": ([10, 20, 20], [(10, 1), (40, 2)]),
    "empty": ([50, 50, 0, 0, 50, 50], [(100, 2), (0, 1), (0, 1), (100, 2)]),
    "one_byte": ([1] * 5, [(5, 5)]),
    "segments_65": ([64] * 65, [(4096, 64), (64, 1)]),
    "segments_64_and_tail": ([64] * 64 + [63], [(4096, 64), (63, 1)]),
    "bytes_over_65000": ([1400] * 60, [(64_400, 46), (19_600, 14)]),
    "bytes_65000": ([6500] * 11, [(65_000, 10), (6500, 1)]),
}


@pytest.mark.parametrize("kind", ["udp_ipv4", "udp_ipv6"])
@pytest.mark.parametrize(("sizes", "trains"), TRAINS.values(), ids=TRAINS)
def test_runs_of_equal_size_leave_as_trains(make_receiver_of_trains, kind, sizes, trains):
    sock, peer = make_receiver_of_trains(kind)
    messages = [bytes([i % 256]) * size for i, size in enumerate(sizes)]
    address = peer.getsockname()
    for send in (
        lambda: sock.send_many(messages),
        lambda: sock.sendto_many([(data, address) for data in messages]),
        # Equal tuples, none the same: a destination is compared by what it is.
        lambda: sock.sendto_many([(data, (*address,)) for data in messages]),
        lambda: sock.sendto_many([(data, alias(address, i)) for i, data in enumerate(messages)]),
        lambda: fastsock.send_many(sock.fileno(), messages, address),
    ):
        assert send() == len(messages)
        assert receive_trains(peer, len(messages)) == expected(sizes, trains)


def alias(address, i):
    """Return another tuple of the same meaning now and then."""
    host = "localhost" if address[0] == "127.0.0.1" else address[0]
    return (host, *address[1:]) if i % 2 else address


def test_other_destinations_end_a_train(make_receiver_of_trains):
    sock, one = make_receiver_of_trains("udp_ipv4")
    _, other = make_receiver_of_trains("udp_ipv4")
    other.connect(sock.getsockname())
    turns = [one, one, other, one, other, other, other]
    assert sock.sendto_many([(b"12345", peer.getsockname()) for peer in turns]) == 7
    assert receive_trains(one, 3) == expected([5] * 3, [(10, 2), (5, 1)])
    assert receive_trains(other, 4) == expected([5] * 4, [(5, 1), (15, 3)])


def test_send_segments_leave_as_trains(make_receiver_of_trains):
    sock, peer = make_receiver_of_trains("udp_ipv4")
    assert sock.send_segments(b"x" * 6450, 100) == 65
    assert receive_trains(peer, 65) == expected([100] * 64 + [50], [(6400, 64), (50, 1)])


def test_trains_of_one_call_are_sent_without_the_size_of_the_train_before(make_receiver_of_trains):
    sock, peer = make_receiver_of_trains("udp_ipv4")
    sizes = [10, 10, 700, 700, 3, 3]
    assert sock.send_many([b"x" * size for size in sizes]) == 6
    assert receive_trains(peer, 6) == expected(sizes, [(20, 2), (1403, 3), (3, 1)])
