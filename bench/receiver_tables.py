# SPDX-License-Identifier: MIT
"""The receiver suite's results: costs, latencies and losses."""

from __future__ import annotations

from typing import Any

from cells import figures, table, time

Results = dict[str, Any]


def markdown(results: Results) -> list[str]:
    """The lines of the README's tables, as many of them as there are results for."""
    tables = []
    if results["cases"]:
        tables.append(_costs(results))
    tables += [_latencies(result) for result in results.get("latencies", [])]
    tables += [_losses(result) for result in results.get("keeping_up", [])]
    return [line for part in tables for line in [*part, ""]][:-1]


def lines(results: Results) -> list[str]:
    """What the terminal shows of what is no case."""
    told = []
    for result in results.get("latencies", []):
        for name, found in result["receivers"].items():
            told.append(f"{result['name']}: {name}: {_joined(_delays(found))}")
    for result in results.get("keeping_up", []):
        told.append(f"{result['name']}: {_circumstances(result)}")
        for name, found in result["receivers"].items():
            told.append(f"{result['name']}: {name}: {_joined(_account(found))}")
    return told


def _costs(results: Results) -> list[str]:
    headings = ["stdlib recv ns", "Receiver ns", "C floor ns", "times faster", "noise"]
    headings += ["of the floor", "recv_batch ns", "CPU ns of the receive thread"]
    rows = [
        [
            result["name"],
            *figures(result),
            time(result, "recv_batch"),
            time(result, "fastsock", "thread_ns"),
        ]
        for result in results["cases"]
        if result["headline"]
    ]
    return table(["case", *headings], rows)


def _latencies(result: Results) -> list[str]:
    rows = [[name, *_delays(found).values()] for name, found in result["receivers"].items()]
    shown = table([result["name"], *_delays(next(iter(result["receivers"].values())))], rows)
    busy = f"The thread that polls had {result['busy_thread']}."
    return [*shown, "", f"Each in {result['turns']} turns, added up. {busy}"]


def _delays(found: Results) -> dict[str, str]:
    return {
        "p50 µs": f"{found['p50_us']:,.0f}",
        "p99 µs": f"{found['p99_us']:,.0f}",
        "max µs": f"{found['max_us']:,.0f}",
        "CPU µs a datagram": f"{found['cpu_us']:,.0f}",
    }


def _losses(result: Results) -> list[str]:
    rows = [[name, *_account(found).values()] for name, found in result["receivers"].items()]
    shown = table([result["name"], *_account(next(iter(result["receivers"].values())))], rows)
    return [*shown, "", f"{_circumstances(result)}."]


def _account(found: Results) -> dict[str, str]:
    by = found["lost_by"]
    return {
        "sent": f"{found['sent']:,}",
        "sent/s": f"{found['sent_per_second']:,}",
        "received": f"{found['received']:,}",
        "lost": f"{found['lost']:,}",
        "of that by the kernel": f"{by['kernel']:,}",
        "in the ring": f"{by['ring']:,}",
        "unknown": f"{by['unknown']:,}",
        "lost %": f"{100 * found['lost_share']['median']:.2f}",
        "CPU ns a datagram": f"{found['cpu_ns']['median']:,.0f}",
    }


def _joined(told: dict[str, str]) -> str:
    return ", ".join(f"{key} {text}" for key, text in told.items())


def _circumstances(result: Results) -> str:
    return (
        f"Each for {result['seconds']:g} s, times {result['turns']}; GIL held "
        f"{result['hold_seconds'] * 1000:.0f} ms in every {result['period_seconds'] * 1000:.0f}, "
        f"{result['sender']} sender, receive buffer {result['buffer_asked'] >> 20} MiB asked "
        f"({result['buffer_given'] / (1 << 20):g} MiB as SO_RCVBUF reads)"
    )
