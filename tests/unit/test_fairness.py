# SPDX-License-Identifier: MIT
"""A loop in C over our calls must let other threads take turns.

The bytecode around the loop checks for requests to give up the GIL, so the other
thread's counter is read inside the loop: a snapshot by the next bytecode would be after its turn.
"""

import itertools
import operator
import socket as stdlib
import sys
import threading
from functools import partial

import pytest

import fastsock

pytestmark = pytest.mark.one_engine

CALLS = 50_000  # about 50 ms, many switch intervals
SNAPSHOTS = 50
MESSAGE_SIZE = 64


@pytest.fixture
def turns(wait_until):
    """A list that grows whenever another, busy thread has the GIL."""
    grown = []
    is_over = False

    def run():
        while not is_over:
            grown.append(None)

    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: grown)
    yield grown
    is_over = True
    thread.join()
    sys.setswitchinterval(before)


def snapshots_during(turns, calls):
    """Make the calls in C alone; return the turns' number at times among them."""
    chunks = [
        itertools.chain(itertools.islice(calls, CALLS // SNAPSHOTS), [turns.__len__])
        for _ in range(SNAPSHOTS)
    ]
    every_call = itertools.chain([turns.__len__], itertools.chain.from_iterable(chunks))
    results = map(operator.call, every_call)
    # All in one C call. What the calls under test return is no larger than a message.
    return [result for result in list(results) if type(result) is int and result > MESSAGE_SIZE]


def assert_takes_turns(turns, call):
    while len(turns) <= MESSAGE_SIZE:
        pass
    seen = snapshots_during(turns, itertools.repeat(call))
    assert len(seen) == SNAPSHOTS + 1
    # One turn for certain; more than a few, or the loop's length is what decides.
    assert len(set(seen)) > 5


RECEIVES = {
    "recv": lambda sock: partial(sock.recv, 64, stdlib.MSG_PEEK),
    "recv_into": lambda sock: partial(sock.recv_into, bytearray(64), 64, stdlib.MSG_PEEK),
    "recvfrom": lambda sock: partial(sock.recvfrom, 64, stdlib.MSG_PEEK),
    "recvfrom_into": lambda sock: partial(sock.recvfrom_into, bytearray(64), 64, stdlib.MSG_PEEK),
    "recvmsg": lambda sock: partial(sock.recvmsg, 64, 0, stdlib.MSG_PEEK),
    "recvmsg_into": lambda sock: partial(sock.recvmsg_into, [bytearray(64)], 0, stdlib.MSG_PEEK),
}

SENDS = {
    "send": lambda sock, address: partial(sock.send, b"x" * 64),
    "sendall": lambda sock, address: partial(sock.sendall, b"x" * 64),
    "sendto": lambda sock, address: partial(sock.sendto, b"x" * 64, address),
    "sendmsg": lambda sock, address: partial(sock.sendmsg, [b"x" * 64]),
}


@pytest.mark.parametrize("timeout", [None, 0, 5], ids=["blocking", "nonblocking", "timeout"])
@pytest.mark.parametrize("make_call", RECEIVES.values(), ids=RECEIVES)
def test_receive_in_a_c_loop_lets_another_thread_take_turns(make_pair, turns, make_call, timeout):
    sock, peer = make_pair("udp_ipv4")
    # One message looked at again and again stands for a queue that never runs dry.
    peer.send(b"x" * 64)
    sock.settimeout(timeout)
    assert_takes_turns(turns, make_call(sock))


@pytest.mark.parametrize("kind", ["tcp_ipv4", "unix_stream", "unix_datagram"])
def test_receive_of_each_kind_in_a_c_loop_lets_another_thread_take_turns(make_pair, turns, kind):
    sock, peer = make_pair(kind)
    peer.send(b"x" * 64)
    assert_takes_turns(turns, partial(sock.recv, 64, stdlib.MSG_PEEK))


def test_receive_of_queued_stream_in_a_c_loop_lets_another_thread_take_turns(
    make_pair, turns, in_thread
):
    sock, peer = make_pair("tcp_ipv4")
    task = in_thread(peer.sendall, b"x" * (CALLS * 8))
    assert_takes_turns(turns, partial(sock.recv, 8))
    task.result()


@pytest.mark.parametrize("make_call", SENDS.values(), ids=SENDS)
def test_send_in_a_c_loop_lets_another_thread_take_turns(closing, turns, make_call):
    # UDP: what the receiver's full queue can't take is dropped, so no send ever waits.
    receiver = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    receiver.bind(("127.0.0.1", 0))
    address = receiver.getsockname()
    sock = closing(fastsock.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sock.connect(address)
    assert_takes_turns(turns, make_call(sock, address))
