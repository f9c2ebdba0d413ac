# SPDX-License-Identifier: MIT
"""The benchmark: fastsock against the standard library and the C floor.

python bench/run.py [--suite SUITE] [--quick] [--only REGEX] [--json FILE] [--list]

Four suites, plain calls, batches, receiver and streams, with a results file each. Nothing else may
run on the machine while it measures in earnest.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
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
from measure import (
    FULL,
    FULL_BATCHES,
    FULL_RECEIVER,
    FULL_STREAMS,
    QUICK,
    Case,
    Settings,
    Trial,
    measure,
)
from peers import Peer, all_peers, rivals

RESULTS = Path(__file__).resolve().parent / "results"
FORMAT = 2  # of the JSON file
SECTIONS = ("cases", "rates", "latencies", "keeping_up", "servers", "memories")  # of it
LENGTHS = {
    cases.PLAIN_CALLS: FULL,
    cases.BATCHES: FULL_BATCHES,
    cases.RECEIVER: FULL_RECEIVER,
    cases.STREAMS: FULL_STREAMS,
}
Chosen = Sequence[Case | Trial]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    suites = _chosen(re.compile(options.only), options.suite)
    if options.list:
        for chosen in suites.values():
            for case in chosen:
                print(f"{case.name}: {case.question}")
        return 0
    if not suites:
        return _fail(f"no case matches {options.only!r}; --list names them")
    if options.json is not None and len(suites) > 1:
        return _fail("--json takes the results of one suite; choose it with --suite or --only")
    problem = _missing()
    if problem:
        return _fail(problem)
    return max(_measure_suite(suite, listed, options) for suite, listed in suites.items())


def _chosen(wanted: re.Pattern[str], only: str | None) -> dict[str, Chosen]:
    """The cases whose name is wanted, by suite; no suite without any."""
    listed, trials = cases.all_cases(), cases.all_trials()
    chosen: dict[str, Chosen] = {}
    for suite in listed:
        every: Chosen = [*listed[suite], *trials[suite]]
        found = [case for case in every if wanted.search(case.name)]
        if found and only in (None, suite):
            chosen[suite] = found
    return chosen


def _settings(suite: str, options: argparse.Namespace) -> Settings:
    settings = QUICK if options.quick else LENGTHS[suite]
    if options.seconds_per_case is not None:
        settings = replace(settings, seconds=options.seconds_per_case)
    return settings


def _measure_suite(suite: str, chosen: Chosen, options: argparse.Namespace) -> int:
    results = run(suite, chosen, _settings(suite, options))
    target: Path = options.json or RESULTS / f"{'' if options.keep else 'latest-'}{suite}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    report.show(results)
    print(f"results: {target}")
    if not any(results[section] for section in SECTIONS):
        return 1
    if results["cases"] and not options.no_chart:
        import chart

        # Beside its results, so that a quick run never replaces the chart of the kept ones.
        drawn = target.with_suffix(".svg")
        chart.write(results, drawn)
        print(f"chart: {drawn}")
    return int(options.strict and not _all_met(results))


def run(suite: str, chosen: Chosen, settings: Settings) -> dict[str, Any]:
    """Measure the chosen cases with a progress bar; the results as the JSON file has them."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    peers = all_peers()
    taking_part = {**peers, **rivals([name for case in chosen for name in case.rivals])}
    results: dict[str, Any] = {
        "format": FORMAT,
        "suite": suite,
        "machine": machine.facts(),
        "settings": asdict(settings),
        "peers": {name: peer.version for name, peer in taking_part.items()},
        **{section: [] for section in SECTIONS},
        "skipped": [],
        "failed": {},
    }
    columns = (
        TextColumn(suite),
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
                    _measure_case(case, peers, settings, tick, results)
            except (OSError, RuntimeError) as error:
                # One case that fails, by a time limit or by loss, must not cost the others.
                results["failed"][case.name] = f"{type(error).__name__}: {error}"
        progress.update(task, description="done", completed=len(chosen), refresh=True)
    return results


def _measure_case(
    case: Case | Trial,
    peers: dict[str, Peer],
    settings: Settings,
    tick: Callable[[float], None],
    results: dict[str, Any],
) -> None:
    taking_part = {**peers, **rivals(case.rivals)}
    if isinstance(case, Trial):
        results[case.section].append(case.measure(taking_part, settings, tick))
    else:
        rounds = measure(case, taking_part, settings, tick)
        results["cases"].append(summarize(case, rounds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure fastsock's calls.")
    parser.add_argument("--suite", choices=list(cases.all_cases()), help="only these cases")
    parser.add_argument("--quick", action="store_true", help="two minutes, to see that all works")
    parser.add_argument("--only", default="", metavar="REGEX", help="the cases whose name matches")
    parser.add_argument("--list", action="store_true", help="name the cases and their questions")
    parser.add_argument("--seconds-per-case", type=float, metavar="S")
    parser.add_argument("--json", type=Path, metavar="FILE", help="not results/latest-SUITE.json")
    parser.add_argument("--keep", action="store_true", help="write results/SUITE.json and .svg")
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
        floor.pacer()
        floor.load()
        floor.echo()
    except ImportError as error:
        return f"{error}; install the project with its bench extra: pip install '.[bench]'"
    except floor.FloorError as error:
        return str(error)
    return ""


def _all_met(results: dict[str, Any]) -> bool:
    return not results["failed"] and all(verdict.is_met for _, verdict in goals.judged(results))


def _fail(problem: str) -> int:
    print(f"bench: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
