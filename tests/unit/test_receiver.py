# SPDX-License-Identifier: MIT
"""Receiver: its arguments, its calls, and the batches it gives."""

import contextlib
import dataclasses
import errno
import gc
import os
import select
import socket as stdlib
import time
from pathlib import Path

import pytest

import fastsock
from unit.many import numbered, send_all
from unit.receiving import (
    LEAST,
    LOCAL,
    count_descriptors,
    is_whole,
    receive,
    send_to,
    take,
    threads,
)

__all__ = ["receive", "send_to"]  # fixtures

ADDRESSES = {
    "ipv4": (LOCAL, "udp://127.0.0.1:"),
    "ipv4_any": (("", 0), "udp://0.0.0.0:"),
    "ipv6": (("::1", 0), "udp://[::1]:"),
    "ipv6_of_four": (("::1", 0, 0, 0), "udp://[::1]:"),
    "url_ipv4": ("udp://127.0.0.1:0", "udp://127.0.0.1:"),
    "url_ipv6": ("udp://[::1]:0", "udp://[::1]:"),
    "path": ("a b.sock", "unix://a%20b.sock"),
    "path_in_bytes": (b"x.sock", "unix://x.sock"),
    "path_object": (Path("x.sock"), "unix://x.sock"),
    "abstract": (f"\0fastsock {os.getpid()}", "unix://%00fastsock%20"),
    "abstract_in_bytes": (b"\0fastsock %d" % os.getpid(), "unix://%00fastsock%20"),
    "abstract_url": (f"unix://%00fastsock%20{os.getpid()}", "unix://%00fastsock%20"),
}


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.values(), ids=ADDRESSES)
def test_address_in_any_form_is_received_at(
    receive, send_to, tmp_path, monkeypatch, address, shown
):
    monkeypatch.chdir(tmp_path)
    receiver = receive(address)
    assert repr(receiver).startswith(f"<fastsock.Receiver open at {shown}")
    sender = send_to(receiver)
    send_all(sender, numbered(3))
    assert take(receiver, 3) == numbered(3)
    receiver.close()
    assert repr(receiver).startswith(f"<fastsock.Receiver closed at {shown}")
    assert os.listdir() == []


def test_url_of_a_path_is_received_at(receive, send_to, tmp_path):
    receiver = receive(f"unix://{tmp_path}/%78.sock")
    assert receiver.getsockname() == f"{tmp_path}/x.sock"
    send_to(receiver).send(b"hello")
    assert take(receiver, 1) == [b"hello"]


WRONG_VALUES = {
    "memory": (LOCAL, {"memory": LEAST - 1}, "memory must be at least 1048576 bytes, not 1048575"),
    "memory_of_shards": (LOCAL, {"memory": LEAST, "shards": 2}, "at least 2097152 bytes"),
    "overflow": (LOCAL, {"overflow": "drop"}, "drop-newest, drop-oldest, block, not 'drop'"),
    "cpus": (LOCAL, {"cpu": [0, 0]}, "one CPU for each of 1 threads"),
    "cpu_for_shards": (LOCAL, {"cpu": 0, "shards": 2}, "one CPU for each of 2 threads"),
    "negative_cpu": (LOCAL, {"cpu": -1}, "cpu must be 0 to"),
    "cpu_that_no_machine_has": (LOCAL, {"cpu": 1 << 20}, "cpu must be 0 to"),
    "priority": (LOCAL, {"priority": 100}, "priority must be 0 to 99"),
    "negative_priority": (LOCAL, {"priority": -1}, "priority must be 0 to 99"),
    "busy_poll": (LOCAL, {"busy_poll": -1}, "busy_poll must be 0 to 1000000"),
    "buffer": (LOCAL, {"receive_buffer": 0}, "receive_buffer must be 1 to"),
    "large_buffer": (LOCAL, {"receive_buffer": 1 << 31}, "receive_buffer must be 1 to"),
    "metadata": (LOCAL, {"metadata": ["ttl"]}, "timestamp, destination, hop_limit, tos, not 'ttl'"),
    "group": (LOCAL, {"groups": ["192.0.2.1"]}, "224.0.0.0"),
    "no_shards": (LOCAL, {"shards": 0}, "shards must be 1 to 64, not 0"),
    "many_shards": (LOCAL, {"shards": 65}, "shards must be 1 to 64, not 65"),
    "path_with_shards": ("x.sock", {"shards": 2}, "shards need UDP"),
    "empty_path": ("", {}, "must not be empty"),
    "scheme": ("tcp://127.0.0.1:1", {}, "is for a stream; this takes datagrams: udp://"),
    "port": (("127.0.0.1", 1 << 16), {}, "a port is 0 to 65535"),
}
WRONG_TYPES = {
    "none": (None, {}, "a tuple .*, a URL .* or the path .* not NoneType"),
    "port_alone": (8888, {}, "not int"),
    "text_port": (("127.0.0.1", "1"), {}, "a str and an int"),
    "memory": (LOCAL, {"memory": 2.0**20}, "integer"),
    "cpu": (LOCAL, {"cpu": "0"}, "int"),
    "group": (LOCAL, {"groups": [1]}, "a str such as '239.1.2.3'"),
    "empty_group": (LOCAL, {"groups": [()]}, r"\(group, interface, source\)"),
    "metadata": (LOCAL, {"metadata": None}, "not iterable"),
    "unknown": (LOCAL, {"buffer": 1}, "buffer"),
}


@pytest.mark.parametrize(("address", "options", "text"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_wrong_value_raises_value_error_with_the_cure(address, options, text):
    before = threads(), count_descriptors()
    with pytest.raises(ValueError, match=text):
        fastsock.Receiver(address, **options)
    assert threads() <= before[0]
    assert count_descriptors() == before[1]


@pytest.mark.parametrize(("address", "options", "text"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_type_raises_type_error(address, options, text):
    with pytest.raises(TypeError, match=text):
        fastsock.Receiver(address, **options)


def test_what_the_system_refuses_raises_os_error_and_leaves_nothing(
    no_descriptor_leak, receive, tmp_path
):
    before = threads()
    taken = receive().getsockname()
    with pytest.raises(OSError, match=f"udp://127.0.0.1:{taken[1]}") as caught:
        fastsock.Receiver(taken)
    assert caught.value.errno == errno.EADDRINUSE
    path = tmp_path / "x.sock"
    with pytest.raises(OSError, match="allocate") as caught:
        fastsock.Receiver(path, memory=1 << 60)
    assert caught.value.errno == errno.ENOMEM
    assert not path.exists()
    with pytest.raises(OSError, match="long"):
        fastsock.Receiver("x" * 200)
    assert len(threads() - before) == 1


def test_second_init_raises_and_leaves_the_first(receive, send_to):
    receiver = receive()
    with pytest.raises(RuntimeError, match="opened once"):
        receiver.__init__(LOCAL)
    send_to(receiver).send(b"x")
    assert take(receiver, 1) == [b"x"]


def test_receiver_not_opened_refuses_every_call():
    receiver = fastsock.Receiver.__new__(fastsock.Receiver)
    for call in (receiver.next_batch, receiver.fileno, receiver.stats):
        with pytest.raises(OSError, match="descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert receiver.closed
    receiver.close()


def test_next_batch_with_nothing_there_raises_by_its_timeout(receive):
    receiver = receive()
    with pytest.raises(BlockingIOError):
        receiver.next_batch(0)
    with pytest.raises(TimeoutError, match="timed out"):
        receiver.next_batch(0.001)
    with pytest.raises(TimeoutError):
        receiver.next_batch(timeout=1e-9)
    for timeout in (-1, float("nan"), -1e-9):
        with pytest.raises(ValueError, match="timeout"):
            receiver.next_batch(timeout)
    with pytest.raises(TypeError):
        receiver.next_batch("1")


@pytest.mark.parametrize("timeout", [None, 5, 1e9], ids=["forever", "5s", "long"])
def test_next_batch_waits_for_messages(receive, send_to, in_thread, wait_until, timeout):
    receiver = receive()
    sender = send_to(receiver)
    task = in_thread(receiver.next_batch, timeout)
    wait_until(task.waits_in_poll)
    sender.send(b"at last")
    assert [message.bytes() for message in task.result()] == [b"at last"]


def test_wait_costs_no_cpu_time(receive, in_thread, wait_until):
    receiver = receive()
    task = in_thread(receiver.next_batch)
    wait_until(task.waits_in_poll)
    before = time.process_time()
    with pytest.raises(TimeoutError):
        receive().next_batch(0.2)
    assert time.process_time() - before < 0.1
    receiver.close()
    with pytest.raises(OSError, match="descriptor"):
        task.result()


def test_closed_receiver_ends_loops_and_refuses_calls(receive, send_to):
    receiver = receive()
    send_to(receiver).send(b"x")
    assert receiver.fileno() >= 0
    assert iter(receiver) is receiver
    with receiver as entered:
        assert entered is receiver
        assert not receiver.closed
    assert receiver.closed
    receiver.close()
    assert list(receiver) == []
    for call in (receiver.next_batch, receiver.fileno):
        with pytest.raises(OSError, match="descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert receiver.getsockname()[0] == "127.0.0.1"
    assert receiver.stats() == receiver.stats()


def test_for_loop_gives_batches_until_close(receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    received = []
    sender.send(b"0")
    for batch in receiver:
        received += [message.bytes() for message in batch]
        if len(received) == 5:
            receiver.close()
        else:
            sender.send(b"%d" % len(received))
    assert received == numbered(5)


def test_descriptor_is_readable_exactly_while_messages_wait(receive, send_to, wait_until):
    receiver = receive(shards=2)
    senders = [send_to(receiver) for _ in range(8)]
    poller = select.poll()
    poller.register(receiver, select.POLLIN)
    assert poller.poll(0) == []
    for _ in range(20):
        for sender in senders:
            sender.send(b"x")
        left = len(senders)
        while left > 0:
            assert poller.poll(5000)
            left -= len(receiver.next_batch())
        assert left == 0
        assert poller.poll(0) == []


def test_descriptor_stays_readable_after_a_call_that_waited(
    receive, send_to, in_thread, wait_until
):
    """Two shards wake the consumer at once, and it takes from one: the other's still waits."""
    receiver = receive(shards=2)
    senders = [send_to(receiver) for _ in range(8)]
    poller = select.poll()
    poller.register(receiver.fileno(), select.POLLIN)
    for number in range(1, 51):
        task = in_thread(receiver.next_batch)
        wait_until(task.waits_in_poll)
        for sender in senders:
            sender.send(b"x")
        left = len(senders) - len(task.result())
        while left > 0:
            assert poller.poll(5000)
            with contextlib.suppress(BlockingIOError):  # the thread may be adding to the block
                left -= len(receiver.next_batch(0))
        assert receiver.stats().delivered == number * len(senders)


def test_batch_tells_its_messages_by_rows_and_columns(receive, send_to):
    receiver = receive(gro=False)
    senders = [send_to(receiver), send_to(receiver)]
    before = time.time_ns()
    senders[0].send(b"first")
    senders[1].send(b"")
    senders[0].send(b"third!")
    received = []
    while sum(map(len, received)) < 3:
        received.append(receiver.next_batch(5))
    rows = [message for batch in received for message in batch]
    names = [sender.getsockname() for sender in senders]
    assert [row.bytes() for row in rows] == [b"first", b"", b"third!"]
    assert [bytes(row) for row in rows] == [row.data.tobytes() for row in rows]
    assert [len(row) for row in rows] == [row.wire_length for row in rows] == [5, 0, 6]
    assert [row.address for row in rows] == [names[0], names[1], names[0]]
    assert not any(row.truncated for row in rows)
    for batch in received:
        assert type(batch) is fastsock.ReceivedBatch
        assert repr(batch) == f"<fastsock.ReceivedBatch of {len(batch)} messages>"
        assert list(batch.lengths) == list(batch.wire_lengths) == [len(row) for row in batch]
        assert list(batch.flags) == [0] * len(batch)
        assert [batch.sources[number] for number in batch.source] == [row.address for row in batch]
        whole = batch.data
        for row, offset, length in zip(batch, batch.offsets, batch.lengths, strict=True):
            assert whole[offset : offset + length] == row.data
        assert batch[-1].bytes() == batch[len(batch) - 1].bytes()
        with pytest.raises(IndexError):
            batch[len(batch)]
        for name in ("timestamps_ns", "destination", "interface", "hop_limit", "tos"):
            with pytest.raises(AttributeError, match="make the Receiver with metadata="):
                getattr(batch, name)
    assert before < time.time_ns()


def test_views_are_read_only_memoryviews(receive, send_to):
    receiver = receive()
    send_to(receiver).send(b"text")
    batch = receiver.next_batch(5)
    for name, code in [("data", "B"), ("offsets", "Q"), ("lengths", "I"), ("source", "I")]:
        view = getattr(batch, name)
        assert (type(view), view.readonly, view.format) == (memoryview, True, code)
        with pytest.raises(TypeError):
            view[0] = 1
    assert batch[0].data.readonly
    assert hash(batch[0].data) == hash(b"text")


def test_batches_are_made_by_receivers_only():
    batch = fastsock.ReceivedBatch()
    assert len(batch) == 0
    for use in (lambda: batch.data, lambda: batch[0], lambda: list(batch)):
        with pytest.raises(TypeError, match="not made by calling"):
            use()


def test_views_outlive_the_batch_the_close_and_the_receiver(send_to, wait_until):
    receiver = fastsock.Receiver(LOCAL, memory=LEAST)
    sender = send_to(receiver)
    sender.send(b"kept" * 100)
    batch = receiver.next_batch(5)
    message, view, lengths = batch[0], batch[0].data, batch.lengths
    del batch
    # The ring is filled again and again, and none of it in the memory that is seen.
    for _ in range(20):
        send_all(sender, [b"other" * 1000] * 40)
        take(receiver, 40)
    assert receiver.stats().pinned == 1
    assert message.bytes() == view == b"kept" * 100
    receiver.close()
    assert message.bytes() == view == b"kept" * 100
    del receiver
    gc.collect()
    assert message.bytes() == view == b"kept" * 100
    assert message.address == sender.getsockname()
    del message
    gc.collect()
    assert bytes(view[-4:]) == b"kept"
    assert list(lengths) == [400]


def test_memory_goes_back_when_the_last_view_of_it_dies(receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    sender.send(b"first")
    batch = receiver.next_batch(5)
    view, column, rows = batch[0].data, batch.offsets, list(batch)
    assert receiver.stats().pinned == 1
    del batch, rows, column
    assert receiver.stats().pinned == 1
    sender.send(b"second")
    second = receiver.next_batch(5)
    assert receiver.stats().pinned == 2
    del view
    assert receiver.stats().pinned == 1
    del second
    assert receiver.stats().pinned == 0


def test_messages_of_a_received_batch_are_never_stale(receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    kept = []
    for number in range(30):
        sender.send(b"%d" % number)
        kept += receiver.next_batch(5)
    assert [message.bytes() for message in kept] == numbered(30)


def test_program_that_keeps_all_memory_gets_the_rest_after_it_lets_go(receive, send_to, wait_until):
    receiver = receive(memory=LEAST, overflow="block", receive_buffer=1 << 20)
    sender = send_to(receiver)
    kept = []
    sent = 0
    while True:
        sender.send(b"%d" % sent)
        sent += 1
        try:
            kept.append(receiver.next_batch(0.2))
        except TimeoutError:
            break
    assert receiver.stats().pinned == len(kept) > 1
    received = [message.bytes() for batch in kept for message in batch]
    kept.clear()
    received += take(receiver, 1)
    assert received == numbered(sent)


METADATA = ["timestamp", "destination", "hop_limit", "tos"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"], ids=["ipv4", "ipv6"])
def test_metadata_is_told_of_each_message(receive, send_to, host):
    receiver = receive((host, 0), metadata=METADATA)
    sender = send_to(receiver)
    before = time.time_ns()
    sender.send(b"x")
    batch = receiver.next_batch(5)
    (message,) = batch
    assert before <= message.timestamp_ns == batch.timestamps_ns[0] <= time.time_ns()
    assert message.destination == batch.destinations[batch.destination[0]] == host
    assert message.interface == batch.interface[0] == stdlib.if_nametoindex("lo")
    assert message.hop_limit == batch.hop_limit[0] == 64
    assert message.tos == batch.tos[0] == 0


def test_one_name_of_metadata_is_enough(receive, send_to):
    receiver = receive(metadata="tos")
    sender = send_to(receiver)
    sender.setsockopt(stdlib.IPPROTO_IP, stdlib.IP_TOS, 0x20)
    sender.send(b"x")
    batch = receiver.next_batch(5)
    assert batch[0].tos == 0x20
    with pytest.raises(AttributeError, match=r"metadata=\('hop_limit',\)"):
        batch.hop_limit  # noqa: B018


def test_cpu_and_priority_are_those_of_the_thread(receive, send_to):
    before = threads()
    receiver = receive(cpu=min(os.sched_getaffinity(0)), busy_poll=1000)
    (thread,) = threads() - before
    assert os.sched_getaffinity(thread) == {min(os.sched_getaffinity(0))}
    assert os.sched_getscheduler(thread) == os.SCHED_OTHER
    send_to(receiver).send(b"x")
    assert take(receiver, 1) == [b"x"]
    before = threads()
    try:
        receive(priority=7)
    except PermissionError as error:
        pytest.skip(f"priority=7 was tried and gave: {error}")
    (thread,) = threads() - before
    assert os.sched_getscheduler(thread) == os.SCHED_FIFO
    assert os.sched_getparam(thread).sched_priority == 7


def test_busy_poll_asks_more_than_once_for_nothing(receive, send_to, wait_until):
    receiver = receive(busy_poll=5000)
    send_to(receiver).send(b"x")
    wait_until(lambda: receiver.stats().system_calls > 20)
    assert take(receiver, 1) == [b"x"]


def test_stats_are_a_frozen_dataclass_readable_after_close(receive, send_to, wait_until):
    receiver = receive()
    sender = send_to(receiver)
    assert receiver.stats().received == 0
    send_all(sender, [b"four", b"sixsix"])
    take(receiver, 2)
    stats = receiver.stats()
    assert (stats.received, stats.bytes, stats.delivered, stats.queued) == (2, 10, 2, 0)
    assert 1 <= stats.largest_batch <= 2
    assert stats.high_water <= 2
    wait_until(lambda: receiver.stats().high_water >= 1)  # told when the thread has stored them
    assert stats.system_calls >= 1
    assert stats.kernel_drops_exact is True
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.received = 5
    receiver.close()
    after = receiver.stats()
    assert is_whole(after)
    assert after.delivered == 2


def test_messages_queued_at_close_are_not_given_and_are_counted(receive, send_to):
    receiver = receive()
    send_all(send_to(receiver), numbered(10))
    receiver.close()
    stats = receiver.stats()
    assert (stats.received, stats.discarded, stats.delivered, stats.queued) == (10, 10, 0, 0)
