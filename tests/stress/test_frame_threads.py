# SPDX-License-Identifier: MIT
"""Several threads on one frame reader, and on one writer: one proceeds, the others are told."""

import collections
import errno
import threading

import pytest

import fastsock
from unit.framed import connected, unix_link

__all__ = ["connected", "unix_link"]  # fixtures

pytestmark = pytest.mark.usefixtures("no_descriptor_leak")

THREADS = 4
PREFIX = fastsock.LengthPrefix(4)


def by_list(reader):
    return reader.recv_many(7)


def one_by_one(reader):
    return [frame for frame in [next(reader, None)] if frame is not None]


def by_batch_of(capacity):
    batches = threading.local()

    def by_batch(reader):
        if not hasattr(batches, "own"):
            batches.own = fastsock.Batch(capacity, 20_000)
        reader.recv_batch(batches.own)
        return [message.bytes() for message in batches.own]

    return by_batch


WAYS = {
    "lists": [by_list],
    "iteration": [one_by_one],
    "batches": [by_batch_of(20)],
    "all_ways": [by_list, one_by_one, by_batch_of(3)],
}


@pytest.mark.parametrize("ways", WAYS.values(), ids=WAYS)
def test_threads_on_one_reader_get_each_frame_once(unix_link, in_thread, ways, repeats):
    sock, peer = unix_link
    reader = fastsock.FrameReader(sock, PREFIX)
    sizes = [0, 3, 50, 1000, 20_000, 100_000]
    frames = [b"%06d" % place + bytes(sizes[place % 6]) for place in range(150 * repeats)]
    received = collections.Counter()
    refusals = collections.Counter()
    lock = threading.Lock()
    start = threading.Barrier(THREADS)

    def consume(number):
        start.wait()
        refused = 0
        while True:
            try:
                given = ways[number % len(ways)](reader)
            except RuntimeError:
                refused += 1
                continue
            except OSError as error:
                # A frame that does not fit this thread's batch.
                if error.errno != errno.ENOBUFS:
                    raise
                given = reader_by_list(reader)
            if given == []:
                break
            with lock:
                received.update(given or [])
        with lock:
            refusals[number] = refused

    def reader_by_list(reader):
        try:
            return reader.recv_many(1)
        except RuntimeError:
            return None

    tasks = [in_thread(consume, number) for number in range(THREADS)]
    peer.sendall(PREFIX.encode(frames))
    peer.close()
    for task in tasks:
        task.result(15)
    assert received == collections.Counter(frames)
    assert reader.pending() == 0


def test_threads_on_one_writer_never_mix_their_frames(unix_link, in_thread, repeats):
    sock, peer = unix_link
    writer = fastsock.FrameWriter(sock, PREFIX)
    reader = fastsock.FrameReader(peer, PREFIX)
    count = 20 * repeats
    start = threading.Barrier(THREADS)

    def produce(number):
        start.wait()
        frames = [
            b"%d:%06d" % (number, place) + bytes(place * 997 % 90_000) for place in range(count)
        ]
        sent = 0
        while sent < count:
            try:
                sent += writer.send_many(frames[sent : sent + 5])
            except RuntimeError:
                continue
        return frames

    tasks = [in_thread(produce, number) for number in range(THREADS)]
    received = collections.defaultdict(list)
    for _ in range(count * THREADS):
        frame = next(reader)
        received[frame[:1]].append(frame)
    for number, task in enumerate(tasks):
        assert received[b"%d" % number] == task.result()
    assert (writer.sent, writer.pending()) == (count * THREADS, 0)
