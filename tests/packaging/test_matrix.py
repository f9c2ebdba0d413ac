# SPDX-License-Identifier: MIT
"""Which wheels a release has."""

import os
import re
import subprocess
import sys

import pytest

from tools.packages import ROOT

PYTHONS = ("cp311", "cp312", "cp313", "cp314", "cp314t")
SYSTEMS = {
    "linux": (
        "manylinux_x86_64",
        "manylinux_aarch64",
        "musllinux_x86_64",
        "musllinux_aarch64",
    ),
    "macos": ("macosx_x86_64", "macosx_arm64"),
}


@pytest.mark.parametrize("platform", SYSTEMS)
def test_release_has_exactly_these_wheels(platform):
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers"]
    done = subprocess.run(
        [*command, "--platform", platform, "."],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("CIBW_")},
        capture_output=True,
        check=True,
        text=True,
    )
    expected = [f"{python}-{system}" for python in PYTHONS for system in SYSTEMS[platform]]
    assert sorted(done.stdout.split()) == sorted(expected)


def test_release_is_built_by_what_is_tested_here():
    (wanted,) = re.findall(r'"(cibuildwheel[^"]*)"', (ROOT / "pyproject.toml").read_text())
    assert f"pip install '{wanted}'" in (ROOT / ".github/workflows/wheels.yml").read_text()
