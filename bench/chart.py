# SPDX-License-Identifier: MIT
"""The chart: how many times faster than the standard library each case is, and the floor.

The same results give the same bytes, so that the file can be kept in git.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import machine

COLOURS = {
    "receive": "#1f77b4",
    "send": "#2ca02c",
    "accept": "#9467bd",
    "beside thread": "#d62728",
    "request and reply": "#ff7f0e",
    "receive many": "#1f77b4",
    "event loops": "#9467bd",
    "send many": "#2ca02c",
    "receive thread": "#1f77b4",
    "framing": "#1f77b4",
}


def write(results: dict[str, Any], path: Path) -> None:
    """Write the chart of results to path, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    # An SVG's ids are random without a salt, and its text is drawn as outlines unless told not.
    matplotlib.rcParams.update({"svg.hashsalt": "fastsock", "svg.fonttype": "none"})
    figure = draw(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
        figure.savefig(scratch, format="svg", metadata={"Date": None})
    os.chmod(scratch.name, 0o644)
    os.replace(scratch.name, path)


def draw(results: dict[str, Any]) -> Any:
    """One bar a case on a logarithmic axis, the noise band behind it, the floor as a mark."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    cases = results["cases"]
    figure = Figure(figsize=(9, 1.6 + 0.2 * len(cases)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(cases))
    speedups = [case["speedup"]["median"] for case in cases]
    # What a program in C would reach, by the medians' ratio.
    floors = [case["speedup"]["median"] * case["to_floor"]["median"] for case in cases]
    axes.set_xscale("log")
    axes.barh(
        places,
        [speedup - 1 for speedup in speedups],
        left=1,
        height=0.7,
        color=[COLOURS.get(case["group"], "grey") for case in cases],
    )
    axes.errorbar(
        speedups,
        places,
        xerr=[
            [case["speedup"]["median"] - case["speedup"]["q1"] for case in cases],
            [case["speedup"]["q3"] - case["speedup"]["median"] for case in cases],
        ],
        fmt="none",
        ecolor="black",
        elinewidth=0.8,
    )
    axes.barh(
        places,
        [2 * case["noise"] for case in cases],
        left=[max(0.01, 1 - case["noise"]) for case in cases],
        height=0.95,
        color="lightgrey",
        zorder=0,
    )
    axes.plot(floors, places, "|", color="black", markersize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, [case["name"] for case in cases], fontsize=7)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    steps = (0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 30, 100, 300, 1000, 3000, 10_000)
    low, high = 0.9 * min(0.9, *speedups), 1.15 * max(2, *speedups, *floors)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([step for step in steps if low < step < high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.set_xlabel("times faster than the standard library (median, quartiles)")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(machine.describe(results["machine"]), fontsize=7)
    marks: list[Any] = [
        Patch(color=colour, label=group)
        for group, colour in COLOURS.items()
        if any(case["group"] == group for case in cases)
    ]
    marks.append(Patch(color="lightgrey", label="noise: stdlib against stdlib"))
    marks.append(
        Line2D([], [], color="black", marker="|", linestyle="none", label="the same calls in C")
    )
    figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=7)
    return figure
