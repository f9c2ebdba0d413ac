# SPDX-License-Identifier: MIT
"""How a command ends: its exit codes, and the signals that end it."""

from __future__ import annotations

import enum
import os
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType
    from typing import Any, Self

    from _typeshed import HasFileno


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@enum.unique
class ExitCode(enum.IntEnum):
    """What a command tells its caller. One ended by a signal gives the shell 128 and its number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LOST = 3
    FOUND = 4


MEANINGS = {
    ExitCode.OK: "all was done",
    ExitCode.FAILED: "it failed; stderr tells why",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.LOST: "it was done, but messages were lost, cut or refused; see the summary",
    ExitCode.FOUND: "doctor found something that holds the machine back",
}


class Failure(Exception):
    """The command can't go on; the text is for its user."""

    code = ExitCode.FAILED


class WrongUsage(Failure):
    """Nor would it if it were tried again."""

    code = ExitCode.USAGE


class Interrupted(Exception):
    """A signal has asked the command to end."""


class Stopping:
    """Ctrl+C and SIGTERM as something to wait for, so that nothing is torn apart in the middle.

    A second one ends the process at once, should the first not be heeded. Signals that the caller
    of the process had ignored stay so. For the main thread only.
    """

    number: int | None = None  # of the signal that came

    def __enter__(self) -> Self:
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._previous_woken = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._previous: dict[int, Any] = {}
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_woken)
        os.close(self._wake)
        os.close(self._woken)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)

    def wait(
        self,
        readable: Sequence[HasFileno | int] = (),
        writable: Sequence[HasFileno | int] = (),
        timeout: float | None = None,
    ) -> bool:
        """Wait until one is ready, which is True, or timeout seconds have passed: False.

        Raises
        ------
        Interrupted
            A signal came, before or while waiting.
        """
        # Its handler writes to the pipe, so one that comes just before select ends select too.
        readable_now, writable_now, _ = select.select(
            [self._wake, *readable], writable, (), timeout
        )
        if self.number is not None:
            raise Interrupted
        return bool(readable_now or writable_now)


def end_by(number: int) -> int:
    """End the process by the signal, so that its caller sees that; the exit code if it survives.

    A shell stops a loop at Ctrl+C only if the command in it died of the signal. The first process
    of a container survives, as the kernel spares it.
    """
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
