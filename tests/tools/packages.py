# SPDX-License-Identifier: MIT
"""Packages that were built, and programs that know nothing of the checkout."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def built(pattern):
    """The newest of what is in dist/."""
    found = sorted((ROOT / "dist").glob(pattern), key=lambda path: path.stat().st_mtime)
    assert found, f"there is no dist/{pattern}; make wheel builds it"
    return found[-1]


def run(*command, cwd, path="", **environment):
    """Run a command outside the checkout; return what it printed.

    It must end well. Of the caller's environment it has what says where programs are: path goes
    before PATH. A test is skipped when the command says by 77 that the host does not allow it.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    kept["PATH"] = f"{path}{os.pathsep}{kept['PATH']}" if path else kept["PATH"]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
    )
    if done.returncode == 77:
        pytest.skip(f"{command}: {done.stdout}{done.stderr}")
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
            f"{done.stdout}\n{done.stderr}"
        )
    return done.stdout


def need(tool, package, version="--version"):
    """Skip where a tool is missing, which may not be where CI has installed it."""
    try:
        subprocess.run([tool, version], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = f"{tool} was run and gave: {error}; on Debian: apt-get install {package}"
        (pytest.fail if "CI" in os.environ else pytest.skip)(said)
