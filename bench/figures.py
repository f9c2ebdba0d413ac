# SPDX-License-Identifier: MIT
"""From samples to figures: medians, spreads, paired ratios and the noise band.

Paired ratio
    The ratio of two peers' times within one round; its median over the rounds is reported. The
    machine's drift between rounds is in both and cancels.
Noise band
    How far a ratio of this case, in this run, can be from 1 when nothing differs: the standard
    library against itself. It is the larger of |median - 1| and half the width of the 95 %
    confidence interval of that median. The interval goes between two order statistics (ranks
    n/2 -+ 0.98 sqrt(n)): what a bootstrap of the median tends to, without its random numbers, and
    it assumes nothing of the distribution.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from measure import Case, Rounds, Sample
from peers import FASTSOCK, FLOOR, STDLIB, STDLIB_AGAIN


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    if len(values) < 2:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": _short(median), "q1": _short(q1), "q3": _short(q3)}


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median."""
    ordered = sorted(values)
    reach = 0.98 * math.sqrt(len(ordered))
    middle = (len(ordered) - 1) / 2
    low = max(0, math.floor(middle - reach))
    high = min(len(ordered) - 1, math.ceil(middle + reach))
    return ordered[low], ordered[high]


def noise_band(times: Sequence[float], times_again: Sequence[float]) -> float:
    """The band of the module's docstring, as a fraction: 0.01 is one per cent."""
    ratios = paired_ratios(times_again, times)
    low, high = median_interval(ratios)
    return max(abs(statistics.median(ratios) - 1), (high - low) / 2)


def summarize(case: Case, rounds: Rounds) -> dict[str, Any]:
    """The figures of one case, ready for JSON. Times are nanoseconds a message."""
    compared = {
        name: [_compared_time(case, sample) for sample in samples]
        for name, samples in rounds.samples.items()
    }
    return {
        "name": case.name,
        "group": case.group,
        "question": case.question,
        "headline": case.headline,
        **case.describe(),
        "size": case.size,
        "compared": "cpu" if case.compares_cpu else "wall",
        "messages_per_round": rounds.messages,
        "rounds": len(rounds.samples[STDLIB]),
        "lost": rounds.lost,
        "peers": {name: _peer_figures(case, samples) for name, samples in rounds.samples.items()},
        # Times faster than the standard library; above 1 is faster.
        "speedup": spread(paired_ratios(compared[STDLIB], compared[FASTSOCK])),
        # Our time by the floor's; 1 is as fast as C.
        "to_floor": spread(paired_ratios(compared[FASTSOCK], compared[FLOOR])),
        "noise": round(noise_band(compared[STDLIB], compared[STDLIB_AGAIN]), 4),
    }


def _peer_figures(case: Case, samples: Sequence[Sample]) -> dict[str, Any]:
    wall = spread([sample.wall_ns / sample.messages for sample in samples])
    per_second = 1e9 / wall["median"]
    figures: dict[str, Any] = {
        "wall_ns": wall,
        "cpu_ns": spread([sample.cpu_ns / sample.messages for sample in samples]),
        "messages_per_second": round(per_second),
        "bytes_per_second": round(per_second * case.size),
    }
    if any(sample.thread_ns for sample in samples):
        figures["thread_ns"] = spread([sample.thread_ns / sample.messages for sample in samples])
    if any(sample.other_turns for sample in samples):
        # The mean: a thread that starves in most rounds and runs in some has a median of nothing.
        turns = sum(sample.other_turns for sample in samples)
        elapsed = sum(sample.wall_ns for sample in samples)
        figures["other_turns_per_second"] = round(turns / elapsed * 1e9)
    return figures


def _compared_time(case: Case, sample: Sample) -> float:
    return (sample.cpu_ns if case.compares_cpu else sample.wall_ns) / sample.messages


def paired_ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def _short(value: float) -> float:
    """Four digits, or whole nanoseconds: more would not be reproducible."""
    return round(value, 4) if value < 100 else round(value)
