# SPDX-License-Identifier: MIT
"""What does one receiving call cost when the message is already there?

The queue is filled first and drained by a plain loop, so no call waits. 2048 bytes is what a
program offers for a datagram; 65536 what it offers to be sure (CPython allocates all of it, every
time). A stream is read in pieces of the message's size, or one call would take many messages.
"""

from __future__ import annotations

from functools import partial

from cases.calls import CallCase

_receive = partial(CallCase, "receive")

CASES = [
    _receive("recv", "udp4", headline=True),
    _receive("recv", "udp4", 5.0, headline=True),
    _receive("recv", "udp4", 0.0),
    _receive("recv_into", "udp4", headline=True),
    _receive("recv_into", "udp4", 5.0),
    _receive("recv_into", "udp4", 0.0),
    _receive("recvfrom", "udp4", headline=True),
    _receive("recvfrom", "udp4", 5.0, headline=True),
    _receive("recvfrom", "udp4", 0.0),
    _receive("recvfrom_into", "udp4", headline=True),
    _receive("recvfrom_into", "udp4", 5.0),
    _receive("recvfrom_into", "udp4", 0.0),
    _receive("recvmsg", "udp4", headline=True),
    _receive("recvmsg", "udp4", 5.0),
    _receive("recvmsg", "udp4", 0.0),
    _receive("recv", "udp4", room=65536, note="bufsize 65536"),
    _receive("recv", "udp4", 5.0, room=65536, note="bufsize 65536"),
    _receive("recvfrom", "udp4", room=65536, note="bufsize 65536", headline=True),
    _receive("recvfrom", "udp4", 5.0, room=65536, note="bufsize 65536"),
    _receive("recvfrom", "udp6", headline=True),
    _receive("recvfrom", "udp6", 5.0),
    _receive("recv", "unix", headline=True),
    _receive("recv", "unix", 5.0),
    _receive("recv_into", "unix"),
    _receive("recv_into", "unix", 5.0),
    _receive("recvfrom", "unix"),
    _receive("recvfrom", "unix", 5.0),
    _receive("recvmsg", "unix"),
    _receive("recv", "tcp", room=64, headline=True),
    _receive("recv", "tcp", 5.0, room=64),
    _receive("recv", "tcp", 0.0, room=64),
    _receive("recv_into", "tcp", room=64),
    _receive("recv_into", "tcp", 5.0, room=64),
    _receive("recv", "tcp", size=65536, room=65536, headline=True),
    _receive("recv", "tcp", 5.0, size=65536, room=65536),
    _receive("recv_into", "tcp", size=65536, room=65536),
    _receive("recv", "tcp", 0.0, size=262144, room=262144, note="as asyncio reads"),
]
