# SPDX-License-Identifier: MIT
"""The tools that refuse and break calls, tried by the standard library and libc alone."""

import pytest

from tools import child, faults, refusal

pytestmark = pytest.mark.one_engine

IMPORTS = """
import errno, socket, struct
from tools import faults, namespace, refusal
from tools.plain import arrived, error, mmsg, udp
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Return faulty(text, rules): what the program printed that ran with the faults."""
    library = faults.build(tmp_path_factory.mktemp("faults"))

    def faulty(text, rules=""):
        return child.run(IMPORTS + text, environment=faults.environment(library, rules))

    return faulty


# Refusals

ASK_ALL = """
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for name in ("recvmmsg", "sendmmsg"):
        print(name, errno.errorcode[-mmsg(name, -1, [b""])])
    for option in (103, 104):
        print(option, error(sock.setsockopt, 17, option, 1), error(sock.getsockopt, 17, option))
    # Neither another option of the level nor the number at another level is meant.
    print(error(sock.getsockopt, 17, 1), error(sock.setsockopt, socket.SOL_SOCKET, 104, 1))
"""
NOTHING_REFUSED = {
    "recvmmsg": "recvmmsg EBADF",
    "sendmmsg": "sendmmsg EBADF",
    "UDP_SEGMENT": "103 None None",
    "UDP_GRO": "104 None None",
    "rest": "None ENOPROTOOPT",
}
REFUSED = {
    "recvmmsg": "recvmmsg {0}",
    "sendmmsg": "sendmmsg {0}",
    "UDP_SEGMENT": "103 {0} {0}",
    "UDP_GRO": "104 {0} {0}",
}


def test_nothing_is_refused_without_a_filter():
    assert child.run(IMPORTS + ASK_ALL).splitlines() == list(NOTHING_REFUSED.values())


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize(
    "names", [*([name] for name in refusal.NAMES), refusal.NAMES], ids="-".join
)
def test_filter_refuses_what_it_names_and_nothing_else(names, error):
    rules = ",".join(f"{name}:{error}" for name in names)
    expected = NOTHING_REFUSED | {name: REFUSED[name].format(error) for name in names}
    printed = child.run(IMPORTS + ASK_ALL, ("refusal", rules))
    assert printed.splitlines() == list(expected.values())


def test_filters_can_be_installed_one_after_another():
    printed = child.run(
        IMPORTS + 'refusal.install("recvmmsg:ENOSYS")' + ASK_ALL, ("refusal", "sendmmsg:EPERM")
    )
    assert printed.splitlines()[:2] == ["recvmmsg ENOSYS", "sendmmsg EPERM"]


@pytest.mark.parametrize("rules", ["", "recvmmsg", "recvmmsg:EWHAT", "write:EPERM"])
def test_rules_that_are_none_are_told(rules):
    with pytest.raises(ValueError, match="name:ERRNO"):
        refusal.parse(rules)


# Faults


def test_without_rules_every_call_passes(faulty):
    assert (
        faulty("""
one, other = udp()
assert mmsg("sendmmsg", one.fileno(), [b"a", b"b"]) == 2
one.send(b"c"), one.sendmsg([b"d"]), one.sendto(b"e", other.getsockname())
assert arrived(other) == [b"a", b"b", b"c", b"d", b"e"]
one.send(b"f"), one.send(b"g")
assert mmsg("recvmmsg", other.fileno(), [bytes(9), bytes(9)]) == 2
print("passed")
""")
        == "passed\n"
    )


@pytest.mark.parametrize("call", ["send", "sendto", "sendmsg", "recvmsg"])
def test_scalar_call_fails_at_exactly_the_chosen_match(faulty, call):
    printed = faulty(
        f"""
one, other = udp()
calls = {{
    "send": lambda: one.send(b"x"),
    "sendto": lambda: one.sendto(b"x", other.getsockname()),
    "sendmsg": lambda: one.sendmsg([b"x"]),
    "recvmsg": lambda: (one.send(b"x"), other.recvmsg(9)),
}}
print([error(calls[{call!r}]) for _ in range(4)], faults.matches(), faults.hits())
faults.arm("{call}=EIO@3+")
print([error(calls[{call!r}]) for _ in range(4)], faults.matches(), faults.hits())
faults.arm("{call}=count@1+")
print([error(calls[{call!r}]) for _ in range(4)], faults.matches(), faults.hits())
""",
        f"{call}=ENOBUFS@2",
    )
    assert printed.splitlines() == [
        "[None, 'ENOBUFS', None, None] 4 1",
        "[None, None, 'EIO', 'EIO'] 4 2",
        "[None, None, None, None] 4 0",
    ]


def test_sendmmsg_sends_what_precedes_the_fault_and_counts_it(faulty):
    assert (
        faulty("""
one, other = udp()
payloads = [b"a", b"b", b"c", b"d"]
faults.arm("sendmmsg=ENOBUFS@3+")
assert mmsg("sendmmsg", one.fileno(), payloads) == 2
assert mmsg("sendmmsg", one.fileno(), payloads[2:]) == -errno.ENOBUFS
assert arrived(other) == [b"a", b"b"]
assert (faults.matches(), faults.hits()) == (4, 2)
faults.arm("sendmmsg=EPERM@1")
assert mmsg("sendmmsg", one.fileno(), payloads) == -errno.EPERM
assert mmsg("sendmmsg", one.fileno(), payloads) == 4
assert arrived(other) == payloads
assert mmsg("sendmmsg", one.fileno(), []) == 0
assert (faults.matches(), faults.hits()) == (5, 1)
print("passed")
""")
        == "passed\n"
    )


def test_sendmmsg_counts_only_messages_the_kernel_came_to(faulty):
    assert (
        faulty("""
one, other = udp()
# The second is more than a datagram can be: the kernel sends one and stops.
faults.arm("sendmmsg=EIO@4,sendmmsg-segment=count@1+")
assert mmsg("sendmmsg", one.fileno(), [b"a", bytes(65536), b"c"], segments=[2]) == 1
assert (faults.matches(0), faults.matches(1)) == (2, 0)
assert mmsg("sendmmsg", one.fileno(), [bytes(65536), b"c"]) == -errno.EMSGSIZE
assert (faults.matches(0), faults.hits(0)) == (3, 0)
assert mmsg("sendmmsg", one.fileno(), [b"d"]) == -errno.EIO
assert arrived(other) == [b"a"]
print("passed")
""")
        == "passed\n"
    )


def test_segmented_messages_alone_can_be_hit(faulty):
    assert (
        faulty("""
one, other = udp()
payloads = [b"plain", b"gso1gso2", b"more", b"gso3gso4"]
faults.arm("sendmmsg-segment=EINVAL@2,sendmsg-segment=EIO@1+")
assert mmsg("sendmmsg", one.fileno(), payloads, segments=[1, 3]) == 3
assert arrived(other) == [b"plain", b"gso1", b"gso2", b"more"]
size = [(17, 103, struct.pack("H", 4))]
assert one.sendmsg([b"plain"]) == 5
assert error(one.sendmsg, [b"gso1gso2"], size) == "EIO"
assert arrived(other) == [b"plain"]
faults.arm("")
assert one.sendmsg([b"gso1gso2"], size) == 8
assert arrived(other) == [b"gso1", b"gso2"]
print("passed")
""")
        == "passed\n"
    )


def test_recvmmsg_fails_and_leaves_the_messages(faulty):
    assert (
        faulty("""
one, other = udp()
faults.arm("recvmmsg=ENOSYS@1")
one.send(b"x")
assert mmsg("recvmmsg", -1, []) == -errno.EBADF
assert mmsg("recvmmsg", other.fileno(), [bytes(9)]) == -errno.ENOSYS
assert mmsg("recvmmsg", other.fileno(), [bytes(9)]) == 1
print("passed")
""")
        == "passed\n"
    )


def test_faults_that_are_none_are_told(faulty):
    assert (
        faulty("""
for text in (
    "send", "send=EIO", "send=EIO@0", "send=EIO@x", "send=EIO@1+2", "send=EWHAT@1", "send@1=EIO",
    "read=EIO@1", "send-segment=EIO@1", "sendmsg-other=EIO@1", "send=EIO@1,sendto",
):
    try:
        faults.arm(text)
    except ValueError:
        continue
    print(text)
""")
        == ""
    )


def test_process_with_faults_that_are_none_does_not_start(faulty):
    with pytest.raises(AssertionError, match="ended with 2:\nFASTSOCK_FAULTS is not understood: x"):
        faulty("", "x")


# The network of its own


def test_namespace_has_a_loopback_device_with_the_mtu_of_a_cable():
    printed = child.run(
        IMPORTS
        + """
assert namespace.loopback_mtu() == 1500
for family, most in [(socket.AF_INET, 1472), (socket.AF_INET6, 1452)]:
    one, other = udp(family)
    def segmented(size):
        return one.sendmsg([bytes(2 * size)], [(17, 103, struct.pack("H", size))])
    # A plain datagram that is too large goes in fragments; a segment must fit.
    one.send(bytes(most + 1)), one.send(bytes(3000))
    assert [len(data) for data in arrived(other)] == [most + 1, 3000]
    segmented(most)
    assert [len(data) for data in arrived(other)] == [most, most]
    print(error(segmented, most + 1), len(arrived(other)))
""",
        ("namespace", "1500"),
    )
    answers = set(printed.splitlines())
    # Linux 6.18 gives EMSGSIZE, older ones EINVAL.
    assert answers <= {"EMSGSIZE 0", "EINVAL 0"}


def test_tools_can_be_put_before_one_another():
    printed = child.run(
        IMPORTS
        + """
print(namespace.loopback_mtu(), errno.errorcode[-mmsg("recvmmsg", -1, [b""])])
""",
        ("namespace", "1400"),
        ("refusal", "recvmmsg:EPERM"),
    )
    assert printed == "1400 EPERM\n"


@pytest.mark.parametrize(
    "tool",
    [("refusal", "recvmmsg:EPERM,recvmmsg:EPERM," * 20 + "sendmmsg:EPERM"), ("namespace", "1500")],
    ids=lambda tool: tool[0],
)
def test_command_gets_its_arguments_and_gives_its_status(tool):
    program = "import sys; print(sys.argv[1:]); sys.exit(5)"
    done = child.python("-c", program, "a b", "--", "c", tools=[tool])
    assert (done.returncode, done.stdout, done.stderr) == (5, "['a b', '--', 'c']\n", "")
