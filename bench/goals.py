# SPDX-License-Identifier: MIT
"""What the calls have to reach: the "at least" table of the design, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peers import ENDPOINT, ENDPOINT_UVLOOP, UVLOOP

Result = Mapping[str, Any]  # one case, as figures.summarize gives it, or one of keeping up
LIST, BATCH = "recv_many", "recv_batch"
CALL_GROUPS = ("receive", "send", "accept")


@dataclass(frozen=True)
class Verdict:
    """A goal held against a result."""

    text: str
    value: float
    limit: float
    is_met: bool


def _times(result: Result) -> float:
    return float(result["speedup"]["median"])


def _slowness(result: Result) -> float:
    return 1 / _times(result)


def _to_floor(result: Result) -> float:
    return float(result["to_floor"]["median"])


def _noise_limit(result: Result) -> float:
    return 1 + max(0.03, float(result["noise"]))


def _endpoint_times(result: Result) -> float:
    """How many times faster the slower of our endpoints is than uvloop's."""
    peers = result["peers"]
    slower = max(peers[name]["wall_ns"]["median"] for name in (ENDPOINT, ENDPOINT_UVLOOP))
    return float(peers[UVLOOP]["wall_ns"]["median"] / slower)


@dataclass(frozen=True)
class Goal:
    text: str
    applies: Callable[[Result], bool]
    value: Callable[[Result], float]
    limit: Callable[[Result], float]
    is_least: bool  # the value has to be at least the limit, else at most

    def judge(self, result: Result) -> Verdict:
        value, limit = self.value(result), self.limit(result)
        is_met = value >= limit if self.is_least else value <= limit
        return Verdict(self.text, value, limit, is_met)


def _constant(limit: float) -> Callable[[Result], float]:
    return lambda result: limit


def _is_call(*methods: str, link: str = "udp", mode: str = "") -> Callable[[Result], bool]:
    """A plain call of one of methods over links that begin with link."""
    return lambda result: (
        result["group"] in CALL_GROUPS
        and result["method"] in methods
        and str(result["link"]).startswith(link)
        and mode in ("", result["mode"])
    )


def _is_group(*groups: str) -> Callable[[Result], bool]:
    return lambda result: result["group"] in groups


def _is_drain(method: str, in_trains: bool) -> Callable[[Result], bool]:
    """A drain loop of full calls; in_trains: 64 bytes, GSO sender, GRO, against recvfrom."""

    def applies(result: Result) -> bool:
        if result["group"] != "receive many" or result["method"] != method:
            return False
        if not in_trains:
            return int(result["read_ahead"]) == 0 and int(result["per_call"]) >= 64
        is_merged = result["sender"] == "GSO" and int(result["read_ahead"]) > 0
        return is_merged and int(result["size"]) == 64 and str(result["against"]) == "recvfrom"

    return applies


def _is_segmented_send(result: Result) -> bool:
    return result["group"] == "send many" and (
        [result[key] for key in ("method", "size", "sizes", "receiver")]
        == ["send_many", 64, "equal", "GRO"]
    )


def _is_unsegmented_send(result: Result) -> bool:
    """Nothing for GSO, or little."""
    return result["group"] == "send many" and (
        str(result["sizes"]) != "equal" or int(result["destinations"]) > 1
    )


def _has_endpoints(result: Result) -> bool:
    return {UVLOOP, ENDPOINT, ENDPOINT_UVLOOP} <= set(result.get("peers", ()))


def _is_received(result: Result) -> bool:
    """By a receive thread, and taken without a Python object a message."""
    return result["group"] == "receive thread" and (
        [result[key] for key in ("method", "size")] == ["Receiver", 64]
    )


def _lost(receiver: str) -> Callable[[Result], float]:
    return lambda result: float(result["receivers"][receiver]["lost"])


def _is_framing(framing: str, size: int, method: str) -> Callable[[Result], bool]:
    return lambda result: (
        result["group"] == "framing"
        and ([result[key] for key in ("framing", "size", "method")] == [framing, size, method])
    )


def _is_echo(depth: int, rival: str) -> Callable[[Result], bool]:
    """64 connections with depth requests outstanding on each, and the rival installed."""
    return lambda result: (
        result["group"] == "echo"
        and [result[key] for key in ("connections", "outstanding")] == [64, depth]
        and rival in result["times_rate_of"]
    )


def _rate_of(server: str) -> Callable[[Result], float]:
    """Our rate as a multiple of a server's."""
    return lambda result: float(result["times_rate_of"][server]["median"])


def _is_beside_thread(result: Result) -> bool:
    # Two CPUs: where the stdlib's loop starves. On one the row is for information.
    return result["group"] == "beside thread" and int(result["cpus"]) > 1


GOALS = [
    Goal("not slower", _is_group(*CALL_GROUPS), _slowness, _noise_limit, False),
    Goal("≥ 1.6x stdlib", _is_call("recvfrom", mode="blocking"), _times, _constant(1.6), True),
    Goal("≥ 2.0x stdlib", _is_call("recvfrom", mode="timeout"), _times, _constant(2.0), True),
    Goal("≥ 1.3x stdlib", _is_call("accept", link="tcp"), _times, _constant(1.3), True),
    Goal("≤ 1.6 of floor", _is_call("accept", link="tcp"), _to_floor, _constant(1.6), False),
    Goal("≥ 4x stdlib", _is_beside_thread, _times, _constant(4.0), True),
    Goal("≤ 1.25 of floor", _is_call("recv", "recv_into"), _to_floor, _constant(1.25), False),
    Goal("≤ 1.35 of floor", _is_call("recvfrom"), _to_floor, _constant(1.35), False),
    Goal("CPU not more", _is_group("request and reply"), _slowness, _noise_limit, False),
    Goal("≤ 1.25 of floor", _is_drain("recv_many", False), _to_floor, _constant(1.25), False),
    Goal("≤ 1.10 of floor", _is_drain("recv_batch", False), _to_floor, _constant(1.10), False),
    Goal("≥ 25x stdlib", _is_drain("recv_batch", True), _times, _constant(25), True),
    Goal("≥ 10x stdlib", _is_drain("recv", True), _times, _constant(10), True),
    Goal("≥ 15x stdlib", _is_segmented_send, _times, _constant(15), True),
    Goal("not slower", _is_unsegmented_send, _slowness, _noise_limit, False),
    Goal("endpoint ≥ 2x uvloop's", _has_endpoints, _endpoint_times, _constant(2.0), True),
    Goal("≤ floor", _is_received, _to_floor, _constant(1.0), False),
    Goal("≥ 5x cutter", _is_framing("length prefix", 64, LIST), _times, _constant(5.0), True),
    Goal("≥ 20x cutter", _is_framing("length prefix", 64, BATCH), _times, _constant(20), True),
    Goal("≥ 1.5x cutter", _is_framing("length prefix", 4096, LIST), _times, _constant(1.5), True),
    Goal("≥ 1.5x cutter", _is_framing("length prefix", 4096, BATCH), _times, _constant(1.5), True),
    Goal("≥ 1.3x split", _is_framing("delimiter", 64, LIST), _times, _constant(1.3), True),
    Goal("≥ 5x split", _is_framing("delimiter", 64, BATCH), _times, _constant(5.0), True),
    # Of requests that come alone: one in a row costs the floor no more than a copy.
    Goal("≥ 0.9 of floor", _is_echo(1, "C epoll"), _rate_of("C epoll"), _constant(0.9), True),
    Goal("ahead of uvloop", _is_echo(1, "uvloop"), _rate_of("uvloop"), _constant(1.0), True),
    Goal("ahead of uvloop", _is_echo(16, "uvloop"), _rate_of("uvloop"), _constant(1.0), True),
    Goal("Receiver loses nothing", _is_group("keeping up"), _lost("Receiver"), _constant(0), False),
    Goal("stdlib loses some", _is_group("keeping up"), _lost("stdlib recv"), _constant(1), True),
    Goal("nothing lost", lambda r: "lost" in r, lambda r: float(r["lost"]), _constant(0), False),
]


def verdicts(result: Result) -> list[Verdict]:
    """Every goal that concerns a result, judged."""
    return [goal.judge(result) for goal in GOALS if goal.applies(result)]


def judged(results: Mapping[str, Any]) -> list[tuple[Result, Verdict]]:
    """Every goal of every result of a file, with the result."""
    concerned = [*results["cases"]]
    for section in ("keeping_up", "servers"):
        concerned += results.get(section, [])
    return [(result, verdict) for result in concerned for verdict in verdicts(result)]
