# SPDX-License-Identifier: MIT
"""test.test_socket of the running Python: the same outcome of each test on fastsock.

How it is run and compared stands in run_stdlib_suite.py, which is also a program for any Python.
"""

import faulthandler

import pytest

from parity import run_stdlib_suite as suite

# The suite takes about 45 s; sanitizers, and tests that hang and are run again, take longer.
pytestmark = pytest.mark.timeout(300)

OK, BAD, SKIPPED = ("passed", ""), ("failed", "text"), ("skipped", "why")


@pytest.fixture(scope="module")
def outcomes():
    """Return what each mode gave: {mode: {test id: (outcome, detail)}}."""
    if not suite.suite_is_there():
        pytest.skip(f"importing {suite.SUITE} was tried; this Python ships no such module")
    # pytest dumps all stacks after faulthandler_timeout; here nothing hangs, the children wait.
    faulthandler.cancel_dump_traceback_later()
    return suite.run_suites(("plain", *suite.MODES))


@pytest.mark.parametrize("mode", suite.MODES)
def test_stdlib_suite_on_fastsock_ends_as_on_stdlib(mode, outcomes):
    plain = outcomes["plain"]
    # Fewer would mean that the suite was not run, not that the Python has fewer: 3.11 has 717.
    assert sum(outcome == "passed" for outcome, _ in plain.values()) > 300
    report = suite.compare(mode, plain, outcomes[mode], suite.load_deviations(mode))
    if report:
        pytest.fail(report, pytrace=False)


def test_deviations_name_their_test_reason_and_documentation():
    entries = suite.read_entries(suite.DEVIATIONS)
    for entry in entries:
        assert {"test", "reason", "docs"} <= entry.keys() <= suite.ENTRY_KEYS
        assert set(entry.get("modes", suite.MODES)) <= set(suite.MODES)
    assert len({entry["test"] for entry in entries}) == len(entries)


# --- The judge itself: a comparison that cannot fail would be worth nothing -------------------


@pytest.mark.parametrize(
    ("plain_outcome", "our_outcome", "differs"),
    [
        pytest.param(OK, OK, False, id="both_pass"),
        pytest.param(BAD, ("failed", "other text"), False, id="both_fail"),
        pytest.param(OK, BAD, True, id="ours_fails"),
        pytest.param(BAD, OK, True, id="theirs_fails"),
        pytest.param(OK, SKIPPED, True, id="ours_skipped"),
        pytest.param(OK, ("died", ""), True, id="ours_dies"),
        pytest.param(("died", ""), OK, False, id="theirs_dies"),
        pytest.param(OK, None, True, id="ours_missing"),
        pytest.param(None, OK, True, id="theirs_missing"),
    ],
)
def test_differing_of_two_outcomes_tells_whether_they_differ(plain_outcome, our_outcome, differs):
    plain = {"a": plain_outcome} if plain_outcome else {}
    ours = {"a": our_outcome} if our_outcome else {}
    assert suite.differing(plain, ours) == ({"a"} if differs else set())


@pytest.mark.parametrize(
    ("plain", "differences", "listed", "problem"),
    [
        pytest.param({"a": OK}, set(), {}, None, id="alike"),
        pytest.param({"a": OK}, {"a"}, {"a": "why"}, None, id="listed"),
        pytest.param({"a": SKIPPED}, set(), {"a": "why"}, None, id="listed_and_skipped"),
        pytest.param({"a": OK}, {"a"}, {}, "not listed", id="unlisted"),
        pytest.param({"a": OK}, set(), {"a": "why"}, "ends as on", id="listed_and_alike"),
        pytest.param({"b": OK}, set(), {"a": "why"}, "no such test", id="listed_and_unknown"),
    ],
)
def test_judge_is_strict_both_ways(plain, differences, listed, problem):
    problems = suite.judge(plain, differences, listed)
    assert len(problems) == (problem is not None)
    assert not problem or problem in problems[0]


@pytest.mark.parametrize(
    ("steady_runs", "stays"), [(0, True), (1, False), (suite.RETRIES - 1, False)]
)
def test_settle_drops_a_difference_that_is_not_always_there(monkeypatch, steady_runs, stays):
    """steady_runs of the retries end alike, the last ones."""
    left = suite.RETRIES

    def run_again(mode, only):
        nonlocal left
        if mode == "plain":
            return dict.fromkeys(only, OK)
        left -= 1
        return dict.fromkeys(only, OK if left < steady_runs else BAD)

    monkeypatch.setattr(suite, "run_suite", run_again)
    differences = suite.settle("swapped", {"a": OK, "b": OK}, {"a": BAD, "b": BAD}, {"b": "why"})
    assert differences == ({"a", "b"} if stays else {"b"})


@pytest.mark.parametrize(
    ("python", "mode", "found"),
    [
        ((3, 12, 9), "swapped", False),
        ((3, 13, 0), "swapped", True),
        ((3, 14, 2), "swapped", True),
        ((3, 15, 0), "swapped", False),
        ((3, 13, 0), "installed", False),
    ],
)
def test_deviation_holds_for_its_pythons_and_modes(tmp_path, python, mode, found):
    path = tmp_path / "deviations.toml"
    path.write_text(
        '[[deviation]]\ntest = "a"\nreason = "why"\nmodes = ["swapped"]\n'
        'since = "3.13"\nbefore = "3.15"\n'
    )
    assert ("a" in suite.load_deviations(mode, python, path)) == found


@pytest.mark.parametrize(
    ("body", "outcomes"),
    [
        pytest.param("pass", {"test_one": "passed", "test_two": "passed"}, id="pass"),
        pytest.param("1 / 0", {"test_one": "failed", "test_two": "passed"}, id="error"),
        pytest.param("os._exit(3)", {"test_one": "died", "test_two": "passed"}, id="exit"),
        pytest.param("self.skipTest('')", {"test_one": "skipped", "test_two": "passed"}, id="skip"),
    ],
)
def test_run_suite_tells_each_outcome_and_goes_on(monkeypatch, tmp_path, body, outcomes):
    """With a suite of our own in place of the interpreter's, in a real child."""
    (tmp_path / "small_suite.py").write_text(
        "import os, socket, unittest\n"
        "class Some(unittest.TestCase):\n"
        f"    def test_one(self): {body}\n"
        "    def test_two(self): pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("FASTSOCK_PARITY_SUITE", "small_suite")
    found = suite.run_suite("swapped")
    assert {test.rpartition(".")[2]: outcome for test, (outcome, _) in found.items()} == outcomes
