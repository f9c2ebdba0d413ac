# SPDX-License-Identifier: MIT
"""The life of a Receiver among threads and signals, and its end by garbage collection."""

import collections
import gc
import signal
import sys
import threading
import time
import warnings
from functools import partial

import pytest

import fastsock
from unit.receiving import LEAST, LOCAL, count_descriptors, is_whole, numbered, send_to, take
from unit.receiving import receive as receive_fixture
from unit.receiving import threads as kernel_threads

receive = receive_fixture
__all__ = ["receive", "send_to"]  # fixtures

THREADS = 4


def test_opening_and_closing_leaves_nothing(repeats, closing, send_to):
    before = kernel_threads(), count_descriptors()
    for number in range(repeats):
        with fastsock.Receiver(LOCAL, memory=LEAST) as receiver:
            if number % 3 == 0:
                continue
            sock = fastsock.socket(fastsock.AF_INET, fastsock.SOCK_DGRAM)
            with sock:
                sock.sendto(b"x", receiver.getsockname())
                if number % 3 == 1:
                    assert take(receiver, 1) == [b"x"]
    assert kernel_threads() <= before[0]
    assert count_descriptors() == before[1]


def test_close_ends_the_wait_of_another_thread(repeats, in_thread, wait_until):
    for number in range(repeats):
        receiver = fastsock.Receiver(LOCAL, memory=2 * LEAST, shards=2)
        if number % 2:
            receiver.fileno()
        waiting = in_thread(list, receiver)
        if number % 3:
            wait_until(waiting.waits_in_poll)
        receiver.close()
        assert waiting.result() == []


def test_threads_that_close_at_once_close_it_once(repeats, in_thread, tmp_path):
    path = tmp_path / "x.sock"
    for _ in range(repeats):
        receiver = fastsock.Receiver(path, memory=LEAST)
        start = threading.Barrier(THREADS + 1)

        def close(receiver=receiver, start=start):
            start.wait(5)
            receiver.close()

        closers = [in_thread(close) for _ in range(THREADS)]
        start.wait(5)
        for task in closers:
            task.result()
        assert receiver.closed
        assert not path.exists()


def test_second_thread_in_next_batch_is_refused_and_the_others_calls_are_not(
    repeats, receive, send_to, in_thread, wait_until
):
    for _ in range(repeats):
        receiver = receive(memory=LEAST)
        sender = send_to(receiver)
        waiting = in_thread(receiver.next_batch)
        wait_until(waiting.waits_in_poll)

        def use(receiver=receiver):
            for call in (
                receiver.next_batch,
                partial(receiver.next_batch, 0),
                lambda: next(receiver),
            ):
                with pytest.raises(
                    RuntimeError, match=r"another thread is in next_batch.*open_shards"
                ):
                    call()
            assert is_whole(receiver.stats())
            return receiver.fileno()

        users = [in_thread(use) for _ in range(THREADS - 1)]
        assert len({task.result() for task in users}) == 1
        sender.send(b"x")
        assert len(waiting.result()) == 1
        receiver.close()


def test_threads_on_one_receiver_share_its_messages(repeats, receive, send_to, in_thread):
    """Whoever is refused tries again: each message comes once, and nothing is torn."""
    receiver = receive()
    sender = send_to(receiver)
    received = collections.Counter()
    lock = threading.Lock()

    def work():
        while True:
            try:
                batch = receiver.next_batch(0.01)
            except RuntimeError:
                time.sleep(0)
            except TimeoutError:
                pass
            except OSError:
                return receiver.closed
            else:
                with lock:
                    received.update(message.bytes() for message in batch)
            assert is_whole(receiver.stats())

    tasks = [in_thread(work) for _ in range(THREADS)]
    sent = numbered(50 * repeats, 20)
    for start in range(0, len(sent), 100):
        for message in sent[start : start + 100]:
            sender.send(message)
        while receiver.stats().delivered < start + len(sent[start : start + 100]):
            time.sleep(0)
    while True:
        with lock:
            if received.total() >= len(sent):
                break
        time.sleep(0)
    receiver.close()
    assert all(task.result() for task in tasks)
    assert received == collections.Counter(sent)


def test_threads_that_read_one_batch_see_the_same_and_let_go_of_it(
    repeats, receive, send_to, in_thread
):
    receiver = receive()
    sender = send_to(receiver)

    def read(held, start):
        start.wait(5)
        views = [(row.data, row.address, held[0].lengths, held[0].sources) for row in held[0]]
        return [(bytes(data), address) for data, address, _, _ in views]

    for number in range(repeats):
        sender.send(b"%d" % number)
        held = [receiver.next_batch(5)]
        start = threading.Barrier(THREADS)
        tasks = [in_thread(read, held, start) for _ in range(THREADS)]
        for task in tasks:
            assert task.result() == [(b"%d" % number, sender.getsockname())]
        held.clear()
    assert receiver.stats().pinned == 0


def test_a_receiver_for_each_thread(repeats, send_to, in_thread, wait_until):
    receivers = fastsock.open_shards(LOCAL, THREADS, memory=4 * LEAST)
    senders = [send_to(receivers[0]) for _ in range(16)]

    def work(receiver):
        return collections.Counter(message.bytes() for batch in receiver for message in batch)

    tasks = [in_thread(work, receiver) for receiver in receivers]
    for number in range(5 * repeats):
        for sender in senders:
            sender.send(b"%d" % number)
        sent = (number + 1) * len(senders)
        wait_until(lambda sent=sent: sum(each.stats().delivered for each in receivers) == sent)
    for receiver in receivers:
        receiver.close()
    total = sum((task.result() for task in tasks), collections.Counter())
    assert total == {b"%d" % number: len(senders) for number in range(5 * repeats)}


def test_collected_without_close_warns_and_leaves_nothing(repeats):
    before = kernel_threads(), count_descriptors()
    text = "unclosed <fastsock.Receiver open at udp://127"
    for number in range(repeats):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            receiver = fastsock.Receiver(LOCAL, memory=LEAST)
            if number % 2:
                receiver.cycle = receiver
            del receiver
            gc.collect()
        assert [str(warning.message)[:45] for warning in caught] == [text]
    assert kernel_threads() <= before[0]
    assert count_descriptors() == before[1]


def test_cycles_with_batches_are_collected(repeats, send_to):
    before = kernel_threads()
    for number in range(repeats):
        with fastsock.Receiver(LOCAL, memory=LEAST) as receiver:
            send_to(receiver).send(b"x%d" % number)
            receiver.batch = receiver.next_batch(5)
            receiver.rows = list(receiver.batch)
            receiver.view = receiver.batch.data
            kept = receiver.batch.data
            receiver.cycle = receiver
        del receiver
        gc.collect()
        assert bytes(kept) == b"x%d" % number
    assert kernel_threads() <= before


@pytest.fixture
def interrupt(main_waits_in_call, in_thread, wait_until):
    """Return interrupt(signal): it comes as soon as the test itself waits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(number=signal.SIGINT):
        def kill():
            wait_until(lambda: main_waits_in_call(-1))
            signal.pthread_kill(threading.main_thread().ident, number)

        return in_thread(kill)

    yield interrupt
    signal.signal(signal.SIGINT, before)


def test_interrupted_wait_raises_and_the_receiver_goes_on(repeats, receive, send_to, interrupt):
    receiver = receive()
    sender = send_to(receiver)
    for number in range(repeats):
        task = interrupt()
        waits = [receiver.next_batch, partial(receiver.next_batch, 10), partial(list, receiver)]
        with pytest.raises(KeyboardInterrupt):
            waits[number % 3]()
        task.result()
        sender.send(b"%d" % number)
        assert take(receiver, 1) == [b"%d" % number]
    stats = receiver.stats()
    assert stats.delivered == stats.received == repeats


def test_signal_whose_handler_returns_does_not_end_the_wait(repeats, receive, send_to, interrupt):
    receiver = receive()
    sender = send_to(receiver)
    handled = []

    def handle(number, frame):
        handled.append(number)
        sender.send(b"x")

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        for _ in range(repeats):
            task = interrupt(signal.SIGUSR1)
            assert len(receiver.next_batch()) == 1
            task.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(handled) == repeats


def test_handler_that_closes_ends_the_wait(receive, interrupt):
    receiver = receive()
    before = signal.signal(signal.SIGUSR1, lambda *_: receiver.close())
    try:
        task = interrupt(signal.SIGUSR1)
        assert list(receiver) == []
        task.result()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_collected_where_warnings_are_errors_leaves_no_path(tmp_path, monkeypatch):
    path = tmp_path / "x.sock"
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda arguments: raised.append(arguments.exc_value))
    receiver = fastsock.Receiver(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del receiver
        gc.collect()
    assert [type(error) for error in raised] == [ResourceWarning]
    assert not path.exists()
