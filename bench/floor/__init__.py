# SPDX-License-Identifier: MIT
"""The C floor, built at first use: a library for ctypes, a sender, a server and its clients."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from ctypes import POINTER, c_int, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
BUILD_FOLDER = Path(__file__).resolve().parents[2] / "build" / "bench"

# Without argtypes ctypes would pass a size_t as an int.
SIGNATURES: dict[str, list[object]] = {
    "floor_recv": [c_int, c_void_p, c_size_t, c_int64],
    "floor_recvfrom": [c_int, c_void_p, c_size_t, c_int64],
    "floor_recvmsg": [c_int, c_void_p, c_size_t, c_int64],
    "floor_recv_each": [POINTER(c_int), c_void_p, c_size_t, c_int64],
    "floor_recv_stamped": [c_int, c_void_p, c_size_t, POINTER(c_int64), c_int64],
    "floor_hold": [c_int64],
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
    "floor_slots_new": [c_uint32, c_size_t, c_int],
    "floor_slots_free": [c_void_p],
    "floor_recvmmsg": [c_int, c_void_p, c_int64],
    "floor_outgoing_new": [
        c_void_p, POINTER(c_uint32), c_uint32, c_void_p, c_uint32, c_uint32, c_uint32, c_int,
    ],
    "floor_outgoing_free": [c_void_p],
    "floor_send_outgoing": [c_int, c_void_p, c_int64],
    "floor_fill_trains": [c_int, c_void_p, c_size_t, c_uint32, c_int64],
    "floor_cut": [c_int, c_int, c_void_p, c_size_t, POINTER(c_uint32), c_int64],
    "floor_empty_trains": [c_int, c_void_p, c_size_t, c_int64, c_int],
}  # fmt: skip
# What the others return is a count.
RESULTS: dict[str, type[c_void_p] | None] = {
    "floor_close": None,
    "floor_slots_new": c_void_p,
    "floor_slots_free": None,
    "floor_outgoing_new": c_void_p,
    "floor_outgoing_free": None,
}


class FloorError(Exception):
    """The floor can't be built here; the text is one line and names the remedy."""


def hold(seconds: float) -> None:
    """Compute in C with the GIL held, as one long call of an extension module does."""
    _keeping_gil().floor_hold(round(seconds * 1e9))


@cache
def _keeping_gil() -> ctypes.PyDLL:
    loaded = ctypes.PyDLL(library()._name)
    loaded.floor_hold.argtypes = [c_int64]
    loaded.floor_hold.restype = c_int64
    return loaded


@cache
def library() -> ctypes.CDLL:
    """The loaded floor; builds it when its source changed."""
    built = _build("floor", ("floor.c", "batches.c", "framing.c"), ("-shared", "-fPIC"))
    loaded = ctypes.CDLL(str(built), use_errno=False)
    for name, argument_types in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes = argument_types
        function.restype = RESULTS.get(name, c_int64)
    return loaded


@cache
def pacer() -> Path:
    """The program that sends at a rate, see pacer.c; builds it when its source changed."""
    return _build("pacer", ("pacer.c",), ())


@cache
def load() -> Path:
    """The clients of a server, see load.c; builds them when their source changed."""
    return _build("load", ("load.c",), ())


@cache
def echo() -> Path:
    """The floor of a server, see echo.c; builds it when its source changed."""
    return _build("echo", ("echo.c",), ())


def _build(name: str, files: Sequence[str], flags: Sequence[str]) -> Path:
    """Compile files into the project's build folder and give the path of the result."""
    sources = [FOLDER / file for file in files]
    # The name carries a hash of the sources, so an old build is never taken for a new one.
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    target = BUILD_FOLDER / f"{name}-{digest}"
    if target.exists():
        return target
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise FloorError("no C compiler: install gcc (apt-get install gcc, or dnf install gcc)")
    BUILD_FOLDER.mkdir(parents=True, exist_ok=True)
    # Two runs may build at once; each writes a file of its own and the rename is atomic.
    scratch = target.with_suffix(f".{os.getpid()}")
    command: list[str | Path] = [
        compiler,
        "-O2",
        "-Wall",
        "-Wextra",
        *flags,
        "-o",
        scratch,
        *sources,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = done.stderr.splitlines()
        first = next((line for line in errors if "error" in line), errors[0] if errors else "")
        raise FloorError(
            f"{compiler} can't build {', '.join(files)}: {first} "
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
