# SPDX-License-Identifier: MIT
"""join_group and leave_group.

Over the loopback device, which takes IPv4 groups although it has no flag for it. It has no route
for those of IPv6: what is to arrive by one is tried in a network of its own. Receivers want their
own groups only, as other processes may have joined the same.
"""

import errno
import socket as stdlib
import struct

import pytest

import fastsock
from tools import child
from unit.calls import outcome

IP_MULTICAST_ALL = 49  # linux/in.h
LO = stdlib.if_nametoindex("lo")
UNKNOWN = 0x7FFFFFFF  # no machine has as many interfaces
GROUP, SOURCE_GROUP = "239.255.78.1", "232.1.78.1"
GROUPS = {"ipv4": (stdlib.AF_INET, GROUP), "ipv6": (stdlib.AF_INET6, "ff12::4e:1")}


def sender_from(host):
    """A socket that sends to groups over the loopback device."""
    sock = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    interface = struct.pack("4s4si", bytes(4), bytes(4), LO)  # struct ip_mreqn
    sock.setsockopt(stdlib.IPPROTO_IP, stdlib.IP_MULTICAST_IF, interface)
    sock.bind((host, 0))
    return sock


def prepare(sock):
    sock.setsockopt(stdlib.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    sock.bind(("", 0))
    sock.settimeout(5)
    return sock


@pytest.fixture
def sock(closing):
    """A fastsock socket for IPv4, bound to a port of every address."""
    return prepare(closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)))


@pytest.fixture
def sender(closing):
    return closing(sender_from("127.0.0.1"))


@pytest.fixture
def udp(closing):
    """Return udp(family), which gives a fastsock socket."""

    def udp(family):
        return closing(fastsock.socket(family, stdlib.SOCK_DGRAM))

    return udp


def hears(sock, sender, group):
    """Whether what is sent to the group comes before what is sent to the socket alone."""
    port = sock.getsockname()[1]
    sender.sendto(b"to the group", (group, port))
    sender.sendto(b"alone", ("127.0.0.1", port))
    first = sock.recvfrom(100)
    assert first[1] == sender.getsockname()
    if first[0] == b"to the group":
        assert sock.recv(100) == b"alone"
    return first[0] == b"to the group"


@pytest.mark.parametrize("interface", ["lo", LO], ids=["name", "index"])
def test_group_is_heard_between_join_and_leave(sock, sender, interface):
    assert not hears(sock, sender, GROUP)
    assert sock.join_group(GROUP, interface) is None
    assert hears(sock, sender, GROUP)
    assert sock.leave_group(GROUP, interface) is None
    assert not hears(sock, sender, GROUP)


def test_group_of_one_source_brings_no_other(sock, sender, closing):
    other = closing(sender_from("127.0.0.2"))
    sock.join_group(SOURCE_GROUP, interface="lo", source="127.0.0.1")
    assert hears(sock, sender, SOURCE_GROUP)
    assert not hears(sock, other, SOURCE_GROUP)
    sock.join_group(SOURCE_GROUP, "lo", "127.0.0.2")
    assert hears(sock, other, SOURCE_GROUP)
    sock.leave_group(SOURCE_GROUP, "lo", "127.0.0.1")
    assert not hears(sock, sender, SOURCE_GROUP)
    assert hears(sock, other, SOURCE_GROUP)


def test_group_left_without_source_is_left_for_all(sock, sender):
    sock.join_group(SOURCE_GROUP, "lo", "127.0.0.1")
    assert hears(sock, sender, SOURCE_GROUP)
    sock.leave_group(SOURCE_GROUP, "lo")
    assert not hears(sock, sender, SOURCE_GROUP)


def test_batched_calls_receive_what_is_sent_to_the_group(sock, sender):
    sock.set_readahead(4)
    sock.join_group(GROUP, "lo")
    for number in range(5):
        sender.sendto(b"%d" % number, (GROUP, sock.getsockname()[1]))
    received = []
    while len(received) < 5:
        received += sock.recv_many(100)
    assert received == [b"0", b"1", b"2", b"3", b"4"]


def test_ipv6_groups_and_the_choice_of_the_system_in_a_network_of_its_own():
    child.run(
        """
import errno, socket as stdlib
import fastsock
from tools import namespace

namespace.route_ipv6_groups()
lo = stdlib.if_nametoindex("lo")
sock = fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM)
sock.bind(("::", 0))
sock.settimeout(5)
sender = stdlib.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM)
sender.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_MULTICAST_IF, lo)

def hears(group):
    port = sock.getsockname()[1]
    sender.sendto(b"to the group", (group, port))
    sender.sendto(b"alone", ("::1", port))
    first = sock.recv(100)
    if first == b"to the group":
        assert sock.recv(100) == b"alone"
    return first == b"to the group"

for arguments in [("ff12::1", "lo"), ("ff02::4e:1", lo), ("ff15::1",), ("ff35::1", "lo", "::1")]:
    assert not hears(arguments[0]), arguments
    sock.join_group(*arguments)
    assert hears(arguments[0]), arguments
    sock.leave_group(*arguments)
    assert not hears(arguments[0]), arguments
sock.join_group("ff35::2", "lo", "2001:db8::1")
assert not hears("ff35::2")

# No route leads to groups of IPv4.
ipv4 = fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
for call in (ipv4.join_group, ipv4.leave_group):
    try:
        call("239.1.2.3")
    except OSError as error:
        assert error.errno == errno.ENODEV and "interface=" in str(error), error
    else:
        raise AssertionError(call)
for made in (sock, sender, ipv4):
    made.close()
""",
        ("namespace", "1500"),
    )


@pytest.mark.parametrize(("family", "group"), GROUPS.values(), ids=GROUPS)
def test_membership_counts_once_for_each_interface(udp, family, group):
    sock = udp(family)
    sock.join_group(group, "lo")
    assert outcome(sock.join_group, group, LO)[:2] == (OSError, errno.EADDRINUSE)
    sock.leave_group(group, LO)
    assert outcome(sock.leave_group, group, "lo")[:2] == (OSError, errno.EADDRNOTAVAIL)
    assert outcome(sock.join_group, group, UNKNOWN)[:2] == (OSError, errno.ENODEV)


def test_source_joined_twice_or_beside_any_raises_as_the_kernel(sock):
    sock.join_group(SOURCE_GROUP, "lo", "127.0.0.1")
    again = outcome(sock.join_group, SOURCE_GROUP, "lo", "127.0.0.1")
    assert again[:2] == (OSError, errno.EADDRNOTAVAIL)
    assert outcome(sock.join_group, SOURCE_GROUP, "lo")[:2] == (OSError, errno.EADDRINUSE)
    sock.leave_group(SOURCE_GROUP, "lo", "127.0.0.1")
    left = outcome(sock.leave_group, SOURCE_GROUP, "lo", "127.0.0.1")
    assert left[:2] == (OSError, errno.EINVAL)


def test_unknown_name_raises_with_the_name(sock):
    for call in (sock.join_group, sock.leave_group):
        with pytest.raises(OSError, match="'no-such-device'") as caught:
            call(GROUP, "no-such-device")
        assert caught.value.errno == errno.ENODEV


WRONG_VALUES = {
    "unicast_ipv4": ("ipv4", ("192.0.2.1",), "224.0.0.0"),
    "unicast_ipv6": ("ipv6", ("2001:db8::1",), "begin with ff"),
    "unicast_ipv6_that_looks_like_one": ("ipv6", ("ff::1",), "begin with ff"),
    "ipv6_group": ("ipv4", ("ff12::1",), "group 'ff12::1' is of IPv6 .* AF_INET6"),
    "ipv4_group": ("ipv6", ("239.1.2.3",), "group '239.1.2.3' is of IPv4 .* AF_INET$"),
    "short_group": ("ipv4", ("239.1.2",), "no numeric address"),
    "group_with_null": ("ipv4", ("239.1.2.3\0",), "no numeric address"),
    "group_not_ascii": ("ipv4", ("239.1.2.\u0663",), "no numeric address"),
    "empty_group": ("ipv4", ("",), "no numeric address"),
    "group_by_name": ("ipv4", ("all-routers.mcast.net",), "getaddrinfo"),
    "group_with_scope": ("ipv6", ("ff02::1%lo",), "interface"),
    "interface_by_ipv4": ("ipv4", (GROUP, "192.0.2.7"), "'192.0.2.7' is an address; .* or index"),
    "interface_by_ipv6": ("ipv4", (GROUP, "::1"), "'::1' is an address"),
    "negative_index": ("ipv4", (GROUP, -1), "interface -1 is no index"),
    "large_index": ("ipv4", (GROUP, 1 << 31), "no index"),
    "huge_index": ("ipv4", (GROUP, 1 << 99), "no index"),
    "interface_with_null": ("ipv4", (GROUP, "lo\0"), "null"),
    "source_by_name": ("ipv4", (GROUP, "lo", "localhost"), "source 'localhost' is no numeric"),
    "ipv6_source": ("ipv4", (GROUP, "lo", "::1"), "source '::1' is of IPv6"),
    "ipv4_source": ("ipv6", ("ff12::1", "lo", "127.0.0.1"), "source '127.0.0.1' is of IPv4"),
}


@pytest.mark.parametrize(("family", "arguments", "text"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_wrong_value_raises_value_error_with_the_cure(udp, family, arguments, text):
    sock = udp(GROUPS[family][0])
    for call in (sock.join_group, sock.leave_group):
        with pytest.raises(ValueError, match=text):
            call(*arguments)


WRONG_TYPES = {
    "none": ((), "argument"),
    "bytes_group": ((b"239.1.2.3",), "group is a str .* not bytes"),
    "none_group": ((None,), "group is a str .* not NoneType"),
    "bytes_interface": ((GROUP, b"lo"), "interface is a name.* not bytes"),
    "float_interface": ((GROUP, 1.0), "interface is a name.* not float"),
    "int_source": ((GROUP, "lo", 1), "source is a str .* not int"),
    "one_too_many": ((GROUP, "lo", "127.0.0.1", 0), "argument"),
}


@pytest.mark.parametrize(("arguments", "text"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_type_raises_type_error(sock, arguments, text):
    for call in (sock.join_group, sock.leave_group):
        with pytest.raises(TypeError, match=text):
            call(*arguments)


@pytest.mark.parametrize("family", GROUPS)
def test_closed_socket_raises_ebadf(udp, family):
    sock = udp(GROUPS[family][0])
    sock.close()
    for call in (sock.join_group, sock.leave_group):
        assert outcome(call, GROUPS[family][1], "lo")[:2] == (OSError, errno.EBADF)


@pytest.mark.parametrize(
    "kind", ["tcp_ipv4", "tcp_ipv6", "unix_datagram", "unix_stream", "unix_seqpacket"]
)
def test_socket_that_is_not_udp_raises_capability_error(make_pair, kind):
    sock, _ = make_pair(kind)
    for name in ("join_group", "leave_group"):
        with pytest.raises(fastsock.CapabilityError, match=f"{name}: only UDP") as caught:
            getattr(sock, name)(GROUP)
        assert caught.value.errno == errno.EOPNOTSUPP


class Named(fastsock.socket):
    """A subclass with a dict, and a method under the same name."""

    def join_group(self, group, *arguments):
        self.joined = group
        super().join_group(group, *arguments)


def test_subclass_and_plain_socket_join_too(closing, sender):
    named = prepare(closing(Named(stdlib.AF_INET, stdlib.SOCK_DGRAM)))
    named.join_group(GROUP, "lo")
    assert named.joined == GROUP
    plain = prepare(closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)))
    fastsock.socket.join_group(plain, GROUP, "lo")
    for sock in (named, plain):
        assert hears(sock, sender, GROUP)
        fastsock.socket.leave_group(sock, GROUP, "lo")
        assert not hears(sock, sender, GROUP)
    with pytest.raises(TypeError):
        fastsock.socket.join_group(sock.fileno(), GROUP)
