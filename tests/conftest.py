# SPDX-License-Identifier: MIT
"""Fixtures and options of all Python tests.

A pair is (sock, peer): a `fastsock.socket`, and a plain socket of the standard library on its other
end. So a failure is the fault of one side, and nothing here needs our send to test our receive.
"""

import contextlib
import functools
import gc
import os
import platform
import shutil
import signal
import socket as stdlib
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import fastsock
from fastsock.native import library

DEADLINE = 5  # seconds until something that should have happened counts as hung
SHORT_REPEATS = 20
LONG_REPEATS = 1000

# The calls whose first argument is no descriptor and which wait for one: poll, and ppoll, which the
# C library calls where the kernel has no poll.
POLL_NUMBERS = {"x86_64": {7, 271}, "aarch64": {73}}.get(platform.machine(), set())


# For the Pythons that tests start; see the file there.
START = str(Path(__file__).with_name("tools") / "start")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [START, os.environ.get("PYTHONPATH")]))


def pytest_addoption(parser):
    parser.addoption(
        "--repeats",
        type=int,
        default=None,
        help=f"rounds of each stress test (default: {SHORT_REPEATS}, "
        f"and {LONG_REPEATS} more under the marker `long`)",
    )


def pytest_report_header():
    return f"engine: {library.engine_name()}"


def pytest_generate_tests(metafunc):
    if "repeats" not in metafunc.fixturenames:
        return
    given = metafunc.config.getoption("repeats")
    rounds = [SHORT_REPEATS] if given is None else [given]
    values = [pytest.param(count, id=f"{count}_repeats") for count in rounds]
    if given is None:
        marks = [pytest.mark.long, pytest.mark.timeout(LONG_REPEATS)]
        values.append(pytest.param(LONG_REPEATS, id=f"{LONG_REPEATS}_repeats", marks=marks))
    metafunc.parametrize("repeats", values)


def pytest_collection_modifyitems(config, items):
    """Leave the long tier out unless -m says which tier it is to be."""
    if config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_collection_finish():
    """Keep what pytest itself holds out of the many searches for garbage that tests make."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Let the interpreter's end find it, or a leak sanitizer would."""
    gc.unfreeze()


@pytest.fixture(
    params=[pytest.param(0.4, id="short"), pytest.param(1.0, id="second", marks=pytest.mark.long)]
)
def wait(request):
    """Seconds of a wait whose CPU time is looked at."""
    return request.param


@pytest.fixture(scope="session")
def wait_until():
    """Return wait_until(condition, deadline): its first true value, or a failed test."""

    def wait_until(condition, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while not (value := condition()):
            if time.monotonic() > end:
                pytest.fail(f"not so within {deadline} s: {condition}")
            time.sleep(0.001)
        return value

    return wait_until


class Task:
    """A call in a thread of its own."""

    def __init__(self, call):
        self._call = call
        self._outcome = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._outcome = (self._call(), None)
        except BaseException as error:
            self._outcome = (None, error)

    @property
    def identity(self):
        return self._thread.ident

    @property
    def is_done(self):
        return self._outcome is not None

    def result(self, deadline=DEADLINE):
        """Return what the call returned or raise what it raised."""
        self._thread.join(deadline)
        if self._outcome is None:
            pytest.fail(f"not ended within {deadline} s: {self._call}")
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def waits_in_call(self, fd):
        """Tell whether the thread is inside a system call whose first argument is fd."""
        number, argument = waiting_call(self._thread.native_id)
        return number is not None and argument == fd

    def waits_in_poll(self):
        number, _ = waiting_call(self._thread.native_id)
        return number in POLL_NUMBERS


def waiting_call(thread_id):
    """Return the number and first argument of the system call that a thread waits in."""
    # Linux: proc_pid_syscall(5); "running" while the thread is on a CPU, gone when it has ended.
    try:
        with open(f"/proc/self/task/{thread_id}/syscall") as file:
            fields = file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return None, None
    if len(fields) < 2 or int(fields[0]) < 0:
        return None, None
    return int(fields[0]), int(fields[1], 16)


@pytest.fixture
def in_thread():
    """Return in_thread(function, *arguments, **keywords), which gives a Task."""
    tasks = []

    def in_thread(function, *arguments, **keywords):
        tasks.append(Task(functools.partial(function, *arguments, **keywords)))
        return tasks[-1]

    yield in_thread
    for task in tasks:
        task._thread.join(DEADLINE)
        assert task.is_done, f"a thread is left: {task._call}"


@pytest.fixture(scope="session")
def main_waits_in_call():
    """Return main_waits_in_call(fd), for a helper thread: is the test itself in a call on fd?"""

    def main_waits_in_call(fd):
        number, argument = waiting_call(threading.main_thread().native_id)
        return number is not None and (argument == fd or number in POLL_NUMBERS)

    return main_waits_in_call


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def no_descriptor_leak():
    """Fail the test if it leaves more descriptors open than it found."""
    gc.collect()
    before = count_descriptors()
    yield
    gc.collect()
    assert count_descriptors() <= before


@pytest.fixture
def closing():
    """Return closing(sock): sock, which is closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def connect(closing):
    """Return connect(listener), which gives a plain socket connected to it."""

    def connect(listener):
        sock = closing(stdlib.socket(listener.family, listener.type))
        sock.connect(listener.getsockname())
        return sock

    return connect


@pytest.fixture(scope="module")
def sigint_heeded():
    """Let children get SIGINT even if pytest runs as a job for which the shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tls_contexts(tmp_path_factory):
    """The contexts of a server called localhost and of a client that trusts it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("a certificate is needed, and there is no openssl command to make it")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(certificate)
    return server, client


@pytest.fixture
def run_child():
    """Return run_child(text, *arguments): what the program printed in a Python of its own."""

    def run_child(text, *arguments, deadline=15):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text, *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=deadline,
            stdin=subprocess.DEVNULL,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run_child


def adopt(sock):
    """Return a fastsock.socket in place of sock."""
    ours = fastsock.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
    ours.settimeout(sock.gettimeout())
    sock.detach()
    return ours


def bound(family, kind):
    sock = stdlib.socket(family, kind)
    host = "::1" if family == stdlib.AF_INET6 else "127.0.0.1"
    try:
        sock.bind((host, 0))
    except OSError as error:
        sock.close()
        pytest.skip(f"binding {host} was tried and gave: {error}")
    return sock


def forget_waits(sock, peer):
    """Make the calls on sock try without waiting again, whatever its number's last owner did.

    What a descriptor mostly had to do is remembered by its number. A test of the first try would
    otherwise test nothing when the test before it has waited often.
    """
    for _ in range(40):
        peer.send(b"x")
        assert sock.recv(1) == b"x"
        sock.send(b"x")
        assert peer.recv(1) == b"x"


def udp_sockets(family):
    """Return two UDP sockets, connected to each other."""
    one, other = bound(family, stdlib.SOCK_DGRAM), bound(family, stdlib.SOCK_DGRAM)
    one.connect(other.getsockname())
    other.connect(one.getsockname())
    return one, other


def tcp_sockets(family):
    with bound(family, stdlib.SOCK_STREAM) as listener:
        listener.listen()
        one = stdlib.socket(family, stdlib.SOCK_STREAM)
        one.connect(listener.getsockname())
        other, _ = listener.accept()
    return one, other


KINDS = {
    "udp_ipv4": functools.partial(udp_sockets, stdlib.AF_INET),
    "udp_ipv6": functools.partial(udp_sockets, stdlib.AF_INET6),
    "tcp_ipv4": functools.partial(tcp_sockets, stdlib.AF_INET),
    "tcp_ipv6": functools.partial(tcp_sockets, stdlib.AF_INET6),
    "unix_stream": functools.partial(stdlib.socketpair, stdlib.AF_UNIX, stdlib.SOCK_STREAM),
    "unix_datagram": functools.partial(stdlib.socketpair, stdlib.AF_UNIX, stdlib.SOCK_DGRAM),
    "unix_seqpacket": functools.partial(stdlib.socketpair, stdlib.AF_UNIX, stdlib.SOCK_SEQPACKET),
}


@pytest.fixture
def make_pair():
    """Return make_pair(kind), which gives a new connected pair of that kind."""
    with contextlib.ExitStack() as stack:

        def make_pair(kind):
            one, other = KINDS[kind]()
            sock, peer = stack.enter_context(adopt(one)), stack.enter_context(other)
            forget_waits(sock, peer)
            return sock, peer

        yield make_pair


def pair_fixture(*kinds):
    @pytest.fixture(params=kinds)
    def pair(request, make_pair):
        return make_pair(request.param)

    return pair


udp_pair = pair_fixture("udp_ipv4", "udp_ipv6")
tcp_pair = pair_fixture("tcp_ipv4", "tcp_ipv6")
unix_pair = pair_fixture("unix_stream", "unix_datagram", "unix_seqpacket")
stream_pair = pair_fixture("tcp_ipv4", "tcp_ipv6", "unix_stream")
datagram_pair = pair_fixture("udp_ipv4", "udp_ipv6", "unix_datagram")
message_pair = pair_fixture("udp_ipv4", "udp_ipv6", "unix_datagram", "unix_seqpacket")
any_pair = pair_fixture(*KINDS)
