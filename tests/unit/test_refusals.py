# SPDX-License-Identifier: MIT
"""What a sandbox refuses costs speed and nothing else: every batch call gives the same."""

from pathlib import Path

import pytest

from fastsock.native import library
from tools import child, faults, refusal

HERE = Path(__file__).parent
ERRORS = ["EPERM", "ENOSYS"]
SCENARIO = "from tools import refusal, scenario\n"

each_refusal = pytest.mark.parametrize(
    "rules",
    [f"{name}:{error}" for name in refusal.NAMES for error in ERRORS]
    + [",".join(f"{name}:{error}" for name in refusal.NAMES) for error in ERRORS],
)
pytestmark = pytest.mark.skipif(
    library.engine_name() != "linux",
    reason=f"the engine is {library.engine_name()}, which never makes the calls that are refused",
)


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Return counting(text, *tools): as child.run, with the faults loaded."""
    path = faults.build(tmp_path_factory.mktemp("faults"))

    def counting(text, *tools):
        return child.run(text, *tools, environment=faults.environment(path))

    return counting


def test_nothing_refused_gives_what_was_sent():
    assert child.run(SCENARIO + "scenario.run(); print('OK')") == "OK\n"


@each_refusal
def test_refused_from_the_start_gives_the_same(rules):
    assert child.run(SCENARIO + "scenario.run(); print('OK')", ("refusal", rules)) == "OK\n"


@each_refusal
def test_refused_after_it_has_worked_gives_the_same(rules):
    """A program may build its sandbox when it has already made its first calls."""
    program = f"scenario.run(); refusal.install({rules!r}); scenario.run(); print('OK')"
    assert child.run(SCENARIO + program) == "OK\n"


SOCKETS_FIRST = """
import socket
from tools import faults, refusal
import fastsock
one, other = (fastsock.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
other.bind(("127.0.0.1", 0))
messages = [bytes([index]) * index for index in range(1, 41)]
def use():
    assert one.send_many(messages, other.getsockname()) == 40
    assert other.recv_many(100) == messages
def used():
    faults.arm("sendmmsg=count@1+,recvmmsg=count@1+")
    use()
    return faults.matches(0) > 0, faults.matches(1) > 0
with one, other:
"""


def test_calls_on_many_messages_are_made_where_nothing_is_refused(counting):
    assert counting(SOCKETS_FIRST + " print(used())") == "(True, True)\n"


@pytest.mark.parametrize("error", ERRORS)
def test_refused_call_is_not_tried_again(counting, error):
    """Found out on no socket, before the first use."""
    program = SOCKETS_FIRST + " print(used())"
    refused = counting(program, ("refusal", f"sendmmsg:{error}"))
    assert refused == "(False, True)\n"
    refused = counting(program, ("refusal", f"recvmmsg:{error}"))
    assert refused == "(True, False)\n"


@pytest.mark.parametrize("error", ERRORS)
def test_call_refused_later_is_tried_once_and_not_again(counting, error):
    rules = f"sendmmsg:{error},recvmmsg:{error}"
    program = f"""
    use()
    refusal.install({rules!r})
    faults.arm("sendmmsg=count@1+,recvmmsg=count@1+")
    use()
    use()
    # Of sendmmsg it is messages that are counted; the kernel refused it at the first.
    print(faults.matches(0), faults.matches(1))
"""
    assert counting(SOCKETS_FIRST + program) == "1 1\n"


@pytest.mark.parametrize("error", ERRORS)
def test_segments_are_not_used_where_their_option_is_refused(counting, error):
    """A kernel without the option ignores the control message, and would merge the datagrams."""
    program = """
import socket
from tools import faults
from tools.plain import arrived
import fastsock
messages = [bytes([index]) * 50 for index in range(20)]
with fastsock.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(
    socket.AF_INET, socket.SOCK_DGRAM
) as other:
    other.bind(("127.0.0.1", 0))
    one.connect(other.getsockname())
    faults.arm("sendmmsg-segment=count@1+,sendmsg-segment=count@1+")
    assert one.send_many(messages) == 20
    assert one.send_segments(b"".join(messages), 50) == 20
    assert arrived(other) == messages * 2
    print(faults.matches(0) + faults.matches(1))
"""
    assert counting(program) == "2\n"
    assert counting(program, ("refusal", f"UDP_SEGMENT:{error}")) == "0\n"


@pytest.mark.parametrize("error", ERRORS)
def test_read_ahead_whose_end_is_refused_never_gives_a_train_as_one_datagram(error):
    """The kernel goes on making trains, so going back to plain receives is no way."""
    child.run(f"""
import socket
from tools import refusal
import fastsock
messages = [bytes([index]) * 100 for index in range(10)]
with fastsock.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, fastsock.socket(
    socket.AF_INET, socket.SOCK_DGRAM
) as other:
    other.bind(("127.0.0.1", 0))
    other.settimeout(5)
    one.connect(other.getsockname())
    other.set_readahead(8)
    refusal.install("UDP_GRO:{error}")
    assert one.send_many(messages) == 10
    try:
        other.set_readahead(0)
    except OSError:
        pass
    assert [other.recv(65536) for _ in messages] == messages
    assert one.send_many(messages) == 10
    assert [other.recv(65536) for _ in messages] == messages
""")


# Of the tests of batches and read-ahead those that make the refused calls, and all.
CALLERS = ["test_batch.py", "test_re*_batch.py", "test_*_many.py", "test_*_many_partly.py"]
CALLERS += ["test_readahead.py"]
ALL = ["test_*batch*.py", "test_*many*.py", "test_readahead.py", "test_receive.py", "test_send.py"]


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "patterns",
    [pytest.param(CALLERS, id="callers"), pytest.param(ALL, id="all", marks=pytest.mark.long)],
)
def test_tests_of_batches_pass_where_many_messages_are_refused(patterns):
    files = sorted({str(file) for pattern in patterns for file in HERE.glob(pattern)})
    done = child.python(
        # When all fail that wait for something, three tell enough.
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--repeats=1", "--maxfail=3", *files),
        tools=[("refusal", "recvmmsg:EPERM,sendmmsg:EPERM")],
        deadline=80,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
