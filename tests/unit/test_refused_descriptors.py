# SPDX-License-Identifier: MIT
"""Descriptors that a peer sends along (SCM_RIGHTS) and that nobody has asked for."""

import array
import os
import socket as stdlib

import pytest

import fastsock


@pytest.mark.parametrize("kind", ["unix_datagram", "unix_seqpacket"])
def test_recv_batch_keeps_no_descriptor_that_was_sent_along(no_descriptor_leak, make_pair, kind):
    sock, peer = make_pair(kind)
    batch = fastsock.Batch(100, 100)
    reader, writer = os.pipe()
    for number in range(50):
        fds = array.array("i", [writer] * (number % 5 * 50))
        peer.sendmsg([b"%d" % number], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, fds)] if fds else [])
        if number % 10 == 9:
            assert sock.recv_batch(batch) == 10
            is_flagged = [flags & batch.CONTROL_TRUNCATED != 0 for flags in batch.flags]
            assert is_flagged == [row % 5 > 0 for row in range(10)]
    os.close(writer)
    # Nobody holds the other end any more.
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_recv_many_keeps_no_descriptor_that_was_sent_along(no_descriptor_leak, make_pair):
    sock, peer = make_pair("unix_datagram")
    reader, writer = os.pipe()
    for _ in range(20):
        stdlib.send_fds(peer, [b"with"], [writer])
    os.close(writer)
    assert sock.recv_many(100) == [b"with"] * 20
    assert os.read(reader, 1) == b""
    os.close(reader)
