# SPDX-License-Identifier: MIT
"""The benchmark of the plain calls: fastsock against the standard library and the C floor.

python bench/run.py [--quick] [--only REGEX] [--json FILE] [--list]

Nothing else may run on the machine while it measures in earnest.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cases
import floor
import goals
import machine
import report
from figures import summarize
from links import ALLOWED_CPUS, pinned
from measure import FULL, QUICK, Case, Settings, measure
from peers import all_peers

RESULTS = Path(__file__).resolve().parent / "results"
FORMAT = 1  # of the JSON file


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    wanted = re.compile(options.only)
    chosen = [case for case in cases.all_cases() if wanted.search(case.name)]
    if options.list:
        for case in chosen:
            print(f"{case.name}: {case.question}")
        return 0
    if not chosen:
        return _fail(f"no case matches {options.only!r}; --list names them")
    settings = QUICK if options.quick else FULL
    if options.seconds_per_case is not None:
        settings = replace(settings, seconds=options.seconds_per_case)
    problem = _missing()
    if problem:
        return _fail(problem)
    results = run(chosen, settings)
    target = RESULTS / "plain-calls.json" if options.keep else options.json
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    report.show(results)
    print(f"results: {target}")
    if not results["cases"]:
        return 1
    if not options.no_chart:
        import chart

        # Beside its results, so that a quick run never replaces the chart of the kept ones.
        drawn = target.with_suffix(".svg")
        chart.write(results, drawn)
        print(f"chart: {drawn}")
    return int(options.strict and not _all_met(results))


def run(chosen: Sequence[Case], settings: Settings) -> dict[str, Any]:
    """Measure the chosen cases with a progress bar; the results as the JSON file has them."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    peers = all_peers()
    results: dict[str, Any] = {
        "format": FORMAT,
        "machine": machine.facts(),
        "settings": asdict(settings),
        "peers": {name: peer.version for name, peer in peers.items()},
        "cases": [],
        "skipped": [],
        "failed": {},
    }
    columns = (
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    # The last CPU: interrupts mostly go to the first.
    cpu = ALLOWED_CPUS[-1]
    # A refreshing thread would take the GIL amid a loop; the bar is drawn between rounds.
    drawn = 0.0
    with Progress(*columns, auto_refresh=False) as progress:
        task = progress.add_task("", total=len(chosen))
        for number, case in enumerate(chosen):
            progress.update(task, description=case.name, completed=number, refresh=True)
            if not case.is_available():
                results["skipped"].append(case.name)
                continue

            def tick(done: float, number: int = number) -> None:
                nonlocal drawn
                progress.update(task, completed=number + done)
                # Drawing costs a millisecond; ten a second are enough.
                if progress.get_time() - drawn > 0.1:
                    drawn = progress.get_time()
                    progress.refresh()

            try:
                with pinned(cpu if case.is_pinned else None):
                    rounds = measure(case, peers, settings, tick)
            except (OSError, RuntimeError) as error:
                # One case that fails, by a time limit or by loss, must not cost the others.
                results["failed"][case.name] = f"{type(error).__name__}: {error}"
                continue
            results["cases"].append(summarize(case, rounds))
        progress.update(task, description="done", completed=len(chosen), refresh=True)
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure fastsock's plain calls.")
    parser.add_argument("--quick", action="store_true", help="a minute, to see that all works")
    parser.add_argument("--only", default="", metavar="REGEX", help="the cases whose name matches")
    parser.add_argument("--list", action="store_true", help="name the cases and their questions")
    parser.add_argument("--seconds-per-case", type=float, metavar="S")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="write results/plain-calls.json, .svg")
    parser.add_argument("--no-chart", action="store_true")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is not met")
    return parser


def _missing() -> str:
    """What keeps the benchmark from running here, in one line; empty when nothing does."""
    if sys.platform != "linux":
        return "the benchmark reads Linux's queue counters and runs on Linux only"
    try:
        import rich  # noqa: F401

        all_peers()
        floor.library()
    except ImportError as error:
        return f"{error}; install the project with its bench extra: pip install '.[bench]'"
    except floor.FloorError as error:
        return str(error)
    return ""


def _all_met(results: dict[str, Any]) -> bool:
    return not results["failed"] and all(
        verdict.is_met for result in results["cases"] for verdict in goals.verdicts(result)
    )


def _fail(problem: str) -> int:
    print(f"bench: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
