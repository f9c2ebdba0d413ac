# SPDX-License-Identifier: MIT
"""The interpreter's own test.test_socket on fastsock, test by test against a plain run.

    python run_stdlib_suite.py [--mode swapped|installed] [--only TEXT]

runs the suite twice, in child processes of the Python that runs this file:

    plain      on the standard library as it is;
    swapped    with fastsock in sys.modules["socket"] before anything else imports it;
    installed  with the standard library's socket after fastsock.install().

Each test must end in both runs the same way, so what the host lacks cancels out. The runs go side
by side: they mostly wait. A few tests use a fixed abstract name or VSOCK port, others measure time,
so a difference counts only when it shows again in each of RETRIES runs of that test alone, one side
after the other. What must differ stands in deviations.toml, with its reason; an entry that doesn't
differ is an error too.

A test that takes its process down, or hangs, has "died", and a new process runs the rest. What
dies on the standard library itself (ThreadedVSOCKSocketStreamTest.testStream does in a virtual
machine that can't reach itself by VSOCK) says nothing of fastsock and is left out.
Only the standard library is used here, and nothing that imports socket before the swap.
"""

import argparse
import concurrent.futures
import faulthandler
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import traceback
import unittest
from pathlib import Path

# The variable is for the tests of this file.
SUITE = os.environ.get("FASTSOCK_PARITY_SUITE", "test.test_socket")
DEVIATIONS = Path(__file__).with_name("deviations.toml")
MODES = ("swapped", "installed")
ENTRY_KEYS = {"test", "reason", "docs", "modes", "since", "before"}
RETRIES = 3
# The longest test of the suite takes 3 s here, nearly all of it waiting.
TEST_SECONDS = 20
# Tests that take their time are wanted; those that ask the internet are not.
RESOURCES = ("cpu", "walltime")


class SuiteError(Exception):
    """The suite could not be run: nothing about parity is known."""


# --- The child: runs the suite and writes one JSON line an event ------------------------------


class Recorder(unittest.TestResult):
    """Writes each outcome as it comes, so that a crash loses none of them."""

    def __init__(self, stream):
        super().__init__()
        self._stream = stream
        self._outcome = None

    def write(self, **event):
        self._stream.write(json.dumps(event) + "\n")
        self._stream.flush()

    def startTest(self, test):
        super().startTest(test)
        self._outcome = None
        faulthandler.dump_traceback_later(TEST_SECONDS, exit=True)
        self.write(event="start", test=test.id())

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        outcome, detail = self._outcome or ("passed", "")
        self.write(event="end", test=test.id(), outcome=outcome, detail=detail)
        super().stopTest(test)

    def _set(self, test, outcome, detail):
        # What fails outside a test (setUpClass, setUpModule) has neither a start nor an end.
        if not isinstance(test, unittest.TestCase):
            self.write(event="end", test=test.id(), outcome=outcome, detail=detail)
        # A test that fails and then fails to clean up keeps its first outcome.
        elif self._outcome is None:
            self._outcome = (outcome, detail)

    def addError(self, test, error):
        self._set(test, "failed", "".join(traceback.format_exception(*error)))

    def addFailure(self, test, error):
        self.addError(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.addError(test, error)

    def addSkip(self, test, reason):
        self._set(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self._set(test, "failed as expected", "")

    def addUnexpectedSuccess(self, test):
        self._set(test, "passed unexpectedly", "")


def put_in_place(mode):
    """Make mode's socket the one that an import gets. Nothing may have imported it before."""
    early = [name for name in ("socket", "ssl", "test.support") if name in sys.modules]
    if early:
        raise SuiteError(f"imported before the swap: {', '.join(early)}")
    if mode == "plain":
        return importlib.import_module("socket")
    fastsock = importlib.import_module("fastsock")
    if mode == "installed":
        fastsock.install()
        return importlib.import_module("socket")
    sys.modules["socket"] = fastsock
    return fastsock


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def run_child(mode, output, only):
    faulthandler.enable()
    expected = put_in_place(mode)
    support = importlib.import_module("test.support")
    support.use_resources = list(RESOURCES)
    module = importlib.import_module(SUITE)
    if module.socket is not expected:
        raise SuiteError(f"{SUITE} tests {module.socket!r}")
    tests = list(flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))
    if only is not None:
        tests = [test for test in tests if test.id() in only]
    with open(output, "w", encoding="utf-8") as stream:
        recorder = Recorder(stream)
        recorder.write(event="collected", tests=[test.id() for test in tests])
        unittest.TestSuite(tests).run(recorder)
        recorder.write(event="finished")


# --- The parent: starts children and judges ---------------------------------------------------


def read_events(path):
    """Return the events of a child; the last line may have been cut by its end."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def run_once(mode, only, folder):
    """Run one child. Return its outcomes, and the tests that it left because it died."""
    output = Path(folder, "outcomes.jsonl")
    output.unlink(missing_ok=True)
    selection = Path(folder, "selection.json")
    names = None if only is None else sorted(only)
    selection.write_text(json.dumps(names), encoding="utf-8")
    # -P: this file's folder is no place to import from. The suite leaves files where it runs.
    process = subprocess.run(
        [sys.executable, "-P", __file__, "--child", mode, str(output), str(selection)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    events = read_events(output) if output.exists() else []
    if not events:
        raise SuiteError(f"the {mode} run did not start:\n{process.stdout}")
    outcomes = {}
    running = None
    for event in events[1:]:
        if event["event"] == "start":
            running = event["test"]
        elif event["event"] == "end":
            outcomes[event["test"]] = (event["outcome"], event["detail"])
            running = None
    if events[-1]["event"] == "finished":
        return outcomes, set()
    if running is None and process.returncode == 0:
        raise SuiteError(f"the {mode} run ended early:\n{process.stdout}")
    if running is not None:
        outcomes[running] = ("died", f"exit {process.returncode}:\n{process.stdout[-8000:]}")
    return outcomes, set(events[0]["tests"]) - set(outcomes)


def run_suite(mode, only=None):
    """Run the suite, or the tests in only: {test id: (outcome, detail)}."""
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="fastsock-parity-") as folder:
        while True:
            some, left = run_once(mode, only, folder)
            outcomes.update(some)
            if not left:
                return outcomes
            if not some:
                raise SuiteError(f"the {mode} run dies before its first test")
            only = left


def run_suites(modes, only=None):
    """Run the suite in several modes side by side: {mode: outcomes}."""
    with concurrent.futures.ThreadPoolExecutor(len(modes)) as pool:
        return dict(zip(modes, pool.map(lambda mode: run_suite(mode, only), modes), strict=True))


def differing(plain, ours):
    """Return the ids whose outcome is not the same; one that is missing on a side differs."""
    nothing = ("not run", "")
    dead = {test for test, (outcome, _) in plain.items() if outcome == "died"}
    return {
        test
        for test in (plain.keys() | ours.keys()) - dead
        if plain.get(test, nothing)[0] != ours.get(test, nothing)[0]
    }


def version(text):
    return tuple(int(part) for part in text.split("."))


def read_entries(path):
    return tomllib.loads(path.read_text(encoding="utf-8")).get("deviation", [])


def load_deviations(mode, python=sys.version_info, path=DEVIATIONS):
    """Return {test id: reason} of the entries that hold for this mode and Python."""
    return {
        entry["test"]: entry["reason"]
        for entry in read_entries(path)
        if mode in entry.get("modes", MODES)
        and version(entry.get("since", "3.11")) <= python[:3]
        and python[:3] < version(entry.get("before", "99"))
    }


def judge(plain, differences, deviations):
    """Return what is wrong, one line each; no lines when each difference is a listed one."""
    problems = [
        f"{test}: differs and is not listed" for test in sorted(differences - set(deviations))
    ]
    for test in sorted(set(deviations) - differences):
        if test not in plain:
            problems.append(f"{test}: listed, but {SUITE} has no such test in this Python")
        elif plain[test][0] not in ("skipped", "died"):
            problems.append(f"{test}: listed, but it ends as on the standard library")
    return problems


def settle(mode, plain, ours, deviations):
    """Run the tests that differ and are not listed again. Return the differences that stay."""
    differences = differing(plain, ours)
    doubtful = differences - set(deviations)
    for _ in range(RETRIES):
        if not doubtful:
            break
        gone = doubtful - differing(run_suite("plain", doubtful), run_suite(mode, doubtful))
        for test in sorted(gone):
            print(f"unsteady: {test}")
        doubtful -= gone
        differences -= gone
    return differences


def compare(mode, plain, ours, deviations):
    """Return the report of a failed comparison, or "" when only listed tests differ."""
    differences = settle(mode, plain, ours, deviations)
    problems = judge(plain, differences, deviations)
    for test in sorted(differences - set(deviations)):
        for name, outcomes in (("plain", plain), (mode, ours)):
            outcome, detail = outcomes.get(test, ("not run", ""))
            problems.append(f"\n{test} [{name}]: {outcome}\n{detail}".rstrip())
    return "\n".join(problems)


def suite_is_there():
    """True when this interpreter ships its own tests; distributions often leave them out."""
    try:
        return importlib.util.find_spec(SUITE) is not None
    except ModuleNotFoundError:
        return False


def summary(outcomes):
    counts = {}
    for outcome, _ in outcomes.values():
        counts[outcome] = counts.get(outcome, 0) + 1
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=MODES, default="swapped")
    parser.add_argument("--only", default="", help="run the tests whose id contains this")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        mode, output, selection = options.child
        run_child(mode, output, json.loads(Path(selection).read_text(encoding="utf-8")))
        return 0
    if not suite_is_there():
        parser.exit(2, f"{sys.executable} ships no {SUITE}\n")
    deviations = load_deviations(options.mode)
    only = None
    if options.only:
        only = {test for test in list_tests() if options.only in test}
        deviations = {test: reason for test, reason in deviations.items() if test in only}
    plain, ours = run_suites(("plain", options.mode), only).values()
    print(f"{sys.implementation.name} {sys.version.split()[0]}, {os.uname().release}")
    print(f"plain: {summary(plain)}\n{options.mode}: {summary(ours)}")
    report = compare(options.mode, plain, ours, deviations)
    print(report or f"the same, {len(deviations)} listed deviations")
    return 1 if report else 0


def list_tests():
    """Return the ids of the suite's tests, in a child: the suite may not be imported here."""
    program = (
        "import sys, unittest; suite = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])\n"
        "def ids(s): return [i for t in s for i in ids(t)]"
        " if isinstance(s, unittest.TestSuite) else [s.id()]\n"
        "print(*ids(suite), sep='\\n')"
    )
    process = subprocess.run(
        [sys.executable, "-P", "-c", program, SUITE], capture_output=True, text=True, check=True
    )
    return process.stdout.split()


if __name__ == "__main__":
    sys.exit(main())
