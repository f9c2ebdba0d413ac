# SPDX-License-Identifier: MIT
"""A peer that is a Python socket class: the standard library's, or fastsock's.

The loops are what a program would write, with the bound method looked up once, and are the same
code for every class.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any

from peers import BatchWork, Work, batches


@dataclass(frozen=True)
class PythonPeer:
    name: str
    version: str
    socket_class: type[socket.socket]

    def attach(self, descriptor: int, timeout: float | None) -> socket.socket:
        sock = self.socket_class(fileno=descriptor)
        sock.settimeout(timeout)
        return sock

    def detach(self, endpoint: socket.socket) -> None:
        if isinstance(endpoint, batches.fastsock_class()) and endpoint.get_readahead() > 0:
            batches.stop_reading_ahead(endpoint)
        endpoint.detach()

    def prepare(self, work: Work, endpoint: socket.socket) -> Callable[[], object]:
        if isinstance(work, BatchWork):
            return batches.prepare(work, endpoint)
        call = getattr(endpoint, work.method)
        if work.method == "accept":
            return partial(call_and_keep, call, work.count)
        if work.method == "sendto":
            return partial(call_with_two, call, work.data, work.address, work.count)
        return partial(call_with_one, call, _argument(work), work.count)

    def prepare_each(self, work: Work, endpoints: Sequence[socket.socket]) -> Callable[[], object]:
        calls = [getattr(endpoint, work.method) for endpoint in endpoints]
        return partial(call_each, calls, _argument(work))

    def discard(self, result: object) -> None:
        if isinstance(result, list):
            for connection, _ in result:
                connection.close()

    def drain_until(self, work: Work, endpoint: socket.socket, window_ns: int) -> int:
        call = getattr(endpoint, work.method)
        return call_until(call, _argument(work), work.count, perf_counter_ns() + window_ns)

    def ask(self, endpoint: socket.socket, data: bytes, count: int) -> None:
        send, receive, size = endpoint.send, endpoint.recv, len(data)
        for _ in range(count):
            send(data)
            receive(size)

    def answer(self, endpoint: socket.socket, size: int, count: int) -> None:
        send, receive = endpoint.send, endpoint.recv
        for _ in range(count):
            send(receive(size))


def call_with_one(call: Callable[[Any], object], argument: Any, count: int) -> None:
    for _ in range(count):
        call(argument)


def call_with_two(call: Callable[[Any, Any], object], first: Any, second: Any, count: int) -> None:
    for _ in range(count):
        call(first, second)


def call_and_keep(call: Callable[[], Any], count: int) -> list[Any]:
    # Closing is not accept's time, so the sockets are kept until the clock has stopped.
    return [call() for _ in range(count)]


def call_each(calls: list[Callable[[Any], object]], argument: Any) -> None:
    for call in calls:
        call(argument)


def call_until(call: Callable[[Any], object], argument: Any, count: int, deadline_ns: int) -> int:
    done = 0
    while done < count and perf_counter_ns() < deadline_ns:
        call(argument)
        done += 1
    return done


def _argument(work: Work) -> Any:
    if work.method in ("recv_into", "recvfrom_into"):
        return bytearray(work.room)
    if work.method in ("send", "sendall"):
        return work.data
    if work.method == "sendmsg":
        return [work.data]
    return work.room
