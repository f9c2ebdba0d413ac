# SPDX-License-Identifier: MIT
"""StreamServer in event loops: async for, and its descriptor with select."""

import asyncio
import gc
import select
import threading

import pytest

from fastsock import CloseReason
from unit.serving import (
    DEADLINE,
    PREFIX,
    Story,
    echo,
    join,
    receive_all,
    receive_exactly,
    serve,
)

__all__ = ["join", "serve"]  # fixtures


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Return run(function, *arguments), in an event loop."""
    factory = None
    if request.param != "asyncio":
        factory = pytest.importorskip(request.param).new_event_loop

    def run(function, *arguments):
        async def within_the_deadline():
            async with asyncio.timeout(DEADLINE):
                return await function(*arguments)

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(within_the_deadline())

    return run


async def tell(story, is_over=lambda: False):
    async for batch in story.server:
        story.add(batch)
        if is_over():
            return


async def pause(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_async_for_echoes_to_many(run, serve, join, in_thread):
    server = serve()
    story = Story(server, echo)

    def talk(number):
        sock = join(server)
        for turn in range(20):
            sent = PREFIX.encode([b"%d %d" % (number, turn)])
            sock.sendall(sent)
            assert receive_exactly(sock, len(sent)) == sent
        sock.close()

    talking = [in_thread(talk, number) for number in range(8)]
    run(tell, story, lambda: len(story.closed) == 8)
    for task in talking:
        task.result()
    assert set(story.reasons()) == {CloseReason.EOF}


def test_answer_of_the_last_batch_goes_out_while_the_loop_waits(run, serve, join):
    """What the program queues between two batches makes no event of its own."""
    server = serve()
    sock = join(server)
    story = Story(server, echo)

    async def main():
        task = asyncio.create_task(tell(story))
        sock.sendall(PREFIX.encode([b"x"]))
        sock.setblocking(False)
        received = b""
        while len(received) < 5:
            received += await asyncio.get_running_loop().sock_recv(sock, 5)
        task.cancel()
        return received

    assert run(main) == PREFIX.encode([b"x"])


def test_frames_that_another_task_queues_go_out(run, serve, join):
    server = serve()
    sock = join(server)
    story = Story(server)

    async def main():
        task = asyncio.create_task(tell(story))
        await until(lambda: story.opened)
        await pause()  # the loop waits for something to happen
        story.opened[0].send(b"unasked")
        sock.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == PREFIX.encode([b"unasked"])
        task.cancel()

    run(main)


def test_idle_timeout_ends_connections_of_a_waiting_loop(run, serve, join):
    server = serve(idle_timeout=0.05)
    sock = join(server)
    story = Story(server)
    run(tell, story, lambda: story.closed)
    assert story.reasons() == [CloseReason.IDLE]
    assert receive_all(sock) == b""


def test_stop_ends_the_loop(run, serve, join):
    server = serve()
    join(server)
    story = Story(server)

    async def main():
        task = asyncio.create_task(tell(story))
        await until(lambda: story.opened)
        await pause()
        server.stop()
        await task

    run(main)
    assert story.reasons() == [CloseReason.LOCAL]


def test_drain_of_a_stop_ends_by_its_time(run, serve, join):
    server = serve()
    sock = join(server)
    sock.sendall(PREFIX.encode([b"unfinished"])[:-1])
    story = Story(server)

    async def main():
        task = asyncio.create_task(tell(story))
        await until(lambda: server.stats().bytes_received == 13)
        server.stop(drain=0.05)
        await task

    run(main)
    assert story.reasons() == [CloseReason.LOCAL]
    assert story.opened[0].unfinished == 13


def test_close_by_another_task_ends_the_loop(no_descriptor_leak, run, serve, join):
    server = serve()
    join(server)
    story = Story(server)

    async def main():
        task = asyncio.create_task(tell(story))
        await until(lambda: story.opened)
        await pause()
        server.close()
        await task

    run(main)


def test_close_by_another_thread_ends_the_loop(run, serve, join, in_thread):
    server = serve()
    join(server)
    story = Story(server)
    waits = threading.Event()

    def close():
        assert waits.wait(5)
        server.close()

    async def main():
        task = asyncio.create_task(tell(story))
        await until(lambda: story.opened)
        await pause()
        waits.set()
        await task

    closing = in_thread(close)
    run(main)
    closing.result()


def test_closed_server_ends_the_loop_at_once(run, serve):
    server = serve()
    server.close()
    run(tell, Story(server))


def test_cancelled_loop_leaves_the_server_as_it_is(run, serve, join):
    server = serve()
    sock = join(server)
    story = Story(server, echo)

    async def main():
        task = asyncio.create_task(tell(story))
        await until(lambda: story.opened)
        await pause()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sock.sendall(PREFIX.encode([b"x"]))
        await tell(story, lambda: list(story.frames.values()) == [[b"x"]])

    run(main)
    gc.collect()
    sock.close()
    story.until_closed()
    assert story.reasons() == [CloseReason.RESET] or story.reasons() == [CloseReason.EOF]


def test_two_tasks_share_the_batches_of_one_server(run, serve, join):
    server = serve()
    story = Story(server)

    async def main():
        tasks = [asyncio.create_task(tell(story)) for _ in range(2)]
        await pause()
        for number in range(20):
            sock = join(server)
            sock.sendall(PREFIX.encode([b"%d" % number]))
            await until(lambda number=number: sum(map(len, story.frames.values())) == number + 1)
        server.close()
        await asyncio.gather(*tasks)

    run(main)
    assert len(story.opened) == 20


def test_other_tasks_have_their_turn_while_more_and_more_comes(run, serve, join):
    server = serve()
    sock = join(server)
    turns = []

    async def count():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(count())
        batches = 0
        sock.sendall(PREFIX.encode([b"x"]))
        async for _ in server:
            batches += 1
            sock.sendall(PREFIX.encode([b"x"]))
            if batches > 100_000 or len(turns) > 5:
                break
        task.cancel()

    run(main)
    assert len(turns) > 5


def descriptor(server):
    try:
        return server.fileno()
    except OSError as error:
        pytest.skip(f"a descriptor was asked for and that gave: {error}")


def is_readable(server, timeout=0):
    return bool(select.select([server], [], [], timeout)[0])


def test_descriptor_tells_of_everything_that_comes(serve, join):
    server = serve()
    descriptor(server)
    assert not is_readable(server)
    sock = join(server)
    assert is_readable(server, DEADLINE)
    story = Story(server)
    story.take(0)
    assert not is_readable(server)
    sock.sendall(PREFIX.encode([b"x"]))
    assert is_readable(server, DEADLINE)
    story.take(0)
    assert not is_readable(server)
    sock.close()
    assert is_readable(server, DEADLINE)
    story.until_closed()
    assert not is_readable(server)


def test_descriptor_tells_of_what_the_last_batch_had_no_room_for(serve, join):
    server = serve()
    descriptor(server)
    story = Story(server)
    sock = join(server)
    count = 15_000
    sock.sendall(PREFIX.encode([b""] * count))
    while sum(map(len, story.frames.values())) < count:
        assert is_readable(server, DEADLINE)
        story.take(0)


def test_descriptor_tells_of_a_stop(serve):
    server = serve()
    descriptor(server)
    server.stop()
    assert is_readable(server, DEADLINE)
    with pytest.raises(EOFError):
        server.next_batch(0)
