# SPDX-License-Identifier: MIT
"""send_fds and recv_fds: every descriptor that comes is the caller's or closed."""

import errno
import os
import pickle
import resource
import signal
import socket as stdlib
import sys
import threading
import time

import pytest

import fastsock
from tools import child

KINDS = ["unix_stream", "unix_datagram", "unix_seqpacket"]
MOST = 253

pytestmark = pytest.mark.usefixtures("no_descriptor_leak")


@pytest.fixture(params=KINDS)
def pair(make_pair, request):
    return make_pair(request.param)


@pytest.fixture
def pipe():
    """A pipe of which the reading end tells by its end that no writer is open."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def is_last_writer(pipe):
    """Whether nobody but the test has the writing end; closes it for the question."""
    reader, writer = pipe
    kept = os.open(os.devnull, os.O_RDONLY)
    os.dup2(kept, writer)
    os.close(kept)
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("count", [0, 1, 2, 3, MOST])
def test_descriptors_arrive_and_are_closed_on_exec(pair, pipe, count):
    sock, peer = pair
    assert fastsock.socket.send_fds(peer, [b"da", b"ta"], [pipe[1]] * count) == 4
    data, fds, flags, _ = sock.recv_fds(100, MOST)
    assert (data, len(fds), flags & ~stdlib.MSG_EOR) == (b"data", count, 0)
    for fd in fds:
        assert not os.get_inheritable(fd)
        assert os.path.sameopenfile(fd, pipe[1])
        os.close(fd)
    assert is_last_writer(pipe)


def test_objects_with_a_descriptor_are_sent(pair):
    sock, peer = pair
    with open(os.devnull) as file:
        sock.send_fds([b"x"], iter([file, sock]))
        data, fds, _, _ = fastsock.socket.recv_fds(peer, 1, 2)
        assert data == b"x"
        assert os.path.sameopenfile(fds[0], file.fileno())
        assert os.path.sameopenfile(fds[1], sock.fileno())
    for fd in fds:
        os.close(fd)


def test_address_is_sent_to_and_received_from(closing, tmp_path, pipe):
    sock, sender = (closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)) for _ in range(2))
    sock.bind_unix(tmp_path / "to")
    sender.bind_unix(tmp_path / "from")
    assert sender.send_fds([b"x"], [pipe[0]], 0, str(tmp_path / "to")) == 1
    data, (fd,), flags, address = sock.recv_fds(10, 1)
    os.close(fd)
    assert (data, flags, address) == (b"x", 0, str(tmp_path / "from"))


def test_end_of_stream_is_empty(make_pair):
    sock, peer = make_pair("unix_stream")
    peer.close()
    assert sock.recv_fds(10, 10)[:2] == (b"", [])


def test_peeked_descriptors_come_twice(pair, pipe):
    sock, peer = pair
    stdlib.send_fds(peer, [b"x"], [pipe[1]])
    fds = sock.recv_fds(10, 1, flags=stdlib.MSG_PEEK)[1] + sock.recv_fds(10, 1)[1]
    assert len(fds) == 2
    for fd in fds:
        os.close(fd)
    assert is_last_writer(pipe)


@pytest.mark.parametrize(("sent", "maxfds"), [(1, 0), (2, 1), (4, 3), (MOST, 0), (MOST, MOST - 1)])
def test_more_than_asked_for_is_an_error_that_holds_the_data(pair, pipe, sent, maxfds):
    sock, peer = pair
    stdlib.send_fds(peer, [b"data"], [pipe[1]] * sent)
    stdlib.send_fds(peer, [b"next"], [])
    with pytest.raises(fastsock.DescriptorsRefusedError, match=f"maxfds is {maxfds}") as caught:
        sock.recv_fds(4, maxfds)
    error = caught.value
    assert error.errno == errno.EMSGSIZE
    assert (error.data, error.fds_refused, error.flags & stdlib.MSG_CTRUNC) == (b"data", sent, 0)
    assert sock.recv_fds(4, maxfds)[:2] == (b"next", [])
    assert is_last_writer(pipe)
    again = pickle.loads(pickle.dumps(error))
    assert (again.data, again.fds_refused, str(again)) == (b"data", sent, str(error))


def test_descriptors_that_the_process_can_not_open_are_an_error_that_holds_the_data(pair, pipe):
    sock, peer = pair
    stdlib.send_fds(peer, [b"data"], [pipe[1]] * 9)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    # Room for some of them: that those are closed is seen too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, before[1]))
    try:
        with pytest.raises(fastsock.DescriptorsRefusedError, match="ulimit -n") as caught:
            sock.recv_fds(100, 9)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert caught.value.data == b"data"
    assert caught.value.flags & stdlib.MSG_CTRUNC
    assert caught.value.fds_refused < 9
    assert is_last_writer(pipe)


def test_other_control_data_does_not_take_the_room(pair, pipe):
    sock, peer = pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_PASSCRED, 1)
    stdlib.send_fds(peer, [b"x"], [pipe[1]] * MOST)
    _, fds, flags, _ = sock.recv_fds(10, MOST)
    assert (len(fds), flags & stdlib.MSG_CTRUNC) == (MOST, 0)
    for fd in fds:
        os.close(fd)


def test_datagram_that_is_cut_is_told(make_pair, pipe):
    sock, peer = make_pair("unix_seqpacket")
    stdlib.send_fds(peer, [b"long"], [pipe[1]])
    data, (fd,), flags, _ = sock.recv_fds(2, 1, stdlib.MSG_TRUNC)
    os.close(fd)
    assert data == b"lo"
    assert flags & stdlib.MSG_TRUNC


def test_send_refuses_what_the_kernel_would_forget(closing, make_pair, pipe):
    sock, _ = make_pair("unix_stream")
    for empty in ([], [b""], [b"", bytearray()]):
        with pytest.raises(ValueError, match="a byte or more"):
            sock.send_fds(empty, [pipe[1]])
    for kind in (stdlib.SOCK_STREAM, stdlib.SOCK_DGRAM):
        internet = closing(fastsock.socket(stdlib.AF_INET, kind))
        with pytest.raises(fastsock.CapabilityError, match="AF_UNIX"):
            internet.send_fds([b"x"], [pipe[1]])
        with pytest.raises(fastsock.CapabilityError, match="AF_UNIX"):
            internet.recv_fds(1, 1)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_message_without_bytes_carries_descriptors(make_pair, pipe, kind):
    sock, peer = make_pair(kind)
    assert fastsock.socket.send_fds(peer, [], [pipe[1]]) == 0
    data, (fd,), _, _ = sock.recv_fds(10, 1)
    os.close(fd)
    assert data == b""


def test_wrong_descriptors_are_refused(pair, pipe):
    sock, _ = pair
    closed = os.dup(0)
    os.close(closed)
    with pytest.raises(ValueError, match="at most 253"):
        sock.send_fds([b"x"], [pipe[1]] * (MOST + 1))
    with pytest.raises(ValueError, match="negative"):
        sock.send_fds([b"x"], [-1])
    with pytest.raises(TypeError, match="fileno"):
        sock.send_fds([b"x"], ["1"])
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.send_fds([b"x"], [closed])


def test_wrong_sizes_are_refused(pair):
    sock, _ = pair
    for sizes in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="0 or more"):
            sock.recv_fds(*sizes)
    with pytest.raises((MemoryError, OverflowError)):
        sock.recv_fds(sys.maxsize, 1)


def test_receive_waits_as_the_socket_says(pair):
    sock, _ = pair
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv_fds(10, 1)
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv_fds(10, 1)


def test_waiting_receive_gets_what_comes_and_runs_signal_handlers(pair, pipe, in_thread):
    sock, peer = pair
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(True))
    try:

        def interrupt_then_send():
            while not caught:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
                time.sleep(0.01)
            stdlib.send_fds(peer, [b"x"], [pipe[1]])

        sender = in_thread(interrupt_then_send)
        data, (fd,), _, _ = sock.recv_fds(10, 1)
        sender.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    os.close(fd)
    assert data == b"x"


def test_many_messages_leave_no_descriptor_open(pair, pipe):
    sock, peer = pair
    for number in range(400):
        stdlib.send_fds(peer, [b"x"], [pipe[1]] * (number % 9 + 1))
        with pytest.raises(fastsock.DescriptorsRefusedError):
            sock.recv_fds(1, number % 9)
    assert is_last_writer(pipe)


def test_result_that_can_not_be_made_closes_what_came():
    """Every allocation after the system call fails in its turn."""
    child.run("""
import _testcapi, os, socket, fastsock
sock, peer = fastsock.socketpair(type=socket.SOCK_SEQPACKET)
fds = bytes([os.open(os.devnull, os.O_WRONLY), 0, 0, 0]) * 40
lost = 0
before = len(os.listdir("/proc/self/fd"))
for allowed in range(60):
    peer.sendmsg([b"x" * 2000], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    received = []
    failed = False
    _testcapi.set_nomemory(allowed, allowed + 1)
    try:
        received = sock.recv_fds(4000, 40)[1]
    except MemoryError:
        failed = True
    finally:
        _testcapi.remove_mem_hooks()
    for fd in received:
        os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before, allowed
    sock.setblocking(False)
    try:
        sock.recv_fds(4000, 0)
    except fastsock.DescriptorsRefusedError:
        pass  # it had failed before the system call
    except BlockingIOError:
        lost += failed
    sock.setblocking(True)
assert lost > 1, lost
sock.close()
peer.close()
""")
