# SPDX-License-Identifier: MIT
"""A program with all batch calls: what arrives is what was sent, message by message, in order.

It knows nothing of how the calls are made, so it can be run under every refusal and fault.
"""

import contextlib
import select
import socket as stdlib

import fastsock

DEADLINE = 5  # seconds; nothing here has to wait
MOST = 65536  # bytes of a message


def run():
    """Raise AssertionError where a call gives something else than was sent."""
    for kind in ("udp4", "udp6", "udp4_unconnected", "unix_datagram", "seqpacket"):
        with contextlib.ExitStack() as stack:
            one, other = map(stack.enter_context, make_pair(kind))
            senders, receivers = list(CONNECTED_SENDS), list(RECEIVES)
            messages = MESSAGES
            if kind.startswith("udp"):
                senders += UDP_SENDS
                receivers += READ_AHEAD_RECEIVES
            if kind == "udp4_unconnected":
                senders = ADDRESSED_SENDS
            if kind == "seqpacket":
                messages = [message for message in messages if message]
            for mode in (DEADLINE, None, 0):
                one.settimeout(mode)
                other.settimeout(mode)
                exchange(kind, one, other, messages, senders, receivers)


def exchange(kind, one, other, messages, senders, receivers):
    """Use each way to send once, and each way to receive, the two lists being of two lengths."""
    for turn in range(max(len(senders), len(receivers))):
        send, receive = senders[turn % len(senders)], receivers[turn % len(receivers)]
        sent = send(one, other.getsockname(), messages)
        got = receive(other, len(sent))
        what = f"{kind} {one.gettimeout()}: {send.__name__} {receive.__name__}"
        lengths = [len(data) for data in sent], [len(data) for data in got]
        assert got == sent, f"{what}: other messages came than went: {lengths}"
        more, _, _ = select.select([other], [], [], 0)
        assert not more, f"{what}: more messages came than went"


def make_pair(kind):
    if kind == "unix_datagram":
        return fastsock.socketpair(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
    if kind == "seqpacket":
        return fastsock.socketpair(stdlib.AF_UNIX, stdlib.SOCK_SEQPACKET)
    family, host = (stdlib.AF_INET6, "::1") if kind == "udp6" else (stdlib.AF_INET, "127.0.0.1")
    one, other = (fastsock.socket(family, stdlib.SOCK_DGRAM) for _ in range(2))
    one.bind((host, 0))
    other.bind((host, 0))
    if kind != "udp4_unconnected":
        one.connect(other.getsockname())
    other.connect(one.getsockname())
    return one, other


def make_messages():
    """Trains with and without a shorter end, single ones, empty ones; each says which it is."""
    lengths = [200] * 20 + [0, 7, 9, 11] + [100] * 10 + [30, 0, 0] + [1000] * 8 + [9000, 3]
    return [(index.to_bytes(2, "big") * 4500)[:length] for index, length in enumerate(lengths)]


MESSAGES = make_messages()


# Ways to send: send(sock, address, messages) -> the messages sent


def in_parts(messages, send):
    """Call send(rest) until all are sent, as it may send only the first of them."""
    rest = messages
    while rest:
        count = send(rest)
        assert 0 < count <= len(rest), f"{count} sent of {len(rest)}"
        rest = rest[count:]
    return messages


def send_many(sock, address, messages):
    return in_parts(messages, sock.send_many)


def send_many_by_number(sock, address, messages):
    return in_parts(messages, lambda rest: fastsock.send_many(sock.fileno(), rest))


def send_many_with_address(sock, address, messages):
    return in_parts(messages, lambda rest: sock.send_many(rest, address))


def sendto_many(sock, address, messages):
    pairs = [(message, address) for message in messages]
    in_parts(pairs, sock.sendto_many)
    return messages


def sendto_many_by_number(sock, address, messages):
    pairs = [(message, address) for message in messages]
    in_parts(pairs, lambda rest: fastsock.sendto_many(sock.fileno(), rest))
    return messages


def cut(buffer, size):
    return [bytes(buffer[start : start + size]) for start in range(0, len(buffer), size)]


def send_segments(sock, address, messages):
    buffer = b"".join(messages)
    sent = cut(buffer, 300)
    assert sock.send_segments(buffer, 300) == len(sent)
    return sent


def send_segments_with_address(sock, address, messages):
    buffer = b"".join(messages)[:5999]
    sent = cut(buffer, 400)
    assert sock.send_segments(buffer, 400, address) == len(sent)
    return sent


CONNECTED_SENDS = [send_many, send_many_by_number]
# Without a peer, which is when sendmmsg is used.
ADDRESSED_SENDS = [
    send_many_with_address,
    sendto_many,
    sendto_many_by_number,
    send_segments_with_address,
]
UDP_SENDS = [*ADDRESSED_SENDS, send_segments]


# Ways to receive: receive(sock, count) -> messages


def recv(sock, count):
    return [sock.recv(MOST) for _ in range(count)]


def recv_many(sock, count):
    got = []
    while len(got) < count:
        more = sock.recv_many(MOST, 16)
        assert 0 < len(more) <= 16
        got += more
    return got


def recv_many_by_number(sock, count):
    got = []
    while len(got) < count:
        got += fastsock.recv_many(sock.fileno(), MOST)
    return got


def recvfrom_many(sock, count):
    got = []
    while len(got) < count:
        got += sock.recvfrom_many(MOST)
    if sock.family != stdlib.AF_UNIX:
        assert {address for _, address in got} == {sock.getpeername()}
    return [data for data, _ in got]


def recv_batch(sock, count):
    batch = fastsock.Batch(24, MOST)
    got = []
    while len(got) < count:
        filled = sock.recv_batch(batch)
        assert 0 < filled == len(batch) <= 24
        got += [message.bytes() for message in batch]
    return got


RECEIVES = [recv, recv_many, recv_many_by_number, recvfrom_many, recv_batch]


def reading_ahead(receive):
    """The same with read-ahead, which is off again when all is received."""

    def receive_ahead(sock, count):
        sock.set_readahead(16)
        got = receive(sock, count // 2)
        rest = count - len(got)
        got += receive(sock, rest) if rest > 0 else []
        sock.set_readahead(0)
        while sock.pending():
            got.append(sock.recv(MOST))
        return got

    receive_ahead.__name__ = f"reading_ahead_{receive.__name__}"
    return receive_ahead


READ_AHEAD_RECEIVES = [reading_ahead(way) for way in (recv, recv_many, recvfrom_many, recv_batch)]


if __name__ == "__main__":
    run()
    print("OK")
