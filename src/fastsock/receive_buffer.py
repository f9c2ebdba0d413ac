# SPDX-License-Identifier: MIT
"""The kernel's receive buffer: asked for, told of when there is less, and given back."""

from __future__ import annotations

import socket as stdlib
import sys
import warnings

from fastsock.native.receiver import set_receive_buffer

ENOUGH = 4 << 20  # bytes that are asked for where the system's default is less

# Linux doubles what is asked for, as its own bookkeeping comes out of the same budget.
_BOOKKEEPING = 2 if sys.platform == "linux" else 1
_MOST = 0x7FFFFFFF // _BOOKKEEPING
_has_warned = False


def size_of(sock: stdlib.socket) -> int:
    """What there is, bytes, as the kernel tells it."""
    return sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF)


def is_small(sock: stdlib.socket) -> bool:
    """Whether more should be asked for though nobody has named a size."""
    return sock.family != stdlib.AF_UNIX and size_of(sock) < ENOUGH


def ask(sock: stdlib.socket, size: int, *, by_force: bool) -> None:
    """Ask for size bytes, beyond the administrator's limit only by force.

    Warns once a process when there is less.
    """
    if not 1 <= size <= _MOST:
        raise ValueError(f"receive_buffer must be 1 to {_MOST}, not {size}")
    given = set_receive_buffer(sock.fileno(), size, by_force)
    if given < size * _BOOKKEEPING:
        _warn(given // _BOOKKEEPING, size)


def restore(sock: stdlib.socket, before: int) -> None:
    """Make it as it was, if sock is still open; before is of `size_of`."""
    if sock.fileno() >= 0:
        set_receive_buffer(sock.fileno(), before // _BOOKKEEPING, True)


def _warn(given: int, asked: int) -> None:
    global _has_warned
    if _has_warned:
        return
    _has_warned = True
    cure = "raise the system's limit"
    if sys.platform == "linux":
        cure = f"as root: sysctl -w net.core.rmem_max={asked}"
    warnings.warn(
        f"the system gives {given} bytes of receive buffer of the {asked} asked for, so datagrams "
        f"may be lost in bursts; {cure}",
        RuntimeWarning,
        stacklevel=6,  # who calls Receiver() or open_shards()
    )
