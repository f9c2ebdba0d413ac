# SPDX-License-Identifier: MIT
"""Programs, run as processes that tell by lines what they do."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT = 8  # seconds until a program that should have spoken or ended counts as hung
HOSTILE = b"\x1b[2J\xff\r\nMessage: \xe2\x80\xae\x00 end"  # \x00 cannot be an argument


class Process:
    """A program at work; its output is read against a deadline."""

    def __init__(self, command, folder, environment):
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = b""

    def line(self):
        """Return the next line of stdout without its end, waiting WAIT seconds at most."""
        deadline = time.monotonic() + WAIT
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0, deadline - time.monotonic())):
                    pytest.fail(f"no line within {WAIT} s, only {self._unread!r}")
                chunk = self._process.stdout.read(65536)
                if not chunk:
                    pytest.fail(f"ended instead of a line: {self.finish()}")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def listening(self):
        """Return what the first line of a server says after "Listening on "."""
        line = self.line()
        assert line.startswith("Listening on ")
        return line.removeprefix("Listening on ")

    def port(self):
        return self.listening().rpartition(":")[2]

    def finish(self):
        """Wait for the end; return the exit code, what was unread of stdout, and stderr."""
        out, err = self._process.communicate(timeout=WAIT)
        out, self._unread = self._unread + out, b""
        return self._process.returncode, out.decode(), err.decode()

    def end_by(self, number):
        """Send a signal, and finish."""
        self._process.send_signal(number)
        return self.finish()

    def kill(self):
        self._process.kill()
        self._process.wait(WAIT)

    def dispose(self):
        if self._process.poll() is None:
            self.kill()
        self._process.stdout.close()
        self._process.stderr.close()


class Program(Process):
    """A program of examples/ in Python."""

    def __init__(self, path, arguments, folder, variables):
        # A socket that a program forgets to close shows on stderr.
        command = [sys.executable, "-W", "default::ResourceWarning", path]
        command += map(os.fsencode, arguments)
        super().__init__(command, folder, {**os.environ, "PYTHONUTF8": "1", **variables})

    def interrupt(self):
        """Do what Ctrl+C does, and finish."""
        self._wait_until_asleep()
        return self.end_by(signal.SIGINT)

    def _wait_until_asleep(self):
        # Every Python program has an instant, between its last look at pending signals and the
        # system call, in which a signal doesn't end the wait; tests must not hit it.
        state = Path(f"/proc/{self._process.pid}/stat")
        deadline = time.monotonic() + WAIT
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] == "R":
            if time.monotonic() > deadline:
                pytest.fail(f"never asleep within {WAIT} s")
            time.sleep(0.001)


def peer_of(line, message):
    """Return the peer that a server's line names after the message."""
    match = re.fullmatch(re.escape(f"Message: {message} (from ") + r"(\S+)\)", line)
    assert match, line
    return match[1]
