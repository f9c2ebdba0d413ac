# SPDX-License-Identifier: MIT
"""A results file as a table on the terminal, as the README's table, and as a chart.

python bench/report.py RESULTS.json                      the table
python bench/report.py --chart FILE.svg RESULTS.json     the chart
python bench/report.py --readme README.md RESULTS.json   rewrite the README's table
python bench/report.py --readme README.md --check RESULTS.json   exit 1 where it differs
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cells
import goals
import machine
import readme
import receiver_tables
import stream_tables

if TYPE_CHECKING:
    from rich.table import Table

Results = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Show the results of bench/run.py.")
    parser.add_argument("results", type=Path, help="a JSON file that bench/run.py has written")
    parser.add_argument("--readme", type=Path, help="rewrite the table between its bench markers")
    parser.add_argument("--check", action="store_true", help="only tell whether it would change")
    parser.add_argument("--chart", type=Path, help="write the chart to this SVG file")
    options = parser.parse_args(arguments)
    if options.check and options.readme is None:
        parser.error("--check needs --readme")
    results = load(options.results)
    if options.readme is not None:
        try:
            return readme.update(options.readme, results, options.check)
        except ValueError as error:
            parser.error(str(error))
    if options.chart is not None:
        import chart

        chart.write(results, options.chart)
        print(f"chart: {options.chart}")
        return 0
    show(results)
    return 0


def load(path: Path) -> Results:
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def show(results: Results) -> None:
    """The table of every case on the terminal, and the goals that are not met."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    # A file or a pipe has no width of its own, and the table must not be folded there.
    if not console.is_terminal:
        console = Console(width=160)
    for name in results["skipped"]:
        console.print(Text(f"skipped: {name}: the machine lacks what it needs"))
    for name, error in results["failed"].items():
        console.print(Text(f"failed: {name}: {error}", style="red"))
    if results["cases"]:
        console.print(_table(results))
    for result in results["cases"]:
        _show_other_thread(console.print, result)
        told = readme.rivals(result)
        if "thread_ns" in result["peers"]["fastsock"]:
            told += f", the receive thread {cells.time(result, 'fastsock', 'thread_ns')} ns"
        if told:
            console.print(Text(f"{result['name']}: {told}"))
    for result in results.get("rates", []):
        console.print(Text(f"{result['name']}, datagrams/s: {_rates(result)}"))
    for line in [*receiver_tables.lines(results), *stream_tables.lines(results)]:
        console.print(Text(line))
    for result, verdict in goals.judged(results):
        if not verdict.is_met:
            line = f"not met: {result['name']}: {verdict.text}"
            line += f" (is {verdict.value:.2f}, limit {verdict.limit:.2f})"
            console.print(Text(line, style="red"))
    console.print(Text(readme.summary(results)))
    console.print(Text(machine.describe(results["machine"])))


def _rates(result: Results) -> str:
    return "; ".join(f"{name} {rate}" for name, rate in readme.rates(result).items())


def _show_other_thread(show_line: Any, result: Results) -> None:
    turns = {
        name: figures["other_turns_per_second"]
        for name, figures in result["peers"].items()
        if "other_turns_per_second" in figures
    }
    if turns:
        told = ", ".join(f"{name} {count / 1e6:.2f} M/s" for name, count in turns.items())
        show_line(f"{result['name']}: turns of the thread beside {told}", highlight=False)


def _table(results: Results) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = "ns a message: median ± half the interquartile range"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("case", overflow="fold")
    headings = ("stdlib", "fastsock", "floor", "faster", "noise", "of floor")
    for heading in (*headings, "CPU ns", "M msg/s", "MB/s", "lost"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("goals")
    group = ""
    for result in results["cases"]:
        if group and result["group"] != group:
            table.add_section()
        group = result["group"]
        ours = result["peers"]["fastsock"]
        missed = sum(not verdict.is_met for verdict in goals.verdicts(result))
        table.add_row(
            Text(result["name"]),
            *(_time(result, name) for name in ("stdlib", "fastsock", "floor")),
            *cells.figures(result)[3:],
            cells.time(result, "fastsock", "cpu_ns"),
            f"{ours['messages_per_second'] / 1e6:.3f}",
            f"{ours['bytes_per_second'] / 1e6:,.0f}",
            str(result["lost"]),
            Text(f"{missed} not met", "red") if missed else Text("met", "green"),
        )
    return table


def _time(result: Results, peer: str) -> str:
    times = result["peers"][peer][f"{result['compared']}_ns"]
    half = (times["q3"] - times["q1"]) / 2
    median = cells.time(result, peer, f"{result['compared']}_ns")
    return f"{median} ±{half / times['median'] * 100:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
