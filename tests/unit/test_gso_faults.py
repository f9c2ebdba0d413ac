# SPDX-License-Identifier: MIT
"""Errors that come in the middle of a batch, and devices that refuse segmented sends (GSO)."""

import pytest

from fastsock.native import library
from tools import child, faults

pytestmark = pytest.mark.skipif(
    library.engine_name() != "linux",
    reason=f"the engine is {library.engine_name()}, which never makes the calls that fail here",
)

PROGRAM = """
import errno, socket, struct
import fastsock
from tools import faults
from tools.plain import arrived, error

SEGMENTED = "sendmmsg-segment={0},sendmsg-segment={0}"
SINGLE = "sendmsg={0},sendto={0},send={0}"
EVERY = "sendmmsg={0}," + SINGLE

def receiver(family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    return sock

def sender(other, timeout=0):
    sock = fastsock.socket(other.family, socket.SOCK_DGRAM)
    sock.connect(other.getsockname())
    sock.settimeout(timeout)
    return sock

class Unconnected:
    "A socket without a peer sends many with sendmmsg; one with a peer must ask after each packet."
    def __init__(self, other, timeout=0):
        self.sock = fastsock.socket(other.family, socket.SOCK_DGRAM)
        self.sock.settimeout(timeout)
        self.address = other.getsockname()
    def send_many(self, messages):
        return self.sock.send_many(messages, self.address)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.sock.close()

def train(length, size=50):
    return [bytes([index]) * size for index in range(length)]

def single_ones(length):
    "Each longer than the one before it, so that no two are one train."
    return [bytes([index]) * (index + 1) for index in range(length)]

def segmented():
    "How many segmented messages were sent since the rules were set."
    return faults.matches(0) + faults.matches(1)

def hits():
    return faults.hits(0) + faults.hits(1)

def uses_segments(sock, other, *address):
    faults.arm(SEGMENTED.format("count@1+"))
    messages = train(10)
    assert sock.send_many(messages, *address) == 10
    assert arrived(other) == messages
    return segmented() > 0

def send_segments(sock, messages, *address):
    return sock.send_segments(b"".join(messages), len(messages[0]), *address)

def sendto_many(sock, messages, address):
    return sock.sendto_many([(message, address) for message in messages])

def raises(number, call, *arguments):
    try:
        result = call(*arguments)
    except OSError as error:
        assert error.errno == number, error
        return True
    raise AssertionError(f"returned {result!r}")
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Run a program in a child with faults; it must end well."""
    library = faults.build(tmp_path_factory.mktemp("faults"))

    def faulty(text, *tools):
        environment = faults.environment(library)
        return child.run(PROGRAM + text, *tools, environment=environment)

    return faulty


each_error = pytest.mark.parametrize("error", ["EIO", "EINVAL", "EMSGSIZE"])

# Segmented sends that are refused


@each_error
def test_refused_segments_go_one_by_one_and_exactly_once(faulty, error):
    faulty(f"""
for first in (1, 2, 3):
    for length in (2, 10, 64, 65, 200):
        for call in ("send_many", "send_many_address", "sendto_many", "send_segments"):
            with receiver() as other, sender(other) as sock:
                faults.arm(SEGMENTED.format(f"{error}@{{first}}+"))
                address = other.getsockname()
                sent = {{
                    "send_many": lambda: sock.send_many(messages),
                    "send_many_address": lambda: sock.send_many(messages, address),
                    "sendto_many": lambda: sendto_many(sock, messages, address),
                    "send_segments": lambda: send_segments(sock, messages),
                }}
                messages = train(length)
                what = f"{{first}} {{length}} {{call}}"
                assert sent[call]() == length, what
                assert arrived(other) == messages, what
                assert hits() <= 2, what
""")


@each_error
def test_segments_refused_once_are_off_for_that_destination_alone(faulty, error):
    faulty(f"""
with receiver() as other, receiver() as third, sender(other) as sock:
    assert uses_segments(sock, other)
    messages = train(64)
    faults.arm(SEGMENTED.format("{error}@1+"))
    assert sock.send_many(messages) == 64
    assert arrived(other) == messages
    assert hits() == 1
    assert not uses_segments(sock, other)
    assert uses_segments(sock, third, third.getsockname())
    # A connection to somewhere, be it the same, is another route.
    sock.connect(other.getsockname())
    assert uses_segments(sock, other)
""")


@each_error
def test_error_that_single_datagrams_meet_too_is_the_callers(faulty, error):
    faulty(f"""
with receiver() as other, sender(other) as sock:
    for call in (sock.send_many, lambda messages: send_segments(sock, messages)):
        faults.arm(EVERY.format("{error}@1+"))
        assert raises(errno.{error}, call, train(10))
        faults.arm("")
        assert arrived(other) == []
        assert uses_segments(sock, other)
""")


def test_refused_segments_between_other_messages_keep_their_order(faulty):
    faulty("""
messages = [*single_ones(5), *train(20, 300), b"", *train(20, 40), b"x", *train(3, 10), b"end"]
for first in (1, 2, 3):
    with receiver() as other, sender(other) as sock:
        faults.arm(SEGMENTED.format(f"EIO@{first}+"))
        assert sock.send_many(messages) == len(messages)
        assert arrived(other) == messages
""")


def test_segments_refused_on_the_way_to_one_of_two_keep_each_ones_order(faulty):
    faulty("""
with receiver() as other, receiver() as third, sender(other) as sock:
    there = [(message, other.getsockname()) for message in train(30)]
    elsewhere = [(message, third.getsockname()) for message in train(30, 70)]
    faults.arm(SEGMENTED.format("EIO@2"))
    pairs = [*there, *elsewhere, *there]
    assert sock.sendto_many(pairs) == len(pairs)
    assert arrived(other) == train(30) * 2
    assert arrived(third) == train(30, 70)
""")


def test_segments_refused_to_more_destinations_than_are_remembered_all_arrive(faulty):
    faulty("""
with receiver() as other, sender(other) as sock:
    port = other.getsockname()[1]
    other.close()
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind(("0.0.0.0", port))
    faults.arm(SEGMENTED.format("EIO@1+"))
    for _ in range(2):
        for number in range(300):
            messages = train(3)
            assert sock.send_many(messages, (f"127.1.{number // 200}.{number % 200}", port)) == 3
            assert arrived(other) == messages
    # 256 are remembered; of the second turn at least the 44 that were not are refused again.
    assert 344 <= hits() <= 600, hits()
    other.close()
""")


def test_segments_that_the_kernel_itself_refuses_go_one_by_one(faulty):
    """Without checksums it has no way to cut: EINVAL since Linux 4.18, udp_send_skb()."""
    faulty("""
SO_NO_CHECK = 11
with receiver() as other, sender(other) as sock:
    sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    option = [(17, 103, struct.pack("H", 50))]
    assert error(sock.sendmsg, train(2), option) in ("EINVAL", "EIO")
    for length in (2, 64, 200):
        assert sock.send_many(train(length)) == length
        assert arrived(other) == train(length)
    assert not uses_segments(sock, other)
""")


# Errors in the middle


@pytest.mark.parametrize("error", ["ENOBUFS", "EAGAIN"])
def test_error_amid_single_ones_gives_the_exact_count(faulty, error):
    """Non-blocking: what was counted went, nothing else did, and the rest can be sent later."""
    faulty(f"""
messages = single_ones(100)
for good in (1, 2, 63, 64, 65, 99):
    with receiver() as other, Unconnected(other) as sock:
        faults.arm(f"sendmmsg={error}@{{good + 1}}+," + SINGLE.format("{error}@1+"))
        assert sock.send_many(messages) == good, good
        assert arrived(other) == messages[:good], good
        assert raises(errno.{error}, sock.send_many, messages[good:])
        faults.arm("")
        assert arrived(other) == []
        assert sock.send_many(messages[good:]) == 100 - good
        assert arrived(other) == messages[good:]
""")


@pytest.mark.parametrize("error", ["ENOBUFS", "EAGAIN"])
def test_error_amid_trains_gives_the_exact_count(faulty, error):
    faulty(f"""
messages = [*train(64), *train(64, 60), *train(64, 70)]
with receiver() as other, Unconnected(other) as sock:
    faults.arm("sendmmsg={error}@3+," + SINGLE.format("{error}@1+"))
    assert sock.send_many(messages) == 128
    assert arrived(other) == messages[:128]
    # Nobody refused segments: they are used for the rest.
    assert uses_segments(sock, other)
""")


@pytest.mark.parametrize("timeout", [0, 5, None])
@pytest.mark.parametrize("error", ["ENOBUFS", "EAGAIN", "EINTR"])
def test_error_that_passes_leaves_no_gap(faulty, error, timeout):
    """Whether the call goes on by itself or tells a count, it tells what went."""
    faulty(f"""
messages = [*single_ones(20), *train(30, 40)]
for first in (1, 2, 15, 21):
    with receiver() as other, Unconnected(other, {timeout}) as sock:
        faults.arm("sendmmsg={error}@" + str(first))
        sent = got = 0
        while sent < len(messages):
            try:
                sent += sock.send_many(messages[sent:])
            except OSError as problem:
                assert problem.errno == errno.{error} != errno.EINTR, problem
            part = arrived(other)
            assert part == messages[got:sent], (first, sent, got)
            got += len(part)
        assert faults.hits() == 1
""")


@pytest.mark.parametrize(
    "places",
    [
        pytest.param([1, 2, 3, 8, 24], id="some"),
        pytest.param(range(1, 25), id="all", marks=pytest.mark.long),
    ],
)
def test_calls_interrupted_anywhere_lose_nothing(faulty, places):
    """All ways to send and to receive, plain and ahead, as tools/scenario.py has them."""
    faulty(f"""
from tools import scenario
faults.arm("sendmmsg=count@1+,recvmmsg=count@1+")
scenario.run()
there_are = faults.matches(0), faults.matches(1)
assert min(there_are) >= 10, there_are
for number in {list(places)}:
    faults.arm(f"sendmmsg=EINTR@{{number}},recvmmsg=EINTR@{{number}},sendmsg=EINTR@{{number}}")
    scenario.run()
    assert [faults.hits(0), faults.hits(1)] == [number <= most for most in there_are]
""")


@pytest.mark.parametrize("first", [1, 2, 10])
def test_calls_on_many_refused_anywhere_lose_nothing(faulty, first):
    faulty(f"""
from tools import scenario
faults.arm("sendmmsg=EPERM@{first}+,recvmmsg=ENOSYS@{first}+")
scenario.run()
assert faults.hits(0) in (1, 2) and faults.hits(1) == 1
""")


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
def test_receive_of_many_that_is_interrupted_takes_them_then(faulty, error):
    faulty(f"""
with receiver() as other, sender(other, 5) as sock:
    other.connect(sock.getsockname())
    for receive in (lambda: sock.recv_many(99), lambda: [m for m, _ in sock.recvfrom_many(99)]):
        for message in train(10):
            other.send(message)
        faults.arm("recvmmsg={error}@1")
        assert receive() == train(10)
        assert faults.hits() == 1
""")


# EPERM and ENOSYS: whose are they?


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_sending_that_one_message_meets_too_is_the_callers_error(faulty, error):
    """netfilter answers a send with EPERM; that is no reason to stop using sendmmsg."""
    faulty(f"""
messages = single_ones(10)
with receiver() as other, Unconnected(other) as sock:
    faults.arm(EVERY.format("{error}@1+"))
    assert raises(errno.{error}, sock.send_many, messages)
    faults.arm("sendmmsg=count@1+")
    assert arrived(other) == []
    assert sock.send_many(messages) == 10
    assert arrived(other) == messages
    assert faults.matches() == 10
    # In the middle: the messages before it went.
    faults.arm("sendmmsg={error}@5+," + SINGLE.format("{error}@1+"))
    assert sock.send_many(messages) == 4
    assert arrived(other) == messages[:4]
    faults.arm("sendmmsg=count@1+")
    assert sock.send_many(messages) == 10
    assert faults.matches() == 10
""")


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("first", [1, 5])
def test_sending_that_is_refused_for_many_alone_goes_on_by_single_calls(faulty, error, first):
    faulty(f"""
messages = single_ones(10)
with receiver() as other, Unconnected(other) as sock:
    faults.arm("sendmmsg={error}@{first}+")
    sent = 0
    while sent < 10:
        sent += sock.send_many(messages[sent:])
    assert arrived(other) == messages
    # In the middle it is met once as the end of what went, and then as an error.
    assert faults.hits() == (1 if {first} == 1 else 2)
    faults.arm("sendmmsg=count@1+")
    assert sock.send_many(messages) == 10
    assert arrived(other) == messages
    assert faults.matches() == 0
""")


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_receiving_that_one_message_meets_too_is_the_callers_error(faulty, error):
    faulty(f"""
with receiver() as other, sender(other) as sock:
    other.connect(sock.getsockname())
    for message in train(10):
        other.send(message)
    faults.arm("recvmmsg={error}@1+,recvmsg={error}@1+")
    assert raises(errno.{error}, sock.recv_many, 99)
    faults.arm("recvmmsg=count@1+")
    assert sock.recv_many(99) == train(10)
    assert faults.matches() > 0
    # Refused for many alone.
    for message in train(10):
        other.send(message)
    faults.arm("recvmmsg={error}@1+")
    assert sock.recv_many(99) == train(10)
    assert faults.hits() == 1
    faults.arm("recvmmsg=count@1+")
    other.send(b"x")
    assert sock.recv_many(99) == [b"x"]
    assert faults.matches() == 0
""")


# A path with a real MTU

SIZES = [*[1472] * 5, 1473, *[1473] * 4, 3000, *[1472] * 3, *[3000] * 3, 100, 1452, 1453, 1453, 0]


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_over_an_mtu_of_1500_the_same_goes_as_by_a_loop_of_sendto(faulty, family):
    faulty(
        f"""
messages = [bytes([index]) * size for index, size in enumerate({SIZES})]
with receiver(socket.{family}) as other:
    with socket.socket(socket.{family}, socket.SOCK_DGRAM) as plain:
        for message in messages:
            plain.sendto(message, other.getsockname())
    expected = arrived(other)
    assert expected == messages
    address = other.getsockname()
    calls = [
        lambda: sock.send_many(messages),
        lambda: sock.send_many(messages, address),
        lambda: sendto_many(sock, messages, address),
    ]
    for call in calls:
        with sender(other) as sock:
            assert uses_segments(sock, other)
            # Segments go where they fit; when they are refused all goes one by one.
            for _ in range(2):
                assert call() == len(messages)
                assert arrived(other) == expected
    for size in (1400, 1473, 3000):
        with sender(other) as sock:
            assert send_segments(sock, train(9, size)) == 9
            assert arrived(other) == train(9, size)
""",
        ("namespace", "1500"),
    )


def test_over_an_mtu_of_1500_what_may_not_be_cut_is_refused_as_sendto_does(faulty):
    """IP_PMTUDISC_DO: a plain datagram gets EMSGSIZE too, so it was not GSO that was refused."""
    faulty(
        """
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
with receiver() as other, sender(other) as sock:
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    messages = [*train(3, 1472), *train(4, 1473), *train(5, 1000)]
    assert sock.send_many(messages) == 3
    assert arrived(other) == messages[:3]
    assert raises(errno.EMSGSIZE, sock.send_many, messages[3:])
    assert arrived(other) == []
    assert sock.send_many(messages[7:]) == 5
    assert arrived(other) == messages[7:]
    assert uses_segments(sock, other)
""",
        ("namespace", "1500"),
    )
