# SPDX-License-Identifier: MIT
"""Descriptors that a peer sends along unasked must not stay open in this process.

A peer that may send on a Unix socket could otherwise use up every descriptor of a server.
"""

import array
import gc
import os
import socket as stdlib

import pytest

from unit.calls import each_plain_receive

pytestmark = pytest.mark.one_engine

MOST = 250  # descriptors in a message; SCM_MAX_FD of the kernel is 253
SHORT, LONG = 200, 10_000  # messages

messages = pytest.mark.parametrize(
    "count",
    [
        pytest.param(SHORT, id=f"{SHORT}_messages"),
        pytest.param(
            LONG, id=f"{LONG}_messages", marks=[pytest.mark.long, pytest.mark.timeout(300)]
        ),
    ],
)


def count_descriptors():
    gc.collect()
    return open_descriptors()


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def send_descriptors(peer, number):
    """Send one byte, and a descriptor as often as number says."""
    with open(os.devnull, "rb") as file:
        rights = array.array("i", [file.fileno()] * number)
        peer.sendmsg([b"x"], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, rights)])


@messages
@each_plain_receive
@pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"])
def test_receive_of_messages_with_descriptors_leaves_none_open(unix_pair, receive, timeout, count):
    sock, peer = unix_pair
    sock.settimeout(timeout)
    before = count_descriptors()
    for number in range(count):
        send_descriptors(peer, MOST if number % 2 else 1)
        assert receive(sock, 100) == b"x"
    assert count_descriptors() == before


@each_plain_receive
def test_receive_of_descriptors_while_waiting_leaves_none_open(
    unix_pair, receive, in_thread, wait_until
):
    sock, peer = unix_pair
    before = count_descriptors()
    for _ in range(20):
        task = in_thread(receive, sock, 100)
        wait_until(lambda task=task: task.waits_in_call(sock.fileno()))
        send_descriptors(peer, MOST)
        assert task.result() == b"x"
    assert count_descriptors() == before


@each_plain_receive
def test_receive_peeking_at_descriptors_leaves_none_open(unix_pair, receive):
    sock, peer = unix_pair
    before = count_descriptors()
    send_descriptors(peer, MOST)
    for _ in range(50):
        assert receive(sock, 100, stdlib.MSG_PEEK) == b"x"
    assert receive(sock, 100) == b"x"
    assert count_descriptors() == before


@pytest.mark.parametrize("ancillary", [0, stdlib.CMSG_LEN(4), stdlib.CMSG_SPACE(4 * MOST)])
@pytest.mark.parametrize("name", ["recvmsg", "recvmsg_into"])
def test_recvmsg_gives_the_caller_every_descriptor_it_opens(unix_pair, name, ancillary):
    sock, peer = unix_pair
    before = count_descriptors()
    for _ in range(20):
        send_descriptors(peer, MOST)
        argument = 100 if name == "recvmsg" else [bytearray(100)]
        _, items, _, _ = getattr(sock, name)(argument, ancillary, stdlib.MSG_CMSG_CLOEXEC)
        received = array.array("i")
        for level, kind, data in items:
            assert (level, kind) == (stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS)
            received.frombytes(data)
        assert open_descriptors() == before + len(received)
        for fd in received:
            assert not os.get_inheritable(fd)
            os.close(fd)
    assert count_descriptors() == before


def test_recv_fds_and_send_fds_work_with_our_sockets(unix_pair):
    sock, peer = unix_pair
    before = count_descriptors()
    for one, other in [(sock, peer), (peer, sock)]:
        with open(os.devnull, "rb") as file:
            stdlib.send_fds(one, [b"x"], [file.fileno()] * 3)
        data, descriptors, _, _ = stdlib.recv_fds(other, 100, 10)
        assert (data, len(descriptors)) == (b"x", 3)
        for fd in descriptors:
            os.close(fd)
    assert count_descriptors() == before


@pytest.mark.parametrize("kind", ["udp_ipv4", "tcp_ipv4", "unix_stream", "unix_datagram"])
def test_use_of_every_call_leaves_no_descriptor(make_pair, kind):
    before = count_descriptors()
    for _ in range(20):
        sock, peer = make_pair(kind)
        peer.send(b"x" * 4)
        for receive in (
            lambda sock: sock.recv(1, stdlib.MSG_PEEK),
            lambda sock: sock.recvfrom(1, stdlib.MSG_PEEK),
            lambda sock: sock.recv_into(bytearray(1), 1, stdlib.MSG_PEEK),
            lambda sock: sock.recvmsg(1, 0, stdlib.MSG_PEEK),
        ):
            receive(sock)
        sock.sendall(b"x")
        sock.sendmsg([b"x"])
        sock.close()
        peer.close()
    assert count_descriptors() == before
