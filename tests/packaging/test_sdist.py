# SPDX-License-Identifier: MIT
"""The source package: all of git, and it builds without a network."""

import subprocess
import sys
import tarfile

import pytest

from tools.packages import ROOT, run

pytestmark = pytest.mark.timeout(300)
# The build requirements are in this environment.
BUILD = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir")


@pytest.fixture
def unpacked(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    return folder


def test_sdist_holds_what_git_holds(sdist):
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    listed = set(filter(None, done.stdout.split("\0")))
    with tarfile.open(sdist) as archive:
        files = [member.name for member in archive if not member.isdir()]
    held = {name.partition("/")[2] for name in files}
    assert len(files) == len(held)
    assert held - listed == {"PKG-INFO"}
    assert listed - held == set()


def test_sdist_builds_without_a_network(unpacked, tmp_path):
    alone = (sys.executable, "-m", "tools.namespace", "65536", "--", sys.executable)
    run(*alone, *BUILD, tmp_path, unpacked, cwd=tmp_path, PYTHONPATH=str(ROOT / "tests"))
    assert len(list(tmp_path.glob("fastsock-*.whl"))) == 1


def test_without_a_compiler_one_line_says_so(unpacked, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    with pytest.raises(AssertionError) as caught:
        run(sys.executable, *BUILD, tmp_path, unpacked, cwd=tmp_path, PATH=str(programs))
    said = [line.strip() for line in str(caught.value).splitlines()]
    assert "fastsock is built from C: install gcc or clang, or set CC to one" in said
