# SPDX-License-Identifier: MIT
from typing import final

from _typeshed import ReadableBuffer

from fastsock.native.framing import Framing

@final
class Framer:
    def __new__(cls, framing: Framing, *, max_frame: int = 1048576) -> Framer: ...
    def feed(self, data: ReadableBuffer, /) -> list[bytes]: ...
    @property
    def unfinished(self) -> int: ...
    def end(self) -> None: ...
