# SPDX-License-Identifier: MIT
"""fastsock.socket against the standard library's, call by call.

worlds.py runs and compares, known.py tells what differs on purpose.

Two halves. The tables try every wrong argument in every place, every address and every arity once:
there are few enough. Hypothesis then mixes calls, flags, buffers and events into programs. The
default tier draws the same programs each time, so that it fails for a change and not for luck; the
long tier draws new ones.
"""

import faulthandler
import socket as stdlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from property.programs import Call, Event
from property.worlds import FRESH, KINDS, LISTENERS, PAIRS, difference

TIMEOUTS = [None, 0, 0.01]

# --- Values that stand for themselves in a program ----------------------------------------------

# Sizes that fail before anything is allocated: 2**63-1 is more than a bytes can hold.
WRONG_SIZES = [
    "-1", "1.0", "None", "'4'", "b'4'", "2**63-1", "2**63", "-2**63-1", "2**70", "Failing()",
    "[]", "object()",
]  # fmt: skip
SIZES = ["0", "1", "3", "10", "4096", "4097", "65537", "True", "Index(3)", "IntSubclass(5)"]
WRONG_FLAGS = [
    "1.0", "None", "'0'", "b''", "2**31", "-2**31-1", "2**32", "2**63", "-2**63-1", "2**70",
    "Failing()", "object()",
]  # fmt: skip
FLAGS = [
    "0", "MSG_PEEK", "MSG_TRUNC", "MSG_DONTWAIT", "MSG_WAITALL", "MSG_OOB", "MSG_ERRQUEUE",
    "MSG_NOSIGNAL", "MSG_PEEK|MSG_TRUNC", "MSG_PEEK|MSG_DONTWAIT", "MSG_WAITALL|MSG_DONTWAIT",
    "MSG_CTRUNC", "MSG_DONTROUTE", "MSG_EOR", "MSG_CMSG_CLOEXEC", "SO_JUNK", "-1", "2**31-1",
    "-2**31", "True", "Index(2)", "IntSubclass(2)",
]  # fmt: skip
WRITABLE = [
    "bytearray(10)", "bytearray(1)", "bytearray(5000)", "memoryview(bytearray(10))",
    "memoryview(bytearray(10))[2:6]", "array('i', [0, 0, 0])", "array('d', [0.0] * 4)",
    "mapped(4096)", "ctypes_array(7)", "memoryview(bytearray(12)).cast('I')",
    "memoryview(bytearray(12)).cast('B', (3, 4))", "bytearray()",
]  # fmt: skip
NOT_WRITABLE = [
    "b'1234'", "memoryview(b'1234')", "memoryview(bytearray(10))[::2]",
    "memoryview(bytearray(10))[::-1]", "released(4)", "'text'", "None", "5", "[]", "object()",
]  # fmt: skip
READABLE = [
    "b'data'", "b''", "pattern(1000)", "pattern(5000)", "bytearray(b'array')",
    "memoryview(b'view')", "memoryview(bytearray(b'abcdef'))[1:4]", "array('i', [1, 2])",
    "mapped(4096)", "ctypes_array(7)", "memoryview(bytearray(12)).cast('I')",
]  # fmt: skip
NOT_READABLE = [
    "'text'", "None", "5", "1.5", "[b'a']", "memoryview(b'abcdef')[::2]",
    "memoryview(b'abcdef')[::-1]", "released(4)", "object()", "Path('a')",
]  # fmt: skip
LARGE = ["pattern(65536)", "pattern(70000)"]

HOSTS = [
    "'127.0.0.1'", "'::1'", "'::ffff:127.0.0.1'", "'localhost'", "''", "'<broadcast>'",
    "'255.255.255.255'", "'127.1'", "'0.0.0.0'", "'::'", "'::1%lo'", "b'127.0.0.1'", "b'::1'",
    "bytearray(b'127.0.0.1')", "memoryview(b'127.0.0.1')", "None", "5", "'127.0.0.1\\0'",
    "'\\0'", "b'::1\\0'", "TextSubclass('127.0.0.1')", "TextSubclass('::1')", "'\\xfc' * 64",
    "'\\ud800'",
]  # fmt: skip
PORTS = [
    "port", "0", "-1", "65535", "65536", "2**31", "2**40", "2**70", "True", "float(port)",
    "str(port)", "None", "IntSubclass(port)", "Index(port)", "Failing()",
]  # fmt: skip
TAILS = [
    "0", "1", "-1", "0xfffff", "0x100000", "2**32-1", "2**32", "2**40", "-2**40", "2**70", "1.0",
    "None", "'0'", "True", "Index(1)", "IntSubclass(1)",
]  # fmt: skip
ADDRESSES = [
    "peer", "None", "5", "'text'", "b'text'", "()", "[]", "list(peer)", "tuple(peer)", "peer[:1]",
    "(*peer, 0)", "(*peer, 0, 0, 0)", "TupleSubclass(peer)", "object()", "peer[0]",
    *(f"({host}, port)" for host in HOSTS),
    *(f"('127.0.0.1', {port})" for port in PORTS),
    *(f"('::1', {port})" for port in PORTS),
    *(f"('::1', port, {tail})" for tail in TAILS),
    *(f"('::1', port, 0, {tail})" for tail in TAILS),
    "('127.0.0.1', port, 0)", "('127.0.0.1', port, 0, 0)", "('::1',)", "('::1', port, 0, 0, 0)",
]  # fmt: skip
PATHS = [
    "peer", "''", "b''", "folder + '/none'", "(folder + '/none').encode()", "folder",
    "Path(folder, 'sock')", "folder + '/' + 'x' * 200", "'x' * 107", "'x' * 108", "'x' * 109",
    "b'x' * 108", "b'\\0' + b'x' * 107", "b'\\0' + b'x' * 108", "'\\0abstract'", "b'\\0abstract'",
    "'\\0'", "folder + '/sock\\0tail'", "bytearray(b'\\0abstract')", "memoryview(b'\\0abstract')",
    "memoryview(b'abcdef')[::2]", "TextSubclass(folder + '/none')", "folder + '/\\xfc'",
    "folder + '/\\udcff'", "folder + '/\\ud800'", "None", "5", "()", "('127.0.0.1', 80)",
    "TextSubclass(folder + '/sock')", "folder + '/sock'", "(folder + '/sock').encode()",
    "bytearray((folder + '/sock').encode())",
]  # fmt: skip
BUFFER_LISTS = [
    "[bytearray(3), bytearray(5)]", "[bytearray(10)]", "(memoryview(bytearray(4)), bytearray(0))",
    "[mapped(4096), array('i', [0, 0])]", "[]", "iter([bytearray(4)])",
    "[bytearray(1) for _ in range(20)]",
]  # fmt: skip
WRONG_BUFFER_LISTS = [
    "None", "5", "bytearray(4)", "b'1234'", "[b'1234']", "[bytearray(3), None]", "'ab'",
    "[memoryview(bytearray(10))[::2]]", "[bytearray(3), released(3)]",
    "[bytearray(1) for _ in range(1025)]",
]  # fmt: skip
DATA_LISTS = [
    "[b'one', b'two']", "[]", "(bytearray(b'a'), memoryview(b'bc'))", "iter([b'x'])", "[b'']",
    "[mapped(4096)]", "[b'z' for _ in range(20)]",
]  # fmt: skip
WRONG_DATA_LISTS = [
    "None", "5", "b'ab'", "'ab'", "[b'a', None]", "[b'a', 'b']", "[memoryview(b'abcdef')[::2]]",
    "[released(3)]", "[b'a' for _ in range(1025)]",
]  # fmt: skip
CONTROLS = [
    "[]", "()", "iter([])", "[(SOL_SOCKET, SCM_RIGHTS, fds)]",
    "[(IPPROTO_IP, IP_TTL, array('i', [7]))]", "[(SOL_SOCKET, SCM_RIGHTS, b'')]",
    "[[SOL_SOCKET, SCM_RIGHTS, bytearray(fds)]]",
]  # fmt: skip
WRONG_CONTROLS = [
    "None", "5", "[5]", "[(1, 2)]", "[(1, 2, 3)]", "[('a', 1, b'')]", "[(1, 'a', b'')]",
    "[(2**40, 1, b'')]", "[(1, 1.0, b'')]", "[(SOL_SOCKET, SCM_RIGHTS, b'abc')]",
    "[(SOL_SOCKET, 9999, b'')]", "[(SOL_SOCKET, SCM_RIGHTS, array('i', [-1]))]",
    "[(SOL_SOCKET, SCM_RIGHTS, memoryview(b'abcdef')[::2])]", "'ab'",
    "[(SOL_SOCKET, SCM_RIGHTS, fds), 5]",
]  # fmt: skip
CONTROL_SIZES = ["0", "1", "16", "20", "24", "256", "4096"]
WRONG_CONTROL_SIZES = ["-1", "2**31", "2**63", "1.0", "None", "'1'", "Failing()"]

# Of each method: the arguments it takes, and how many of them it must have.
SIGNATURES = {
    "recv": (("size", "flags"), 1),
    "recv_into": (("writable", "size", "flags"), 1),
    "recvfrom": (("size", "flags"), 1),
    "recvfrom_into": (("writable", "size", "flags"), 1),
    "recvmsg": (("size", "control_size", "flags"), 1),
    "recvmsg_into": (("writables", "control_size", "flags"), 1),
    "send": (("readable", "flags"), 1),
    "sendall": (("readable", "flags"), 1),
    "sendto": (("readable", "flags", "address"), 3),
    "sendmsg": (("readables", "controls", "flags", "address"), 1),
    "accept": ((), 0),
}
RIGHT = {
    "size": SIZES,
    "flags": FLAGS,
    "writable": WRITABLE,
    "readable": READABLE,
    "writables": BUFFER_LISTS,
    "readables": DATA_LISTS,
    "controls": CONTROLS,
    "control_size": CONTROL_SIZES,
}
WRONG = {
    "size": WRONG_SIZES,
    "flags": WRONG_FLAGS,
    "writable": NOT_WRITABLE,
    "readable": NOT_READABLE,
    "writables": WRONG_BUFFER_LISTS,
    "readables": WRONG_DATA_LISTS,
    "controls": WRONG_CONTROLS,
    "control_size": WRONG_CONTROL_SIZES,
}
PLAIN = {
    "size": "10",
    "flags": "0",
    "writable": "bytearray(10)",
    "readable": "b'data'",
    "writables": "[bytearray(3), bytearray(5)]",
    "readables": "[b'one', b'two']",
    "controls": "[]",
    "control_size": "64",
    "address": "peer",
}
KEYWORDS = ["buffer", "bufsize", "nbytes", "flags", "data", "address", "buffers", "size"]
RECEIVING = ["recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"]
SENDING = ["send", "sendall", "sendto", "sendmsg"]

each_method = pytest.mark.parametrize("method", SIGNATURES)


def addresses_of(kind):
    return PATHS if "unix" in kind else ADDRESSES


def choices(name, kind):
    """Return the right and the wrong expressions of an argument."""
    if name == "address":
        return ["peer"], addresses_of(kind)
    return RIGHT[name], WRONG[name]


def check_each(kind, timeout, programs):
    """Run each program in sockets of its own; tell all that differ at once."""
    problems = [text for steps in programs if (text := difference(kind, timeout, steps))]
    assert not problems, "\n" + "\n".join(problems[:10])


# --- Tables -------------------------------------------------------------------------------------


def one_argument_changed(method, kind):
    names, _ = SIGNATURES[method]
    for position, name in enumerate(names):
        right, wrong = choices(name, kind)
        for text in [*right, *wrong]:
            arguments = [PLAIN[name] for name in names]
            arguments[position] = text
            yield tuple(arguments)


def two_arguments_wrong(method, kind):
    """The order in which arguments are looked at decides which error comes."""
    names, _ = SIGNATURES[method]
    for first, second in [(i, j) for j in range(len(names)) for i in range(j)]:
        # Of the many addresses the first are enough: they differ by what kind of error they give.
        for one in choices(names[first], kind)[1][:15]:
            for other in choices(names[second], kind)[1][:15]:
                arguments = [PLAIN[name] for name in names]
                arguments[first], arguments[second] = one, other
                yield tuple(arguments)


@each_method
@pytest.mark.parametrize("kind", ["udp_ipv4_unconnected", "unix_stream", "tcp_ipv6"])
def test_call_with_one_argument_changed_agrees_with_stdlib(method, kind):
    feed = Event("feed", b"0123456789abcdef")
    calls = [Call(method, arguments) for arguments in one_argument_changed(method, kind)]
    check_each(kind, 0, [[feed, call] for call in calls])


@each_method
def test_call_with_two_arguments_wrong_agrees_with_stdlib(method):
    kind = "udp_ipv4_unconnected"
    calls = [Call(method, arguments) for arguments in two_arguments_wrong(method, kind)]
    check_each(kind, 0, [[Event("feed", b"0123456789"), call] for call in calls])


@each_method
@pytest.mark.parametrize("state", ["close_socket", "detach_socket"])
def test_call_on_dead_socket_with_one_argument_changed_agrees_with_stdlib(method, state):
    kind = "udp_ipv4"
    calls = [Call(method, arguments) for arguments in one_argument_changed(method, kind)]
    check_each(kind, None, [[Event(state), call] for call in calls or [Call(method)]])


@each_method
def test_call_with_other_number_of_arguments_agrees_with_stdlib(method):
    names, _ = SIGNATURES[method]
    every = [*(PLAIN[name] for name in names), "0", "0"]
    feed = Event("feed", b"0123456789abcdef")
    calls = [Call(method, tuple(every[:count])) for count in range(len(every) + 1)]
    if method == "sendto":
        calls.append(Call(method, ("b'data'", "peer")))
    check_each("udp_ipv4_unconnected", 0, [[feed, call] for call in calls])


@each_method
def test_call_with_keywords_agrees_with_stdlib(method):
    names, required = SIGNATURES[method]
    values = {"buffer": "bytearray(10)", "data": "b'data'", "address": "peer", "buffers": "[]"}
    feed = Event("feed", b"0123456789abcdef")
    calls = []
    for count in range(required + 1):
        arguments = tuple(PLAIN[name] for name in names[:count])
        for keyword in KEYWORDS:
            calls.append(Call(method, arguments, ((keyword, values.get(keyword, "4")),)))
            calls.append(
                Call(method, arguments, (("flags", "0"), (keyword + "_", "4"), ("nbytes", "2")))
            )
        calls.append(Call(method, arguments, (("flags", "0"), ("nbytes", "2"))))
    check_each("udp_ipv4_unconnected", 0, [[feed, call] for call in calls])


@pytest.mark.parametrize(
    "kind",
    ["udp_ipv4_unconnected", "udp_ipv6_unconnected", "unix_datagram_unconnected", "tcp_ipv4"],
)
def test_sendto_and_sendmsg_with_any_address_agree_with_stdlib(kind):
    programs = []
    for address in addresses_of(kind):
        # Twice: a cache must not make the second call take what the first refused.
        programs.append([Call("sendto", ("b'data'", address))] * 2)
        programs.append([Call("sendmsg", ("[b'data']", "[]", "0", address))] * 2)
    check_each(kind, 0, programs)


def test_sendto_with_equal_addresses_of_other_types_agrees_with_stdlib():
    """An address that equals a cached one is not always one: 8888.0 == 8888, and True == 1."""
    forms = ["peer", "(peer[0], float(port))", "(TextSubclass(peer[0]), port)", "list(peer)"]
    forms += ["TupleSubclass(peer)", "(peer[0], IntSubclass(port))", "(peer[0], Index(port))"]
    check_each(
        "udp_ipv4_unconnected",
        0,
        [[Call("sendto", ("b'x'", first)), Call("sendto", ("b'y'", second))]
         for first in forms for second in forms],
    )  # fmt: skip


@pytest.mark.parametrize("kind", sorted(FRESH | LISTENERS))
@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_calls_without_a_connection_agree_with_stdlib(kind, timeout):
    calls = [
        Call(method, tuple(PLAIN[name] for name in names))
        for method, (names, _) in SIGNATURES.items()
    ]
    check_each(kind, timeout, [[call] for call in calls])


# --- Programs -----------------------------------------------------------------------------------


def arguments_of(name, kind):
    right, wrong = choices(name, kind)
    # One wrong argument in twelve: a program of refused calls alone tells little.
    return st.integers(0, 11).flatmap(lambda n: st.sampled_from(wrong if n == 0 else right))


@st.composite
def method_calls(draw, methods, kind):
    method = draw(st.sampled_from(methods))
    names, required = SIGNATURES[method]
    count = draw(st.integers(required, len(names)))
    if method == "sendto" and draw(st.booleans()):
        names, count = ("readable", "address"), 2
    arguments = [draw(arguments_of(name, kind)) for name in names[:count]]
    if method in ("send", "sendall") and "unix" in kind and draw(st.integers(0, 9)) == 0:
        arguments[0] = draw(st.sampled_from(LARGE))
    if method in ("recv_into", "recvfrom_into") and draw(st.booleans()):
        named = tuple(zip(("buffer", "nbytes", "flags"), arguments, strict=False))
        keep = draw(st.integers(0, len(arguments)))
        return Call(method, tuple(arguments[:keep]), named[keep:])
    return Call(method, tuple(arguments))


FEEDS = st.one_of(
    st.sampled_from([b"", b"1", b"0123456789", b"x" * 5000, True]).map(
        lambda data: Event("feed", data)
    ),
    st.just(Event("feed_descriptor")),
)
OPTIONS = [
    (stdlib.SOL_SOCKET, stdlib.SO_RCVLOWAT, 5),
    (stdlib.SOL_SOCKET, stdlib.SO_RCVLOWAT, 1),
    (stdlib.SOL_SOCKET, stdlib.SO_OOBINLINE, 1),
    (stdlib.SOL_SOCKET, stdlib.SO_PASSCRED, 1),
    (stdlib.SOL_SOCKET, stdlib.SO_BROADCAST, 1),
    (stdlib.IPPROTO_IP, stdlib.IP_RECVTOS, 1),
    (stdlib.IPPROTO_IP, getattr(stdlib, "IP_RECVERR", 11), 1),
]
CHANGES = st.one_of(
    st.sampled_from(TIMEOUTS).map(lambda timeout: Event("set_timeout", timeout)),
    st.sampled_from(OPTIONS).map(lambda option: Event("set_option", option)),
    st.sampled_from([0, 1, 2]).map(lambda how: Event("shut_socket", how)),
    st.sampled_from([0, 1, 2]).map(lambda how: Event("shut_peer", how)),
    st.sampled_from(["close_peer", "drain", "close_socket", "detach_socket"]).map(Event),
)


@st.composite
def programs(draw, kinds, methods, events, length=6):
    """(kind, timeout, steps): a call or two for each event, and a change now and then."""
    kind = draw(st.sampled_from(sorted(kinds)))
    step = st.integers(0, 9).flatmap(
        lambda n: CHANGES if n == 0 else events if n <= 4 else method_calls(methods, kind)
    )
    steps = draw(st.lists(step, min_size=1, max_size=length))
    return kind, draw(st.sampled_from(TIMEOUTS)), steps


RECEIVES = programs(PAIRS, RECEIVING, FEEDS)
SENDS = programs(PAIRS, SENDING, st.just(Event("drain")))
ACCEPTS = programs(LISTENERS, ["accept"], st.just(Event("connect_client")))
MIXED = programs(
    KINDS,
    [*RECEIVING, *SENDING, "accept"],
    st.one_of(FEEDS, st.sampled_from([Event("drain"), Event("connect_client")])),
    length=12,
)


def check(program):
    text = difference(*program)
    assert not text, "\n" + text


def examples(count, **more):
    return settings(
        max_examples=count,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **more,
    )


@examples(100, derandomize=True)
@given(RECEIVES)
def test_receive_programs_agree_with_stdlib(program):
    check(program)


@examples(100, derandomize=True)
@given(SENDS)
def test_send_programs_agree_with_stdlib(program):
    check(program)


@examples(40, derandomize=True)
@given(ACCEPTS)
def test_accept_programs_agree_with_stdlib(program):
    check(program)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(RECEIVES, id="receive"),
        pytest.param(SENDS, id="send"),
        pytest.param(ACCEPTS, id="accept"),
        pytest.param(MIXED, id="mixed"),
    ],
)
def test_many_programs_agree_with_stdlib(strategy):
    # pytest dumps all stacks after faulthandler_timeout. Here nothing hangs, and the dump of a
    # thread that runs on took Python 3.13.0 down.
    faulthandler.cancel_dump_traceback_later()

    @examples(5000)
    @given(strategy)
    def run(program):
        check(program)

    run()
