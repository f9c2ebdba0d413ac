# SPDX-License-Identifier: MIT
from typing import Any

class CapabilityError(OSError): ...

class DescriptorsRefusedError(OSError):
    data: bytes
    flags: int
    address: Any
    fds_refused: int
    def __init__(
        self,
        code: int,
        text: str,
        data: bytes = b"",
        flags: int = 0,
        address: Any = None,
        fds_refused: int = 0,
    ) -> None: ...

class StaleMessageError(RuntimeError): ...

class FrameError(OSError):
    offset: int
    def __init__(self, code: int, text: str, offset: int) -> None: ...

class IncompleteFrameError(EOFError):
    partial: bytes
    missing: int
    def __init__(self, text: str, partial: bytes, missing: int) -> None: ...
