# SPDX-License-Identifier: MIT
"""The loops of Python over calls on many messages, and the plain loops that they are held against.

Each is what a program would write. It ends when work.count messages are done and returns how many
there were, which the case compares with what is left in the queue.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from peers import BatchWork

Loop = Callable[[], int]


def fastsock_class() -> type[Any]:
    found: type[Any] = importlib.import_module("fastsock").socket
    return found


def prepare(work: BatchWork, endpoint: Any) -> Loop:
    """The loop of work.method. Batches are made here, outside the timed region."""
    if work.read_ahead > 0:
        endpoint.set_readahead(work.read_ahead)
    return LOOPS[work.method](work, endpoint)


def stop_reading_ahead(endpoint: Any) -> None:
    """Make the descriptor one that can be given back."""
    endpoint.set_readahead(0)
    while endpoint.pending() > 0:
        endpoint.recv(1)


def new_batch(capacity: int, room: int) -> Any:
    return importlib.import_module("fastsock").Batch(capacity, room)


def _receive_plainly(work: BatchWork, endpoint: socket.socket) -> Loop:
    return partial(receive_one_by_one, getattr(endpoint, work.method), work.room, work.count)


def receive_one_by_one(call: Callable[[int], object], room: int, count: int) -> int:
    for _ in range(count):
        call(room)
    return count


def _receive_lists(work: BatchWork, endpoint: Any) -> Loop:
    call = getattr(endpoint, work.method)
    return partial(receive_lists, call, work.room, work.per_call, work.count)


def receive_lists(
    call: Callable[[int, int], list[Any]], room: int, per_call: int, count: int
) -> int:
    done = 0
    while done < count:
        done += len(call(room, per_call))
    return done


def _receive_batches(
    use: Callable[[Callable[[Any], int], Any, int], int], work: BatchWork, endpoint: Any
) -> Loop:
    return partial(use, endpoint.recv_batch, new_batch(work.per_call, work.room), work.count)


def receive_batches(call: Callable[[Any], int], batch: Any, count: int) -> int:
    done = 0
    while done < count:
        done += call(batch)
    return done


def receive_batches_as_bytes(call: Callable[[Any], int], batch: Any, count: int) -> int:
    done = 0
    while done < count:
        call(batch)
        done += len([message.bytes() for message in batch])
    return done


def receive_batches_as_array(call: Callable[[Any], int], batch: Any, count: int) -> int:
    import numpy

    done = total = 0
    while done < count:
        done += call(batch)
        total += int(numpy.asarray(batch.lengths).sum())
    # Sizes are known here and nowhere else: no message is empty.
    assert total >= done
    return done


def _send_plainly(work: BatchWork, endpoint: socket.socket) -> Loop:
    return partial(send_one_by_one, endpoint.sendto, _pairs(work), work.calls)


def send_one_by_one(
    call: Callable[[bytes, Any], object], pairs: Sequence[tuple[bytes, Any]], calls: int
) -> int:
    for _ in range(calls):
        for message, address in pairs:
            call(message, address)
    return calls * len(pairs)


def _send_many(work: BatchWork, endpoint: Any) -> Loop:
    return partial(send_often, endpoint.send_many, (work.messages, work.addresses[0]), work.calls)


def _send_to_many(work: BatchWork, endpoint: Any) -> Loop:
    return partial(send_often, endpoint.sendto_many, (_pairs(work),), work.calls)


def _send_segments(work: BatchWork, endpoint: Any) -> Loop:
    arguments = (b"".join(work.messages), len(work.messages[0]), work.addresses[0])
    return partial(send_often, endpoint.send_segments, arguments, work.calls)


def send_often(call: Callable[..., int], arguments: tuple[Any, ...], calls: int) -> int:
    done = 0
    for _ in range(calls):
        done += call(*arguments)
    return done


def _pairs(work: BatchWork) -> list[tuple[bytes, Any]]:
    return [
        (message, work.addresses[number % len(work.addresses)])
        for number, message in enumerate(work.messages)
    ]


LOOPS: dict[str, Callable[[BatchWork, Any], Loop]] = {
    "recv": _receive_plainly,
    "recvfrom": _receive_plainly,
    "recv_many": _receive_lists,
    "recvfrom_many": _receive_lists,
    "recv_batch": partial(_receive_batches, receive_batches),
    "recv_batch, bytes": partial(_receive_batches, receive_batches_as_bytes),
    "recv_batch, NumPy": partial(_receive_batches, receive_batches_as_array),
    "sendto": _send_plainly,
    "send_many": _send_many,
    "sendto_many": _send_to_many,
    "send_segments": _send_segments,
}
