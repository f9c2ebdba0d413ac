# SPDX-License-Identifier: MIT
"""Several receivers at one address."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from fastsock.intake import Intake
from fastsock.receiver import Receiver, cpus_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastsock.endpoint import Address
    from fastsock.intake import Group, _Metadata
    from fastsock.receiver import _Overflow


def open_shards(
    address: Address,
    shards: int,
    *,
    memory: int = 64 << 20,
    overflow: _Overflow = "drop-newest",
    gro: bool = True,
    cpu: int | Sequence[int] | None = None,
    priority: int | None = None,
    busy_poll: int | None = None,
    receive_buffer: int | None = None,
    metadata: _Metadata | Iterable[_Metadata] = (),
    groups: Iterable[Group] = (),
) -> tuple[Receiver, ...]:
    """Open several receivers at one address, for a consumer each.

    As ``Receiver(address, shards=shards)``, but each socket with its own receiver: for a thread
    each in a free-threaded Python, or a CPU each.

    Parameters
    ----------
    address : tuple or str
        Of UDP; with port 0 all get the port of the first.
    shards : int
    memory, overflow, gro, cpu, priority, busy_poll, receive_buffer, metadata, groups : optional
        As `Receiver`; ``memory`` is each one's.

    Returns
    -------
    tuple of Receiver
        All were bound before any of them received.
    """
    if shards < 1:
        raise ValueError(f"shards must be at least 1, not {shards}")
    taken = Intake.open(address, shards, receive_buffer, metadata, groups)
    with ExitStack() as undo:
        undo.callback(taken.close)
        cpus = [None] * shards if cpu is None else cpus_of(cpu, shards)
        parts = [undo.enter_context(closing(part)) for part in taken.split()]
        receivers: list[Receiver] = []
        for part, its_cpu in zip(parts, cpus, strict=True):
            receiver = Receiver.__new__(Receiver)
            receiver._start(part, memory, overflow, gro, its_cpu, priority, busy_poll)
            undo.callback(receiver.close)
            receivers.append(receiver)
        undo.pop_all()
    return tuple(receivers)
