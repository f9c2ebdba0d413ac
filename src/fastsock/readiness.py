# SPDX-License-Identifier: MIT
"""Waiting for several sockets, the read-ahead queues included."""

from __future__ import annotations

import os
import select
import sys
import time
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from fastsock.dropin import socket

if TYPE_CHECKING:
    import socket as stdlib
    from collections.abc import Iterable

    _Socket = TypeVar("_Socket", bound=stdlib.socket)


def _poll(descriptors: Iterable[int], timeout: float | None) -> set[int]:
    """The descriptors that are readable, in error or hung up, within timeout seconds."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    if timeout is None:
        return {descriptor for descriptor, _ in poller.poll()}
    deadline = time.monotonic() + timeout
    while True:
        remaining = max(0.0, deadline - time.monotonic())
        # poll takes an int of milliseconds; a longer wait goes on in another turn.
        ready = poller.poll(min(ceil(remaining * 1000), 0x7FFFFFFF))
        if ready or time.monotonic() >= deadline:
            return {descriptor for descriptor, _ in ready}


def wait_readable(socks: Iterable[_Socket], timeout: float | None = None) -> list[_Socket]:
    """Wait until a receive on one of the sockets would not wait.

    As ``select.select(socks, (), (), timeout)[0]``, which knows nothing of datagrams that a socket
    has read ahead, and without its limit of 1024 descriptors.

    Parameters
    ----------
    socks : iterable of socket
        fastsock's or the standard library's.
    timeout : float or None, seconds, optional
        None: for ever. 0: don't wait.

    Returns
    -------
    list of socket
        Those that are ready, in the order given; a socket in error is. Empty: the time is over.

    Raises
    ------
    ValueError
        A socket is closed, or timeout is negative.
    """
    listed = list(socks)
    if timeout is not None and not timeout >= 0:
        raise ValueError("timeout must be None or at least 0 seconds")
    for sock in listed:
        if sock.fileno() < 0:
            raise ValueError(f"a closed socket never becomes readable: {sock!r}")
    queued = {sock for sock in listed if isinstance(sock, socket) and sock.pending() > 0}
    ready = _poll((sock.fileno() for sock in listed), 0 if queued else timeout)
    return [sock for sock in listed if sock in queued or sock.fileno() in ready]


async def readable(descriptor: int) -> None:
    """Wait in the running event loop until a descriptor is readable.

    Of asyncio, uvloop or trio. Another thread may close the descriptor meanwhile: what the loop
    watches is a duplicate.
    """
    duplicate = os.dup(descriptor)
    try:
        await _duplicate_readable(duplicate)
    finally:
        os.close(duplicate)


async def _duplicate_readable(descriptor: int) -> None:
    import asyncio  # here: it takes ssl along, which a program without a loop may not want

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        if "trio" not in sys.modules:
            raise
        import trio

        await trio.lowlevel.wait_readable(descriptor)
        return
    future = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await future
    finally:
        loop.remove_reader(descriptor)
