# SPDX-License-Identifier: MIT
"""The facts of the machine that a figure is worth nothing without."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import import_module
from importlib.metadata import version
from pathlib import Path


def facts() -> dict[str, str | int | None]:
    """CPU, kernel, Python, libc, the limits that matter, and what of fastsock is loaded."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "mitigations": _mitigations(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
        "rmem_max": _number("/proc/sys/net/core/rmem_max"),
        "wmem_max": _number("/proc/sys/net/core/wmem_max"),
        "fastsock": version("fastsock"),
        "engine": _engine(),
        "date": datetime.date.today().isoformat(),
        "load": f"{os.getloadavg()[0]:.2f}",  # before the run: anything near 1 spoils it
    }


def describe(machine: dict[str, str | int | None]) -> str:
    """One line for people."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}, "
        f"fastsock {machine['fastsock']} (engine {machine['engine']}), {machine['date']}"
    )


def _engine() -> str | None:
    # The name is kept in the report: the portable engine's figures are not the Linux engine's.
    name = import_module("fastsock.native.library").engine_name()
    return None if name is None else str(name)


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith(("model name", "Model", "cpu model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _mitigations() -> str | None:
    """What makes a system call dear: the CPU weaknesses that the kernel works around."""
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return None
    active = [entry.name for entry in entries if "Mitigation" in (_read(entry) or "")]
    return ", ".join(active) or "none"


def _number(path: str) -> int | None:
    text = _read(path)
    return None if text is None else int(text)


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
