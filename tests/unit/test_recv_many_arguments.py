# SPDX-License-Identifier: MIT
"""The arguments of recv_many and recvfrom_many, and their function forms on any descriptor."""

import errno
import os
import select
import socket as stdlib

import pytest

import fastsock
from unit.many import SOME, each_call, each_function, each_method, each_mode, send_all


@each_call
@pytest.mark.parametrize("flag", ["MSG_PEEK", "MSG_WAITALL", "MSG_ERRQUEUE", "MSG_OOB"])
def test_recv_many_refuses_flags_without_sense_for_many(datagram_pair, receive, flag):
    sock, peer = datagram_pair
    send_all(peer, SOME)
    with pytest.raises(ValueError, match="MSG_DONTWAIT"):
        receive(sock, 100, 64, getattr(stdlib, flag) | stdlib.MSG_DONTWAIT)
    assert receive(sock, 100) == SOME


@each_call
@pytest.mark.parametrize("flag", ["MSG_TRUNC", "MSG_CMSG_CLOEXEC", "MSG_DONTWAIT"])
def test_recv_many_takes_flags_that_change_nothing(message_pair, receive, flag):
    sock, peer = message_pair
    send_all(peer, [b"abcdef", b"a"])
    assert receive(sock, 2, 64, getattr(stdlib, flag)) == [b"ab", b"a"]


@each_call
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        (("10",), TypeError),
        ((None,), TypeError),
        ((10.0,), TypeError),
        ((10, "1"), TypeError),
        ((10, 64.0), TypeError),
        ((10, 64, "0"), TypeError),
        ((10, 64, 0, 0), TypeError),
        ((0,), ValueError),
        ((-1,), ValueError),
        ((10, 0), ValueError),
        ((10, -1), ValueError),
        ((2**70,), (ValueError, OverflowError)),
        ((10, 2**70), (ValueError, OverflowError)),
        ((10, 1, 2**40), OverflowError),
    ],
)
def test_recv_many_with_wrong_arguments_raises_and_takes_nothing(
    make_pair, receive, arguments, error
):
    sock, peer = make_pair("udp_ipv4")
    send_all(peer, SOME)
    # Memory of this size is kept now, and a float would equal it.
    assert receive(sock, 10, 1) == SOME[:1]
    peer.send(b"more")
    with pytest.raises(error):
        receive(sock, *arguments)
    send_all(peer, [b"end"])
    assert receive(sock, 100) == [*SOME[1:], b"more", b"end"]


@each_call
def test_recv_many_of_too_large_a_size_names_bufsize(make_pair, receive):
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(ValueError, match="bufsize"):
        receive(sock, 2**31)


@each_call
def test_recv_many_accepts_index_and_msg_flag_enum(make_pair, receive):
    sock, peer = make_pair("udp_ipv4")

    class Size:
        def __index__(self):
            return 3

    send_all(peer, [b"abcdef", b"x"])
    assert receive(sock, Size(), Size(), stdlib.MsgFlag.MSG_TRUNC) == [b"abc", b"x"]


@each_method
def test_recv_many_takes_no_keywords_as_recv(make_pair, receive):
    sock, _ = make_pair("udp_ipv4")
    with pytest.raises(TypeError):
        getattr(sock, receive.__name__)(bufsize=10)


@each_call
def test_recv_many_on_a_stream_points_to_framing(stream_pair, receive):
    sock, peer = stream_pair
    peer.send(b"kept")
    with pytest.raises(OSError, match="framing") as caught:
        receive(sock, 100)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert sock.recv(100) == b"kept"


def test_recv_many_of_another_family_points_to_recvfrom(closing):
    family = getattr(stdlib, "AF_NETLINK", None)
    try:
        sock = closing(fastsock.socket(family, stdlib.SOCK_RAW))
    except (OSError, TypeError) as error:
        pytest.skip(f"an AF_NETLINK socket was tried and gave: {error}")
    with pytest.raises(OSError, match="recvfrom") as caught:
        sock.recv_many(100)
    assert caught.value.errno == errno.EOPNOTSUPP


# Functions


@each_function
@pytest.mark.parametrize("is_blocking", [True, False], ids=["blocking", "nonblocking"])
def test_recv_many_function_takes_a_descriptor_and_leaves_it_as_it_was(
    message_pair, receive, is_blocking
):
    sock, peer = message_pair
    fd = peer.fileno()
    peer.setblocking(is_blocking)
    for message in SOME:
        sock.send(message)
    assert receive(fd, 100) == SOME
    with pytest.raises(BlockingIOError):
        receive(fd, 100, 64, stdlib.MSG_DONTWAIT)
    assert os.get_blocking(fd) == is_blocking
    sock.send(b"still open")
    assert peer.recv(100) == b"still open"


@each_function
def test_recv_many_function_on_nonblocking_descriptor_does_not_wait(message_pair, receive):
    _, peer = message_pair
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        receive(peer.fileno(), 100)


@each_function
def test_recv_many_function_on_blocking_descriptor_waits(
    message_pair, receive, in_thread, wait_until
):
    sock, peer = message_pair
    task = in_thread(receive, peer.fileno(), 100)
    wait_until(lambda: task.waits_in_call(peer.fileno()))
    sock.send(b"late")
    assert task.result() == [b"late"]


@each_function
@each_mode
def test_recv_many_function_on_stdlib_socket_keeps_its_timeout(message_pair, receive, timeout):
    sock, peer = message_pair
    peer.settimeout(timeout)
    for message in SOME:
        sock.send(message)
    assert receive(peer, 100) == SOME
    assert peer.gettimeout() == timeout


@each_function
def test_recv_many_function_on_stdlib_socket_with_timeout_raises_timeout_error(
    message_pair, receive
):
    _, peer = message_pair
    peer.settimeout(0.05)
    with pytest.raises(TimeoutError):
        receive(peer, 100)


@each_function
@pytest.mark.parametrize(
    ("argument", "error"),
    [("5", TypeError), (None, TypeError), (5.0, TypeError), (-1, OSError)],
)
def test_recv_many_function_of_no_socket_raises(receive, argument, error):
    with pytest.raises(error):
        receive(argument, 100)


@each_function
def test_recv_many_function_of_no_sockets_descriptor_raises_and_leaves_it_open(receive):
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="non-socket") as caught:
            receive(reader, 100)
        assert caught.value.errno == errno.ENOTSOCK
        os.write(writer, b"x")
        assert os.read(reader, 1) == b"x"
    finally:
        os.close(reader)
        os.close(writer)


@each_function
def test_recv_many_function_leaves_the_descriptor_open_when_it_raises(stream_pair, receive):
    sock, peer = stream_pair
    with pytest.raises(OSError, match="framing"):
        receive(peer.fileno(), 100)
    sock.sendall(b"still open")
    assert select.select([peer], [], [], 5)[0] == [peer]
    assert peer.recv(100) == b"still open"


@each_function
def test_recv_many_function_of_a_descriptor_ignores_the_default_timeout(make_pair, receive):
    sock, peer = make_pair("unix_datagram")
    before = stdlib.getdefaulttimeout()
    stdlib.setdefaulttimeout(0.01)
    try:
        sock.send(b"one")
        assert receive(peer.fileno(), 100) == [b"one"]
        assert os.get_blocking(peer.fileno())
    finally:
        stdlib.setdefaulttimeout(before)
