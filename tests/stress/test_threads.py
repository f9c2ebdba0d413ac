# SPDX-License-Identifier: MIT
"""Several threads on one socket, and close and shutdown from another thread."""

import collections
import errno
import socket as stdlib
import threading
from functools import partial

import pytest

import fastsock

pytestmark = pytest.mark.usefixtures("no_descriptor_leak")

THREADS = 4
MESSAGES = 200  # of each thread in each round

each_timeout = pytest.mark.parametrize("timeout", [None, 60], ids=["blocking", "timeout"])


def waits(task, sock):
    return task.waits_in_call(sock.fileno()) or task.waits_in_poll()


@each_timeout
@pytest.mark.parametrize("kind", ["unix_datagram", "unix_seqpacket"])
def test_threads_receiving_from_one_socket_get_each_message_once(
    make_pair, in_thread, kind, timeout, repeats
):
    sock, peer = make_pair(kind)
    sock.settimeout(timeout)

    def receive_until_end():
        received = []
        # Calls of different kinds, so that what they learn of the socket meets.
        while (message := sock.recv(100)) != b"end":
            received.append(message)
            if (message := sock.recvfrom(10_000)[0]) == b"end":
                break
            received.append(message)
        return received

    for _ in range(repeats):
        tasks = [in_thread(receive_until_end) for _ in range(THREADS)]
        messages = [b"%d" % number for number in range(THREADS * MESSAGES)]
        for message in messages:
            peer.send(message)  # waits while the queue is full: nothing is dropped
        for _ in tasks:
            peer.send(b"end")
        received = collections.Counter(message for task in tasks for message in task.result())
        assert received == collections.Counter(messages)


@each_timeout
@pytest.mark.parametrize("kind", ["unix_datagram", "unix_seqpacket"])
def test_threads_sending_on_one_socket_lose_and_mix_nothing(
    make_pair, in_thread, kind, timeout, repeats
):
    sock, peer = make_pair(kind)
    sock.settimeout(timeout)
    peer.settimeout(5)

    def send_all(thread):
        for number in range(MESSAGES):
            if number % 2:
                sock.sendall(b"%d %d" % (thread, number))
            else:
                assert sock.sendmsg([b"%d " % thread, b"%d" % number]) > 0

    for _ in range(repeats):
        tasks = [in_thread(send_all, thread) for thread in range(THREADS)]
        received = collections.defaultdict(list)
        for _ in range(THREADS * MESSAGES):
            thread, number = peer.recv(100).split()
            received[int(thread)].append(int(number))
        for task in tasks:
            task.result()
        # One thread's messages come in its order.
        assert received == {thread: list(range(MESSAGES)) for thread in range(THREADS)}


@each_timeout
def test_both_directions_of_one_stream_at_once_carry_everything(
    make_pair, in_thread, timeout, repeats
):
    data = bytes(range(256)) * 2000

    def receive(sock):
        received = bytearray()
        while len(received) < len(data):
            received += sock.recv(65_536)
        return received

    for _ in range(repeats):
        sock, peer = make_pair("tcp_ipv4")
        sock.settimeout(timeout)
        tasks = [in_thread(receive, sock), in_thread(receive, peer)]
        sends = [in_thread(sock.sendall, data), in_thread(peer.sendall, data)]
        for task in sends:
            task.result()
        assert all(task.result() == data for task in tasks)
        sock.close()
        peer.close()


@each_timeout
@pytest.mark.parametrize("kind", ["tcp_ipv4", "unix_stream", "unix_seqpacket"])
def test_shutdown_wakes_every_receiver(make_pair, in_thread, wait_until, kind, timeout, repeats):
    for _ in range(repeats):
        sock, peer = make_pair(kind)
        sock.settimeout(timeout)
        tasks = [in_thread(sock.recv, 100) for _ in range(THREADS)]
        for task in tasks:
            wait_until(partial(waits, task, sock))
        sock.shutdown(stdlib.SHUT_RDWR)
        assert [task.result() for task in tasks] == [b""] * THREADS
        sock.close()
        peer.close()


@each_timeout
def test_shutdown_of_listener_ends_accept(in_thread, wait_until, timeout, repeats):
    for _ in range(repeats):
        with fastsock.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(timeout)
            task = in_thread(listener.accept)
            wait_until(partial(waits, task, listener))
            listener.shutdown(stdlib.SHUT_RDWR)
            with pytest.raises(OSError, match="Invalid argument") as caught:
                task.result()
            assert caught.value.errno == errno.EINVAL


@each_timeout
def test_shutdown_ends_a_waiting_sendall(make_pair, in_thread, wait_until, timeout, repeats):
    for _ in range(repeats):
        sock, peer = make_pair("unix_stream")
        sock.settimeout(timeout)
        task = in_thread(sock.sendall, b"x" * (8 << 20))
        wait_until(partial(waits, task, sock))
        sock.shutdown(stdlib.SHUT_RDWR)
        with pytest.raises(BrokenPipeError):
            task.result()
        sock.close()
        peer.close()


def test_close_under_receivers_with_timeout_gives_ebadf(make_pair, in_thread, wait_until, repeats):
    for _ in range(repeats):
        sock, peer = make_pair("unix_stream")
        sock.settimeout(0.1)
        tasks = [in_thread(sock.recv, 100) for _ in range(THREADS)]
        for task in tasks:
            wait_until(lambda task=task: task.is_done or task.waits_in_poll())
        sock.close()
        ends = collections.Counter()
        for task in tasks:
            with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is asserted below
                task.result()
            ends[caught.value.errno] += 1
        # One that came to its deadline before the close may have timed out, as in CPython.
        assert set(ends) <= {errno.EBADF, None}
        peer.close()


def test_close_racing_with_calls_ends_them_as_closed_or_served(make_pair, in_thread, repeats):
    for _ in range(repeats):
        sock, peer = make_pair("unix_datagram")
        keeper = sock.dup()  # so that the close can't give the number to anybody
        sock.settimeout(0.05)
        start = threading.Barrier(THREADS + 1)

        def use(sock=sock, start=start):
            start.wait(5)
            while True:
                try:
                    sock.send(b"x")
                    sock.recv(100)
                except TimeoutError:
                    pass
                except OSError as error:
                    return error.errno

        tasks = [in_thread(use) for _ in range(THREADS)]
        start.wait(5)
        for _ in range(5):
            peer.send(b"x")
        sock.close()
        assert [task.result() for task in tasks] == [errno.EBADF] * THREADS
        keeper.close()
        peer.close()


def test_sockets_made_and_used_in_many_threads_leave_nothing(in_thread, repeats):
    def use():
        for number in range(20):
            with fastsock.create_server(("127.0.0.1", 0)) as listener:
                client = fastsock.create_connection(listener.getsockname(), timeout=5)
                connection, address = listener.accept()
                with client, connection:
                    assert address == client.getsockname()
                    client.sendall(b"%d" % number)
                    assert connection.recvfrom(5000) == (b"%d" % number, None)

    for _ in range(max(1, repeats // 10)):
        for task in [in_thread(use) for _ in range(THREADS)]:
            task.result(10)
