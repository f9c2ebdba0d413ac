# SPDX-License-Identifier: MIT
"""Several threads that receive many messages: from one socket, into batches, and reading ahead."""

import collections
import errno
import socket as stdlib
import struct
import threading
import time
from functools import partial

import pytest

import fastsock

pytestmark = pytest.mark.usefixtures("no_descriptor_leak")

THREADS = 4
ROUNDS = 10  # of sending in each repeat
SOL_UDP, UDP_SEGMENT = 17, 103  # linux/udp.h
END = b"end"

each_timeout = pytest.mark.parametrize("timeout", [None, 60], ids=["blocking", "timeout"])


class Sink:
    """What the threads have received; the sender waits for it, so that no queue ever overflows."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self.total = 0

    def add(self, messages):
        with self._lock:
            self._counts.update(messages)
            self.total += len(messages)

    def has(self, total):
        return self.total >= total

    def check(self, expected):
        assert self._counts == collections.Counter(expected)


def send_rounds(peer, sink, wait_until):
    """Send trains and single datagrams, each one different; return all."""
    sent = []
    for number in range(ROUNDS):
        train = [b"%08d" % (len(sent) + place) for place in range(30)]
        if peer.family == stdlib.AF_UNIX:
            for message in train:
                peer.send(message)
        else:
            segment = (SOL_UDP, UDP_SEGMENT, struct.pack("H", 8))
            peer.sendmsg([b"".join(train)], [segment])
        sent += train
        for _ in range(number % 7):
            sent.append(b"single %08d" % len(sent))
            peer.send(sent[-1])
        if number % 3 == 2:
            wait_until(partial(sink.has, len(sent)))
    wait_until(partial(sink.has, len(sent)))
    return sent


def receive_singly(sock, sink):
    calls = [
        lambda: sock.recv(100),
        lambda: sock.recvfrom(5000)[0],
        lambda: sock.recvmsg(100, 100)[0],
    ]
    number = 0
    while (message := calls[number % 3]()) != END:
        sink.add([message])
        number += 1


def receive_lists(sock, sink):
    number = 0
    while True:
        number += 1
        if number % 2:
            messages = sock.recv_many(100, 1 + number % 50)
        else:
            messages = [message for message, _ in sock.recvfrom_many(100, 1 + number % 50)]
        if end_of(messages, sink):
            return


def receive_batches(sock, sink):
    batches = [fastsock.Batch(20, 100), fastsock.Batch(7, 65_536)]
    number = 0
    while True:
        number += 1
        batch = batches[number % 2]
        count = sock.recv_batch(batch)
        messages = [bytes(message.data) for message in batch]
        assert len(messages) == count
        if end_of(messages, sink):
            return


def end_of(messages, sink):
    ends = messages.count(END)
    assert ends <= 1
    sink.add([message for message in messages if message != END])
    return ends > 0


def send_ends(peer, tasks, wait_until):
    """One at a time: each ends one thread."""
    for _ in tasks:
        done = sum(task.is_done for task in tasks)
        peer.send(END)
        wait_until(lambda done=done: sum(task.is_done for task in tasks) > done)
    for task in tasks:
        task.result()


WAYS = {
    "singly": [receive_singly],
    "lists": [receive_lists],
    "batches": [receive_batches],
    "all_ways": [receive_singly, receive_lists, receive_batches],
}
each_way = pytest.mark.parametrize("ways", WAYS.values(), ids=WAYS)


def rounds(repeats):
    return max(1, repeats // 4)


@each_timeout
@each_way
@pytest.mark.parametrize("buffers", [1, 64])
def test_threads_on_one_socket_reading_ahead_get_each_datagram_once(
    make_pair, in_thread, wait_until, timeout, ways, buffers, repeats
):
    sock, peer = make_pair("udp_ipv4")
    sock.settimeout(timeout)
    sock.set_readahead(buffers)
    for _ in range(rounds(repeats)):
        sink = Sink()
        tasks = [in_thread(ways[place % len(ways)], sock, sink) for place in range(THREADS)]
        sink.check(send_rounds(peer, sink, wait_until))
        send_ends(peer, tasks, wait_until)
        assert sock.pending() == 0


@each_timeout
def test_receives_that_begin_to_wait_at_once_are_all_woken_by_one_train(
    make_pair, in_thread, wait_until, timeout, repeats
):
    data = b"".join(b"%02d" % number for number in range(THREADS))
    for _ in range(2 * repeats):
        sock, peer = make_pair("udp_ipv4")  # new: what the threads wait with is made at first use
        sock.settimeout(timeout)
        sock.set_readahead(8)
        start = threading.Barrier(THREADS)

        def receive(sock=sock, start=start):
            start.wait(5)
            return sock.recv(100)

        tasks = [in_thread(receive) for _ in range(THREADS)]
        for task in tasks:
            wait_until(partial(waits, task, sock.fileno()))
        segment = (SOL_UDP, UDP_SEGMENT, struct.pack("H", 2))
        peer.sendmsg([data], [segment])
        received = sorted(task.result() for task in tasks)
        assert received == [b"%02d" % number for number in range(THREADS)]
        sock.close()
        peer.close()


def waits(task, fd):
    return task.waits_in_call(fd) or task.waits_in_poll()


@each_timeout
@pytest.mark.parametrize("way", [receive_lists, receive_batches], ids=["lists", "batches"])
@pytest.mark.parametrize("kind", ["udp_ipv4", "unix_datagram", "unix_seqpacket"])
def test_threads_with_batches_of_their_own_on_one_socket_get_each_message_once(
    make_pair, in_thread, wait_until, timeout, way, kind, repeats
):
    sock, peer = make_pair(kind)
    sock.settimeout(timeout)
    for _ in range(rounds(repeats)):
        sink = Sink()
        tasks = [in_thread(way, sock, sink) for _ in range(THREADS)]
        sink.check(send_rounds(peer, sink, wait_until))
        send_ends(peer, tasks, wait_until)


@each_timeout
@each_way
def test_switching_readahead_while_threads_receive_loses_and_doubles_nothing(
    make_pair, in_thread, wait_until, timeout, ways, repeats
):
    sock, peer = make_pair("udp_ipv4")
    sock.settimeout(timeout)
    is_over = threading.Event()

    turns = []

    def switch():
        while not is_over.is_set():
            turns.append(len(turns) + 1)
            try:
                sock.set_readahead(0 if turns[-1] % 2 else 1 + turns[-1] % 64)
            except OSError as error:
                # Refused: nothing is lost, and it stays as it was.
                if error.errno != errno.EBUSY:
                    raise
            time.sleep(0)

    for _ in range(rounds(repeats)):
        sink = Sink()
        is_over.clear()
        turns.clear()
        sock.set_readahead(4)
        tasks = [in_thread(ways[place % len(ways)], sock, sink) for place in range(THREADS)]
        switcher = in_thread(switch)
        try:
            wait_until(lambda: turns)
            sent = send_rounds(peer, sink, wait_until)
            wait_until(lambda: len(turns) > 1)  # how soon is the machine's to say
        finally:
            is_over.set()
        sink.check(sent)
        switcher.result()
        send_ends(peer, tasks, wait_until)
        sock.set_readahead(0)


def test_threads_in_one_batch_fill_it_one_at_a_time(make_pair, in_thread, repeats):
    sock, peer = make_pair("unix_datagram")
    sock.settimeout(0.01)
    batch = fastsock.Batch(5, 100)
    refused = collections.Counter()

    def receive(thread, received):
        is_over = False
        while not is_over:
            try:
                received.append(sock.recv_batch(batch))
                is_over = False
            except RuntimeError:
                refused[thread] += 1
            except TimeoutError:
                is_over = True

    for _ in range(rounds(repeats)):
        received = []
        for number in range(100):
            peer.send(b"%d" % number)
        tasks = [in_thread(receive, thread, received) for thread in range(THREADS)]
        for task in tasks:
            task.result()
        # What one call brings another may empty again; but each is counted once.
        assert sum(received) == 100


def test_close_while_threads_receive_ahead_ends_them(make_pair, in_thread, wait_until, repeats):
    for _ in range(rounds(repeats)):
        sock, peer = make_pair("udp_ipv4")
        sock.settimeout(0.1)
        sock.set_readahead(64)
        received = collections.Counter()

        def receive(sock=sock, received=received):
            try:
                while True:
                    received[sock.recv(100)] += 1
            except OSError:
                return

        tasks = [in_thread(receive) for _ in range(THREADS)]
        for number in range(50):
            peer.send(b"%d" % number)
        sock.close()
        for task in tasks:
            task.result()
        assert set(received.values()) <= {1}
        assert sum(received.values()) + sock.readahead_discarded <= 50
        peer.close()
