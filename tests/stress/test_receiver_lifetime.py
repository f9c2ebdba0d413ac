# SPDX-License-Identifier: MIT
"""The life of a Receiver: threads, signals, garbage collection, forks and the interpreter's end.

What forks or ends does so in a Python of its own: pytest's process has threads.
"""

import collections
import gc
import signal
import sysconfig
import threading
import time
import warnings
from functools import partial

import pytest

import fastsock
from tools import child
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
    assert (kernel_threads(), count_descriptors()) == before


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
    assert (kernel_threads(), count_descriptors()) == before


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
    assert kernel_threads() == before


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


COMMON = """
import gc, os, signal, socket as stdlib, sys, threading, time, warnings
import fastsock
# CPython 3.12 and later warn of any fork beside threads, whoever made them.
warnings.filterwarnings("ignore", category=DeprecationWarning)
# The plain sockets of these programs are collected unclosed, which is not what is tested.
warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)

def open_receiver(**options):
    return fastsock.Receiver(("127.0.0.1", 0), memory=1 << 20, **options)

def sender_to(receiver):
    sock = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    sock.connect(receiver.getsockname())
    return sock

def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)

def is_in_poll(thread):
    with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
        return file.read().split()[0] in {"7", "271", "73"}  # poll, ppoll; ppoll of arm64
"""


def run(program, *arguments, deadline=20):
    text = COMMON + program
    done = child.python("-c", text, *map(str, arguments), deadline=deadline)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


ENDS = {
    "open": "receiver = open_receiver()",
    "open_in_cycle": "receiver = open_receiver(); receiver.me = receiver",
    "open_with_views": """
receiver = open_receiver()
sender_to(receiver).send(b"x")
batch = receiver.next_batch(5)
view, rows = batch.data, list(batch)
""",
    "daemon_thread_waits": """
receiver = open_receiver()
thread = threading.Thread(target=receiver.next_batch, daemon=True)
threading.excepthook = lambda arguments: None
thread.start()
wait_until(lambda: is_in_poll(thread))
""",
    "daemon_thread_loops": """
receiver = open_receiver()
thread = threading.Thread(target=list, args=(receiver,), daemon=True)
thread.start()
wait_until(lambda: is_in_poll(thread))
sender_to(receiver).send(b"x")
""",
    "exit_in_loop": """
receiver = open_receiver()
sender_to(receiver).send(b"x")
for batch in receiver:
    sys.exit()
""",
    "interrupted_in_loop": """
receiver = open_receiver()
main = threading.main_thread()
def interrupt():
    wait_until(lambda: is_in_poll(main))
    signal.pthread_kill(main.ident, signal.SIGINT)
threading.Thread(target=interrupt).start()
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    for batch in receiver:
        raise AssertionError
except KeyboardInterrupt:
    sys.exit()
""",
    "traffic": """
receiver = open_receiver(overflow="drop-oldest")
sender = sender_to(receiver)
def send():
    while True:
        sender.send(b"x" * 1000)
threading.Thread(target=send, daemon=True).start()
for _ in range(3):
    batch = receiver.next_batch(5)
""",
    "aexit_with_async_for": """
import asyncio
receiver = open_receiver()
async def main():
    sender_to(receiver).send(b"x")
    async for batch in receiver:
        break
asyncio.run(main())
""",
}


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_interpreter_ends_well(program):
    # The plain sockets of these programs are collected unclosed, which is not what is tested.
    relaxed = (
        'warnings.filterwarnings("ignore", message="unclosed <socket", category=ResourceWarning)'
    )
    assert run(f"{relaxed}\n{program}") == ""


FORKED_CALLS = """
receiver = open_receiver()
sender = sender_to(receiver)
parent = os.getpid()
waiting = []
thread = threading.Thread(target=lambda: waiting.append(receiver.next_batch()))

def check():
    for call in (receiver.next_batch, lambda: receiver.next_batch(0), receiver.fileno,
                 receiver.stats, lambda: next(receiver)):
        try:
            call()
        except RuntimeError as error:
            assert f"opened by process {parent}" in str(error), error
        else:
            raise AssertionError(call)
    assert receiver.getsockname()[0] == "127.0.0.1"
    repr(receiver)

def leave():
    check()

def close():
    receiver.close()
    receiver.close()

def collect():
    global receiver
    del receiver
    gc.collect()

def own():
    with open_receiver() as another:
        sock = sender_to(another)
        sock.send(b"own")
        assert [bytes(message) for message in another.next_batch(5)] == [b"own"]
        sock.close()

def open_views():
    global batch
    assert bytes(view) == b"kept"
    close()
    assert bytes(view) == b"kept"
    del batch

sender.send(b"kept")
batch = receiver.next_batch(5)
view = batch[0].data
thread.start()
wait_until(lambda: is_in_poll(thread))
count = 0
for number in range(int(sys.argv[1])):
    for work in (check, leave, close, collect, own, open_views):
        sender.send(b"%d" % count)
        count += 1
        process = os.fork()
        if process == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            if status == 0 and number % 2:
                sys.exit()
            os._exit(status)
        assert os.waitpid(process, 0)[1] == 0, (work, number)
thread.join(10)
received = [bytes(message) for batch in waiting for message in batch]
while len(received) < count:
    received += [bytes(message) for message in receiver.next_batch(5)]
assert received == [b"%d" % number for number in range(count)], received
stats = receiver.stats()
assert stats.received == stats.delivered == count + 1
assert bytes(view) == b"kept"
receiver.close()
sender.close()
print("done")
"""


def test_forked_child_cannot_use_it_and_costs_the_parent_nothing(repeats):
    deadline = 15 + repeats / 10
    assert run(FORKED_CALLS, max(1, repeats // 5), deadline=deadline) == "done\n"


MULTIPROCESSING = """
import multiprocessing

def work(queue, receiver):
    try:
        receiver.next_batch(0)
    except RuntimeError as error:
        queue.put(str(error))

context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
receiver = open_receiver()
sender = sender_to(receiver)
for number in range(int(sys.argv[1])):
    process = context.Process(target=work, args=(queue, receiver))
    process.start()
    sender.send(b"%d" % number)
    assert f"opened by process {os.getpid()}" in queue.get()
    process.join(10)
    assert process.exitcode == 0
received = []
while len(received) < number + 1:
    received += receiver.next_batch(5)
assert [bytes(message) for message in received] == [b"%d" % each for each in range(number + 1)]
receiver.close()
sender.close()
queue.close()
print("done")
"""


def test_multiprocessing_by_fork_leaves_the_parents_receiver_alone(repeats):
    assert run(MULTIPROCESSING, max(2, repeats // 5), deadline=15 + repeats / 10) == "done\n"


def test_no_gil_comes_back_by_using_it():
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this Python has a GIL in any case")
    program = """
receiver = open_receiver()
sender = sender_to(receiver)
sender.send(b"x")
assert len(receiver.next_batch(5)) == 1
receiver.close()
sender.close()
assert not sys._is_gil_enabled()
"""
    run(program)
