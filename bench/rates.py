# SPDX-License-Identifier: MIT
"""The highest rate without a loss, by bisection.

The first try is as fast as the sender can. When that loses something, the range from a 256th of it
is halved on a logarithmic scale: seven steps leave 4 %. A rate that was good once may fail the next
time, so the whole search is repeated and the median told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from figures import spread
from measure import Settings
from peers import Peer

if TYPE_CHECKING:
    from cases.sustained import SustainedCase

RANGE = 256


@dataclass(frozen=True)
class Step:
    """What came of sending at one rate for a while."""

    rate: float  # datagrams a second that the receiver took
    is_whole: bool  # none was lost
    is_senders_limit: bool  # the sender did not reach the rate it was asked for


def highest(attempt: Callable[[float], Step], top: float, steps: int) -> Step:
    """The best step without a loss, from the rate top downwards; of rate 0 when there is none."""
    best = attempt(top)
    if best.is_whole:
        return best
    low, high = top / RANGE, top
    best = Step(0, False, False)
    for _ in range(steps):
        middle = (low * high) ** 0.5
        step = attempt(middle)
        if step.is_whole:
            low = middle
            best = max(best, step, key=lambda one: one.rate)
        else:
            high = middle
    return best


def measure_rates(
    case: SustainedCase,
    peers: Mapping[str, Peer],
    settings: Settings,
    tick: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """The figures of one case, ready for JSON. Rates are datagrams a second."""
    found: dict[str, list[Step]] = {name: [] for name in case.receivers}
    total = settings.searches * len(found)
    for turn in range(settings.searches):
        for number, (name, steps) in enumerate(found.items()):
            session = case.open(name, peers)
            try:
                top = session.senders_limit(settings.step_seconds)
                attempt = session.attempt(settings.step_seconds)
                steps.append(highest(attempt, top, settings.bisections))
            finally:
                session.close()
            tick((turn * len(found) + number + 1) / total)
    return {
        "name": case.name,
        "question": case.question,
        **case.describe(),
        "step_seconds": settings.step_seconds,
        "searches": settings.searches,
        "receivers": {
            name: {
                "datagrams_per_second": spread([round(step.rate) for step in steps]),
                "is_senders_limit": sum(step.is_senders_limit for step in steps) * 2 > len(steps),
            }
            for name, steps in found.items()
        },
    }
