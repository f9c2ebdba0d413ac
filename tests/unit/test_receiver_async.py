# SPDX-License-Identifier: MIT
"""Receiver in event loops: async for, and its descriptor with select, poll and selectors."""

import asyncio
import contextlib
import gc
import importlib
import select
import selectors
import threading
import time

import pytest

import fastsock
from unit.many import numbered, send_all
from unit.receiving import (
    LEAST,
    count_descriptors,
    receive,
    send_segments,
    send_to,
    take,
    take_queued,
)
from unit.receiving import numbered as long_numbered

__all__ = ["receive", "send_to"]  # fixtures

DEADLINE = 10  # seconds


class Asyncio:
    """What the tests need of an event loop library, here asyncio and uvloop."""

    def __init__(self, loop_factory=None):
        self._loop_factory = loop_factory

    def run(self, function, *arguments):
        async def within_the_deadline():
            async with asyncio.timeout(DEADLINE):
                return await function(*arguments)

        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            return runner.run(within_the_deadline())

    @contextlib.asynccontextmanager
    async def running(self, function, *arguments):
        """A task beside the block, which ends with it; gives a function that cancels it."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(function(*arguments))
            yield task.cancel

    async def pause(self):
        await asyncio.sleep(0)


class Trio:
    def run(self, function, *arguments):
        async def within_the_deadline():
            with self._trio.fail_after(DEADLINE):
                return await function(*arguments)

        self._trio = importlib.import_module("trio")
        return self._trio.run(within_the_deadline)

    @contextlib.asynccontextmanager
    async def running(self, function, *arguments):
        async with self._trio.open_nursery() as nursery:
            scope = self._trio.CancelScope()

            async def run():
                with scope:
                    await function(*arguments)

            nursery.start_soon(run)
            yield scope.cancel

    async def pause(self):
        await self._trio.lowlevel.checkpoint()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def library(request):
    if request.param == "asyncio":
        return Asyncio()
    module = pytest.importorskip(request.param)
    return Trio() if request.param == "trio" else Asyncio(module.new_event_loop)


async def collect(receiver, count, received):
    async for batch in receiver:
        received += [message.bytes() for message in batch]
        if len(received) >= count:
            return


def test_async_for_gives_every_message(library, receive, send_to, in_thread):
    receiver = receive()
    sender = send_to(receiver)
    received = []

    def send():
        for start in range(0, 2000, 100):
            send_segments(sender, long_numbered(2000, 50)[start : start + 100])

    task = in_thread(send)
    library.run(collect, receiver, 2000, received)
    task.result()
    assert received == long_numbered(2000, 50)


def test_async_for_ends_when_a_task_of_the_loop_closes(library, receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    received = []

    async def main():
        before = count_descriptors()
        async with library.running(collect, receiver, 1000, received):
            sender.send(b"x")
            while not received:
                await library.pause()
            for _ in range(5):  # now it waits
                await library.pause()
            receiver.close()
        assert count_descriptors() < before

    library.run(main)
    assert received == [b"x"]


def test_async_for_ends_when_another_thread_closes(library, receive, send_to, in_thread):
    receiver = receive()
    received = []
    waits = threading.Event()

    def close():
        assert waits.wait(5)
        receiver.close()

    async def main():
        async with library.running(collect, receiver, 1000, received):
            for _ in range(5):
                await library.pause()
            waits.set()

    task = in_thread(close)
    library.run(main)
    task.result()
    assert received == []


def test_async_for_over_a_closed_receiver_ends_at_once(library, receive):
    receiver = receive()
    receiver.close()
    library.run(collect, receiver, 1, [])


def test_other_tasks_have_their_turn_while_more_and_more_waits(library, receive, send_to):
    """Each batch brings the next one: the loop never finds its receiver empty."""
    receiver = receive()
    sender = send_to(receiver)
    turns = []

    async def count():
        while True:
            turns.append(1)
            await library.pause()

    async def main():
        sender.send(b"x")
        async with library.running(count) as cancel:
            left = 100_000
            async for batch in receiver:
                del batch
                before = receiver.stats().received
                sender.send(b"x")
                while receiver.stats().queued == 0:
                    pass
                assert receiver.stats().received == before + 1
                left -= 1
                if left == 0 or len(turns) > 5:
                    break
            cancel()

    library.run(main)
    assert len(turns) > 5


def test_async_for_ends_with_its_peer(library, receive, make_pair):
    sock, peer = make_pair("unix_seqpacket")
    receiver = receive(sock)
    received = []

    async def main():
        async with library.running(collect, receiver, 1000, received):
            for _ in range(5):
                await library.pause()
            peer.send(b"last")
            peer.close()

    library.run(main)
    assert received == [b"last"]


def test_async_for_cancelled_leaves_the_receiver_and_its_messages(library, receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    before = count_descriptors()
    received = []

    async def main():
        async with library.running(collect, receiver, 1000, received) as cancel:
            for _ in range(5):
                await library.pause()
            cancel()
        sender.send(b"x")
        await collect(receiver, 1, received)

    library.run(main)
    gc.collect()
    assert count_descriptors() == before
    assert received == [b"x"]
    sender.send(b"y")
    assert take(receiver, 1) == [b"y"]


def test_loop_left_and_entered_again_goes_on(library, receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    before = count_descriptors()

    async def main():
        received = []
        for number in range(20):
            sender.send(b"%d" % number)
            async for batch in receiver:
                received += [message.bytes() for message in batch]
                break
        return received

    assert library.run(main) == numbered(20)
    gc.collect()
    assert count_descriptors() == before


def test_memory_goes_back_while_the_loop_waits(library, receive, send_to):
    receiver = receive(memory=LEAST, overflow="drop-newest")
    sender = send_to(receiver)
    received = []

    async def consume():
        async for batch in receiver:
            received.extend(message.bytes() for message in batch)
            del batch

    async def main():
        async with library.running(consume) as cancel:
            for number in range(1, 31):
                send_all(sender, long_numbered(50, 5000))
                while len(received) < number * 50:
                    await library.pause()
            while receiver.stats().pinned:
                await library.pause()
            cancel()

    library.run(main)
    assert receiver.stats().ring_drops == 0


def test_two_tasks_share_the_messages_of_one_receiver(library, receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    received = []

    async def main():
        async with (
            library.running(collect, receiver, 1 << 30, received),
            library.running(collect, receiver, 1 << 30, received),
        ):
            for number in range(100):
                sender.send(b"%d" % number)
                if number % 10 == 0:
                    await library.pause()
            while len(received) < 100:
                await library.pause()
            receiver.close()

    library.run(main)
    assert sorted(received) == sorted(numbered(100))


def test_idle_loop_costs_no_cpu_time(library, receive, send_to):
    """After messages have come and gone: what has told of them must not tell for ever."""
    receiver = receive()
    sender = send_to(receiver)
    timer = receive()  # its close() in a thread ends the wait
    received = []

    async def main():
        sender.send(b"x")
        async with library.running(collect, receiver, 1000, received) as cancel:
            while not received:
                await library.pause()
            before = time.process_time()
            threading.Timer(0.2, timer.close).start()
            await collect(timer, 1, [])
            assert time.process_time() - before < 0.1
            cancel()

    library.run(main)


def with_select(receiver):
    return select.select([receiver], [], [], DEADLINE)[0] == [receiver]


def with_poll(receiver):
    poller = select.poll()
    poller.register(receiver, select.POLLIN)
    return [event for _, event in poller.poll(DEADLINE * 1000)] == [select.POLLIN]


def with_epoll(receiver):
    with select.epoll() as poller:
        poller.register(receiver, select.EPOLLIN)
        return len(poller.poll(DEADLINE)) == 1


def with_selectors(receiver):
    with selectors.DefaultSelector() as selector:
        selector.register(receiver, selectors.EVENT_READ)
        return len(selector.select(DEADLINE)) == 1


WAYS = [with_select, with_poll, with_epoll, with_selectors]


@pytest.mark.parametrize("wait", WAYS, ids=lambda way: way.__name__)
def test_loop_over_the_descriptor_gets_every_message(receive, send_to, in_thread, wait):
    receiver = receive()
    sender = send_to(receiver)
    task = in_thread(send_all, sender, numbered(500))
    received = []
    while len(received) < 500:
        assert wait(receiver)
        received += take_queued(receiver)
    assert received == numbered(500)
    assert select.select([receiver], [], [], 0)[0] == []
    task.result()


def test_descriptor_is_one_and_not_the_socket(receive, closing):
    receiver = receive()
    assert receiver.fileno() == receiver.fileno()
    with pytest.raises(OSError, match="socket"):
        fastsock.socket(fileno=receiver.fileno())


def test_edge_triggered_poller_is_told_of_each_time_it_became_readable(receive, send_to):
    receiver = receive()
    sender = send_to(receiver)
    with select.epoll() as poller:
        poller.register(receiver, select.EPOLLIN | select.EPOLLET)
        for number in range(50):
            sender.send(b"%d" % number)
            assert poller.poll(DEADLINE)
            received = take_queued(receiver)
            assert received in ([b"%d" % number], [])
            if not received:
                assert take(receiver, 1) == [b"%d" % number]
                take_queued(receiver)
