# SPDX-License-Identifier: MIT
from typing import Self, final

from typing_extensions import disjoint_base

from fastsock.native.messages import Messages

LEAST_MEMORY: int
MOST_SHARDS: int

def set_receive_buffer(fd: int, size: int, by_force: bool, /) -> int: ...

@final
class ReceivedBatch(Messages): ...

@disjoint_base
class Receiver:
    def _open(
        self,
        fds: list[int],
        memory: int,
        overflow: int,
        gro: bool,
        keeps_sockets: bool,
        metadata: int,
        cpus: list[int],
        priority: int,
        busy_poll_us: int,
    ) -> None: ...
    def next_batch(self, timeout: float | None = None) -> ReceivedBatch: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> ReceivedBatch: ...
    def fileno(self) -> int: ...
    def _counts(
        self,
    ) -> tuple[int, int, int, int, int, int, bool, int, int, int, int, int, int, int, int, int]: ...
    def _begin_close(self) -> bool: ...
    def _close(self) -> None: ...
    def _is_own(self) -> bool: ...
