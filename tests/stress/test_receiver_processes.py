# SPDX-License-Identifier: MIT
"""The life of a Receiver in processes: those that end, fork, or lack descriptors or a GIL.

Each is a Python of its own: pytest's process has threads.
"""

import sysconfig

import pytest

from tools import child

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
    arguments = map(str, arguments)
    environment = child.NO_LEAK_SEARCH
    done = child.python("-c", text, *arguments, environment=environment, deadline=deadline)
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
        try:
            sender.send(b"x" * 1000)
        except ConnectionRefusedError:
            pass  # the exit has closed the receiver
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


FEW_DESCRIPTORS = """
import resource
with open_receiver():
    pass
pair = stdlib.socketpair(stdlib.AF_UNIX, stdlib.SOCK_DGRAM)
address = ("127.0.0.1", 0)
ways = [
    lambda: [open_receiver()],
    lambda: [fastsock.Receiver(sys.argv[1])],
    lambda: [fastsock.Receiver(pair[0])],
    lambda: [fastsock.Receiver(address, shards=3)],
    lambda: fastsock.open_shards(address, 3),
]

def used():
    return sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

before = used()
for way in ways:
    receivers = None
    allowed = 3
    while receivers is None:
        allowed += 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, 1024))
        try:
            receivers = way()
        except OSError as error:
            assert "Too many open files" in str(error), error
            failed = True
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        assert receivers or used() == before, (way, allowed)
        assert receivers or not os.path.exists(sys.argv[1])
    assert failed
    failed = False
    for receiver in receivers:
        receiver.close()
    assert used() == before
"""


def test_open_that_lacks_descriptors_leaves_nothing(tmp_path):
    assert run(FEW_DESCRIPTORS, tmp_path / "x.sock") == ""


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
