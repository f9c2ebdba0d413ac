# SPDX-License-Identifier: MIT
"""Addresses of endpoints: tuples, paths and URLs."""

import pathlib
import socket as stdlib

import pytest

from fastsock.endpoint import Endpoint, parse_endpoint

IP4 = stdlib.AF_INET
IP6 = stdlib.AF_INET6
UNIX = stdlib.AF_UNIX
STREAM = stdlib.SOCK_STREAM


@pytest.mark.parametrize(
    ("given", "family", "address"),
    [
        (("127.0.0.1", 80), IP4, ("127.0.0.1", 80)),
        (("", 0), IP4, ("0.0.0.0", 0)),
        (("::1", 80), IP6, ("::1", 80, 0, 0)),
        (("::1", 80, 7, 3), IP6, ("::1", 80, 7, 3)),
        ("udp://0.0.0.0:8888", IP4, ("0.0.0.0", 8888)),
        ("udp://:8888", IP4, ("0.0.0.0", 8888)),
        ("udp://[::]:8888", IP6, ("::", 8888, 0, 0)),
        ("unix:///run/x.sock", UNIX, "/run/x.sock"),
        ("unix:///run/a%20b", UNIX, "/run/a b"),
        ("unix://%00abstract", UNIX, "\0abstract"),
        ("/run/x.sock", UNIX, "/run/x.sock"),
        ("relative.sock", UNIX, "relative.sock"),
        (b"\0abstract", UNIX, b"\0abstract"),
        (pathlib.Path("/run/x"), UNIX, "/run/x"),
    ],
    ids=repr,
)
def test_parse_understands(given, family, address):
    assert parse_endpoint(given) == Endpoint(family, address)


@pytest.mark.parametrize(
    ("given", "family", "address"),
    [
        (("", 0), IP4, ("0.0.0.0", 0)),
        (("::1", 80), IP6, ("::1", 80, 0, 0)),
        ("tcp://127.0.0.1:80", IP4, ("127.0.0.1", 80)),
        ("tcp://[::1]:80", IP6, ("::1", 80, 0, 0)),
        ("unix:///run/x.sock", UNIX, "/run/x.sock"),
        (b"\0abstract", UNIX, b"\0abstract"),
    ],
    ids=repr,
)
def test_parse_of_a_stream_takes_tcp(given, family, address):
    assert parse_endpoint(given, STREAM) == Endpoint(family, address, STREAM)


def test_parse_takes_the_scope_of_a_url():
    index = stdlib.if_nametoindex("lo")
    assert parse_endpoint("udp://[fe80::1%25lo]:88").address == ("fe80::1", 88, 0, index)


@pytest.mark.parametrize(
    ("given", "error", "cure"),
    [
        (5, TypeError, "not int"),
        (None, TypeError, "not NoneType"),
        ((1, 2), TypeError, r"\(host, port\)"),
        (("127.0.0.1", "80"), TypeError, r"\(host, port\)"),
        (("127.0.0.1",), ValueError, r"\(host, port\)"),
        (("127.0.0.1", 65536), ValueError, "0 to 65535"),
        ("", ValueError, "must not be empty"),
        ("unix://", ValueError, "must not be empty"),
        ("unix://run/x", ValueError, "three slashes"),
        ("tcp://127.0.0.1:80", ValueError, "a stream; this takes datagrams: udp://HOST:PORT"),
        ("http://127.0.0.1:80", ValueError, "unknown scheme; write udp://HOST:PORT or unix://"),
        ("udp://127.0.0.1", ValueError, "udp://HOST:PORT"),
        ("udp://127.0.0.1:99999", ValueError, "0-65535"),
        ("udp://127.0.0.1:80/path", ValueError, "udp://HOST:PORT"),
        ("udp://127.0.0.1:80?x=1", ValueError, "more than an address"),
    ],
    ids=repr,
)
def test_parse_refuses_and_names_the_cure(given, error, cure):
    with pytest.raises(error, match=cure):
        parse_endpoint(given)


@pytest.mark.parametrize(
    ("given", "error", "cure"),
    [
        (5, TypeError, "tcp://"),
        ("udp://127.0.0.1:80", ValueError, "datagrams; this takes a stream: tcp://HOST:PORT"),
        ("tcp://127.0.0.1", ValueError, "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:80?x=1", ValueError, "tcp://HOST:PORT"),
    ],
    ids=repr,
)
def test_parse_of_a_stream_refuses_and_names_the_cure(given, error, cure):
    with pytest.raises(error, match=cure):
        parse_endpoint(given, STREAM)


@pytest.mark.parametrize("kind", [stdlib.SOCK_DGRAM, STREAM], ids=["datagrams", "stream"])
@pytest.mark.parametrize(
    "given",
    [
        ("127.0.0.1", 80),
        ("::1", 80),
        ("fe80::1", 80, 0, 1),
        "/run/a b%c\x1b[31m",
        b"\0abstract",
    ],
    ids=repr,
)
def test_text_is_printable_and_parses_to_the_same(given, kind):
    endpoint = parse_endpoint(given, kind)
    assert str(endpoint).isprintable()
    again = parse_endpoint(str(endpoint), kind)
    assert again.family == endpoint.family
    if endpoint.family == UNIX:
        expected = given if isinstance(given, bytes) else given.encode()
        assert again.address.encode() == expected
    else:
        assert again.address == endpoint.address
