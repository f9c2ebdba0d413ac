# SPDX-License-Identifier: MIT
"""How receives that read ahead wait and fail: as receives that don't."""

import contextlib
import errno
import socket as stdlib
import struct

import pytest

import fastsock
from unit.calls import each_receive, outcome
from unit.many import (
    SOME,
    ahead,
    cut,
    each_waiting_mode,
    payload,
    send_all,
    send_train,
    waits,
)
from unit.test_waiting_cost import assert_waits_cheaply

IP_RECVERR = 11  # linux/in.h
__all__ = ["ahead"]  # a fixture


@each_receive
@each_waiting_mode
def test_recv_reading_ahead_waits_for_data(ahead, receive, timeout, in_thread, wait_until):
    sock, peer = ahead()
    sock.settimeout(timeout)
    task = in_thread(receive, sock, 100)
    wait_until(lambda: waits(task, sock))
    assert sock.pending() == 0
    send_train(peer, 4, b"late" * 3)
    assert task.result() == b"late"
    assert [receive(sock, 100) for _ in range(2)] == [b"late"] * 2


@each_receive
def test_recv_reading_ahead_without_data_raises_as_without(ahead, receive):
    sock, peer = ahead()
    peer.settimeout(0.02)
    sock.settimeout(0.02)
    assert outcome(receive, sock, 100) == outcome(receive, peer, 100)
    assert outcome(receive, sock, 100)[0] is TimeoutError
    peer.settimeout(0)
    sock.settimeout(0)
    assert outcome(receive, sock, 100) == outcome(receive, peer, 100)
    assert outcome(receive, sock, 100)[0] is BlockingIOError
    sock.settimeout(None)
    assert outcome(receive, sock, 100, stdlib.MSG_DONTWAIT)[0] is BlockingIOError
    sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 20_000))
    assert outcome(receive, sock, 100)[0] is BlockingIOError


@pytest.mark.parametrize("name", ["recv_many", "recvfrom_many"])
def test_recv_many_reading_ahead_without_data_raises_as_without(ahead, name):
    sock, _ = ahead()
    receive = getattr(sock, name)
    sock.settimeout(0.02)
    assert outcome(receive, 100) == (TimeoutError, None, "timed out")
    assert outcome(receive, 100, 64, stdlib.MSG_DONTWAIT)[0] is BlockingIOError
    sock.settimeout(0)
    assert outcome(receive, 100)[0] is BlockingIOError


@each_receive
def test_recv_reading_ahead_blocking_woken_by_shutdown_returns_nothing(
    ahead, receive, in_thread, wait_until
):
    sock, _ = ahead()
    sock.settimeout(None)
    task = in_thread(receive, sock, 100)
    wait_until(lambda: waits(task, sock))
    sock.shutdown(stdlib.SHUT_RD)
    assert task.result() == b""
    assert receive(sock, 100) == b""


def test_recv_many_reading_ahead_after_shutdown_gives_the_rest_and_then_nothing(ahead):
    sock, peer = ahead()
    sock.settimeout(None)
    send_train(peer, 10, payload(35))
    sock.shutdown(stdlib.SHUT_RD)
    assert sock.recv(100) == payload(10)
    assert sock.recv_many(100) == cut(10, payload(35))[1:]
    assert sock.recv_many(100) == []
    assert sock.recv_batch(fastsock.Batch(10, 10)) == 0
    assert sock.recvfrom(100) == (b"", None)


def test_recv_reading_ahead_on_idle_socket_waits_cheaply(make_pair, wait):
    sock, _ = make_pair("udp_ipv4")
    sock.set_readahead(4)
    sock.settimeout(wait)
    assert_waits_cheaply(lambda: sock.recv(100), wait)


@pytest.mark.parametrize("trouble", ["error_queue", "shutdown"])
def test_recv_reading_ahead_that_poll_calls_ready_waits_cheaply(make_pair, trouble, wait):
    sock, peer = make_pair("udp_ipv4")
    sock.set_readahead(4)
    if trouble == "shutdown":
        sock.shutdown(stdlib.SHUT_RD)
    else:
        sock.setsockopt(stdlib.IPPROTO_IP, IP_RECVERR, 1)
        peer.close()
        sock.send(b"nobody there")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)
    sock.settimeout(wait)
    assert_waits_cheaply(lambda: sock.recv(100), wait)


# Several threads that wait


@each_waiting_mode
@pytest.mark.parametrize("travel", ["train", "singly"])
@pytest.mark.parametrize("threads", [2, 4])
def test_waiting_receives_all_get_a_datagram_of_what_one_of_them_read_ahead(
    ahead, timeout, travel, threads, in_thread, wait_until
):
    sock, peer = ahead(8)
    sock.settimeout(timeout)
    tasks = [in_thread(sock.recv, 100) for _ in range(threads)]
    try:
        for task in tasks:
            wait_until(lambda task=task: waits(task, sock))
        data = payload(10 * threads)
        if travel == "train":
            send_train(peer, 10, data)
        else:
            send_all(peer, cut(10, data))
        # Each of them would have been woken by the kernel, had the first not taken all of it.
        assert sorted(task.result() for task in tasks) == sorted(cut(10, data))
    finally:
        release(sock, peer, tasks)


@each_waiting_mode
def test_waiting_receive_gets_what_another_call_has_read_ahead(
    ahead, timeout, in_thread, wait_until
):
    sock, peer = ahead(8)
    sock.settimeout(timeout)
    for number in range(20):
        task = in_thread(sock.recv, 100)
        try:
            wait_until(lambda task=task: waits(task, sock))
            send_train(peer, 10, payload(30, number))
            batch = fastsock.Batch(1, 100)
            received = [sock.recv(100)]
            sock.recv_batch(batch)
            received += [batch[0].bytes(), task.result()]
            assert sorted(received) == sorted(cut(10, payload(30, number)))
        finally:
            release(sock, peer, [task])


@each_waiting_mode
def test_waiting_receive_gets_its_datagram_when_readahead_is_switched_off(
    ahead, timeout, in_thread, wait_until
):
    sock, peer = ahead(8)
    sock.settimeout(timeout)
    for number in range(20):
        sock.set_readahead(8)
        task = in_thread(sock.recv, 100)
        try:
            wait_until(lambda task=task: waits(task, sock))
            send_train(peer, 10, payload(20, number))
            sock.set_readahead(0)
            received = [task.result(), sock.recv(100)]
            assert sorted(received) == sorted(cut(10, payload(20, number)))
        finally:
            release(sock, peer, [task])


@each_receive
@each_waiting_mode
def test_plain_receive_that_waits_never_gets_a_train(
    udp_pair, receive, timeout, in_thread, wait_until
):
    sock, peer = udp_pair
    sock.settimeout(timeout)
    task = in_thread(receive, sock, 1000)
    wait_until(lambda: waits(task, sock))
    # Either it is refused while another thread waits, or the waiting call learns of it.
    with contextlib.suppress(OSError):
        sock.set_readahead(8)
    send_train(peer, 10, payload(30))
    assert task.result() == payload(10)
    assert [receive(sock, 1000) for _ in range(2)] == cut(10, payload(30))[1:]


def release(sock, peer, tasks):
    """Let no thread of a failed test wait for ever."""
    for _ in tasks:
        if not all(task.is_done for task in tasks):
            peer.send(b"release")
            tasks[0]._thread.join(0.1)


# Errors


@pytest.mark.parametrize("is_queued", [False, True], ids=["in_the_kernel", "read_ahead"])
def test_recv_reading_ahead_tells_a_pending_error_once_beside_all_datagrams(ahead, is_queued):
    sock, peer = ahead(64)
    sock.setblocking(False)
    send_train(peer, 10, payload(95))
    received = [sock.recv(100)] if is_queued else []
    peer.close()
    sock.send(b"nobody there")
    errors = []
    while True:
        try:
            received.append(sock.recv(100))
        except BlockingIOError:
            break
        except OSError as error:
            errors.append(error.errno)
    assert (received, errors) == (cut(10, payload(95)), [errno.ECONNREFUSED])


@each_receive
def test_recv_reading_ahead_woken_by_an_error_raises_it_once(ahead, receive, in_thread, wait_until):
    sock, peer = ahead()
    sock.settimeout(None)
    peer.close()
    task = in_thread(receive, sock, 100)
    wait_until(lambda: waits(task, sock))
    sock.send(b"nobody there")
    with pytest.raises(ConnectionRefusedError):
        task.result()
    with pytest.raises(BlockingIOError):
        receive(sock, 100, stdlib.MSG_DONTWAIT)


@each_receive
def test_recv_of_error_queue_reading_ahead_goes_to_the_kernel(make_pair, receive):
    sock, peer = make_pair("udp_ipv4")
    sock.setsockopt(stdlib.IPPROTO_IP, IP_RECVERR, 1)
    sock.set_readahead(64)
    send_all(peer, SOME)
    assert sock.recv(100) == SOME[0]
    with pytest.raises(BlockingIOError):
        receive(sock, 100, stdlib.MSG_ERRQUEUE | stdlib.MSG_DONTWAIT)
    peer.close()
    sock.send(b"nobody there")
    assert receive(sock, 100, stdlib.MSG_ERRQUEUE) == b"nobody there"
    assert [receive(sock, 100) for _ in range(2)] == SOME[1:]


# Close in another thread


def test_recv_reading_ahead_with_timeout_after_close_ends_with_ebadf(ahead, in_thread, wait_until):
    sock, _ = ahead()
    sock.settimeout(0.15)
    task = in_thread(sock.recv, 100)
    wait_until(task.waits_in_poll)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        task.result()
    assert caught.value.errno == errno.EBADF


@each_receive
def test_recv_reading_ahead_blocking_after_close_ends_with_the_next_datagram(
    ahead, receive, in_thread, wait_until
):
    sock, peer = ahead()
    sock.settimeout(None)
    task = in_thread(receive, sock, 100)
    wait_until(lambda: waits(task, sock))
    sock.close()
    # The waiting call keeps the kernel's socket; what it was woken by is nobody's any more.
    peer.send(b"late")
    with pytest.raises(OSError, match="Bad file descriptor"):
        task.result()


@each_receive
def test_recv_on_closed_socket_that_read_ahead_raises_ebadf(ahead, receive):
    sock, peer = ahead()
    send_all(peer, SOME)
    assert receive(sock, 100) == SOME[0]
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        receive(sock, 100)
    assert caught.value.errno == errno.EBADF
    for call in (sock.recv_many, sock.recvfrom_many):
        assert outcome(call, 100)[:2] == (OSError, errno.EBADF)


FORK = """if True:
    import os, socket as stdlib, struct, sys, threading, time, traceback, warnings
    import fastsock as socket

    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
    timeout = None if sys.argv[1] == "blocking" else 10
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(timeout)
    sock.set_readahead(64)
    peer = stdlib.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect(sock.getsockname())
    received = []

    def receive():
        received.append(sock.recv(100))

    def wait_until_all_wait():
        for thread in threads:
            while True:
                with open(f"/proc/self/task/{thread.native_id}/wchan") as file:
                    if file.read() not in ("0", ""):
                        break
                time.sleep(0.001)

    for turn in range(5):
        threads = [threading.Thread(target=receive, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until_all_wait()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # Whatever wakes the parent's threads is not the child's to use.
                own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                own.bind(("127.0.0.1", 0))
                own.set_readahead(8)
                own.sendto(b"own", own.getsockname())
                assert own.recv(100) == b"own"
                assert sock.pending() == 0
                sock.settimeout(0)
                try:
                    sock.recv(100)
                except BlockingIOError:
                    status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        sock.settimeout(timeout)
        peer.sendmsg([b"aabbccdd"], [(17, 103, struct.pack("H", 2))])
        for thread in threads:
            thread.join(5)
        assert len(received) == 3, received
        received.append(sock.recv(100))
        assert sorted(received) == [b"aa", b"bb", b"cc", b"dd"]
        assert sock.pending() == 0
        received.clear()
    sock.close()
    peer.close()
    print("done")
"""


@pytest.mark.parametrize("timeout", ["blocking", "timeout"])
def test_fork_beside_waiting_receives_leaves_them_waiting(run_child, timeout):
    assert run_child(FORK, timeout) == "done\n"
