# SPDX-License-Identifier: MIT
"""The streams suite's results: framing, servers and their memory."""

from __future__ import annotations

from typing import Any

from cells import number, table, time

Results = dict[str, Any]
ABSENT = "-"  # of a peer that is not installed, or a case that was not measured
LIST, BATCH = "recv_many", "recv_batch"


def markdown(results: Results) -> list[str]:
    """The lines of the README's tables, as many of them as there are results for."""
    tables = []
    if results["cases"]:
        tables.append(_framing(results))
    servers = results.get("servers", [])
    if servers:
        tables += [_rates(servers), _costs(servers)]
    tables += [_memory(result) for result in results.get("memories", [])]
    return [line for part in tables for line in [*part, ""]][:-1]


def lines(results: Results) -> list[str]:
    """What the terminal shows of what is no case."""
    told = []
    for result in results.get("servers", []):
        for name, found in result["servers"].items():
            told.append(
                f"{result['name']}: {name}: {_rate(found)} {result['unit']}s/s, server CPU "
                f"{number(found['cpu_ns']['median'])} ns each, clients {_busy(found)}"
            )
        ratios = result["times_rate_of"].items()
        told.append(
            f"{result['name']}: the StreamServer's rate is "
            + ", ".join(f"{found['median']:.2f} of {name}'s" for name, found in ratios)
            + f"; noise ±{result['noise'] * 100:.1f} %"
        )
    for result in results.get("memories", []):
        each = ", ".join(
            f"{name} {found['bytes_each']:,} B" for name, found in result["servers"].items()
        )
        told.append(f"{result['name']}: {result['connections']} connections, each {each}")
    return told


def _framing(results: Results) -> list[str]:
    """One line of framing and size: both of our methods, each against the loop in its rounds."""
    shown: dict[tuple[str, int], dict[str, Results]] = {}
    for result in results["cases"]:
        if result["headline"]:
            key = result["framing"], result["size"]
            shown.setdefault(key, {})[result["method"]] = result
    headings = ["frames", "in Python", "its ns", "recv_many ns", "times faster", "recv_batch ns"]
    headings += ["times faster", "noise", "C floor ns", "asyncio ns", "uvloop ns"]
    rows = [
        [
            # Without the method, which has columns of its own.
            next(iter(found.values()))["name"].rpartition(",")[0],
            next(iter(found.values()))["against"],
            _first(found, "stdlib"),
            *_ours(found.get(LIST)),
            *_ours(found.get(BATCH)),
            f"±{max(result['noise'] for result in found.values()) * 100:.1f} %",
            _first(found, "floor"),
            _first(found, "asyncio"),
            _first(found, "uvloop"),
        ]
        for found in shown.values()
    ]
    return table(headings, rows)


def _first(found: dict[str, Results], peer: str) -> str:
    """The time of a peer in the first case that it takes part in."""
    times = [time(result, peer) for result in found.values() if peer in result["peers"]]
    return next(iter(times), ABSENT)


def _ours(result: Results | None) -> list[str]:
    if result is None:
        return [ABSENT, ABSENT]
    return [time(result, "fastsock"), f"{result['speedup']['median']:.2f}"]


def _names(servers: list[Results]) -> list[str]:
    # The second one on selectors is there for the noise.
    return [name for name in servers[0]["servers"] if not name.endswith(" again")]


def _rates(servers: list[Results]) -> list[str]:
    names = _names(servers)
    headings = ["requests/s", *names, "of C epoll", "of uvloop", "noise"]
    headings += ["clients' CPU with C epoll"]
    rows = [
        [
            result["name"],
            *(_rate(result["servers"][name]) for name in names),
            _share(result, "C epoll"),
            _share(result, "uvloop"),
            f"±{result['noise'] * 100:.1f} %",
            _busy(result["servers"]["C epoll"]),
        ]
        for result in servers
    ]
    return table(headings, rows)


def _costs(servers: list[Results]) -> list[str]:
    names = _names(servers)
    rows = [
        [
            result["name"],
            *(number(result["servers"][name]["cpu_ns"]["median"]) for name in names),
            _share(result, "C epoll", "times_cpu_of"),
            _share(result, "uvloop", "times_cpu_of"),
        ]
        for result in servers
    ]
    return table(["server CPU ns a request", *names, "of C epoll", "of uvloop"], rows)


def _memory(result: Results) -> list[str]:
    names = list(result["servers"])
    cells = [f"{result['servers'][name]['bytes_each']:,}" for name in names]
    heading = f"bytes a connection, {result['connections']:,} idle ones"
    return table([heading, *names], [["resident memory", *cells]])


def _rate(found: Results) -> str:
    return f"{float(format(found['per_second']['median'], '.3g')):,.0f}"


def _share(result: Results, name: str, kind: str = "times_rate_of") -> str:
    """Ours as a multiple of another's."""
    found = result[kind].get(name)
    return f"{found['median']:.2f}" if found else ABSENT


def _busy(found: Results) -> str:
    return f"{found['client_share']['median'] * 100:.0f} %"
