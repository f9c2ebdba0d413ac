# SPDX-License-Identifier: MIT
"""Run Python in a child process under tools that change what the kernel does for it.

A tool is a module of this package that changes its process and then becomes the command after "--".
So tools can be put before one another:

    child.run(text, ("refusal", "recvmmsg:EPERM"), ("namespace", "1500"))
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
START = TESTS / "tools" / "start"
NOT_ALLOWED = 77  # exit status of a tool that this host does not let do its work


def python(*arguments, tools=(), environment=None, deadline=15):
    """Run `python arguments` under the tools; return the CompletedProcess, its output as text."""
    interpreter = [sys.executable, "-W", "error"]
    command = [*interpreter, *arguments]
    for name, *options in reversed(tools):
        command = [*interpreter, "-m", f"tools.{name}", *options, "--", *command]
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        text=True,
        timeout=deadline,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {}), "PYTHONPATH": f"{TESTS}{os.pathsep}{START}"},
    )
    if done.returncode == NOT_ALLOWED:
        skip(f"this host does not allow it: {done.stderr.strip()}")
    return done


# For a program that ends as a fork, or beside threads at work: CPython leaves what those hold, and
# a leak sanitizer would tell.
NO_LEAK_SEARCH = {"ASAN_OPTIONS": "detect_leaks=0"}


def run(text, *tools, environment=None, deadline=15):
    """Return what the program printed; it must end well and complain of nothing."""
    done = python("-c", text, tools=tools, environment=environment, deadline=deadline)
    if done.returncode != 0 or done.stderr:
        text = f"{done.stdout}\n{done.stderr}".strip()
        raise AssertionError(f"the child ended with {done.returncode}:\n{text}")
    return done.stdout


def skip(reason):
    # Imported here, as the tools import this module too and pytest takes a fifth of a second.
    import pytest

    pytest.skip(reason)


def become(change):
    """Do the work of a tool's command line: change(options before "--"), then be the command."""
    split = sys.argv.index("--")
    options, command = sys.argv[1:split], sys.argv[split + 1 :]
    try:
        change(options)
    except (OSError, NotImplementedError) as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_ALLOWED)
    os.execvp(command[0], command)
