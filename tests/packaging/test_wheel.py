# SPDX-License-Identifier: MIT
"""The repaired wheel: what is in it, and that it works where there is nothing else."""

import ctypes
import json
import re
import subprocess
import sys
import zipfile

import pytest

from tools.packages import ROOT, run

pytestmark = pytest.mark.timeout(120)
# Of the running Python, not of the system that the wheel was built on.
SMOKE = """
import asyncio, json, ssl, sys, threading
import fastsock as socket
from fastsock import aio

receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
receiver.set_readahead(16)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(receiver.getsockname())
batch = socket.Batch()
assert sender.send_many([b"%03d" % i for i in range(100)]) == 100
got = []
while len(got) < 100:
    receiver.recv_batch(batch)
    got += [message.bytes() for message in batch]
assert got == [b"%03d" % i for i in range(100)]

with socket.StreamServer("tcp://127.0.0.1:0", socket.LengthPrefix(4)) as server:
    client = socket.create_connection(server.getsockname())
    writer = socket.FrameWriter(client, socket.LengthPrefix(4))
    writer.send(b"frame")
    while not (frames := [bytes(frame) for _, frame in server.next_batch(5)]):
        pass
    assert frames == [b"frame"]

with socket.Receiver("udp://127.0.0.1:0") as receiver:
    sender.connect(receiver.getsockname())
    sender.send(b"last")
    assert [message.bytes() for message in receiver.next_batch(5)] == [b"last"]

built = {name: told.built for name, told in socket.capabilities().items()}
print(json.dumps({"file": socket.__file__, "gil": getattr(sys, "_is_gil_enabled", bool)(),
                  "built": built, "engine": socket.native.library.engine_name(),
                  "library": socket.get_library()}))
"""


@pytest.fixture(scope="module")
def told(installed, tmp_path_factory):
    """What a program says that uses the wheel, with no compiler and from no checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return json.loads(run(installed, "-W", "error", "-c", SMOKE, cwd=folder, PATH="/nowhere"))


def test_wheel_works_alone(installed, told):
    assert told["file"].startswith(str(installed.parents[1]))


def test_importing_the_wheel_keeps_the_gil_off(told):
    if not hasattr(sys, "_is_gil_enabled"):
        pytest.skip(f"CPython {sys.version_info[0]}.{sys.version_info[1]} has a GIL in any case")
    assert told["gil"] == sys._is_gil_enabled()


@pytest.mark.skipif(sys.platform != "linux", reason="of the engine linux")
def test_no_feature_was_lost_to_old_headers(told):
    """Whatever the build host's headers know, the kernel's numbers are the wheel's own."""
    assert told["engine"] == "linux"
    asked = {"recvmmsg", "sendmmsg", "udp_gro", "udp_segment"}
    assert {name for name, built in told["built"].items() if built} >= asked


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
