# SPDX-License-Identifier: MIT
"""send_many and its kin when not all can be sent: counts, deadlines, signals, errors.

A Unix datagram queue has an exact length, so what went can be counted.
"""

import errno
import signal
import socket as stdlib
import threading

import pytest

import fastsock
from unit.calls import outcome

MESSAGES = [b"%d" % i for i in range(300)]  # more than either queue of a Unix socket holds

each_timeout = pytest.mark.parametrize(
    "timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"]
)
each_waiting = pytest.mark.parametrize("timeout", [None, 10], ids=["blocking", "timeout"])


@pytest.fixture(params=["connected", "unconnected"])
def queue(request, make_pair, closing, tmp_path):
    """A Unix datagram socket, a peer that does not read, and the peer's address or None.

    Connected, the sender's buffer limits what is queued; unconnected, the peer's backlog does.
    """
    if request.param == "connected":
        sock, peer = make_pair("unix_datagram")
        sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 32_768)
        return sock, peer, None
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer.bind(str(tmp_path / "peer"))
    return sock, peer, peer.getsockname()


@pytest.fixture
def small_queue(closing, tmp_path):
    """A Unix datagram socket and a bound peer, whose queue holds no more than its backlog."""
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    peer.bind(str(tmp_path / "peer"))
    peer.settimeout(5)
    return sock, peer, peer.getsockname()


def take_all(peer):
    """Receive what is queued, without waiting."""
    taken = []
    before = peer.gettimeout()
    peer.settimeout(0)
    while (result := outcome(peer.recv, 100))[0] == "returned":
        taken.append(result[1])
    peer.settimeout(before)
    return taken


def capacity(peer, address, sock):
    """Return how many messages the standard library can queue without waiting."""
    count = 0
    while True:
        arguments = (b"0", stdlib.MSG_DONTWAIT, *([address] if address else []))
        call = stdlib.socket.sendto if address else stdlib.socket.send
        if outcome(call, sock, *arguments)[0] != "returned":
            return len(take_all(peer)) if count else pytest.fail("nothing can be queued")
        count += 1


def send_pairs(sock, messages, address):
    if address is None:
        return sock.send_many(messages)
    return sock.sendto_many([(data, address) for data in messages])


def send_cut(sock, messages, address):
    """Send messages of one size, as segments."""
    return sock.send_segments(b"".join(messages), len(messages[0]), address)


WAYS = {
    "send_many": lambda sock, messages, address: sock.send_many(messages, address),
    "sendto_many": send_pairs,
    "send_segments": send_cut,
}
each_way = pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)


@each_way
def test_full_queue_nonblocking_returns_exactly_what_is_queued(queue, send):
    sock, peer, address = queue
    messages = [b"%03d" % i for i in range(300)]
    room = capacity(peer, address, sock)
    assert 5 < room < 300
    sock.settimeout(0)
    assert send(sock, messages, address) == room
    with pytest.raises(BlockingIOError) as caught:
        send(sock, messages[room:], address)
    assert caught.value.errno == errno.EAGAIN
    assert take_all(peer) == messages[:room]
    # The rest goes on where the count says.
    assert send(sock, messages[room:], address) == min(room, 300 - room)
    assert take_all(peer) == messages[room : 2 * room]


@each_way
def test_full_queue_with_timeout_returns_the_count_at_the_deadline(queue, send):
    sock, peer, address = queue
    messages = [b"%03d" % i for i in range(300)]
    room = capacity(peer, address, sock)
    sock.settimeout(0.05)
    assert send(sock, messages, address) == room
    with pytest.raises(TimeoutError, match="timed out") as caught:
        send(sock, messages[room:], address)
    assert caught.value.errno is None
    assert take_all(peer) == messages[:room]


@pytest.mark.parametrize("timeout", [None, 5], ids=["blocking", "timeout"])
def test_full_queue_with_msg_dontwait_does_as_send(small_queue, timeout):
    sock, peer, address = small_queue
    room = capacity(peer, address, sock)
    sock.settimeout(timeout)
    if timeout is None:
        assert sock.send_many(MESSAGES, address, stdlib.MSG_DONTWAIT) == room
        with pytest.raises(BlockingIOError):
            sock.send_many([b"x"], address, stdlib.MSG_DONTWAIT)
        assert take_all(peer) == MESSAGES[:room]
        return
    # As with CPython's send the socket's timeout decides.
    sock.settimeout(0.05)
    assert sock.send_many(MESSAGES, address, stdlib.MSG_DONTWAIT) == room
    assert outcome(sock.send_many, [b"x"], address, stdlib.MSG_DONTWAIT)[0] is TimeoutError


@each_way
@each_waiting
def test_full_queue_waiting_goes_on_when_a_reader_makes_room(
    queue, send, timeout, in_thread, wait_until
):
    sock, peer, address = queue
    messages = [b"%03d" % i for i in range(300)]
    sock.settimeout(timeout)
    peer.settimeout(5)
    task = in_thread(send, sock, messages, address)
    if timeout is None:
        wait_until(lambda: task.waits_in_call(sock.fileno()))
    # Linux wakes the sender of a connected socket only when its buffer is a quarter full.
    assert [peer.recv(10) for _ in range(300)] == messages
    assert task.result() == 300


def test_slow_reader_does_not_move_the_deadline(small_queue, in_thread):
    sock, peer, address = small_queue
    sock.settimeout(0.3)
    peer.settimeout(0.1)
    is_over = threading.Event()
    taken = []

    def trickle():
        # Were the deadline each message's own, the call would last for as long as this reads.
        while not is_over.wait(0.02) and len(taken) < 280:
            taken.extend(outcome(peer.recv, 10)[1:2])

    task = in_thread(trickle)
    count = sock.send_many(MESSAGES, address)
    is_over.set()
    task.result()
    taken += take_all(peer)
    assert taken == MESSAGES[:count]
    assert 11 <= count < 280


BUFFER_SENDS = {
    "send_many": lambda sock, buffer, to: sock.send_many([buffer] * 50, to),
    "sendto_many": lambda sock, buffer, to: sock.sendto_many([(buffer, to)] * 50),
    "send_segments": lambda sock, buffer, to: sock.send_segments(buffer, 1, to),
    "function": lambda sock, buffer, to: fastsock.send_many(sock, [buffer] * 50, to),
}


@pytest.mark.parametrize("send", BUFFER_SENDS.values(), ids=BUFFER_SENDS)
@each_waiting
def test_buffers_are_pinned_while_the_call_waits(small_queue, send, timeout, in_thread):
    sock, peer, address = small_queue
    sock.settimeout(timeout)
    buffer = bytearray(b"x" * 50)
    task = in_thread(send, sock, buffer, address)
    assert peer.recv(100)  # so the call has begun, and it can't have ended
    with pytest.raises(BufferError, match="Existing exports of data"):
        buffer.extend(b"more")
    for _ in range(49):
        assert peer.recv(100)
    assert task.result() == 50
    buffer.extend(b"more")


def test_contents_are_read_when_they_are_sent(small_queue, in_thread, wait_until):
    sock, peer, address = small_queue
    buffer = bytearray(b"old")
    task = in_thread(sock.send_many, [buffer] * 40, address)
    wait_until(lambda: task.waits_in_call(sock.fileno()))
    buffer[:] = b"new"  # no copy was made
    got = [peer.recv(10) for _ in range(40)]
    assert (got[0], got[-1]) == (b"old", b"new")
    assert task.result() == 40


# Signals


@pytest.fixture
def on_signal():
    """Return on_signal(handler): what handles SIGUSR1 in this test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


SIGNALLED = {
    "full_at_once": (None, 0),
    "full_again": (None, 17),  # the call has sent a part since it began to wait
    "timeout": (10, 17),
}
each_signalled = pytest.mark.parametrize(("timeout", "progress"), SIGNALLED.values(), ids=SIGNALLED)


@pytest.fixture
def interrupt_main(in_thread, wait_until, main_waits_in_call):
    """Return interrupt_main(sock, peer, progress, rest, handled): a task that signals this thread.

    It receives a number of messages first, which a call that waits goes on with, and the rest when
    the handler has run. It gives whether that was at once, and the messages.
    """

    def run(sock, peer, progress, rest, handled, main):
        got = [peer.recv(10) for _ in range(progress)]
        if sock.gettimeout() is None:
            wait_until(lambda: main_waits_in_call(sock.fileno()))
        signal.pthread_kill(main, signal.SIGUSR1)
        ran = handled.wait(2)
        got += [peer.recv(10) for _ in range(rest)]
        return ran, got

    return lambda *arguments: in_thread(run, *arguments, threading.get_ident())


@each_way
@each_signalled
def test_handler_that_returns_runs_at_once_and_does_not_shorten_the_count(
    small_queue, send, timeout, progress, on_signal, interrupt_main
):
    sock, peer, address = small_queue
    sock.settimeout(timeout)
    messages = [b"%03d" % i for i in range(60)]
    handled = threading.Event()
    on_signal(lambda *_: handled.set())
    task = interrupt_main(sock, peer, progress, 60 - progress, handled)
    assert send(sock, messages, address) == 60
    ran, got = task.result()
    assert got + take_all(peer) == messages
    assert ran, "the handler had to wait until the call ended"


@each_way
@each_signalled
def test_handler_that_raises_ends_the_call(
    small_queue, send, timeout, progress, on_signal, interrupt_main
):
    class Stop(OSError):
        """Also when it looks like an error of the call."""

    def stop(*_):
        handled.set()
        raise Stop("stop")

    sock, peer, address = small_queue
    sock.settimeout(timeout)
    messages = [b"%03d" % i for i in range(60)]
    handled = threading.Event()
    on_signal(stop)
    task = interrupt_main(sock, peer, progress, 0, handled)
    with pytest.raises(Stop):
        send(sock, messages, address)
    ran, got = task.result()
    got += take_all(peer)
    assert got == messages[: len(got)]
    assert ran, "the handler had to wait until the call ended"
    assert len(got) < 60


# Errors


@each_timeout
def test_too_long_message_in_the_middle_is_met_by_the_next_call(udp_pair, timeout):
    sock, peer = udp_pair
    sock.settimeout(timeout)
    peer.settimeout(5)
    address = peer.getsockname()
    messages = [b"one", b"two", b"six", b"x" * 65_536, b"five"]
    pairs = [(data, address) for data in messages]
    assert sock.send_many(messages) == 3
    assert sock.send_many(messages, address) == 3
    assert sock.sendto_many(pairs) == 3
    for _ in range(3):
        assert [peer.recv(10) for _ in range(3)] == messages[:3]
    for call in (lambda: sock.send_many(messages[3:]), lambda: sock.sendto_many(pairs[3:])):
        with pytest.raises(OSError, match="Message too long") as caught:
            call()
        assert caught.value.errno == errno.EMSGSIZE
    with pytest.raises(OSError, match="Message too long"):
        sock.send_segments(b"x" * 140_000, 70_000)
    # No error is stored.
    assert sock.send_many(messages[4:]) == 1
    assert peer.recv(10) == b"five"
    assert take_all(peer) == []


@each_timeout
@pytest.mark.parametrize("position", [0, 1, 5, 63, 64, 65, 130])
def test_missing_destination_at_a_position_gives_the_count_before_it(
    make_pair, closing, tmp_path, timeout, position
):
    """With more than one system call's worth before it and after it."""
    _, peer = make_pair("unix_datagram")
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    sock.settimeout(timeout)
    # A bound peer's queue is short, so the messages go to many.
    peers = [closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)) for _ in range(20)]
    for number, peer in enumerate(peers):
        peer.bind(str(tmp_path / str(number)))
    pairs = [(b"%d" % i, peers[i % 20].getsockname()) for i in range(150)]
    pairs[position] = (b"lost", str(tmp_path / "none"))
    if position > 0:
        assert sock.sendto_many(pairs) == position
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            sock.sendto_many(pairs[position:])
    for number, peer in enumerate(peers):
        assert take_all(peer) == [b"%d" % i for i in range(number, position, 20)]
    assert sock.sendto_many(pairs[position + 1 :]) == 149 - position


def test_refused_destination_raises_as_sendto(closing, tmp_path):
    sock = closing(fastsock.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    dead = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    dead.bind(str(tmp_path / "dead"))
    address = dead.getsockname()
    dead.close()
    with pytest.raises(ConnectionRefusedError):
        sock.send_many([b"a", b"b"], address)


def test_pending_error_is_raised_and_gone_as_with_send(closing):
    one, other = (closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)) for _ in range(2))
    other.bind(("127.0.0.1", 0))
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    sock.connect(other.getsockname())
    other.close()
    assert sock.send(b"nobody gets it") == 14
    with pytest.raises(ConnectionRefusedError):
        sock.send_many([b"a", b"b"])
    one.bind(sock.getpeername())
    assert sock.send_many([b"a", b"b"]) == 2
    one.settimeout(5)
    assert (one.recv(9), one.recv(9)) == (b"a", b"b")


@each_timeout
def test_closed_peer_of_seqpacket_raises_broken_pipe(make_pair, timeout):
    sock, peer = make_pair("unix_seqpacket")
    sock.settimeout(timeout)
    assert sock.send_many([b"a", b"b"]) == 2
    peer.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        sock.send_many([b"c", b"d"])
    with pytest.raises(BrokenPipeError):
        sock.send_many([b"c", b"d"])


def test_unconnected_socket_without_address_raises_as_send(closing):
    for family, number in [
        (stdlib.AF_INET, errno.EDESTADDRREQ),
        (stdlib.AF_INET6, errno.EDESTADDRREQ),
        (stdlib.AF_UNIX, errno.ENOTCONN),
    ]:
        sock = closing(fastsock.socket(family, stdlib.SOCK_DGRAM))
        assert outcome(sock.send_many, [b"a", b"b"])[:2] == (OSError, number)
        assert outcome(sock.send_segments, b"abc", 1)[:2] == (OSError, number)
        assert sock.send_many([]) == 0
        assert sock.sendto_many([]) == 0
        assert sock.send_segments(b"", 1) == 0
