# SPDX-License-Identifier: MIT
"""Read-ahead switched on and off, and what must not happen to its socket meanwhile."""

import errno
import socket as stdlib
from multiprocessing.reduction import ForkingPickler

import pytest

import fastsock
from unit.calls import outcome
from unit.many import (
    SOL_UDP,
    SOME,
    UDP_GRO,
    ahead,
    cut,
    numbered,
    payload,
    send_all,
    send_train,
    take_all,
)

__all__ = ["ahead"]  # a fixture

each_size = pytest.mark.parametrize("buffers", [1, 4, 64])


def gro_of(sock):
    return stdlib.socket.getsockopt(sock, SOL_UDP, UDP_GRO)


def send_trains(peer, count):
    """Send trains and single datagrams in turn; return the datagrams."""
    expected = []
    for number in range(count):
        data = payload(95, number * 7)
        send_train(peer, 10, data)
        peer.send(b"single %d" % number)
        expected += [*cut(10, data), b"single %d" % number]
    return expected


def switch_off(sock):
    """Switch it off and take what is queued; then the socket is a plain one."""
    sock.set_readahead(0)
    received = []
    while sock.pending() > 0:
        received.append(sock.recv(100_000))
    return received


# On


def test_get_readahead_tells_what_was_set(udp_pair):
    sock, _ = udp_pair
    assert sock.get_readahead() == 0
    sock.set_readahead(7)
    assert sock.get_readahead() == 7
    sock.set_readahead(0)
    assert sock.get_readahead() == 0


@pytest.mark.parametrize(
    ("buffers", "error"),
    [(-1, ValueError), (65, ValueError), (2**40, ValueError), ("1", TypeError), (1.0, TypeError)],
)
def test_set_readahead_of_wrong_number_raises(udp_pair, buffers, error):
    sock, _ = udp_pair
    with pytest.raises(error):
        sock.set_readahead(buffers)
    assert sock.get_readahead() == 0


@pytest.mark.parametrize(
    "kind", ["tcp_ipv4", "tcp_ipv6", "unix_stream", "unix_datagram", "unix_seqpacket"]
)
def test_set_readahead_of_what_is_not_udp_raises_eopnotsupp(make_pair, kind):
    sock, peer = make_pair(kind)
    with pytest.raises(OSError, match="UDP") as caught:
        sock.set_readahead(4)
    assert caught.value.errno == errno.EOPNOTSUPP
    sock.set_readahead(0)  # it is off
    peer.send(b"plain")
    assert sock.recv(100) == b"plain"
    sock.dup().close()


def test_set_readahead_of_closed_socket_raises_ebadf(udp_pair):
    sock, _ = udp_pair
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        sock.set_readahead(4)
    assert caught.value.errno == errno.EBADF
    assert (sock.pending(), sock.get_readahead(), sock.readahead_discarded) == (0, 0, 0)


def test_set_readahead_of_unconnected_ipv6_socket_with_both_families_works(closing):
    sock = closing(fastsock.socket(stdlib.AF_INET6, stdlib.SOCK_DGRAM))
    try:
        sock.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
    except OSError as error:
        pytest.skip(f"a dual-stack socket was tried and gave: {error}")
    sock.set_readahead(4)
    peer = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    peer.connect(("127.0.0.1", sock.getsockname()[1]))
    send_train(peer, 10, payload(35))
    assert [sock.recv(100) for _ in range(4)] == cut(10, payload(35))


def test_set_readahead_of_what_is_queued_in_the_kernel_takes_it(udp_pair):
    sock, peer = udp_pair
    expected = send_trains(peer, 3)
    sock.set_readahead(4)
    expected += send_trains(peer, 3)
    assert [sock.recv(100) for _ in expected] == expected


def test_set_readahead_of_another_size_needs_an_empty_queue(ahead):
    sock, peer = ahead(4)
    sock.set_readahead(8)
    assert sock.get_readahead() == 8
    send_all(peer, SOME)
    sock.recv(100)
    with pytest.raises(OSError, match=r"pending\(\)") as caught:
        sock.set_readahead(2)
    assert caught.value.errno == errno.EBUSY
    sock.set_readahead(8)  # as it is
    assert sock.get_readahead() == 8
    assert [sock.recv(100) for _ in range(2)] == SOME[1:]


def test_set_readahead_anew_after_the_queue_is_emptied_works(ahead):
    sock, peer = ahead(4)
    for buffers in (8, 2, 64):
        expected = send_trains(peer, 3)
        received = [sock.recv(100)]
        received += switch_off(sock) + take_all(sock)
        assert received == expected
        sock.set_readahead(buffers)
        assert sock.get_readahead() == buffers
    expected = send_trains(peer, 1)
    assert [sock.recv(100) for _ in expected] == expected


# Off


@each_size
@pytest.mark.parametrize("taken", [0, 1, 11, 25])
def test_set_readahead_off_with_trains_queued_loses_and_doubles_nothing(ahead, buffers, taken):
    sock, peer = ahead(buffers)
    expected = send_trains(peer, 4)
    received = [sock.recv(100) for _ in range(taken)]
    expected += send_trains(peer, 4)
    received += switch_off(sock)
    assert gro_of(sock) == 0
    # Without GRO datagrams may have stayed in the kernel: they come one by one.
    received += take_all(sock)
    assert received == expected


@each_size
@pytest.mark.parametrize("name", ["recv_many", "recvfrom_many", "recv_batch"])
def test_queue_of_switched_off_readahead_is_drawn_by_batch_calls_first(ahead, buffers, name):
    sock, peer = ahead(buffers)
    batch = fastsock.Batch(30, 100)
    expected = send_trains(peer, 4)
    received = [sock.recv(100)]
    sock.set_readahead(0)
    send_all(peer, SOME)
    expected += SOME
    while len(received) < len(expected):
        if name == "recv_batch":
            sock.recv_batch(batch, timeout=0)
            received += [message.bytes() for message in batch]
        elif name == "recv_many":
            received += sock.recv_many(100, 30)
        else:
            received += [message for message, _ in sock.recvfrom_many(100, 30)]
    assert received == expected
    assert sock.pending() == 0


def test_plain_receives_after_readahead_never_see_a_train(ahead):
    sock, peer = ahead(8)
    for _ in range(5):
        before = send_trains(peer, 3)
        assert switch_off(sock) + take_all(sock) == before
        after = send_trains(peer, 3)
        # The standard library's own call asks the kernel, and knows of no queue.
        assert take_all(sock, stdlib.socket.recv) == after
        sock.set_readahead(8)
    sock.set_readahead(0)
    assert gro_of(sock) == 0


def test_set_readahead_off_with_a_pending_error_raises_it_and_loses_nothing(ahead):
    sock, peer = ahead(64)
    if gro_of(sock) == 0:
        pytest.skip("UDP_GRO was asked for by set_readahead, and the socket does not have it")
    expected = send_trains(peer, 2)
    received = [sock.recv(100)]
    expected += send_trains(peer, 2)
    peer.close()
    sock.send(b"nobody there")
    with pytest.raises(ConnectionRefusedError):
        sock.set_readahead(0)
    assert sock.get_readahead() == 64
    sock.set_readahead(0)
    assert received + switch_off(sock) + take_all(sock) == expected


def test_set_readahead_off_twice_and_when_never_on_changes_nothing(udp_pair):
    sock, peer = udp_pair
    for buffers in (0, 4, 0, 0):
        sock.set_readahead(buffers)
    send_all(peer, SOME)
    assert take_all(sock) == SOME


# Sharing

SHARING = {
    "dup": lambda sock: sock.dup(),
    "detach": lambda sock: sock.detach(),
    "detach_stdlib": lambda sock: sock.detach_stdlib(),
    "pickling": ForkingPickler.dumps,
}
each_sharing = pytest.mark.parametrize("share", SHARING.values(), ids=SHARING)


@each_sharing
@pytest.mark.parametrize("is_off", [False, True], ids=["on", "off_but_queued"])
def test_sharing_a_socket_that_reads_ahead_raises_ebusy_with_the_cure(ahead, share, is_off):
    sock, peer = ahead(64)
    expected = send_trains(peer, 3)
    received = [sock.recv(100)]
    if is_off:
        sock.set_readahead(0)
    with pytest.raises(OSError, match=r"set_readahead\(0\).*pending\(\)") as caught:
        share(sock)
    assert caught.value.errno == errno.EBUSY
    assert sock.fileno() >= 0
    received += switch_off(sock)
    assert received + take_all(sock) == expected


@pytest.mark.parametrize("name", ["dup", "detach", "detach_stdlib"])
@pytest.mark.parametrize("taken", [0, 1])
def test_sharing_after_the_cure_works_and_the_other_gets_single_datagrams(
    ahead, name, taken, closing
):
    sock, peer = ahead(64)
    expected = send_trains(peer, 3)
    received = [sock.recv(100) for _ in range(taken)]
    received += switch_off(sock) + take_all(sock)
    assert received == expected
    other = getattr(sock, name)()
    if name == "detach":
        other = stdlib.socket(sock.family, sock.type, fileno=other)
    closing(other)
    expected = send_trains(peer, 3)
    assert take_all(other, stdlib.socket.recv) == expected


def test_switching_off_what_was_never_used_allows_sharing(ahead):
    sock, _ = ahead(4)
    sock.set_readahead(0)
    sock.dup().close()
    ForkingPickler.dumps(sock)
    sock.set_readahead(8)


# Close


def test_close_counts_what_is_left_as_discarded(ahead):
    sock, peer = ahead(64)
    assert sock.readahead_discarded == 0
    send_all(peer, numbered(10))
    sock.recv(100), sock.recv(100)
    sock.close()
    assert sock.readahead_discarded == 8
    assert sock.pending() == 0
    sock.close()
    assert sock.readahead_discarded == 8


def test_close_of_switched_off_readahead_counts_what_is_left(ahead):
    sock, peer = ahead(64)
    expected = send_trains(peer, 2)
    sock.recv(100)
    sock.set_readahead(0)
    left = sock.pending()
    assert left == len(expected) - 1 or gro_of(sock) == 0
    sock.close()
    assert sock.readahead_discarded == left


def test_close_with_an_empty_queue_discards_nothing(ahead):
    sock, peer = ahead(64)
    send_all(peer, SOME)
    assert [sock.recv(100) for _ in SOME] == SOME
    sock.close()
    assert sock.readahead_discarded == 0


def test_socket_that_reads_ahead_leaves_nothing_behind(no_descriptor_leak, closing):
    for _ in range(300):
        with fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.set_readahead(64)
            sock.sendto(b"itself", sock.getsockname())
            sock.sendto(b"left", sock.getsockname())
            assert sock.recv(100) == b"itself"
    # 300 queues of 4 MiB each, were they kept, are more mappings than before.
    with open("/proc/self/maps") as maps:
        assert sum(1 for _ in maps) < 2000


# Fork


FORK = """if True:
    import os, socket as stdlib, traceback
    import fastsock as socket

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5)
    sock.set_readahead(64)
    peer = stdlib.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect(sock.getsockname())

    def send(*messages):
        for message in messages:
            peer.send(message)

    def in_child(work):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    def is_empty():
        assert sock.pending() == 0
        assert sock.get_readahead() == 64
        assert socket.wait_readable([sock], 0) == []
        sock.settimeout(0)
        try:
            sock.recv(100)
        except BlockingIOError:
            sock.settimeout(5)
        else:
            raise AssertionError("the child has got the parent's datagram")

    def receives():
        is_empty()
        send(b"to the child", b"more")
        assert sock.recvmsg(100)[0] == b"to the child"
        assert sock.pending() == 1
        assert sock.recv_many(100) == [b"more"]

    def closes():
        sock.close()
        assert sock.readahead_discarded == 0

    def refuses():
        try:
            sock.dup()
        except OSError as error:
            assert "set_readahead(0)" in str(error)
        else:
            raise AssertionError("dup() of a socket that reads ahead")

    def fills_a_batch():
        batch = socket.Batch(10, 10)
        try:
            sock.recv_batch(batch, timeout=0)
        except BlockingIOError:
            pass
        assert len(batch) == 0

    send(b"1", b"2", b"3", b"4")
    assert sock.recv(100) == b"1"
    for work in (is_empty, receives, closes, refuses, fills_a_batch):
        in_child(work)
        assert sock.pending() == 3
    assert [sock.recv(100) for _ in range(3)] == [b"2", b"3", b"4"]
    send(b"5", b"6")
    assert sock.recv(100) == b"5"
    sock.close()
    assert sock.readahead_discarded == 1
    peer.close()
    print("done")
"""


def test_after_fork_the_child_drops_its_copy_and_the_parent_keeps_its_own(run_child):
    assert run_child(FORK) == "done\n"


# Function forms and installed()


def test_function_forms_on_a_socket_that_reads_ahead_draw_from_its_queue(ahead):
    sock, peer = ahead(64)
    expected = send_trains(peer, 2)
    received = [sock.recv(100)]
    received += fastsock.recv_many(sock, 100, 5)
    received += [message for message, _ in fastsock.recvfrom_many(sock, 100, 5)]
    batch = fastsock.Batch(100, 100)
    fastsock.recv_batch(sock, batch)
    received += [message.bytes() for message in batch]
    assert received == expected


def test_stdlib_sockets_have_no_readahead(make_pair):
    _, peer = make_pair("udp_ipv4")
    with fastsock.installed():
        assert not hasattr(peer, "set_readahead")
    assert outcome(fastsock.socket.set_readahead, peer, 4)[0] is TypeError
    assert outcome(fastsock.socket.pending, peer) == ("returned", 0)
