# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from typing import Literal, final

from _typeshed import ReadableBuffer
from typing_extensions import disjoint_base

@disjoint_base
class Framing:
    def __hash__(self) -> int: ...
    def encode(self, messages: Iterable[ReadableBuffer], /) -> bytes: ...

@final
class LengthPrefix(Framing):
    def __new__(
        cls,
        size: Literal[1, 2, 4, 8, "varint"],
        byteorder: Literal["big", "little"] = "big",
        *,
        includes_header: bool = False,
    ) -> LengthPrefix: ...

@final
class Delimiter(Framing):
    def __new__(cls, separator: ReadableBuffer, *, keep: bool = False) -> Delimiter: ...

@final
class FixedSize(Framing):
    def __new__(cls, size: int) -> FixedSize: ...
