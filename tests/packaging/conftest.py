# SPDX-License-Identifier: MIT
"""What `make wheel` has built, and an environment in which nothing but the wheel is installed."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sdist():
    """The path of the source package."""
    return built("fastsock-*.tar.gz")


@pytest.fixture(scope="session")
def wheel():
    """The path of the repaired wheel for the running Python."""
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    machine = sysconfig.get_platform().rpartition("-")[2]
    return built(f"fastsock-*-{version}-{version}{free}-*{machine}.whl")


def built(pattern):
    """The newest of what is in dist/."""
    found = sorted((ROOT / "dist").glob(pattern), key=lambda path: path.stat().st_mtime)
    assert found, f"there is no dist/{pattern}; make wheel builds it"
    return found[-1]


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """The python of an environment that has the wheel, and pip's network switched off."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    return python


def run(*command, cwd, path="", **environment):
    """Run a command outside the checkout; return what it printed.

    It must end well. Of the caller's environment it has what says where programs are: path goes
    before PATH.
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
        timeout=120,
    )
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
            f"{done.stdout}\n{done.stderr}"
        )
    return done.stdout
