# SPDX-License-Identifier: MIT
"""The benchmark runs, loses nothing, and its report is a function of its results.

Nothing here looks at a speed: tests share the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
MARKED = "before\n<!-- bench:begin -->\noutdated\n<!-- bench:end -->\nafter\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark is Linux only")


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCH / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=18, check=False)


def measure(target: Path, name: str) -> dict[str, Any]:
    pytest.importorskip("rich")
    done = call(
        "run.py", "--quick", "--seconds-per-case", "0.05", "--only", f"^{name}$",
        "--json", target, "--no-chart",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return results


@pytest.fixture(scope="module")
def results_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one real case."""
    target = tmp_path_factory.mktemp("bench") / "results.json"
    measure(target, "recv udp4 blocking")
    return target


def test_list_names_every_case_once_without_measuring() -> None:
    done = call("run.py", "--list")
    assert done.returncode == 0, done.stderr
    names = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert "recvfrom udp4 timeout" in names
    assert len(names) == len(set(names)) > 50


def test_only_without_a_match_says_so_in_one_line() -> None:
    done = call("run.py", "--only", "no such case")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


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


def test_readme_is_rewritten_between_the_markers_only(results_file: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED, encoding="utf-8")
    assert call("report.py", "--readme", readme, results_file).returncode == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- bench:begin -->\n| case |")
    assert text.endswith("<!-- bench:end -->\nafter\n")
    assert "| recv udp4 blocking |" in text
    assert "outdated" not in text
    assert call("report.py", "--readme", readme, results_file).returncode == 0
    assert readme.read_text(encoding="utf-8") == text


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


def test_chart_of_the_same_results_has_the_same_bytes(results_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    charts = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for chart in charts:
        done = call("report.py", "--chart", chart, results_file)
        assert done.returncode == 0, done.stderr
    assert charts[0].read_bytes() == charts[1].read_bytes()
    assert b"recv udp4 blocking" in charts[0].read_bytes()


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
    kept = BENCH / "results" / "plain-calls.json"
    done = call("report.py", "--readme", BENCH.parent / "README.md", "--check", kept)
    assert done.returncode == 0, done.stderr
