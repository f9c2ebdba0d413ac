# SPDX-License-Identifier: MIT
"""bind_unix of many processes at once, and of the next after a kill -9."""

import os
import signal
import socket as stdlib
import subprocess
import sys

import pytest

import fastsock

PROCESSES = 8
# Each line that it reads is a path to fight for; it answers "won" or "in use", and holds what it
# has won until it reads the next line.
CONTENDER = """
import sys, errno, fastsock
held = None
print("ready", flush=True)
for line in sys.stdin:
    if held is not None:
        held.close()
        held = None
    path = line.rstrip()
    if not path:
        print("let go", flush=True)
        continue
    sock = fastsock.socket(fastsock.AF_UNIX, int(sys.argv[1]))
    try:
        sock.bind_unix(path, 0o600)
    except OSError as error:
        assert error.errno == errno.EADDRINUSE, error
        sock.close()
        print("in use", flush=True)
    else:
        held = sock
        print("won", flush=True)
"""
KINDS = {"stream": stdlib.SOCK_STREAM, "datagram": stdlib.SOCK_DGRAM, "seqpacket": 5}


class Contender:
    def __init__(self, kind):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(int(kind))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().rstrip()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def contenders():
    """contenders(kind): processes that are ready."""
    made = []

    def contenders(kind, count=PROCESSES):
        new = [Contender(kind) for _ in range(count)]
        made.extend(new)
        assert [contender.answer() for contender in new] == ["ready"] * count
        return new

    yield contenders
    for contender in made:
        contender.end()


def leave_behind(path):
    with stdlib.socket(stdlib.AF_UNIX) as sock:
        sock.bind(path)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("is_stale", [False, True], ids=["free", "stale"])
def test_exactly_one_of_many_processes_wins(contenders, tmp_path, repeats, kind, is_stale):
    fighters = contenders(kind)
    path = str(tmp_path / "x.sock")
    for _ in range(repeats):
        if is_stale:
            leave_behind(path)
        for fighter in fighters:
            fighter.ask(path)
        answers = [fighter.answer() for fighter in fighters]
        assert sorted(answers) == ["in use"] * (PROCESSES - 1) + ["won"]
        # Theirs is what is there: the winner's socket, and no lock.
        assert os.listdir(tmp_path) == ["x.sock"]
        winner = fighters[answers.index("won")]
        winner.ask("")
        assert winner.answer() == "let go"
        assert os.listdir(tmp_path) == []


def test_path_that_changes_hands_all_the_time_is_always_its_holders(contenders, tmp_path, repeats):
    """A close removes no path that another has bound meanwhile."""
    fighters = contenders(stdlib.SOCK_DGRAM, 4)
    path = str(tmp_path / "x.sock")
    wins = 0
    for _ in range(repeats * 4):
        for fighter in fighters:  # closes what it holds, while others bind
            fighter.ask(path)
        answers = [fighter.answer() for fighter in fighters]
        assert set(answers) <= {"won", "in use"}
        wins += answers.count("won")
        # Whoever has won last still holds it, and it answers.
        with stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as probe:
            if "won" in answers:
                probe.connect(path)
    assert wins > 0


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_path_of_a_killed_process_is_bound_again(contenders, tmp_path, kind):
    path = str(tmp_path / "x.sock")
    for holder in contenders(kind, 5):
        holder.ask(path)
        assert holder.answer() == "won"
        with fastsock.socket(stdlib.AF_UNIX, kind) as sock:
            with pytest.raises(OSError, match="in use"):
                sock.bind_unix(path)
            os.kill(holder.process.pid, signal.SIGKILL)
            holder.process.wait()
            assert os.listdir(tmp_path) == ["x.sock"]
            sock.bind_unix(path)
        assert os.listdir(tmp_path) == []


def test_process_killed_at_any_moment_of_binding_hinders_nobody(contenders, tmp_path, repeats):
    """Its lock goes with it, and its lock file is the next one's."""
    path = str(tmp_path / "x.sock")
    for _ in range(min(repeats, 100)):
        victim, other = contenders(stdlib.SOCK_STREAM, 2)
        victim.ask(path)
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        other.ask(path)
        assert other.answer() == "won"
        other.ask("")
        assert other.answer() == "let go"
        assert os.listdir(tmp_path) == []
