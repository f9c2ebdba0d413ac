# SPDX-License-Identifier: MIT
"""The addresses that send_many and sendto_many take: those of sendto, with its errors."""

import pathlib
import socket as stdlib

import pytest

import fastsock
from unit.calls import outcome

UDP = ["udp_ipv4", "udp_ipv6"]


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Text(str):
    __slots__ = ()


class Pair(tuple):
    __slots__ = ()


@pytest.fixture
def make_sockets(closing, tmp_path):
    """Return make_sockets(kind): ours and a plain one to send with, and a plain one to receive."""

    def make_sockets(kind):
        family = {"udp_ipv4": stdlib.AF_INET, "udp_ipv6": stdlib.AF_INET6}.get(kind, stdlib.AF_UNIX)
        sock = closing(fastsock.socket(family, stdlib.SOCK_DGRAM))
        plain, peer = (closing(stdlib.socket(family, stdlib.SOCK_DGRAM)) for _ in range(2))
        peer.bind(
            str(tmp_path / "peer")
            if family == stdlib.AF_UNIX
            else ("127.0.0.1" if kind == "udp_ipv4" else "::1", 0)
        )
        peer.settimeout(5)
        return sock, plain, peer

    return make_sockets


def addresses_of(kind, good, folder):
    """Return addresses that sendto takes, and such that it refuses before it sends."""
    if kind == "unix_datagram":
        path = good.encode()
        return [
            good, path, bytearray(path), memoryview(path), memoryview(bytearray(path)), Text(good),
        ], [
            None, 5, 1.5, (), [], ["a"], list(path), ("127.0.0.1", 80), pathlib.Path(good),
            memoryview(path * 2)[::2], "x" * 200, b"x" * 109, folder + "/\ud800",
        ]  # fmt: skip
    host, port, *_ = good
    hosts = [None, 5, host + "\0", "\xfc" * 64, "\ud800", memoryview(host.encode()), "::g"]
    ports = [-1, 65_536, 2**31, 2**70, float(port), str(port), None]
    right = [
        good, (host, port), ("localhost", port), Pair((host, port)), (Text(host), port),
        (host.encode(), port), (bytearray(host.encode()), port), (host, Index(port)), ("", port),
        (b"", port),
    ]  # fmt: skip
    wrong = [None, 5, "text", b"text", (), [], list(good), (host,), object(), set()]
    wrong += [(text, port) for text in hosts] + [(host, number) for number in ports]
    if kind == "udp_ipv4":
        return [*right, ("127.1", port)], [*wrong, (host, port, 0), ("::1", port)]
    right += [(host, port, 0), (host, port, 0, 0), ("::1%lo", port), (host, port, Index(0))]
    tails = [-1, 1 << 20, 1.0, None, "0"]
    wrong += [(host, port, tail) for tail in tails] + [(host, port, 0, tail) for tail in tails[2:]]
    return right, [*wrong, (host, port, 0, 0, 0), ("127.0.0.1", port), ("<broadcast>", port)]


@pytest.mark.parametrize("kind", [*UDP, "unix_datagram"])
def test_address_that_sendto_takes_is_taken(make_sockets, kind, tmp_path):
    sock, plain, peer = make_sockets(kind)
    problems = []
    for address in addresses_of(kind, peer.getsockname(), str(tmp_path))[0]:
        try:
            assert plain.sendto(b"x", address) == 1
        except stdlib.gaierror:
            continue  # this host's names have no address of the family
        assert peer.recv(9) == b"x"
        for call in (
            lambda to: sock.send_many([b"a", b"b"], to),
            lambda to: sock.sendto_many([(b"a", to), (b"b", to)]),
            lambda to: sock.send_segments(b"ab", 1, to),
        ):
            result = outcome(call, address)
            if result == ("returned", 2):
                assert (peer.recv(9), peer.recv(9)) == (b"a", b"b")
            else:
                problems.append(f"{address!r}: {result}")
    assert not problems, "\n" + "\n".join(problems[:20])


@pytest.mark.parametrize("kind", [*UDP, "unix_datagram"])
def test_address_that_sendto_refuses_raises_its_error_and_nothing_is_sent(
    make_sockets, kind, tmp_path
):
    sock, plain, peer = make_sockets(kind)
    good = peer.getsockname()
    peer.settimeout(0)
    problems = []
    for address in addresses_of(kind, good, str(tmp_path))[1]:
        expected = outcome(plain.sendto, b"x", address)[0]
        calls = [
            lambda to: sock.sendto_many([(b"a", to), (b"b", good)]),
            # A cached or equal address before it must not make it pass.
            lambda to: sock.sendto_many([(b"a", good), (b"b", to)]),
            lambda to: fastsock.sendto_many(sock.fileno(), [(b"a", good), (b"b", to)]),
        ]
        if address is not None:
            calls.append(lambda to: sock.send_many([b"a", b"b"], to))
            calls.append(lambda to: sock.send_segments(b"ab", 1, to))
        for number, call in enumerate(calls):
            result = outcome(call, address)
            if result[0] is not expected:
                problems.append(f"call {number}, {address!r}: {result}, not {expected}")
            while outcome(peer.recv, 9)[0] == "returned":
                problems.append(f"call {number}, {address!r}: something was sent")
    assert not problems, "\n" + "\n".join(problems[:20])


@pytest.mark.parametrize("host", ["<broadcast>", "255.255.255.255"])
def test_broadcast_without_the_option_gives_the_error_of_sendto(make_sockets, host):
    sock, plain, peer = make_sockets("udp_ipv4")
    address = (host, peer.getsockname()[1])
    for call in (
        lambda: plain.sendto(b"x", address),
        lambda: sock.send_many([b"a", b"b"], address),
        lambda: sock.sendto_many([(b"a", address)]),
    ):
        with pytest.raises(PermissionError):
            call()
    assert sock.sendto_many([(b"a", peer.getsockname()), (b"b", address)]) == 1
    assert peer.recv(9) == b"a"


def test_ipv6_scope_and_flow_are_the_kernels(make_sockets):
    sock, plain, peer = make_sockets("udp_ipv6")
    host, port, *_ = peer.getsockname()
    scope = stdlib.if_nametoindex("lo")
    for address in [(host, port, 0, scope), (host, port, 0xFFFFF, 0)]:
        assert sock.send_many([b"a", b"b"], address) == 2
        assert (peer.recv(9), peer.recv(9)) == (b"a", b"b")
    address = ("fe80::1", port, 0, 1 << 30)  # no such interface
    expected = outcome(plain.sendto, b"x", address)
    assert outcome(sock.send_many, [b"a"], address) == expected
    assert outcome(sock.sendto_many, [(b"a", address)]) == expected


def test_mapped_ipv4_address_reaches_an_ipv4_socket(make_sockets, closing):
    _, _, peer = make_sockets("udp_ipv4")
    sock = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    address = ("::ffff:127.0.0.1", peer.getsockname()[1])
    assert sock.send_many([b"a", b"b"], address) == 2
    assert (peer.recv(9), peer.recv(9)) == (b"a", b"b")


@pytest.mark.parametrize("form", [bytes, bytearray, lambda name: name.decode("latin-1")])
def test_abstract_name_is_taken(closing, form):
    peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer.bind("")  # the kernel chooses a name
    peer.settimeout(5)
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    assert sock.send_many([b"a", b"b"], form(peer.getsockname())) == 2
    assert sock.sendto_many([(b"c", form(peer.getsockname()))] * 2) == 2
    assert [peer.recv(9) for _ in range(4)] == [b"a", b"b", b"c", b"c"]


def test_path_that_is_not_ascii_is_taken(closing, tmp_path):
    for name in ("\xfc\u4e2d", "\udcff"):
        peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
        peer.bind(str(tmp_path / name))
        peer.settimeout(5)
        sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
        assert sock.send_many([b"a"], str(tmp_path / name)) == 1
        assert peer.recv(9) == b"a"


# Audit: a hook can't be removed, so each run is a Python of its own

AUDIT = """if True:
    import socket as stdlib, sys
    import fastsock
    peers = [stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) for _ in range(2)]
    for peer in peers:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
    one, two = (peer.getsockname() for peer in peers)
    sock = fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    events = []
    refused = None
    def hook(event, arguments):
        if event.startswith("socket."):
            events.append((event, arguments))
            if event == "socket.sendmsg" and refused is not None and arguments[1] == refused:
                raise RuntimeError("refused")
    sys.addaudithook(hook)
    def seen(*expected):
        wanted = [("socket.sendmsg", (sock, address)) for address in expected]
        assert events == wanted, (events, wanted)
        events.clear()
    def nothing_arrived():
        for peer in peers:
            try:
                raise AssertionError(peer.recv(10))
            except BlockingIOError:
                pass
"""
AUDIT_ONCE = (
    AUDIT
    + """
    sock.send_many([b"a"] * 3, one)
    seen(one)
    sock.sendto_many([(b"a", one), (b"b", two), (b"c", (*one,)), (b"d", two), (b"e", one)])
    seen(one, two)
    sock.send_segments(b"abc", 1, two)
    seen(two)
    sock.connect(one)
    events.clear()
    sock.send_many([b"a"] * 3)
    seen(None)
    sock.send_segments(b"abc", 1)
    seen(None)
    fastsock.sendto_many(sock, [(b"a", one), (b"b", one)])
    seen(one)
    print("done")
"""
)
AUDIT_REFUSED = (
    AUDIT
    + """
    buffer = bytearray(b"x")
    for refused, call in [
        (one, lambda: sock.send_many([buffer, buffer], one)),
        (two, lambda: sock.sendto_many([(buffer, one), (b"y", one), (buffer, two)])),
        (one, lambda: sock.send_segments(buffer, 1, one)),
        (two, lambda: fastsock.sendto_many(sock.fileno(), [(buffer, one), (buffer, two)])),
    ]:
        try:
            call()
        except RuntimeError as error:
            print(error)
        nothing_arrived()
        buffer.extend(b"x")
"""
)


def test_audit_event_comes_once_for_each_destination(run_child):
    closing = "    for each in [sock, *peers]:\n        each.close()\n"
    assert run_child(AUDIT_ONCE + closing) == "done\n"


def test_refusing_audit_hook_sends_nothing(run_child):
    closing = "    for each in [sock, *peers]:\n        each.close()\n"
    assert run_child(AUDIT_REFUSED + closing) == "refused\n" * 4
