# SPDX-License-Identifier: MIT
"""What holds this machine back: the capabilities, and settings of the system with their cure.

Limits come from the kernel's own defaults, but for two: 4 MiB of receive buffer is what the
benchmark's loss-free figures ask for, and 512 datagrams on a Unix socket is what systemd sets.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastsock.capability import capabilities
from fastsock.native import library as _library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_WIDTH = 100
_INDENT = " " * 6
_CAP_SYS_NICE = 23  # linux/capability.h
_DESCRIPTORS = 4096
# What takes a privilege that few programs have: told, and no fault of the machine.
_PRIVILEGED = {"busy_poll", "force_buffer"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    state: Literal["ok", "note", "low"] = "ok"
    """``"low"`` holds the machine back; ``"note"`` may be as it should be."""
    why: str | None = None
    """What comes of a value that is not ``"ok"``."""
    command: str | None = None
    """What a shell takes to change it."""


@dataclass(frozen=True)
class _Setting:
    name: str
    least: int
    why: str


_SETTINGS = (
    _Setting(
        "net.core.rmem_max",
        4 << 20,
        "no socket gets a larger receive buffer (bytes); what comes in a burst beyond it is lost",
    ),
    _Setting(
        "net.core.rmem_default",
        212992,
        "a socket that asks for no receive buffer (bytes) loses what comes in a burst beyond it",
    ),
    _Setting(
        "net.core.wmem_max",
        212992,
        "no socket gets a larger send buffer (bytes); a sender waits when it is full",
    ),
    _Setting(
        "net.core.netdev_max_backlog",
        1000,
        "packets that one CPU has not yet looked at; those beyond it are lost before any socket",
    ),
    _Setting(
        "net.unix.max_dgram_qlen",
        512,
        "a Unix datagram socket queues one message more than this; then its senders wait",
    ),
)


def examine(proc: str | os.PathLike[str] = "/proc") -> list[Finding]:
    """Look at everything that matters for speed and loss.

    Parameters
    ----------
    proc : path
        Where proc(5) is mounted; what is not there is left out.

    Returns
    -------
    list of Finding
        In the order in which they are printed. Nothing is changed, and nothing raises for what a
        system does not have.

    Notes
    -----
    Source: proc(5), socket(7), unix(7), getrlimit(2), capabilities(7).
    """
    root = Path(proc)
    return [
        *_facts(),
        *_capabilities(),
        *_settings(root / "sys"),
        _open_files(),
        *_real_time(root / "self" / "status"),
    ]


def write(stream: TextIO) -> int:
    """Print what `examine` found as plain text of at most 100 columns.

    Returns
    -------
    int
        For the shell: 0, or 1 when something holds the machine back.
    """
    findings = examine()
    low = [finding for finding in findings if finding.state == "low"]
    width = max(len(_escaped(finding.name)) for finding in findings)
    for finding in findings:
        stream.writelines(f"{line}\n" for line in _lines(finding, width))
    stream.write("\n")
    if low:
        things = "one thing holds" if len(low) == 1 else f"{len(low)} things hold"
        stream.write(f"{things} this machine back.\n")
    else:
        stream.write("nothing holds this machine back.\n")
    return 1 if low else 0


def _facts() -> Iterator[Finding]:
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()  # CPython 3.13
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("fastsock", "{}.{}.{}".format(*_library.version()))
    yield Finding("engine", str(_library.engine_name()))
    yield Finding("python", f"{python}, {'with the GIL' if has_gil else 'free-threaded'}")
    yield Finding("kernel", f"{platform.system()} {platform.release()}")
    # A container often has fewer than the machine.
    affinity = getattr(os, "sched_getaffinity", None)
    count = (len(affinity(0)) if affinity else os.cpu_count()) or 1
    if count == 1:
        why = "a thread that receives and the program that works on what came share it"
        yield Finding("cpus", "1", "note", why)
    else:
        yield Finding("cpus", str(count))


def _capabilities() -> Iterator[Finding]:
    for capability in capabilities().values():
        levels = {
            "built": capability.built,
            "probed": capability.probed,
            "working": capability.working,
        }
        value = ", ".join(name if has else f"not {name}" for name, has in levels.items())
        if capability.working:
            yield Finding(capability.name, value)
        elif capability.name in _PRIVILEGED or not sys.platform.startswith("linux"):
            yield Finding(capability.name, value, "note", capability.reason)
        else:
            yield Finding(capability.name, value, "low", capability.reason)


def _settings(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    for setting in _SETTINGS:
        try:
            value = folder.joinpath(*setting.name.split(".")).read_text(errors="replace").strip()
        except OSError as error:
            # Those that are one for the whole machine are not shown in a container.
            why = "look on the host, if this is a container"
            yield Finding(setting.name, f"not readable: {error.strerror}", "note", why)
            continue
        if value.isdecimal() and int(value) < setting.least:
            command = f"sysctl -w {setting.name}={setting.least}"
            yield Finding(setting.name, value, "low", setting.why, command)
        else:
            yield Finding(setting.name, value)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    name, wanted = "open files", _DESCRIPTORS
    if soft == resource.RLIM_INFINITY:
        return Finding(name, "unlimited")
    if soft >= wanted:
        return Finding(name, str(soft))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    why = "each connection of a server takes one"
    if wanted <= soft:
        return Finding(name, str(soft), "note", f"{why}; the hard limit is as low")
    return Finding(name, str(soft), "note", why, f"ulimit -n {wanted}")


def _real_time(status: Path) -> Iterator[Finding]:
    limit = getattr(resource, "RLIMIT_RTPRIO", None)  # Linux
    if limit is None:
        return
    soft, _ = resource.getrlimit(limit)
    if soft != 0:
        yield Finding("real-time priority", "allowed (RLIMIT_RTPRIO)")
    elif _effective_capabilities(status) >> _CAP_SYS_NICE & 1:
        yield Finding("real-time priority", "allowed (CAP_SYS_NICE)")
    else:
        why = "a thread that receives can't be put before others; raise RLIMIT_RTPRIO for this user"
        yield Finding("real-time priority", "not allowed", "note", why)


def _effective_capabilities(status: Path) -> int:
    try:
        for line in status.read_text(errors="replace").splitlines():
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _lines(finding: Finding, width: int) -> Iterator[str]:
    head = f"{finding.state:<4}  {_escaped(finding.name):<{width}}  {_escaped(finding.value)}"
    yield from textwrap.wrap(head, _WIDTH, subsequent_indent=_INDENT)
    if finding.why is not None:
        why = _escaped(finding.why)
        yield from textwrap.wrap(why, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    if finding.command is not None:
        yield f"{_INDENT}$ {_escaped(finding.command)}"


def _escaped(text: str) -> str:
    """In ASCII, with nothing that a terminal obeys."""
    return text.encode("unicode_escape").decode("ascii")
