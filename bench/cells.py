# SPDX-License-Identifier: MIT
"""Figures as text, the same on the terminal and in the README."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]


def row(cells: list[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table whose first column is text and whose others are figures."""
    return [row(headings), f"| --- |{' ---: |' * (len(headings) - 1)}", *map(row, rows)]


def number(value: float) -> str:
    """Whole, but of what is below ten two digits: a batch's row costs less than a nanosecond."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def time(result: Results, peer: str, kind: str = "") -> str:
    """The median of a peer's times, in nanoseconds: those that are compared, or of another kind."""
    return number(result["peers"][peer][kind or f"{result['compared']}_ns"]["median"])


def figures(result: Results) -> list[str]:
    """Times of the three, times faster, noise, and our time by the floor's."""
    return [
        *(time(result, name) for name in ("stdlib", "fastsock", "floor")),
        f"{result['speedup']['median']:.2f}",
        f"±{result['noise'] * 100:.1f} %",
        f"{result['to_floor']['median']:.2f}",
    ]
