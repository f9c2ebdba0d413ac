# SPDX-License-Identifier: MIT
"""The peer that is no Python at all: the same system calls in a loop in C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import floor
from peers import BatchWork, Work, c_batches

# The calls of Python that end in the same system call.
FUNCTIONS = {
    "recv": "floor_recv",
    "recv_into": "floor_recv",
    "recvfrom": "floor_recvfrom",
    "recvfrom_into": "floor_recvfrom",
    "recvmsg": "floor_recvmsg",
    "send": "floor_send",
    "sendall": "floor_send",
    "sendmsg": "floor_sendmsg",
}


@dataclass(frozen=True)
class FloorPeer:
    name: str
    version: str

    def attach(self, descriptor: int, timeout: float | None) -> int:
        # Whether the descriptor waits was set by the Python peers, with the same timeout.
        return descriptor

    def detach(self, endpoint: int) -> None:
        pass

    def prepare(self, work: Work, endpoint: int) -> Callable[[], object]:
        if isinstance(work, BatchWork):
            return c_batches.prepare(work, endpoint)
        library, count = floor.library(), work.count
        if work.method == "accept":
            return self._prepare_accept(endpoint, count)
        data = ctypes.create_string_buffer(work.data, max(len(work.data), work.room))
        if work.method == "sendto":
            address = ctypes.create_string_buffer(work.address_bytes, len(work.address_bytes))

            def send_to() -> None:
                done = library.floor_sendto(
                    endpoint, data, len(work.data), address, len(address), count
                )
                floor.checked(done, count, "floor_sendto")

            return send_to
        name = FUNCTIONS[work.method]
        function = getattr(library, name)
        size = len(work.data) if work.data else work.room

        def run() -> None:
            floor.checked(function(endpoint, data, size, count), count, name)

        return run

    def _prepare_accept(self, endpoint: int, count: int) -> Callable[[], object]:
        library = floor.library()
        accepted = (ctypes.c_int * count)()

        def accept() -> object:
            floor.checked(library.floor_accept(endpoint, accepted, count), count, "floor_accept")
            return accepted

        return accept

    def prepare_each(self, work: Work, endpoints: Sequence[int]) -> Callable[[], object]:
        library, count = floor.library(), len(endpoints)
        descriptors = (ctypes.c_int * count)(*endpoints)
        buffer = ctypes.create_string_buffer(work.room)

        def run() -> None:
            done = library.floor_recv_each(descriptors, buffer, work.room, count)
            floor.checked(done, count, "floor_recv_each")

        return run

    def discard(self, result: object) -> None:
        if isinstance(result, ctypes.Array):
            floor.library().floor_close(result, len(result))

    def drain_until(self, work: Work, endpoint: int, window_ns: int) -> int:
        self.prepare(work, endpoint)()
        return work.count

    def ask(self, endpoint: int, data: bytes, count: int) -> None:
        buffer = ctypes.create_string_buffer(data, len(data))
        done = floor.library().floor_ask(endpoint, buffer, len(data), count)
        floor.checked(done, count, "floor_ask")

    def answer(self, endpoint: int, size: int, count: int) -> None:
        buffer = ctypes.create_string_buffer(size)
        done = floor.library().floor_answer(endpoint, buffer, size, count)
        floor.checked(done, count, "floor_answer")
