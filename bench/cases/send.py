# SPDX-License-Identifier: MIT
"""What does one sending call cost when there is room?

The receiver's queue is emptied outside the timed region and never overflows, so no call waits and
no datagram is dropped; on loopback the sender's time includes the way into the receiver's queue.
"""

from __future__ import annotations

from functools import partial

from cases.calls import CallCase

_send = partial(CallCase, "send")

CASES = [
    _send("send", "udp4", headline=True),
    _send("send", "udp4", 5.0),
    _send("send", "udp4", 0.0),
    _send("sendto", "udp4", headline=True),
    _send("sendto", "udp4", 5.0, headline=True),
    _send("sendto", "udp4", 0.0),
    _send("sendmsg", "udp4", headline=True),
    _send("sendmsg", "udp4", 5.0),
    _send("sendto", "udp6", headline=True),
    _send("sendto", "udp6", 5.0),
    _send("send", "unix", headline=True),
    _send("send", "unix", 5.0),
    _send("sendmsg", "unix"),
    _send("send", "tcp", headline=True),
    _send("send", "tcp", 5.0),
    _send("send", "tcp", 0.0),
    _send("sendall", "tcp", headline=True),
    _send("sendall", "tcp", 5.0, headline=True),
    _send("sendall", "tcp", 0.0),
    _send("sendmsg", "tcp"),
    _send("sendmsg", "tcp", 5.0),
    _send("send", "tcp", size=65536),
    _send("send", "tcp", 5.0, size=65536),
    _send("sendall", "tcp", size=65536, headline=True),
    _send("sendall", "tcp", 5.0, size=65536),
]
