# SPDX-License-Identifier: MIT
"""The sockets of a Receiver: borrowed ones, Unix paths, groups, the receive buffer and shards."""

import errno
import re
import select
import socket as stdlib
import time
import warnings

import pytest

import fastsock
from fastsock import constants, receive_buffer
from tools import child
from unit.many import numbered, send_all, send_train, take_all
from unit.receiving import (
    LEAST,
    LOCAL,
    count_descriptors,
    receive,
    send_segments,
    send_to,
    take,
)
from unit.receiving import numbered as long_numbered
from unit.test_multicast import GROUP, SOURCE_GROUP, sender_from

__all__ = ["receive", "send_to"]  # fixtures

MESSAGE_KINDS = ["udp_ipv4", "udp_ipv6", "unix_datagram", "unix_seqpacket"]
each_kind = pytest.mark.parametrize("kind", MESSAGE_KINDS)
each_library = pytest.mark.parametrize("library", ["fastsock", "stdlib"])


@pytest.fixture
def lend(make_pair, closing):
    """Return lend(kind, library), which gives a pair whose first socket is of that library."""

    def lend(kind, library="fastsock"):
        sock, peer = make_pair(kind)
        return (sock if library == "fastsock" else closing(sock.detach_stdlib())), peer

    return lend


@each_library
@each_kind
def test_borrowed_socket_is_received_from_and_left_usable(lend, receive, kind, library):
    sock, peer = lend(kind, library)
    timeout, before = sock.gettimeout(), count_descriptors()
    receiver = receive(sock)
    assert receiver.getsockname() == sock.getsockname()
    send_all(peer, numbered(5))
    assert take(receiver, 5) == numbered(5)
    receiver.close()
    assert count_descriptors() == before
    assert sock.gettimeout() == timeout
    send_all(peer, numbered(3))
    assert [sock.recv(100) for _ in range(3)] == numbered(3)
    sock.send(b"back")
    assert peer.recv(100) == b"back"


@each_library
@pytest.mark.parametrize("gro", [True, False])
def test_trains_after_close_come_one_by_one(lend, receive, gro, library):
    sock, peer = lend("udp_ipv4", library)
    sock.settimeout(5)
    for _ in range(3):
        with receive(sock, gro=gro) as receiver:
            send_train(peer, 8, b"".join(long_numbered(20, 8)))
            assert take(receiver, 20) == long_numbered(20, 8)
        send_train(peer, 8, b"".join(long_numbered(20, 8)))
        assert [sock.recv(1000) for _ in range(20)] == long_numbered(20, 8)


def test_messages_in_the_kernel_at_close_are_discarded_or_left_but_not_lost(lend, receive):
    for options in ({"gro": True}, {"gro": False}):
        sock, peer = lend("udp_ipv4")
        receiver = receive(sock, memory=LEAST, overflow="block", **options)
        send_all(peer, long_numbered(60, 1000) * 5)
        receiver.close()
        stats = receiver.stats()
        left = take_all(sock)
        assert stats.received == stats.discarded
        assert stats.received + len(left) + stats.kernel_drops == 300


def test_socket_that_reads_ahead_is_busy(lend):
    sock, peer = lend("udp_ipv4")
    sock.set_readahead(4)
    with pytest.raises(OSError, match=r"set_readahead\(0\)") as caught:
        fastsock.Receiver(sock)
    assert caught.value.errno == errno.EBUSY
    peer.send(b"x")
    assert sock.recv(10) == b"x"
    assert sock.get_readahead() == 4


def test_metadata_of_a_borrowed_socket_is_what_it_was(lend, receive):
    sock, peer = lend("udp_ipv4")
    sock.set_metadata(hop_limit=True)
    receiver = receive(sock, metadata=["tos"])
    assert sock.getsockopt(stdlib.IPPROTO_IP, stdlib.IP_RECVTOS) == 1
    peer.send(b"x")
    assert receiver.next_batch(5)[0].tos == 0
    receiver.close()
    assert sock.getsockopt(stdlib.IPPROTO_IP, stdlib.IP_RECVTOS) == 0
    peer.send(b"x")
    batch = fastsock.Batch(2, 10)
    sock.recv_batch(batch)
    assert batch[0].hop_limit == 64
    with pytest.raises(AttributeError):
        batch.tos  # noqa: B018


def test_receive_buffer_of_a_borrowed_socket_is_what_it_was(lend, receive):
    sock, _ = lend("udp_ipv4")
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 60_000)
    receiver = receive(sock)
    assert receiver.receive_buffer == 120_000
    receiver.close()
    receiver = receive(sock, receive_buffer=90_000)
    assert receiver.receive_buffer == 180_000
    receiver.close()
    assert sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF) == 120_000


@each_library
def test_failure_leaves_a_borrowed_socket_as_it_was(lend, library):
    sock, peer = lend("udp_ipv4", library)
    sock.settimeout(5)
    before = count_descriptors()
    wrong = [{"memory": 1}, {"overflow": ""}, {"cpu": -1}, {"groups": ["192.0.2.1"]}]
    wrong += [{"memory": 1 << 60}, {"receive_buffer": 0}, {"groups": [(GROUP, "no-such-device")]}]
    for options in wrong:
        with pytest.raises((ValueError, OSError)):
            fastsock.Receiver(sock, **{"metadata": ["tos"], "groups": [(GROUP, "lo")], **options})
        assert sock.getsockopt(stdlib.IPPROTO_IP, stdlib.IP_RECVTOS) == 0
    assert count_descriptors() == before
    fastsock.socket.join_group(sock, GROUP, "lo")  # EADDRINUSE if it had stayed
    send_train(peer, 2, b"aabb")
    assert [sock.recv(10), sock.recv(10)] == [b"aa", b"bb"]


@each_library
def test_lender_closed_first_ends_nothing(lend, receive, library):
    sock, peer = lend("udp_ipv4", library)
    receiver = receive(sock, metadata=["tos"], groups=[(GROUP, "lo")], receive_buffer=100_000)
    sock.close()
    peer.send(b"x")
    assert take(receiver, 1) == [b"x"]
    receiver.close()


@each_library
def test_seqpacket_ends_when_its_peer_has_closed(lend, receive, library):
    sock, peer = lend("unix_seqpacket", library)
    receiver = receive(sock)
    for message in (b"first", b"", b"third"):
        peer.send(message)
    peer.close()
    assert [message.bytes() for batch in receiver for message in batch] == [b"first", b"", b"third"]
    for timeout in (None, 0, 5):
        with pytest.raises(EOFError, match="peer has closed"):
            receiver.next_batch(timeout)
    assert list(receiver) == []
    assert select.select([receiver], [], [], 5)[0] == [receiver]
    assert receiver.stats().received == receiver.stats().delivered == 3


@pytest.mark.parametrize("kind", ["udp_ipv4", "unix_datagram"])
def test_shut_down_socket_of_datagrams_ends_the_wait(lend, receive, in_thread, wait_until, kind):
    sock, peer = lend(kind)
    receiver = receive(sock)
    peer.send(b"x")
    assert take(receiver, 1) == [b"x"]
    task = in_thread(list, receiver)
    wait_until(task.waits_in_poll)
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == []


def test_error_queue_that_nobody_reads_keeps_no_cpu_busy(lend, receive):
    """Poll reports it for ever."""
    sock, peer = lend("udp_ipv4")
    sock.setsockopt(stdlib.IPPROTO_IP, constants.IP_RECVERR, 1)
    address = peer.getsockname()
    peer.close()
    sock.send(b"refused")
    poller = select.poll()
    poller.register(sock, 0)
    assert poller.poll(5000)[0][1] == select.POLLERR
    with receive(sock) as receiver:
        before = time.process_time()
        with pytest.raises(TimeoutError):
            receiver.next_batch(0.2)
        assert time.process_time() - before < 0.1
        again = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
        with again:
            again.bind(address)
            again.connect(sock.getsockname())
            again.send(b"x")
            assert take(receiver, 1) == [b"x"]


def test_seqpacket_without_peer_is_refused(closing, tmp_path):
    sock = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_SEQPACKET))
    with pytest.raises(OSError, match="not connected") as caught:
        fastsock.Receiver(sock)
    assert caught.value.errno == errno.ENOTCONN
    sock.bind(str(tmp_path / "x.sock"))
    sock.listen()
    with pytest.raises(OSError, match="not connected"):
        fastsock.Receiver(sock)


@pytest.mark.parametrize("kind", ["tcp_ipv4", "unix_stream"])
def test_stream_is_refused_with_the_cure(lend, kind):
    sock, peer = lend(kind)
    with pytest.raises(ValueError, match=r"a stream has no messages; .* length prefix"):
        fastsock.Receiver(sock)
    peer.send(b"x")
    assert sock.recv(10) == b"x"


def test_tls_socket_is_refused(tls_contexts, closing):
    context = tls_contexts[1]
    sock = context.wrap_socket(
        stdlib.socket(), server_hostname="localhost", do_handshake_on_connect=False
    )
    with closing(sock), pytest.raises(ValueError, match="a stream has no messages"):
        fastsock.Receiver(sock)


@pytest.mark.parametrize(
    ("family", "kind"), [("AF_NETLINK", "SOCK_DGRAM"), ("AF_PACKET", "SOCK_DGRAM")]
)
def test_other_families_are_refused(closing, family, kind):
    try:
        sock = closing(stdlib.socket(getattr(stdlib, family), getattr(stdlib, kind)))
    except PermissionError as error:
        pytest.skip(f"{family} was tried and gave: {error}")
    with pytest.raises(ValueError, match=f"UDP and Unix sockets, not .*{family}"):
        fastsock.Receiver(sock)


def test_closed_socket_raises_ebadf(lend):
    sock, _ = lend("udp_ipv4")
    sock.close()
    with pytest.raises(OSError, match="descriptor") as caught:
        fastsock.Receiver(sock)
    assert caught.value.errno == errno.EBADF


def test_several_shards_of_a_socket_are_refused(lend):
    sock, peer = lend("udp_ipv4")
    with pytest.raises(ValueError, match="need an address, not a socket"):
        fastsock.Receiver(sock, shards=2)
    for shards in (1, 2):
        with pytest.raises(ValueError, match="an address, not a socket"):
            fastsock.open_shards(sock, shards, metadata=["tos"])
    assert sock.getsockopt(stdlib.IPPROTO_IP, stdlib.IP_RECVTOS) == 0
    peer.send(b"x")
    assert sock.recv(10) == b"x"


def test_borrowed_path_stays(closing, receive, tmp_path):
    path = tmp_path / "x.sock"
    sock = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
    sock.bind(str(path))
    receive(sock).close()
    assert path.is_socket()


def test_path_goes_with_close_wherever_the_program_is_by_then(receive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    receiver = receive("x.sock")
    assert (tmp_path / "x.sock").is_socket()
    monkeypatch.chdir("/")
    receiver.close()
    assert not (tmp_path / "x.sock").exists()


def test_path_of_another_is_neither_taken_nor_removed(receive, tmp_path):
    path = tmp_path / "x.sock"
    receiver = receive(path)
    with pytest.raises(OSError, match=re.escape(f"unix://{path}")) as caught:
        fastsock.Receiver(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert path.is_socket()
    path.unlink()
    other = receive(path)
    receiver.close()
    assert path.is_socket()
    path.unlink()
    other.close()


def test_path_is_not_removed_by_a_child(tmp_path):
    path = tmp_path / "x.sock"
    program = f"""
import os, sys, fastsock
receiver = fastsock.Receiver({str(path)!r})
# A fork while the thread starts would leave a sanitizer's locks held in the child.
with fastsock.socket(fastsock.AF_UNIX, fastsock.SOCK_DGRAM) as sender:
    sender.sendto(b"x", {str(path)!r})
assert len(receiver.next_batch(5)) == 1
for end in (receiver.close, sys.exit, lambda: os._exit(0)):
    if (process := os.fork()) == 0:
        end()
        sys.exit()
    assert os.waitpid(process, 0)[1] == 0
    assert os.path.exists({str(path)!r})
"""
    child.run(program, environment=child.NO_LEAK_SEARCH)
    assert not path.exists()  # the parent's exit has removed it


def hears(receiver, sender, group):
    """Whether what is sent to the group comes before what is sent to the host alone."""
    port = receiver.getsockname()[1]
    sender.sendto(b"to the group", (group, port))
    sender.sendto(b"alone", ("127.0.0.1", port))
    received = []
    while b"alone" not in received:
        received += [message.bytes() for message in receiver.next_batch(5)]
    return received == [b"to the group", b"alone"]


def test_groups_are_heard_and_no_others(receive, closing):
    sender = closing(sender_from("127.0.0.1"))
    other = closing(sender_from("127.0.0.2"))
    receiver = receive(("", 0), groups=[(GROUP, "lo"), (SOURCE_GROUP, "lo", "127.0.0.1")])
    assert hears(receiver, sender, GROUP)
    assert hears(receiver, sender, SOURCE_GROUP)
    assert not hears(receiver, other, SOURCE_GROUP)
    assert not hears(receive(("", 0), groups=[(GROUP, "lo")]), sender, SOURCE_GROUP)
    # Several may receive at the same port.
    receive(receiver.getsockname(), groups=[(GROUP, "lo")])


def test_groups_of_a_borrowed_socket_are_left(receive, closing):
    sock = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.setsockopt(stdlib.IPPROTO_IP, constants.IP_MULTICAST_ALL, 0)
    sock.bind(("", 0))
    sender = closing(sender_from("127.0.0.1"))
    with receive(sock, groups=[(GROUP, "lo")]) as receiver:
        assert hears(receiver, sender, GROUP)
    with receive(sock) as receiver:
        assert not hears(receiver, sender, GROUP)


@pytest.fixture
def unwarned(monkeypatch):
    monkeypatch.setattr(receive_buffer, "_has_warned", False)
    # What a process without CAP_NET_ADMIN is left with.
    ask = receive_buffer.set_receive_buffer
    monkeypatch.setattr(receive_buffer, "set_receive_buffer", lambda *sizes: ask(*sizes[:2], False))


def test_buffer_that_the_system_does_not_give_warns_once_and_tells_the_line(unwarned, closing):
    asked = (1 << 30) - 1
    with pytest.warns(RuntimeWarning, match=f"sysctl -w net.core.rmem_max={asked}") as caught:
        receiver = closing(fastsock.Receiver(LOCAL, receive_buffer=asked))
    assert caught[0].filename == __file__
    assert receiver.receive_buffer < 2 * asked
    assert f"gives {receiver.receive_buffer // 2} bytes" in str(caught[0].message)
    fastsock.Receiver(LOCAL, receive_buffer=asked).close()


@pytest.mark.parametrize("way", ["shards", "borrowed"])
def test_the_warning_points_at_the_caller_whatever_it_called(unwarned, lend, way):
    options = {"receive_buffer": 1 << 29}
    if way == "shards":
        with pytest.warns(RuntimeWarning, match="sysctl") as caught:
            receivers = fastsock.open_shards(LOCAL, 2, **options)
    else:
        sock, _ = lend("udp_ipv4")
        with pytest.warns(RuntimeWarning, match="sysctl") as caught:
            receivers = (fastsock.Receiver(sock, **options),)
    for receiver in receivers:
        receiver.close()
    assert caught[0].filename == __file__


def test_warning_made_an_error_leaves_nothing_open(unwarned):
    before = count_descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            fastsock.Receiver(LOCAL, receive_buffer=1 << 29)
    assert count_descriptors() == before


def test_process_without_privilege_gets_the_buffer_it_may_have():
    child.run(
        """
import warnings, fastsock
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        with fastsock.Receiver(("127.0.0.1", 0), receive_buffer=1 << 29) as receiver:
            assert 0 < receiver.receive_buffer < 1 << 30
assert len(caught) == 1 and caught[0].category is RuntimeWarning, caught
""",
        ("namespace", "1500"),
    )


def test_receive_buffer_is_what_the_kernel_gave(receive):
    receiver = receive(receive_buffer=123_456)
    assert receiver.receive_buffer == 246_912
    assert receive(shards=2, receive_buffer=50_000).receive_buffer == 100_000


def test_shards_keep_the_order_of_each_sender(receive, send_to):
    receiver = receive(shards=3, memory=3 * LEAST)
    senders = [send_to(receiver) for _ in range(10)]
    for number in range(50):
        for sender in senders:
            sender.send(b"%d" % number)
    received = {sender.getsockname(): [] for sender in senders}
    count = 0
    while count < 500:
        batch = receiver.next_batch(5)
        count += len(batch)
        for message in batch:
            received[message.address].append(message.bytes())
    assert list(received.values()) == [numbered(50)] * 10


def test_trains_to_shards_arrive_once(receive, send_to):
    receiver = receive(shards=2)
    senders = [send_to(receiver) for _ in range(6)]
    for sender in senders:
        send_segments(sender, long_numbered(100, 100))
    assert sorted(take(receiver, 600)) == sorted(long_numbered(100, 100) * 6)


def test_open_shards_are_receivers_at_one_port(closing, send_to, wait_until):
    receivers = fastsock.open_shards(LOCAL, 3, memory=LEAST, metadata=["tos"])
    assert isinstance(receivers, tuple)
    for receiver in receivers:
        closing(receiver)
    assert len({receiver.getsockname() for receiver in receivers}) == 1
    for number in range(64):
        send_to(receivers[0]).send(b"%d" % number)
    wait_until(lambda: sum(receiver.stats().received for receiver in receivers) == 64)
    received = [take(receiver, receiver.stats().received) for receiver in receivers]
    assert sorted(message for each in received for message in each) == sorted(numbered(64))
    assert all(received)


def test_port_that_the_kernel_chooses_is_nobody_elses():
    """In a network with two ports to choose from."""
    child.run(
        """
import fastsock
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
    file.write("40000 40001")
for options in ({"shards": 2}, {"groups": [("239.255.78.1", "lo")]}):
    receivers = [fastsock.Receiver(("", 0), **options) for _ in range(2)]
    assert sorted(each.getsockname()[1] for each in receivers) == [40000, 40001]
    try:
        fastsock.Receiver(("", 0), **options)
    except OSError as error:
        assert "Address already in use" in str(error), error
    else:
        raise AssertionError("a third port")
    for receiver in receivers:
        receiver.close()
""",
        ("namespace", "1500"),
    )


@pytest.mark.parametrize(
    ("shards", "options", "text"),
    [
        pytest.param(0, {}, "at least 1", id="none"),
        pytest.param(65, {}, "1 to 64", id="many"),
        pytest.param(2, {"memory": LEAST - 1}, "memory must be at least 1048576", id="memory"),
        pytest.param(2, {"cpu": 0}, "one CPU for each of 2", id="cpu"),
        pytest.param(3, {"overflow": ""}, "overflow", id="overflow"),
    ],
)
def test_open_shards_that_fail_leave_nothing(shards, options, text):
    before = count_descriptors()
    with pytest.raises(ValueError, match=text):
        fastsock.open_shards(LOCAL, shards, **options)
    assert count_descriptors() == before


def test_open_shards_take_no_word_they_do_not_know():
    before = count_descriptors()
    with pytest.raises(TypeError, match="buffer"):
        fastsock.open_shards(LOCAL, 2, buffer=1)
    assert count_descriptors() == before
