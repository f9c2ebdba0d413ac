# SPDX-License-Identifier: MIT
"""What the sending calls do. Addresses are in test_address.py, costs in test_waiting_cost.py."""

import array
import errno
import itertools
import os
import signal
import socket as stdlib
import threading
import time

import pytest

import fastsock
from unit.calls import fill, outcome

pytestmark = pytest.mark.one_engine

LARGE = 4 << 20  # bytes; more than the kernel queues for a stream here
PAYLOAD = bytes(range(256)) * (LARGE // 256)


@pytest.fixture
def small_queues(stream_pair):
    """A stream pair whose kernel queues hold far less than LARGE, whatever the machine's limits."""
    sock, peer = stream_pair
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 65_536)
    peer.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 65_536)
    return sock, peer


def drain(peer, total):
    """Receive total bytes."""
    received = bytearray()
    peer.settimeout(5)
    while len(received) < total:
        part = peer.recv(65_536)
        if not part:
            break
        received += part
    return bytes(received)


def pieces():
    """The payload in buffers of many sizes, empty ones among them."""
    cuts = [0, 0, 1, 1, 70_000, 70_001, 1 << 20, (1 << 20) + 3, LARGE, LARGE]
    return [PAYLOAD[start:end] for start, end in itertools.pairwise(cuts)]


SENDS = {
    "send": lambda sock: sock.send(PAYLOAD),
    "sendmsg": lambda sock: sock.sendmsg(pieces()),
    "sendall": lambda sock: sock.sendall(PAYLOAD),
}
each_send = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
each_counting_send = pytest.mark.parametrize(
    "send", [SENDS["send"], SENDS["sendmsg"]], ids=["send", "sendmsg"]
)


# A blocking stream


@each_send
def test_send_of_much_on_blocking_stream_sends_everything(
    small_queues, send, in_thread, wait_until
):
    sock, peer = small_queues
    task = in_thread(send, sock)
    # Only now does the reader begin: the first try has sent a part, and the rest must follow.
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    assert drain(peer, LARGE) == PAYLOAD
    assert task.result() == (None if send is SENDS["sendall"] else LARGE)


@pytest.mark.parametrize("timeout", [None, 30], ids=["blocking", "timeout"])
def test_sendto_of_much_on_connected_stream_sends_as_send(
    small_queues, timeout, in_thread, wait_until
):
    sock, peer = small_queues
    sock.settimeout(timeout)
    address = peer.getsockname() or "ignored"
    if sock.family == stdlib.AF_UNIX:
        # Linux ignores the address on a connected TCP socket and refuses it on a Unix one.
        with pytest.raises(OSError, match="already connected") as caught:
            sock.sendto(PAYLOAD, address)
        assert caught.value.errno == errno.EISCONN
        return
    task = in_thread(sock.sendto, PAYLOAD, address)
    if timeout is None:
        wait_until(lambda: task.waits_in_call(sock.fileno()))
        assert drain(peer, LARGE) == PAYLOAD
        assert task.result() == LARGE
    else:
        assert 0 < task.result() < LARGE


@each_counting_send
@pytest.mark.parametrize("timeout", [0, 30], ids=["nonblocking", "timeout"])
def test_send_of_much_without_blocking_returns_a_short_count(small_queues, send, timeout):
    sock, peer = small_queues
    sock.settimeout(timeout)
    sent = send(sock)
    assert 0 < sent < LARGE
    assert drain(peer, sent) == PAYLOAD[:sent]


@each_counting_send
def test_send_with_msg_dontwait_on_blocking_stream_returns_a_short_count(small_queues, send):
    sock, peer = small_queues
    if send is SENDS["send"]:
        sent = sock.send(PAYLOAD, stdlib.MSG_DONTWAIT)
    else:
        sent = sock.sendmsg(pieces(), [], stdlib.MSG_DONTWAIT)
    assert 0 < sent < LARGE
    assert drain(peer, sent) == PAYLOAD[:sent]


@each_counting_send
def test_send_interrupted_after_the_first_byte_returns_what_went(
    small_queues, send, in_thread, wait_until, main_waits_in_call
):
    sock, peer = small_queues
    handled = threading.Event()
    returned = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    main_thread, fd = threading.get_ident(), sock.fileno()

    def interrupt():
        wait_until(lambda: main_waits_in_call(fd))
        signal.pthread_kill(main_thread, signal.SIGUSR1)
        handled.wait(5)
        # A call that goes on after the signal ends only now, and with everything sent.
        return returned.wait(2) or drain(peer, LARGE)

    try:
        task = in_thread(interrupt)
        sent = send(sock)
        returned.set()
        assert task.result() is True
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled.is_set()
    assert 0 < sent < LARGE
    assert drain(peer, sent) == PAYLOAD[:sent]


@each_counting_send
def test_send_failing_after_the_first_byte_returns_what_went(
    small_queues, send, in_thread, wait_until
):
    sock, peer = small_queues
    task = in_thread(send, sock)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    peer.close()
    assert 0 < task.result() < LARGE
    # The error that ended it is met by the next call.
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.send(b"more")


def test_sendall_failing_after_the_first_byte_raises(small_queues, in_thread, wait_until):
    sock, peer = small_queues
    task = in_thread(sock.sendall, PAYLOAD)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    peer.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        task.result()


# sendall


def test_sendall_to_trickling_reader_has_one_deadline(small_queues, in_thread):
    sock, peer = small_queues
    sock.settimeout(0.5)
    is_over = threading.Event()

    def trickle():
        # Were the deadline each part's own, a part would go in time until the reader gives up.
        end = time.monotonic() + 6
        while not is_over.wait(0.05) and time.monotonic() < end:
            peer.recv(65_536)

    task = in_thread(trickle)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="timed out"):
        sock.sendall(PAYLOAD * 16)
    elapsed = time.monotonic() - start
    is_over.set()
    task.result()
    assert 0.5 <= elapsed < 3


def test_sendall_nonblocking_on_full_queue_raises_blocking_io_error(small_queues):
    sock, peer = small_queues
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.sendall(PAYLOAD)
    # A part went, as the documentation warns.
    assert peer.recv(100) == PAYLOAD[:100]


@pytest.mark.parametrize("timeout", [None, 30], ids=["blocking", "timeout"])
def test_sendall_runs_signal_handlers_between_parts(small_queues, timeout, in_thread):
    sock, peer = small_queues
    sock.settimeout(timeout)
    received = bytearray()
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(len(received)))
    main_thread = threading.get_ident()

    def read():
        peer.settimeout(5)
        is_sent = False
        while len(received) < LARGE:
            received.extend(peer.recv(65_536))
            if not is_sent and len(received) > 300_000:
                signal.pthread_kill(main_thread, signal.SIGUSR1)
                is_sent = True
            # In the middle the reader waits for the handler, which must run inside sendall.
            deadline = time.monotonic() + 5
            while is_sent and not seen and time.monotonic() < deadline:
                peer.recv_into(bytearray(1), 1, stdlib.MSG_PEEK)

    try:
        task = in_thread(read)
        sock.sendall(PAYLOAD)
        task.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == PAYLOAD
    assert len(seen) == 1
    assert seen[0] < LARGE


@pytest.mark.parametrize("timeout", [None, 30], ids=["blocking", "timeout"])
def test_sendall_with_raising_handler_raises_its_exception(small_queues, timeout, in_thread):
    sock, peer = small_queues
    sock.settimeout(timeout)

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    main_thread = threading.get_ident()

    def read_a_little():
        assert len(drain(peer, 200_000)) >= 200_000
        signal.pthread_kill(main_thread, signal.SIGUSR1)

    try:
        task = in_thread(read_a_little)
        with pytest.raises(Stop):
            sock.sendall(PAYLOAD)
        task.result()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_sendall_of_nothing_makes_one_call(make_pair):
    sock, peer = make_pair("udp_ipv4")
    assert sock.sendall(b"") is None
    peer.settimeout(5)
    assert peer.recv(10) == b""
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.sendall(b"")


# Messages, buffers and arguments


@pytest.mark.parametrize("length", [0, 1, 4096, 4097, 65_507])
def test_send_of_datagram_sends_it_whole(datagram_pair, length):
    sock, peer = datagram_pair
    data = PAYLOAD[:length]
    assert sock.send(data) == length
    assert peer.recv(70_000) == data
    assert sock.sendmsg([data[:1], b"", data[1:]]) == length
    assert peer.recv(70_000) == data
    assert sock.sendall(data) is None
    assert peer.recv(70_000) == data


@pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"])
def test_send_of_too_long_datagram_raises_emsgsize(udp_pair, timeout):
    sock, _ = udp_pair
    sock.settimeout(timeout)
    for call in (sock.send, sock.sendall, lambda data: sock.sendmsg([data])):
        with pytest.raises(OSError, match="Message too long") as caught:
            call(b"x" * 65_536)
        assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize("name", ["send", "sendall", "sendto", "sendmsg"])
@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"abcd"),
        memoryview(b"..abcd..")[2:6],
        array.array("B", b"abcd"),
        memoryview(b"abcd").cast("B", (2, 2)),
    ],
    ids=["bytearray", "slice", "array", "two_dimensions"],
)
def test_send_of_any_contiguous_buffer_sends_its_bytes(make_pair, name, data):
    sock, peer = make_pair("udp_ipv4")
    arguments = {"sendto": (data, peer.getsockname()), "sendmsg": ([data],)}.get(name, (data,))
    getattr(sock, name)(*arguments)
    assert peer.recv(100) == b"abcd"


def as_arguments(peer):
    address = peer.getsockname()
    return {
        "send": [
            (),
            ("text",),
            (1,),
            (None,),
            (memoryview(b"abcd")[::2],),
            (b"", "0"),
            (b"", 2**40),
        ],
        "sendall": [(), ("text",), (1j,), (memoryview(b"abcd")[::2],), (b"", None), (b"", 0, 0)],
        "sendto": [
            (),
            (b"",),
            (b"", 0, address, 0),
            ("text", address),
            (1j, address),
            ("text", 0, address),
            (b"", None),
            (b"", "0", address),
            (b"", 0, None),
            (b"", address, 0),
            (b"", 0, list(address)),
        ],
        "sendmsg": [
            (),
            (b"ab",),
            (1,),
            (["text"],),
            ([b"ab"], [1]),
            ([b"ab"], [(1, 2)]),
            ([b"ab"], [(1, 2, "text")]),
            ([b"ab"], 5),
            ([b"ab"], [], "0"),
            ([b"ab"], [], 0, None, 5),
            ([memoryview(b"abcd")[::2]],),
        ],
    }


@pytest.mark.parametrize("name", ["send", "sendall", "sendto", "sendmsg"])
def test_send_with_wrong_arguments_raises_as_the_stdlib(make_pair, name):
    sock, peer = make_pair("udp_ipv4")
    for arguments in as_arguments(peer)[name]:
        ours = outcome(getattr(sock, name), *arguments)
        plain = outcome(getattr(peer, name), *arguments)
        assert ours[:2] == plain[:2], arguments


def test_sendto_with_wrong_number_of_arguments_tells_how_many(make_pair):
    sock, peer = make_pair("udp_ipv4")
    with pytest.raises(TypeError, match=r"\(1 given\)"):
        sock.sendto(b"")
    with pytest.raises(TypeError, match=r"\(4 given\)"):
        sock.sendto(b"", 0, peer.getsockname(), 0)


@pytest.mark.parametrize("data", ["text", 1j], ids=["str", "complex"])
def test_sendto_of_what_is_no_buffer_names_its_type(make_pair, data):
    sock, peer = make_pair("udp_ipv4")
    text = f"^a bytes-like object is required, not '{type(data).__name__}'$"
    for arguments in [(data, peer.getsockname()), (data, 0, peer.getsockname())]:
        with pytest.raises(TypeError, match=text):
            sock.sendto(*arguments)


def test_sendto_without_address_names_none(make_pair):
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(TypeError, match="not NoneType"):
        sock.sendto(b"", None)


def test_send_pins_its_buffer_while_it_waits(small_queues, in_thread, wait_until):
    sock, peer = small_queues
    fill(sock)
    for call in (sock.send, sock.sendall, lambda data: sock.sendmsg([data])):
        buffer = bytearray(b"x" * 300_000)
        task = in_thread(call, buffer)
        wait_until(lambda task=task: task.waits_in_call(sock.fileno()))
        with pytest.raises(BufferError, match="Existing exports of data"):
            buffer.extend(b"more")
        wait_until(lambda task=task: drain_all(peer) or task.is_done)
        task.result()
        buffer.extend(b"more")
        drain_all(peer)
        fill(sock)


def drain_all(peer):
    peer.settimeout(0)
    while outcome(peer.recv, 1 << 20)[0] == "returned":
        pass


def test_sendmsg_of_much_with_descriptors_sends_them_once(make_pair, in_thread, wait_until):
    sock, peer = make_pair("unix_stream")
    rights = [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, array.array("i", [peer.fileno()]))]
    task = in_thread(sock.sendmsg, pieces(), rights)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    received, passed = 0, []
    while received < LARGE:
        data, descriptors, _, _ = stdlib.recv_fds(peer, 65_536, 10)
        received += len(data)
        passed += descriptors
    for fd in passed:
        os.close(fd)
    assert task.result() == LARGE
    # What goes on after a short send is bytes alone.
    assert len(passed) == 1


def test_send_on_closed_socket_raises_ebadf(datagram_pair):
    sock, peer = datagram_pair
    address = peer.getsockname() or "name"
    sock.close()
    for name, arguments in [
        ("send", (b"x",)),
        ("sendall", (b"x",)),
        ("sendto", (b"x", address)),
        ("sendmsg", ([b"x"],)),
    ]:
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            getattr(sock, name)(*arguments)
        assert caught.value.errno == errno.EBADF


def test_send_on_subclass_works(closing):
    class Special(fastsock.socket):
        pass

    one, other = stdlib.socketpair()
    special, plain = closing(Special(fileno=one.detach())), closing(other)
    assert special.send(b"from special") == 12
    assert plain.recv(100) == b"from special"
