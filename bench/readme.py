# SPDX-License-Identifier: MIT
"""The README's tables: results as Markdown, between markers of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import goals
import machine
import receiver_tables
import stream_tables
from cases import BATCHES, PLAIN_CALLS, RECEIVER, STREAMS
from cells import figures, number, row

Results = dict[str, Any]
MARKERS = {
    PLAIN_CALLS: "bench",
    BATCHES: "bench-batches",
    RECEIVER: "bench-receiver",
    STREAMS: "bench-streams",
}


def update(readme: Path, results: Results, check: bool) -> int:
    """Put the table between its markers; with check only say, by 1, that it differs."""
    before = readme.read_text(encoding="utf-8")
    marker = MARKERS[suite(results)]
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    start, stop = before.find(begin), before.find(end)
    if start < 0 or stop < start:
        raise ValueError(f"{readme} lacks the lines {begin} and {end}")
    after = f"{before[: start + len(begin)]}\n{markdown(results)}{before[stop:]}"
    if check:
        if after != before:
            print(f"{readme}: the table differs from the results; run report.py without --check")
        return int(after != before)
    readme.write_text(after, encoding="utf-8")
    return 0


def suite(results: Results) -> str:
    """Which cases these are results of; files of before there were two kinds do not say."""
    return str(results.get("suite", PLAIN_CALLS))


def markdown(results: Results) -> str:
    """The headline cases, and what the others add up to."""
    tables = {
        PLAIN_CALLS: _plain_calls,
        BATCHES: _batches,
        RECEIVER: receiver_tables.markdown,
        STREAMS: stream_tables.markdown,
    }
    lines = tables[suite(results)](results)
    lines += ["", summary(results), "", machine.describe(results["machine"]) + ".", ""]
    return "\n".join(lines)


def _plain_calls(results: Results) -> list[str]:
    rows = [[result["name"], *figures(result)] for result in results["cases"] if result["headline"]]
    headings = "stdlib ns | fastsock ns | C floor ns | times faster | noise | of the floor"
    return [f"| case | {headings} |", f"| --- |{' ---: |' * 6}", *map(row, rows)]


def _batches(results: Results) -> list[str]:
    rows = [
        [result["name"], result["against"], *figures(result)]
        for result in results["cases"]
        if result["headline"]
    ]
    headings = "stdlib ns | fastsock ns | C floor ns | times faster | noise | of the floor"
    lines = [f"| case | stdlib loop | {headings} |", f"| --- | --- |{' ---: |' * 6}"]
    lines += map(row, rows)
    if results["rates"]:
        receivers = list(results["rates"][0]["receivers"])
        lines += ["", row(["datagrams/s without a loss", *receivers])]
        lines += [f"| --- |{' ---: |' * len(receivers)}"]
        lines += [row([result["name"], *rates(result).values()]) for result in results["rates"]]
    for result in results["cases"]:
        told = rivals(result)
        if result["group"] == "event loops":
            ours = f"{result['peers']['fastsock']['wall_ns']['median']:,.0f} ns"
            lines += [
                "",
                f"Datagram protocols, {result['name']}, a datagram: {told}; `recv_batch` {ours}.",
            ]
    return lines


def rates(result: Results) -> dict[str, str]:
    """The highest rate of each receiver; a lower bound where the sender could not go faster."""
    return {
        name: ("≥ " if found["is_senders_limit"] else "")
        + f"{float(format(found['datagrams_per_second']['median'], '.3g')):,.0f}"
        for name, found in result["receivers"].items()
    }


def rivals(result: Results) -> str:
    """The times of the peers that take part in this case and not in all; empty when none does."""
    always = ("stdlib", "stdlib again", "fastsock", "floor")
    kind = f"{result['compared']}_ns"
    return ", ".join(
        f"{name} {number(peer[kind]['median'])} ns"
        for name, peer in result["peers"].items()
        if name not in always
    )


def summary(results: Results) -> str:
    """What all cases add up to, the goals included."""
    cases = results["cases"]
    judged = goals.judged(results)
    met = sum(verdict.is_met for _, verdict in judged)
    if not cases:
        return f"No case compares times; {met} of {len(judged)} goals are met."
    slowest = min(cases, key=lambda result: float(result["speedup"]["median"]))
    fastest = max(cases, key=lambda result: float(result["speedup"]["median"]))
    return (
        f"All {len(cases)} cases, which the results file holds, lie between "
        f"{slowest['speedup']['median']:.2f}x ({slowest['name']}) and "
        f"{fastest['speedup']['median']:.2f}x ({fastest['name']}); "
        f"{sum(result['lost'] for result in cases)} messages were lost; "
        f"{met} of {len(judged)} goals are met. {_EXPLAINED[suite(results)]}"
    )


_EXPLAINED = {
    PLAIN_CALLS: "Request and reply is CPU time of both sides; "
    "everything else is wall time, the message already queued.",
    BATCHES: "Times are wall time a datagram, 64 a call unless another number is given, the "
    "receiver's queue filled before or emptied after. Rates are of two CPUs; "
    "≥ means that the sender went no faster.",
    RECEIVER: "Times are wall time a datagram of the program's own loop, all on one CPU; latencies "
    "and losses are of two, one of them the sender's.",
    STREAMS: "Times are wall time a frame, the stream already queued. Each server has one CPU; "
    "its clients, one thread of C, have another. With accept a request is a connection, answered "
    "once and closed. Memory is the process's own, without the kernel's.",
}
