# SPDX-License-Identifier: MIT
"""The repaired wheel: what is in it, and that it works where there is nothing else."""

import ctypes
import json
import re
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tools.packages import ROOT, run

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def told(installed, tmp_path_factory):
    """What a program says that uses the wheel, with no compiler and from no checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    program = ROOT / "tests/tools/smoke.py"
    return json.loads(run(installed, "-P", "-W", "error", program, cwd=folder, PATH="/nowhere"))


def test_wheel_works_alone(installed, told):
    assert told["file"].startswith(str(installed.parents[1]))


def test_importing_the_wheel_keeps_the_gil_off(told):
    if not hasattr(sys, "_is_gil_enabled"):
        pytest.skip(f"CPython {sys.version_info[0]}.{sys.version_info[1]} has a GIL in any case")
    assert told["gil"] == (not sysconfig.get_config_var("Py_GIL_DISABLED"))


def test_wheel_is_small_and_needs_nothing(wheel):
    assert wheel.stat().st_size < 1 << 20
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        needs = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
    assert [need for need in needs if "extra ==" not in need] == []


def test_wheel_holds_what_is_used_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    libraries = [name for name in names if "libfastsock" in name and not name.endswith(".pxd")]
    assert sorted(libraries) in (
        ["fastsock/lib/libfastsock.so", "fastsock/lib/libfastsock.so.0"],
        ["fastsock/lib/libfastsock.0.dylib"],
    )
    assert {name for name in names if re.search(r"\.(pyx|c|cpp|txt\.in)$", name)} == set()
    assert {name for name in names if name.endswith(".pxd")} == {"fastsock/libfastsock.pxd"}
    headers = {
        f"fastsock/include/{path.relative_to(ROOT / 'csrc/include')}"
        for path in (ROOT / "csrc/include").rglob("*.h")
    }
    assert names >= headers | {
        "fastsock/py.typed",
        "fastsock/lib/pkgconfig/fastsock.pc",
        "fastsock/lib/cmake/fastsock/fastsockConfig.cmake",
        "fastsock/native/library.pyi",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for ELF")
def test_name_of_the_wheel_says_where_it_runs(wheel):
    done = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", wheel],
        capture_output=True,
        check=True,
        text=True,
    )
    platform = wheel.stem.rpartition("-")[2].split(".")[0]
    assert f'"{platform}"' in " ".join(done.stdout.split())


def test_library_exports_its_functions_only(installed, told):
    listed = set(re.findall(r"\b(fsk_\w+);", (ROOT / "csrc/fastsock.map").read_text()))
    library = ctypes.CDLL(told["library"])
    assert {name for name in listed if not hasattr(library, name)} == set()
    if sys.platform == "linux":
        done = run("nm", "-D", "--defined-only", told["library"], cwd=installed.parent)
        names = {line.split()[2].partition("@")[0] for line in done.splitlines()}
        assert names - {"FASTSOCK_0.1"} == listed
