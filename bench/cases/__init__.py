# SPDX-License-Identifier: MIT
"""The questions of the benchmark, one record each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measure import Case, Trial

PLAIN_CALLS = "plain-calls"
BATCHES = "batches"
RECEIVER = "receiver"
STREAMS = "streams"


def all_cases() -> dict[str, list[Case]]:
    """Every case by the name of its results file, in the order of the table."""
    from cases import (
        accept,
        beside_thread,
        drain,
        framing,
        many_streams,
        receive,
        received,
        request_reply,
        send,
        send_many,
    )

    plain = (receive, many_streams, send, accept, beside_thread, request_reply)
    return {
        PLAIN_CALLS: [case for module in plain for case in module.CASES],
        BATCHES: [*drain.CASES, *send_many.CASES],
        RECEIVER: [*received.CASES],
        STREAMS: [*framing.CASES],
    }


def all_trials() -> dict[str, list[Trial]]:
    """The questions with a method of their own, likewise."""
    from cases import idle, keeping_up, latency, serving, sustained

    return {
        PLAIN_CALLS: [],
        BATCHES: [*sustained.CASES],
        RECEIVER: [*latency.CASES, *keeping_up.CASES],
        STREAMS: [*serving.CASES, *idle.CASES],
    }


def mode_name(timeout: float | None) -> str:
    """blocking, timeout or non-blocking: the three ways a Python socket waits."""
    if timeout is None:
        return "blocking"
    return "timeout" if timeout > 0 else "non-blocking"


def size_name(size: int) -> str:
    return f"{size // 1024} KiB" if size and size % 1024 == 0 else f"{size} B"
