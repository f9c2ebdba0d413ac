# SPDX-License-Identifier: MIT
"""What `make wheel` has built, and an environment in which nothing but the wheel is installed."""

import subprocess
import sys
import sysconfig

import pytest

from tools.packages import built, run


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


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """The python of an environment that has the wheel, and pip's network switched off."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    return python
