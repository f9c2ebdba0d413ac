# SPDX-License-Identifier: MIT
"""The C floor: built at first use, loaded into this process by ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from ctypes import POINTER, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("floor.c")
BUILD_FOLDER = Path(__file__).resolve().parents[2] / "build" / "bench"

# Without argtypes ctypes would pass a size_t as an int.
SIGNATURES: dict[str, list[object]] = {
    "floor_recv": [c_int, c_void_p, c_size_t, c_int64],
    "floor_recvfrom": [c_int, c_void_p, c_size_t, c_int64],
    "floor_recvmsg": [c_int, c_void_p, c_size_t, c_int64],
    "floor_recv_each": [POINTER(c_int), c_void_p, c_size_t, c_int64],
    "floor_send": [c_int, c_void_p, c_size_t, c_int64],
    "floor_sendto": [c_int, c_void_p, c_size_t, c_void_p, c_uint32, c_int64],
    "floor_sendmsg": [c_int, c_void_p, c_size_t, c_int64],
    "floor_accept": [c_int, POINTER(c_int), c_int64],
    "floor_ask": [c_int, c_void_p, c_size_t, c_int64],
    "floor_answer": [c_int, c_void_p, c_size_t, c_int64],
    "floor_fill": [c_int, c_void_p, c_size_t, c_int64],
    "floor_fill_each": [POINTER(c_int), c_void_p, c_size_t, c_int64],
    "floor_empty": [c_int, c_void_p, c_size_t, c_int, c_int64, c_int],
    "floor_queued": [c_int],
    "floor_dropped": [c_int],
    "floor_connect": [c_int, c_void_p, c_uint32, POINTER(c_int), c_int64],
    "floor_close": [POINTER(c_int), c_int64],
}


class FloorError(Exception):
    """The floor can't be built here; the text is one line and names the remedy."""


@cache
def library() -> ctypes.CDLL:
    """The loaded floor; builds it when its source changed."""
    loaded = ctypes.CDLL(str(build()), use_errno=False)
    for name, argument_types in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes = argument_types
        function.restype = None if name == "floor_close" else c_int64
    return loaded


def build() -> Path:
    """Compile floor.c into the project's build folder and give the path of the library."""
    # The name carries a hash of the source, so an old build is never taken for a new one.
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    target = BUILD_FOLDER / f"floor-{digest}.so"
    if target.exists():
        return target
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise FloorError("no C compiler: install gcc (apt-get install gcc, or dnf install gcc)")
    BUILD_FOLDER.mkdir(parents=True, exist_ok=True)
    # Two runs may build at once; each writes a file of its own and the rename is atomic.
    scratch = target.with_suffix(f".{os.getpid()}")
    flags = ["-O2", "-Wall", "-Wextra", "-shared", "-fPIC"]
    command = [compiler, *flags, "-o", str(scratch), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = done.stderr.splitlines()
        first = next((line for line in errors if "error" in line), errors[0] if errors else "")
        raise FloorError(
            f"{compiler} can't build floor.c: {first} "
            "(headers missing? apt-get install libc6-dev, or dnf install glibc-devel)"
        )
    scratch.rename(target)
    return target


def checked(result: int, wanted: int, name: str) -> None:
    """Raise OSError unless a loop of the floor did all it was asked to do."""
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
    if result != wanted:
        raise OSError(f"{name} did {result} of {wanted} messages")
