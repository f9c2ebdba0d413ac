# SPDX-License-Identifier: MIT
"""capabilities(): what is told of each feature is what the kernel says to the standard library."""

import dataclasses
import socket as stdlib
import sys

import pytest

import fastsock
from fastsock.native import library
from tools import child, refusal

OF_ENGINE = {"recvmmsg", "sendmmsg", "udp_gro", "udp_segment"}
# Level and option; to set one of them to 1 takes what the library's use takes.
OPTIONS = {
    "udp_gro": (17, 104),
    "udp_segment": (17, 103),
    "timestamps": (stdlib.SOL_SOCKET, 35),
    "busy_poll": (stdlib.SOL_SOCKET, 46),
    "force_buffer": (stdlib.SOL_SOCKET, 33),
}
is_linux = sys.platform == "linux"
only_linux = pytest.mark.skipif(not is_linux, reason=f"sys.platform is {sys.platform}")
only_linux_engine = pytest.mark.skipif(
    library.engine_name() != "linux",
    reason=f"the engine is {library.engine_name()}, which never makes the calls that are refused",
)
pytestmark = pytest.mark.usefixtures("no_descriptor_leak")


def is_allowed(option):
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(*option, 1)
        except OSError:
            return False
    return True


def test_each_capability_is_found_by_its_name():
    found = fastsock.capabilities()
    assert found.keys() == OF_ENGINE | OPTIONS.keys() | {"receive_drops"}
    for name, capability in found.items():
        assert isinstance(capability, fastsock.Capability)
        assert capability.name == name
        assert capability.working == (capability.reason is None)
        assert capability.built or not capability.probed
        assert capability.probed or not capability.working
        with pytest.raises(dataclasses.FrozenInstanceError):
            capability.working = True


@only_linux
@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_option_works_where_the_kernel_takes_it_from_any_program(name):
    capability = fastsock.capabilities()[name]
    is_built = name not in OF_ENGINE or library.engine_name() == "linux"
    expected = is_built and is_allowed(OPTIONS[name])
    assert (capability.built, capability.probed) == (is_built, expected)
    assert capability.working == expected


@only_linux_engine
def test_calls_and_drops_work_on_linux():
    found = fastsock.capabilities()
    for name in ("recvmmsg", "sendmmsg", "receive_drops"):
        assert found[name] == fastsock.Capability(name, True, True, True, None)


def test_portable_engine_gives_itself_as_the_reason(run_child):
    """Chosen by the environment, which the reason names as the cure."""
    printed = run_child("""
import os
os.environ["FASTSOCK_ENGINE"] = "portable"
import fastsock
for name in ("recvmmsg", "sendmmsg", "udp_gro", "udp_segment"):
    found = fastsock.capabilities()[name]
    print(found.built, found.probed, found.working, found.reason)
""")
    lines = printed.splitlines()
    assert len(lines) == 4
    for line in lines:
        assert line.startswith("False False False ")
        assert not is_linux or "FASTSOCK_ENGINE" in line


ASK = """
import fastsock
from tools import refusal
def ask():
    for name, found in fastsock.capabilities().items():
        if not found.working and found.built:
            print(name, found.probed, found.reason)
"""


@only_linux_engine
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_refusal_by_a_sandbox_is_the_reason(error):
    """Also when the sandbox comes after the capability was seen to work."""
    rules = ",".join(f"{name}:{error}" for name in refusal.NAMES)
    early = child.run(ASK + "ask()", ("refusal", rules))
    late = child.run(ASK + f"fastsock.capabilities(); refusal.install({rules!r}); ask()")
    for printed in (early, late):
        lines = dict(line.split(" ", 1) for line in printed.splitlines())
        for name in refusal.NAMES:
            assert lines[name.lower()].startswith(f"False a sandbox refuses {name} ({error})")


@only_linux_engine
def test_option_that_the_kernel_lacks_tells_the_one_that_has_it():
    rules = "UDP_GRO:ENOPROTOOPT,UDP_SEGMENT:ENOPROTOOPT"
    printed = child.run(ASK + "ask()", ("refusal", rules))
    assert "udp_gro False the kernel has no UDP_GRO; Linux 5.0 has (ENOPROTOOPT)\n" in printed
    assert "udp_segment False the kernel has no UDP_SEGMENT; Linux 4.18 has (ENOPR" in printed


@only_linux_engine
def test_refused_to_a_socket_before_is_not_working_any_more():
    """A filter holds for the thread that installs it; another thread is still allowed."""
    printed = child.run(
        ASK
        + """
import socket, threading
def be_refused():
    refusal.install("UDP_GRO:EPERM")
    with fastsock.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.set_readahead(1)
thread = threading.Thread(target=be_refused)
thread.start()
thread.join()
ask()
"""
    )
    assert printed.count("udp_gro True refused to this process before") == 1


@only_linux
def test_capability_is_not_known_without_a_descriptor_to_ask_with(run_child):
    printed = run_child("""
import resource
import fastsock.capability
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
found = fastsock.capabilities()
resource.setrlimit(resource.RLIMIT_NOFILE, before)
print(found["timestamps"].probed, found["timestamps"].working, found["timestamps"].reason)
assert fastsock.capabilities()["timestamps"].working
""")
    assert printed.startswith("False False not known")
    assert printed.endswith("(EMFILE)\n")


def test_many_threads_get_the_same(in_thread):
    expected = fastsock.capabilities()
    tasks = [in_thread(fastsock.capabilities) for _ in range(4)]
    assert all(task.result() == expected for task in tasks)
