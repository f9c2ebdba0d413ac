# SPDX-License-Identifier: MIT
"""Several threads that take the messages of a batch by one iterator."""

import itertools
import struct
import threading

import fastsock

THREADS = 4
MESSAGES = 200  # as many as fit into the smallest receive buffer
SOL_UDP, UDP_SEGMENT = 17, 103  # linux/udp.h


def test_threads_of_one_iterator_get_each_message_once(make_pair, in_thread, repeats):
    sock, peer = make_pair("udp_ipv4")
    batch = fastsock.Batch(MESSAGES, 8)
    sent = [b"%08d" % number for number in range(MESSAGES)]
    for _ in range(repeats):
        for start in range(0, MESSAGES, 50):
            train = b"".join(sent[start : start + 50])
            peer.sendmsg([train], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", 8))])
        sock.recv_batch(batch, minimum=MESSAGES, timeout=5)
        messages = iter(batch)
        together = threading.Barrier(THREADS)

        def take(messages=messages, together=together):
            together.wait()
            return [message.bytes() for message in messages]

        tasks = [in_thread(take) for _ in range(THREADS)]
        assert sorted(itertools.chain(*(task.result() for task in tasks))) == sent
