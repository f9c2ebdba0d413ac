# SPDX-License-Identifier: MIT
"""The path that binding a Unix socket makes: taken from the dead, and removed by its maker alone.

Facts (Linux)
    The path outlives its socket, and bind refuses a path that is there, used or not.
    connect finds the socket of a path before it compares types, and a socket of datagrams needs no
    listen: a datagram probe is told ECONNREFUSED of a path without socket and nothing else; of a
    stream EPROTOTYPE, listening or not; and it never makes a connection that a server would see.
    The path's mode is that of the socket's own inode, less the umask.
    The number of an inode is used again as soon as nobody has the inode open.
What follows
    Who holds the lock beside the path, and finds nobody there, may remove it: every other user of
    `bind` waits. A socket's own path is removed while it is open: nobody takes it for stale then,
    and no other file can have its number.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket as stdlib
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fastsock.native.errors import CapabilityError

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterator

    _Finalizer = weakref.finalize[..., stdlib.socket]

_MODES = range(0o1000)


class BoundPath(NamedTuple):
    """Where it is, which file, and by which process."""

    path: str
    device: int
    inode: int
    process: int


def bind(
    sock: stdlib.socket, path: str | bytes | os.PathLike[Any], mode: int | None = None
) -> BoundPath | None:
    """Bind as `socket.bind_unix`; the caller removes the path. None: an abstract name."""
    if sock.family != stdlib.AF_UNIX:
        raise CapabilityError(
            errno.EOPNOTSUPP, "bind_unix: only a socket of AF_UNIX has a path; call bind"
        )
    given = os.fspath(path)
    if not given:
        raise ValueError("the path of a Unix socket must not be empty")
    if given[0] in (0, "\0"):
        if mode is not None:
            raise ValueError("an abstract name has no file and so no mode; ask peer_credentials")
        sock.bind(given)
        return None
    if mode is not None and mode not in _MODES:
        raise ValueError(f"mode must be 0 to 0o777, not {mode}; it is written as 0o660")
    if sock.getsockname():
        raise OSError(errno.EINVAL, "bind_unix: the socket has an address already; make another")
    name = os.fsdecode(given)
    with _locked(name):
        _clear(name)
        return _bind_free(sock, name, mode)


def path_of(family: int, name: Any) -> BoundPath | None:
    """What a socket's bind has just made, by its getsockname; None if that is no path."""
    if family != stdlib.AF_UNIX or not name or isinstance(name, bytes):
        return None  # an abstract name is bytes
    path = os.path.abspath(name)
    status = os.lstat(path)
    return BoundPath(path, status.st_dev, status.st_ino, os.getpid())


def remove_path(made: BoundPath | None) -> None:
    """Remove it if it is still the same, and ours. Its socket is open."""
    if made is None:
        return
    try:
        status = os.lstat(made.path)
        if (status.st_dev, status.st_ino, os.getpid()) == made[1:]:
            os.unlink(made.path)
    except OSError:
        pass  # somebody was first, or has taken the right to away from us


def own(sock: stdlib.socket, made: BoundPath) -> _Finalizer:
    """Let the path go with the socket: by a call of what is returned, before the socket is closed,
    or when it is dropped unclosed.
    """
    import weakref

    return weakref.finalize(sock, _remove_with, made, weakref.ref(sock))


def _remove_with(made: BoundPath, owner: weakref.ref[stdlib.socket]) -> None:
    if os.getpid() != made.process:
        return
    if owner() is not None:
        remove_path(made)
        return
    # The socket is closed, so another may have the path, and even the number of our inode.
    # A lock that is not free may be held further down in this very thread.
    with suppress(OSError), _locked(made.path, wait=False):
        if _find_stale(made.path) is not None:
            remove_path(made)


def _find_stale(path: str) -> os.stat_result | None:
    """What is there and serves nobody, or None if nothing is there; else an error."""
    found = None
    with suppress(FileNotFoundError):
        found = os.lstat(path)
    if found is not None and not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(
            errno.EEXIST, "What is there is no socket, and stays; bind to another path", path
        )
    with stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as probe:
        result = probe.connect_ex(path)
    if result == errno.ECONNREFUSED:
        return found
    if result == errno.ENOENT:
        return None
    text = "Address already in use by an open socket; close that first"
    if result == errno.EACCES:
        text = "Address already in use, or by whom may not be asked; look at the path's mode"
    raise OSError(errno.EADDRINUSE, text, path)


def _clear(path: str) -> None:
    """Remove what is stale. The lock is held."""
    while (found := _find_stale(path)) is not None:
        with suppress(FileNotFoundError):
            # Who does not know of the lock may have bound there since.
            if os.path.samestat(os.lstat(path), found):
                os.unlink(path)
                return


@contextmanager
def _locked(path: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock beside the path. Its file is there for that long and no longer.

    Who waits for a file that is removed by then begins anew: the lock is that of the file which the
    name leads to, and only its holder removes it.
    """
    name = f"{path}.lock"
    while True:
        # A file object: one that an exception leaves behind is closed, and its lock released.
        with open(name, "rb", buffering=0, opener=_open_lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if not _is_at(file.fileno(), name):
                    continue
                try:
                    yield
                    return
                finally:
                    with suppress(OSError):
                        os.unlink(name)
            finally:
                # Closing is not enough: a fork meanwhile has left the child the same file.
                fcntl.flock(file, fcntl.LOCK_UN)


def _open_lock(name: str, flags: int) -> int:
    # Others may not even read it: who may open a file may hold its lock.
    return os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


def _is_at(fd: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(name))
    except FileNotFoundError:
        return False


def _bind_free(sock: stdlib.socket, path: str, mode: int | None) -> BoundPath | None:
    if mode is not None:
        # Never more than is wanted, not even for a moment. Systems without it say EINVAL.
        with suppress(OSError):
            os.fchmod(sock.fileno(), mode)
    sock.bind(path)
    made = path_of(sock.family, sock.getsockname())
    if mode is not None and made is not None:
        try:
            _set_mode(made, mode)
        except BaseException:
            remove_path(made)
            raise
    return made


def _set_mode(made: BoundPath, mode: int) -> None:
    """Give the path what the umask took from its mode."""
    if stat.S_IMODE(os.lstat(made.path).st_mode) == mode:
        return
    if not hasattr(os, "O_PATH"):
        os.chmod(made.path, mode)
        return
    # chmod of the path would follow a link that somebody has put in its place.
    fd = os.open(made.path, os.O_PATH | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) == (made.device, made.inode):
            os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
