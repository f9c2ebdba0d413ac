# SPDX-License-Identifier: MIT
"""After os.fork both processes go on using the sockets that they share.

In a Python of its own: pytest's process has threads, and a fork of it would warn.
"""

import pytest

COMMON = """if True:
    import os, sys, threading, warnings
    import fastsock as socket

    repeats = int(sys.argv[1])
    timeout = None if sys.argv[2] == "blocking" else 10
    before = len(os.listdir("/proc/self/fd"))

    def run_in_child(work):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        return child

    def join(child):
        _, status = os.waitpid(child, 0)
        assert status == 0, status
"""

BOTH_SIDES = """
    for number in range(repeats):
        one, other = socket.socketpair()
        one.settimeout(timeout)
        other.settimeout(timeout)
        # Used before, so that whatever a thread or process keeps has been made.
        one.sendall(b"before" * 2000)
        assert len(other.recv(12_000, socket.MSG_WAITALL)) == 12_000

        def work():
            assert other.recv(100) == b"question"
            other.sendall(b"answer")
            assert other.sendmsg([b"", b"more"]) == 4

        child = run_in_child(work)
        one.sendall(b"question")
        received = b""
        while len(received) < 10:
            received += one.recvfrom(5000)[0]
        assert received == b"answermore"
        join(child)
        # And the parent goes on with both.
        other.sendall(b"after")
        assert one.recv(100) == b"after"
        one.close()
        other.close()
"""

SHARED_LISTENER = """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(timeout)

    def work():
        for _ in range(repeats):
            connection, address = listener.accept()
            with connection:
                connection.sendall(repr(address).encode())

    children = [run_in_child(work) for _ in range(2)]
    for _ in range(2 * repeats):
        with socket.create_connection(listener.getsockname()) as client:
            # Which child answers is the kernel's choice; each takes its share.
            assert client.recv(100) == repr(client.getsockname()).encode()
    for child in children:
        join(child)
    listener.close()
"""

CACHES = """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(timeout)
    address = udp.getsockname()

    def exchange():
        for number in range(100):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind(("127.0.0.1", 0))
                sender.sendto(b"x", address)
                assert udp.recvfrom(100) == (b"x", sender.getsockname())

    exchange()
    for _ in range(max(1, repeats // 10)):
        child = run_in_child(exchange)
        join(child)
        exchange()
    udp.close()
"""

THREAD_WAITS = """
    # CPython 3.12 and later warn of any fork beside threads, whoever made them.
    warnings.simplefilter("ignore", DeprecationWarning)
    for _ in range(repeats):
        one, other = socket.socketpair()
        one.settimeout(timeout)
        received = []
        thread = threading.Thread(target=lambda: received.append(one.recv(100)))
        thread.start()

        def work():
            # The waiting thread is not in the child, and must have left nothing locked.
            with socket.installed():
                pair = socket.socketpair()
                pair[0].sendall(b"x")
                assert pair[1].recv(10) == b"x"
                pair[0].close(), pair[1].close()
            other.sendall(b"from the child")

        join(run_in_child(work))
        thread.join(10)
        assert received == [b"from the child"]
        one.close()
        other.close()
"""

END = """
    assert len(os.listdir("/proc/self/fd")) == before
    print("done")
"""


@pytest.mark.parametrize("timeout", ["blocking", "timeout"])
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(BOTH_SIDES, id="both_sides"),
        pytest.param(SHARED_LISTENER, id="shared_listener"),
        pytest.param(CACHES, id="address_caches"),
        pytest.param(THREAD_WAITS, id="waiting_thread"),
    ],
)
def test_sockets_after_fork_work_in_both_processes(run_child, program, timeout, repeats):
    printed = run_child(COMMON + program + END, str(repeats), timeout, deadline=15 + repeats / 10)
    assert printed == "done\n"
