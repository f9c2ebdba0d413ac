# SPDX-License-Identifier: MIT
"""The benchmark runs, loses nothing, and its report is a function of its results.

Nothing here looks at a speed: tests share the machine.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
MARKED = (
    "before\n<!-- bench:begin -->\noutdated\n<!-- bench:end -->\nbetween\n"
    "<!-- bench-batches:begin -->\nalso outdated\n<!-- bench-batches:end -->\nafter\n"
    "<!-- bench-receiver:begin -->\noutdated as well\n<!-- bench-receiver:end -->\nat last\n"
    "<!-- bench-streams:begin -->\noutdated too\n<!-- bench-streams:end -->\n"
)

pytestmark = [
    pytest.mark.one_engine,
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmark is Linux only"),
]


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCH / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=18, check=False)


def measure(
    target: Path, names: str, suite: str = "plain-calls", seconds: float = 0.05
) -> dict[str, Any]:
    """The results of the cases of a suite whose whole names match."""
    pytest.importorskip("rich")
    done = call(
        "run.py", "--quick", "--seconds-per-case", seconds, "--suite", suite,
        "--only", f"^({names})$", "--json", target, "--no-chart",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return results


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's modules can be imported."""
    monkeypatch.syspath_prepend(BENCH)


@pytest.fixture(scope="module")
def results_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one real case."""
    target = tmp_path_factory.mktemp("bench") / "results.json"
    measure(target, "recv udp4 blocking")
    return target


@pytest.fixture(scope="module")
def batches_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a few real cases of batches, one that looks for a rate among them."""
    target = tmp_path_factory.mktemp("bench") / "batches.json"
    names = "recv_batch 64 B, event loops|recv_batch 64 B|send_many 64 B|sustained 64 B, plain.*"
    measure(target, names, "batches", seconds=0.02)
    return target


@pytest.fixture(scope="module")
def receiver_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a case of each kind of the receiver's."""
    target = tmp_path_factory.mktemp("bench") / "receiver.json"
    names = "Receiver 64 B, GSO sender|Receiver, bytes 1400 B|latency.*|keeping up.*"
    measure(target, names, "receiver", seconds=0.01)
    return target


@pytest.fixture(scope="module")
def streams_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a case of each kind of the streams'."""
    target = tmp_path_factory.mktemp("bench") / "streams.json"
    names = "length prefix 64 B, recv_.*|echo 64 connections, 16 .*|accept, .*|memory .*"
    measure(target, names, "streams", seconds=0.01)
    return target


def test_list_names_every_case_once_without_measuring() -> None:
    done = call("run.py", "--list")
    assert done.returncode == 0, done.stderr
    names = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert {"recvfrom udp4 timeout", "send_many 64 B", "sustained 64 B, GSO sender"} <= set(names)
    assert {"Receiver 64 B", "latency at 1000 datagrams/s"} <= set(names)
    assert {"delimiter 64 KiB, recv_batch", "echo 1000 connections"} <= set(names)
    assert len(names) == len(set(names)) > 50


def test_only_without_a_match_says_so_in_one_line() -> None:
    done = call("run.py", "--only", "no such case")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_json_for_two_suites_says_so_in_one_line(tmp_path: Path) -> None:
    done = call("run.py", "--only", "recv", "--json", tmp_path / "results.json")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--suite" in done.stderr


def test_results_of_one_case_hold_every_peer_and_no_loss(results_file: Path) -> None:
    results = json.loads(results_file.read_text(encoding="utf-8"))
    (case,) = results["cases"]
    assert case["lost"] == 0
    assert case["rounds"] >= 5
    assert list(case["peers"]) == ["stdlib", "stdlib again", "fastsock", "floor"]
    for figures in case["peers"].values():
        assert 0 < figures["wall_ns"]["q1"] <= figures["wall_ns"]["q3"]
        assert figures["bytes_per_second"] > figures["messages_per_second"] > 0
    assert results["machine"]["engine"]
    assert results["machine"]["kernel"].startswith("Linux")


@pytest.mark.parametrize(
    "name",
    ["sendall tcp timeout", "recvfrom udp6 blocking", "send unix blocking", "accept tcp blocking",
     "request and reply tcp timeout"],
    ids=lambda name: name.replace(" ", "-"),
)  # fmt: skip
def test_case_of_each_kind_loses_nothing(tmp_path: Path, name: str) -> None:
    results = measure(tmp_path / "results.json", name)
    if name in results["skipped"]:
        pytest.skip(f"{name}: the family can't be opened on this machine")
    assert [case["lost"] for case in results["cases"]] == [0]


@pytest.mark.parametrize(
    ("names", "count"),
    [("(recv|read).*", 34), ("send.*", 11)],
    ids=["receiving", "sending"],
)
def test_every_case_of_batches_loses_nothing(tmp_path: Path, names: str, count: int) -> None:
    results = measure(tmp_path / "results.json", names, "batches", seconds=0.01)
    assert results["failed"] == {}
    assert [case["name"] for case in results["cases"] if case["lost"] > 0] == []
    # Skipped is what a machine lacks: GSO and GRO, or NumPy.
    assert len(results["cases"]) + len(results["skipped"]) == count
    for case in results["cases"]:
        assert list(case["peers"])[:4] == ["stdlib", "stdlib again", "fastsock", "floor"]


def test_batches_have_event_loops_and_rates(batches_file: Path) -> None:
    results = json.loads(batches_file.read_text(encoding="utf-8"))
    (case,) = [case for case in results["cases"] if case["group"] == "event loops"]
    assert "asyncio" in case["peers"]
    assert case["peers"].keys() <= results["peers"].keys()
    for rate in results["rates"]:
        assert set(rate["receivers"]) > {"stdlib recvfrom", "recv_batch, GRO", "Receiver"}
        for found in rate["receivers"].values():
            assert found["datagrams_per_second"]["median"] >= 0


def test_receive_thread_takes_every_datagram_and_its_cpu_time_is_told(receiver_file: Path) -> None:
    results = json.loads(receiver_file.read_text(encoding="utf-8"))
    assert results["failed"] == {}
    assert len(results["cases"]) + len(results["skipped"]) >= 2
    for case in results["cases"]:
        assert case["lost"] == 0
        assert "recv_batch" in case["peers"]
        assert case["peers"]["fastsock"]["thread_ns"]["median"] > 0
        assert "thread_ns" not in case["peers"]["stdlib"]


def test_latency_of_every_receiver_has_ordered_percentiles(receiver_file: Path) -> None:
    results = json.loads(receiver_file.read_text(encoding="utf-8"))
    for result in results["latencies"]:
        receivers = result["receivers"]
        assert {"C recv", "stdlib recv", "fastsock recv", "Receiver", "asyncio"} <= set(receivers)
        for found in receivers.values():
            assert found["datagrams"] == 2 * 10
            assert 0 < found["p50_us"] <= found["p99_us"] <= found["max_us"]
    assert [*results["latencies"], *results["skipped"]]


def test_keeping_up_accounts_for_every_datagram(receiver_file: Path) -> None:
    results = json.loads(receiver_file.read_text(encoding="utf-8"))
    for result in results["keeping_up"]:
        assert list(result["receivers"]) == ["stdlib recv", "recv_batch", "Receiver"]
        for name, found in result["receivers"].items():
            assert found["sent"] == 4000
            assert found["received"] + found["lost"] == found["sent"]
            assert found["lost_by"]["ring"] == 0
            # The kernel counts a lost train as one, where it would have been received as one.
            if result["sender"] == "plain" or name != "Receiver":
                assert found["lost_by"]["unknown"] == 0
    assert [*results["keeping_up"], *results["skipped"]]


@pytest.mark.parametrize("framing", ["length prefix", "delimiter"])
def test_every_case_of_framing_loses_nothing(tmp_path: Path, framing: str) -> None:
    results = measure(tmp_path / "results.json", f"{framing}.*", "streams", seconds=0.01)
    assert results["failed"] == {}
    assert len(results["cases"]) == 10
    for case in results["cases"]:
        assert case["lost"] == 0
        assert list(case["peers"])[:4] == ["stdlib", "stdlib again", "fastsock", "floor"]
        assert ("asyncio" in case["peers"]) == (case["method"] == "recv_many")


def test_every_server_answers_its_clients(streams_file: Path) -> None:
    results = json.loads(streams_file.read_text(encoding="utf-8"))
    assert results["failed"] == {}
    assert len(results["servers"]) + len(results["skipped"]) == 2
    for result in results["servers"]:
        assert set(result["servers"]) >= {"StreamServer", "selectors", "asyncio", "C epoll"}
        assert set(result["times_rate_of"]) >= {"selectors", "asyncio", "C epoll"}
        for found in result["servers"].values():
            assert found["per_second"]["median"] > 0
            assert found["cpu_ns"]["median"] > 0
            assert 0 < found["client_share"]["median"] <= 1.01
    (memory,) = results["memories"]
    assert memory["connections"] >= 20
    for found in memory["servers"].values():
        assert found["memory"] > 0 <= found["bytes_each"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda reply: reply[:-1] + b"!", "a reply"),
        (lambda reply: reply + b"x", "a reply"),
        (lambda reply: b"", "a connection has ended"),
    ],
    ids=["altered", "too-long", "none"],
)
def test_clients_notice_a_wrong_reply(
    bench: None, change: Callable[[bytes], bytes], complaint: str
) -> None:
    import floor

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(change(connection.recv(4096)))

        answered = pool.submit(answer)
        options = [str(listener.getsockname()[1]), "1", "1", "64", "0"]
        done = subprocess.run(
            [floor.load(), *options], input="", capture_output=True, text=True, timeout=18
        )
        answered.result(10)
    assert done.returncode == 1
    assert complaint in done.stderr


@pytest.mark.parametrize("piece", [1, 3, 7, 68, 1000])
def test_python_cutters_find_every_frame_however_the_stream_is_split(
    bench: None, piece: int
) -> None:
    from peers.framers import HEADER, cut_prefixed, split_lines

    frames = [b"x" * (number * 7 % 90) for number in range(200)]
    for cut, stream in (
        (cut_prefixed, b"".join(HEADER.pack(len(frame)) + frame for frame in frames)),
        (split_lines, b"".join(frame + b"\n" for frame in frames)),
    ):
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        waiting = iter(pieces)
        assert cut(lambda room, waiting=waiting: next(waiting), 0, len(frames)) == len(frames)
        assert list(waiting) == []


@pytest.mark.parametrize(
    ("rates", "met"),
    [
        ({"C epoll": 0.95, "uvloop": 1.2}, [True, True]),
        ({"C epoll": 0.89, "uvloop": 0.9}, [False, False]),
        ({"C epoll": 0.95}, [True]),
    ],
    ids=["as-wanted", "behind-both", "no-uvloop"],
)
def test_echo_of_64_connections_is_judged_by_its_rivals(
    bench: None, rates: dict[str, float], met: list[bool]
) -> None:
    import goals

    rate_of = {name: {"median": rate} for name, rate in rates.items()}
    result = {"group": "echo", "connections": 64, "outstanding": 1, "times_rate_of": rate_of}
    judged = goals.judged({"cases": [], "servers": [result]})
    assert [verdict.is_met for _, verdict in judged] == met


@pytest.mark.parametrize(
    ("ours", "theirs", "met"),
    [(0, 9, [True, True]), (1, 9, [False, True]), (0, 0, [True, False])],
    ids=["as-wanted", "we-lose", "nobody-loses"],
)
def test_receiver_has_to_lose_nothing_where_the_stdlib_does(
    bench: None, ours: int, theirs: int, met: list[bool]
) -> None:
    import goals

    receivers = {"stdlib recv": {"lost": theirs}, "Receiver": {"lost": ours}}
    result = {"group": "keeping up", "receivers": receivers}
    judged = goals.judged({"cases": [], "keeping_up": [result]})
    assert [verdict.is_met for _, verdict in judged] == met


def test_percentiles_are_delays_that_occurred(bench: None) -> None:
    from cases.latency import percentiles

    found = percentiles([number * 1000 for number in range(200, 0, -1)])
    assert found == {"datagrams": 200, "p50_us": 100, "p99_us": 198, "max_us": 200}


def test_account_tells_what_nobody_counted(bench: None) -> None:
    from cases.keeping_up import Turn, account

    found = account([Turn(100, 90, 7, 2, 10**9, 900), Turn(100, 100, 0, 0, 10**9, 1000)])
    assert (found["sent"], found["received"], found["lost"]) == (200, 190, 10)
    assert found["lost_by"] == {"kernel": 7, "ring": 2, "unknown": 1}
    assert found["sent_per_second"] == 100


def test_highest_rate_is_found_by_bisection(bench: None) -> None:
    from rates import Step, highest

    tried = []

    def attempt(rate: float) -> Step:
        tried.append(rate)
        return Step(rate, rate <= 300_000, False)

    assert 0.95 * 300_000 < highest(attempt, 1e6, 7).rate <= 300_000
    assert len(tried) == 8
    assert highest(attempt, 200_000, 7).rate == 200_000
    assert highest(lambda rate: Step(rate, False, False), 1e6, 7).rate == 0


def test_readme_is_rewritten_between_the_markers_only(results_file: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    assert call("report.py", "--readme", readme, results_file).returncode == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- bench:begin -->\n| case |")
    assert text.endswith(MARKED[MARKED.index("<!-- bench:end -->") :])
    assert "| recv udp4 blocking |" in text
    assert "-->\noutdated\n<!--" not in text
    assert call("report.py", "--readme", readme, results_file).returncode == 0
    assert readme.read_text(encoding="utf-8") == text


def test_readme_table_of_batches_has_markers_of_its_own(batches_file: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    assert call("report.py", "--readme", readme, batches_file).returncode == 0
    text = readme.read_text(encoding="utf-8")
    kept, _, table = text.partition("<!-- bench-batches:begin -->\n")
    assert kept == MARKED.partition("<!-- bench-batches:begin -->\n")[0]
    assert table.startswith("| case | stdlib loop |")
    assert "| recv_batch 64 B | recvfrom |" in table
    assert "asyncio" in table
    assert "| sustained 64 B, plain sender |" in table
    assert table.endswith(MARKED[MARKED.index("<!-- bench-batches:end -->") :])
    assert call("report.py", "--readme", readme, "--check", batches_file).returncode == 0


def test_readme_table_of_the_receiver_tells_costs_latencies_and_losses(
    receiver_file: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    assert call("report.py", "--readme", readme, receiver_file).returncode == 0
    text = readme.read_text(encoding="utf-8")
    kept, _, table = text.partition("<!-- bench-receiver:begin -->\n")
    assert kept == MARKED.partition("<!-- bench-receiver:begin -->\n")[0]
    assert table.startswith("| case | stdlib recv ns | Receiver ns |")
    assert "| Receiver, bytes 1400 B |" in table
    assert "| latency at 1000 datagrams/s | p50" in table
    assert "| keeping up with 100000 datagrams/s, GIL held | sent |" in table
    assert table.endswith(MARKED[MARKED.index("<!-- bench-receiver:end -->") :])
    assert call("report.py", "--readme", readme, "--check", receiver_file).returncode == 0


def test_readme_tables_of_streams_tell_frames_servers_and_memory(
    streams_file: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    assert call("report.py", "--readme", readme, streams_file).returncode == 0
    text = readme.read_text(encoding="utf-8")
    kept, _, table = text.partition("<!-- bench-streams:begin -->\n")
    assert kept == MARKED.partition("<!-- bench-streams:begin -->\n")[0]
    assert table.startswith("| frames | in Python |")
    assert "| length prefix 64 B | tuned cutter |" in table
    assert "| echo 64 connections, 16 outstanding |" in table
    assert "| bytes a connection, " in table
    assert call("report.py", "--readme", readme, "--check", streams_file).returncode == 0


def test_check_fails_where_readme_and_results_differ(results_file: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    assert call("report.py", "--readme", readme, "--check", results_file).returncode == 1
    assert readme.read_text(encoding="utf-8") == MARKED
    call("report.py", "--readme", readme, results_file)
    assert call("report.py", "--readme", readme, "--check", results_file).returncode == 0
    results = json.loads(results_file.read_text(encoding="utf-8"))
    results["cases"][0]["speedup"]["median"] += 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(results), encoding="utf-8")
    assert call("report.py", "--readme", readme, "--check", changed).returncode == 1


def test_readme_without_markers_is_an_error_that_names_them(
    results_file: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n", encoding="utf-8")
    done = call("report.py", "--readme", readme, results_file)
    assert done.returncode == 2
    assert "bench:begin" in done.stderr


@pytest.mark.parametrize(
    ("results", "name"),
    [("results_file", b"recv udp4 blocking"), ("batches_file", b"recv_batch 64 B")],
    ids=["plain-calls", "batches"],
)
def test_chart_of_the_same_results_has_the_same_bytes(
    request: pytest.FixtureRequest, tmp_path: Path, results: str, name: bytes
) -> None:
    pytest.importorskip("matplotlib")
    charts = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for chart in charts:
        done = call("report.py", "--chart", chart, request.getfixturevalue(results))
        assert done.returncode == 0, done.stderr
    assert charts[0].read_bytes() == charts[1].read_bytes()
    assert name in charts[0].read_bytes()


def test_missing_compiler_is_one_line_that_names_the_package(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    # fastsock first: an editable install may want to compile when it is imported.
    program = (
        "import os, sys, fastsock\n"
        f"os.environ.update(PATH={str(tmp_path)!r}, CC='no-such-compiler')\n"
        f"sys.path.insert(0, {str(BENCH)!r})\n"
        "import pathlib, floor, run\n"
        f"floor.BUILD_FOLDER = pathlib.Path({str(tmp_path)!r})\n"
        "sys.exit(run.main(['--only', '^recv udp4 blocking$']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=18, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "install gcc" in done.stderr


def test_readme_table_is_what_the_kept_results_give() -> None:
    pytest.importorskip("rich")
    files = (BENCH / "results").glob("*.json")
    kept = [file for file in files if not file.name.startswith("latest")]
    assert BENCH / "results" / "plain-calls.json" in kept
    for file in kept:
        done = call("report.py", "--readme", BENCH.parent / "README.md", "--check", file)
        assert done.returncode == 0, done.stdout + done.stderr
