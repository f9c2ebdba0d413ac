# SPDX-License-Identifier: MIT
"""The questions of the benchmark, one record each."""

from __future__ import annotations

from measure import Case


def all_cases() -> list[Case]:
    """Every case, in the order of the table."""
    from cases import accept, beside_thread, many_streams, receive, request_reply, send

    modules = (receive, many_streams, send, accept, beside_thread, request_reply)
    return [case for module in modules for case in module.CASES]


def mode_name(timeout: float | None) -> str:
    """blocking, timeout or non-blocking: the three ways a Python socket waits."""
    if timeout is None:
        return "blocking"
    return "timeout" if timeout > 0 else "non-blocking"


def size_name(size: int) -> str:
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} B"
