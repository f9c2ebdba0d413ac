# SPDX-License-Identifier: MIT
"""The path that binding a Unix socket makes, and that nobody but its maker should remove."""

from __future__ import annotations

import os
import socket as stdlib
from typing import Any, NamedTuple


class BoundPath(NamedTuple):
    """Where it is, which file, and by which process."""

    path: str
    device: int
    inode: int
    process: int


def path_of(family: int, name: Any) -> BoundPath | None:
    """What a socket's bind has just made, by its getsockname; None if that is no path."""
    if family != stdlib.AF_UNIX or not name or isinstance(name, bytes):
        return None  # an abstract name is bytes
    path = os.path.abspath(name)
    status = os.lstat(path)
    return BoundPath(path, status.st_dev, status.st_ino, os.getpid())


def remove_path(made: BoundPath | None) -> None:
    """Remove it if it is still the same, and ours."""
    if made is None:
        return
    try:
        status = os.lstat(made.path)
        if (status.st_dev, status.st_ino, os.getpid()) == made[1:]:
            os.unlink(made.path)
    except OSError:
        pass  # somebody was first, or has taken the right to away from us
