# SPDX-License-Identifier: MIT
"""The peer whose receiving is done by a thread: fastsock.Receiver, over a socket that it borrows.

Only loops that receive are its own; there is nothing else that it does.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

from pacing import QUIET_SECONDS
from peers import Work
from peers.python import PythonPeer


@dataclass(frozen=True)
class ReceiverPeer(PythonPeer):
    options: Mapping[str, Any] = field(default_factory=dict)  # of Receiver

    def attach(self, descriptor: int, timeout: float | None) -> Any:
        sock = self.socket_class(fileno=descriptor)
        try:
            return importlib.import_module("fastsock").Receiver(sock, **self.options)
        finally:
            sock.detach()

    def detach(self, endpoint: Any) -> None:
        endpoint.close()

    def prepare(self, work: Work, endpoint: Any) -> Callable[[], object]:
        return partial(LOOPS[work.method], endpoint, work.count)


def receiver_peer(name: str) -> ReceiverPeer:
    return ReceiverPeer(name, version("fastsock"), socket.socket)


def recv_batch_peer(name: str) -> PythonPeer:
    """fastsock's socket, where it takes part beside a Receiver."""
    return PythonPeer(name, version("fastsock"), importlib.import_module("fastsock").socket)


def take_batches(receiver: Any, count: int) -> int:
    done = 0
    for batch in receiver:
        done += len(batch)
        if done >= count:
            break
    return done


def take_batches_as_bytes(receiver: Any, count: int) -> int:
    """Each message freed before the next is made, as in a loop over recv."""
    done = 0
    for batch in receiver:
        for message in batch:
            message.bytes()
            done += 1
        if done >= count:
            break
    return done


def take_batches_in_time(receiver: Any, count: int) -> int:
    """As a loop that is to notice when nothing comes any more: TimeoutError."""
    done = 0
    while done < count:
        done += len(receiver.next_batch(QUIET_SECONDS))
    return done


LOOPS: dict[str, Callable[[Any, int], int]] = {
    "Receiver": take_batches,
    "Receiver, bytes": take_batches_as_bytes,
    "Receiver, waiting": take_batches_in_time,
}
