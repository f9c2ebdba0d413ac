# SPDX-License-Identifier: MIT
"""What a command tells its user on stderr, and the text it makes of what peers sent."""

from __future__ import annotations

import os
import socket as stdlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastsock.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

CLEAR_LINE = "\r\x1b[K"


class Console:
    """Lines on a stream, the last of which is live where that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._has_live_line = False

    def note(self, text: str) -> None:
        """Write a line that stays."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def live(self, text: str) -> None:
        """Write a line in place of the last live one; below it where this is no terminal."""
        if not self._is_terminal:
            self.note(text)
            return
        # A line that wraps can't be cleared.
        self._stream.write(CLEAR_LINE + text[: _columns(self._stream) - 1])
        self._stream.flush()
        self._has_live_line = True

    def clear(self) -> None:
        """Take the live line away, before something else is written to the terminal."""
        if self._has_live_line:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()
            self._has_live_line = False


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def printable(data: bytes) -> str:
    """Decode UTF-8, with escapes for all that could drive a terminal."""
    return escaped(data.decode("utf-8", errors="backslashreplace"))


def escaped(text: str) -> str:
    """The text with escapes for all that could drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _url_of(address: Any) -> str | None:
    """The URL of a socket's address, or None for a Unix socket without a name."""
    if not address:
        return None
    if isinstance(address, tuple):
        family = stdlib.AF_INET6 if ":" in address[0] else stdlib.AF_INET
    else:
        family = stdlib.AF_UNIX
    return str(Endpoint(family, address))


url_of: Callable[[Any], str | None] = lru_cache(maxsize=4096)(_url_of)


def speed(count: int, octets: int, seconds: float) -> str:
    """A rate in messages and bytes a second, or nothing where no time has passed."""
    if seconds <= 0:
        return ""
    return f", {count / seconds:,.0f}/s, {quantity(octets / seconds)}/s"


def quantity(octets: float) -> str:
    """Bytes with three digits and a decimal unit: 1.23 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 999.5:
            digits = 0 if unit == "B" or octets >= 99.95 else 1 if octets >= 9.995 else 2
            return f"{octets:.{digits}f} {unit}"
        octets /= 1000
    return f"{octets:,.2f} TB"
