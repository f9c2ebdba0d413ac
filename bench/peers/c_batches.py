# SPDX-License-Identifier: MIT
"""The loops of the floor over calls on many messages: recvmmsg and sendmmsg, prepared once."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import floor
from peers import BatchWork

MOST_PER_CALL = 64  # messages or trains of one recvmmsg, as in libfastsock
TRAIN_ROOM = 65536


def prepare(work: BatchWork, endpoint: int) -> Callable[[], int]:
    return _sending(work, endpoint) if work.messages else receiving(work, endpoint)


def receiving(work: BatchWork, endpoint: int) -> Callable[[], int]:
    """A loop of recvmmsg, with the sender's name of each message, and UDP_GRO's control data."""
    library, count = floor.library(), work.count
    merges = work.read_ahead > 0
    buffers = work.read_ahead if merges else min(work.per_call, MOST_PER_CALL)
    slots = library.floor_slots_new(buffers, TRAIN_ROOM if merges else work.room, merges)
    if not slots:
        raise MemoryError("floor_slots_new")

    def run() -> int:
        done: int = library.floor_recvmmsg(endpoint, slots, count)
        if done < 0:
            floor.checked(done, count, "floor_recvmmsg")
        return done

    weakref.finalize(run, library.floor_slots_free, slots)
    return run


def _sending(work: BatchWork, endpoint: int) -> Callable[[], int]:
    library, calls, per_call = floor.library(), work.calls, len(work.messages)
    keep: list[Any] = [
        ctypes.create_string_buffer(b"".join(work.messages)),
        (ctypes.c_uint32 * per_call)(*map(len, work.messages)),
        ctypes.create_string_buffer(b"".join(work.names)),
    ]
    data, lengths, names = keep
    outgoing = library.floor_outgoing_new(
        data,
        lengths,
        per_call,
        names,
        len(work.names[0]),
        len(work.names),
        work.segments,
        work.method == "send_segments",
    )
    if not outgoing:
        raise MemoryError("floor_outgoing_new")

    def run(keep: list[Any] = keep) -> int:
        done = library.floor_send_outgoing(endpoint, outgoing, calls)
        floor.checked(done, calls, "floor_send_outgoing")
        return calls * per_call

    weakref.finalize(run, library.floor_outgoing_free, outgoing)
    return run
