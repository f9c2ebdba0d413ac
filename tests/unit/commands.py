# SPDX-License-Identifier: MIT
"""The command `fastsock` as a process, whose output is read against a deadline."""

import selectors
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

WAIT = 10  # seconds until a command that should have spoken or ended counts as hung


class Command:
    """A `fastsock` at work, with pipes for its three streams."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "fastsock", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = {self.process.stdout: b"", self.process.stderr: b""}

    def line(self, stream):
        """Return the next line of a stream, without its end."""
        deadline = time.monotonic() + WAIT
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while b"\n" not in self._unread[stream]:
                if not selector.select(max(0, deadline - time.monotonic())):
                    pytest.fail(f"no line within {WAIT} s, only {self._unread[stream]!r}")
                chunk = stream.read(65536)
                if not chunk:
                    pytest.fail(f"ended instead of a line: {self.finish()}")
                self._unread[stream] += chunk
        line, _, self._unread[stream] = self._unread[stream].partition(b"\n")
        return line.decode()

    def address(self):
        """Return where a `fastsock listen` says that it listens."""
        line = self.line(self.process.stderr)
        assert line.startswith("listening on ")
        return line.removeprefix("listening on ")

    def state(self):
        """Return the state that proc_pid_stat(5) tells: S asleep, T stopped."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]

    def output(self):
        return self.line(self.process.stdout)

    def finish(self, given=None):
        """Wait for the end; return the exit code and what was unread of stdout and stderr."""
        out, err = self.process.communicate(given, timeout=WAIT)
        out = self._unread[self.process.stdout] + out
        err = self._unread[self.process.stderr] + err
        return self.process.returncode, out.decode(), err.decode()

    def stop(self, number=signal.SIGINT):
        """Send the signal, SIGINT as Ctrl+C does, and finish."""
        self.process.send_signal(number)
        return self.finish()


@contextmanager
def started(*arguments):
    """A `Command`, which ends with the block."""
    # A shell ignores SIGINT for its background jobs, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = Command(*arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait(WAIT)
        for stream in (command.process.stdin, command.process.stdout, command.process.stderr):
            stream.close()
