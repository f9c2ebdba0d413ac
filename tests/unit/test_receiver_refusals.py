# SPDX-License-Identifier: MIT
"""What a Receiver can't have, and what is left as it was when it fails or the program ends."""

import errno
import gc
import os
import socket as stdlib

import pytest

import fastsock
from tools import child
from unit.receiving import LOCAL, count_descriptors, receive, send_to, threads

__all__ = ["receive", "send_to"]  # fixtures


class Interrupted(fastsock.Receiver):
    """A signal comes while it is being opened, and its handler raises."""

    def _open(self, *arguments):
        super()._open(*arguments)
        opened.append(self)
        raise KeyboardInterrupt


opened = []


def test_descriptors_are_closed_once_when_a_signal_ends_the_opening():
    before, threads_before = count_descriptors(), threads()
    with pytest.raises(KeyboardInterrupt):
        Interrupted(LOCAL)
    # Numbers that the receiver no longer had would be these now.
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    opened.clear()
    gc.collect()
    # One that has been joined may be listed for a moment yet, before too.
    assert threads() <= threads_before
    for other in others:
        os.close(other)  # EBADF: the receiver has closed it
    assert count_descriptors() == before


def test_default_timeout_leaves_a_borrowed_socket_blocking(closing, receive):
    sock = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(LOCAL)
    stdlib.setdefaulttimeout(5)
    try:
        receiver = receive(sock)
    finally:
        stdlib.setdefaulttimeout(None)
    assert os.get_blocking(sock.fileno())
    receiver.close()
    assert os.get_blocking(sock.fileno())
    assert sock.gettimeout() is None


@pytest.mark.parametrize(
    ("kind", "protocol"), [("SOCK_RAW", "IPPROTO_UDP"), ("SOCK_DGRAM", "IPPROTO_UDPLITE")]
)
def test_other_protocols_are_refused_with_the_cure(closing, kind, protocol):
    number = getattr(stdlib, protocol, 136)
    try:
        sock = closing(stdlib.socket(stdlib.AF_INET, getattr(stdlib, kind), number))
    except OSError as error:
        pytest.skip(f"{kind} of {protocol} was tried and gave: {error}")
    with pytest.raises(ValueError, match=f"not .*{kind}.* of protocol {number}; receive with"):
        fastsock.Receiver(sock)


@pytest.mark.parametrize("option", ["busy_poll", "priority", "cpu"])
def test_fraction_of_a_whole_number_is_refused(option):
    value = (0.5,) if option == "cpu" else 0.5
    with pytest.raises(TypeError, match="float"):
        fastsock.Receiver(LOCAL, **{option: value})


UNPRIVILEGED = """
import os, resource, sys, fastsock
fastsock.Receiver(("127.0.0.1", 0)).close()  # all is imported
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
try:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

def refused(error, **options):
    before = len(os.listdir("/proc/self/fd"))
    try:
        fastsock.Receiver(("127.0.0.1", 0), **options)
    except error as caught:
        assert len(os.listdir("/proc/self/fd")) == before
        return caught

"""


def test_priority_without_privilege_is_refused_with_the_cure():
    assert (
        child.run(
            UNPRIVILEGED
            + """
error = refused(PermissionError, priority=1)
print(error.errno, error.strerror)
"""
        )
        == f"{errno.EPERM} priority: this process may not have real-time threads; it takes "
        "CAP_SYS_NICE or RLIMIT_RTPRIO\n"
    )


def test_thread_that_cannot_be_started_is_no_blocking_io_error():
    program = """
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
print(refused(RuntimeError))
"""
    # The search for leaks would need a thread of its own.
    told = child.run(UNPRIVILEGED + program, environment=child.NO_LEAK_SEARCH)
    assert "RLIMIT_NPROC" in told


def test_kernel_without_the_option_of_own_groups_joins_them():
    child.run(
        """
import fastsock
with fastsock.Receiver(("::", 0), groups=[("ff12::fa57", "lo")]):
    pass
""",
        ("refusal", "IPV6_MULTICAST_ALL:ENOPROTOOPT"),
    )


def test_receiver_that_fails_to_close_at_exit_keeps_no_other_open(tmp_path):
    done = child.python(
        "-c",
        f"""
import threading, fastsock

class Failing(fastsock.Receiver):
    def close(self):
        super().close()
        raise OSError("not closed in order")

def receive(path):
    receiver = fastsock.Receiver(path)  # of a daemon thread, which is never torn down
    started.release()
    receiver.next_batch()

started = threading.Semaphore(0)
for number in range(8):
    path = {str(tmp_path)!r} + f"/{{number}}"
    threading.Thread(target=receive, args=(path,), daemon=True).start()
    started.acquire()
    failing = Failing(("127.0.0.1", 0)), globals().get("failing")
""",
    )
    assert "not closed in order" in done.stderr
    assert os.listdir(tmp_path) == []
