# SPDX-License-Identifier: MIT
"""The questions of the benchmark, one record each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure import Case

if TYPE_CHECKING:
    from cases.sustained import SustainedCase

PLAIN_CALLS = "plain-calls"
BATCHES = "batches"


def all_cases() -> dict[str, list[Case]]:
    """Every case by the name of its results file, in the order of the table."""
    from cases import (
        accept,
        beside_thread,
        drain,
        many_streams,
        receive,
        request_reply,
        send,
        send_many,
    )

    plain = (receive, many_streams, send, accept, beside_thread, request_reply)
    return {
        PLAIN_CALLS: [case for module in plain for case in module.CASES],
        BATCHES: [*drain.CASES, *send_many.CASES],
    }


def all_rates() -> dict[str, list[SustainedCase]]:
    """The cases that look for a highest rate, likewise."""
    from cases import sustained

    return {PLAIN_CALLS: [], BATCHES: sustained.CASES}


def mode_name(timeout: float | None) -> str:
    """blocking, timeout or non-blocking: the three ways a Python socket waits."""
    if timeout is None:
        return "blocking"
    return "timeout" if timeout > 0 else "non-blocking"


def size_name(size: int) -> str:
    return f"{size // 1024} KiB" if size and size % 1024 == 0 else f"{size} B"
