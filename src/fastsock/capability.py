# SPDX-License-Identifier: MIT
"""What this build, this kernel and this process's sandbox allow."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from fastsock.native import capability as _capability


@dataclass(frozen=True)
class Capability:
    """What there is to know about one feature; see `capabilities`."""

    name: str
    built: bool
    """The library has it for this system, in the engine in use."""
    probed: bool
    """The kernel, asked just now, has it and lets this process use it."""
    working: bool
    """It is in use: both of these, and the kernel has never refused it to this process."""
    reason: str | None
    """Why it does not work and what helps; None of one that works."""


def capabilities() -> dict[str, Capability]:
    """Find out what works here, by asking the kernel now.

    Returns
    -------
    dict of str to Capability
        ``recvmmsg``, ``sendmmsg``: many messages with one system call. ``udp_gro``,
        ``udp_segment``: a train of datagrams as one buffer, received and sent (GSO). Without these
        four every call gives the same results and is slower. ``receive_drops``: ``drops()``.
        ``timestamps``: ``set_metadata(timestamp=True)``. ``busy_poll``, ``force_buffer``: the
        options SO_BUSY_POLL and SO_RCVBUFFORCE, which take CAP_NET_ADMIN.

    Notes
    -----
    Makes some system calls on sockets of its own, which it closes. Where no descriptor is left,
    what has not worked before is not working, with that as the reason. Nothing else in the process
    changes. ``fastsock doctor`` prints the result.

    Source: recvmmsg(2), udp(7), socket(7).
    """
    found = (_describe(*row) for row in _capability.probe_all())
    return {capability.name: capability for capability in found}


def _describe(
    name: str, built: bool, probed: bool, working: bool, error: int, reason: str | None
) -> Capability:
    if reason is not None and built and error:
        code = errno.errorcode.get(error, str(error))
        if f"({code})" not in reason:
            reason = f"{reason} ({code})"
    return Capability(name, built, probed, working, reason)
