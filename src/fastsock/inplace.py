# SPDX-License-Identifier: MIT
"""install() and uninstall(): our methods in the standard library's own class.

The class object stays, so every ``isinstance``, exact-type check and earlier ``from socket import
socket`` holds, and sockets that already exist use the methods too. Nothing of it happens at import.
"""

from __future__ import annotations

import socket as stdlib
from _thread import allocate_lock
from types import MethodDescriptorType
from typing import TYPE_CHECKING

from fastsock.dropin import socket
from fastsock.native import descriptor as _descriptor

if TYPE_CHECKING:
    from types import TracebackType

# The native ones. The others, and what connect does more, serve what only fastsock.socket keeps.
_METHODS = tuple(
    name
    for name, method in vars(socket).items()
    if name in dir(_descriptor.stdlib_class)
    and isinstance(method, MethodDescriptorType)
    and name not in ("connect", "connect_ex")
)
_MISSING = object()

_lock = allocate_lock()
_saved: dict[str, object] = {}  # what the class itself defined before; empty while not in place
_is_wanted = False  # install() was called, and uninstall() not since
_contexts = 0  # installed() blocks that are open


def _check_owner() -> None:
    owner = stdlib.socket
    if owner is not _descriptor.stdlib_class:
        raise RuntimeError(
            f"socket.socket is {owner.__module__}.{owner.__qualname__}, not CPython's class; "
            f"fastsock.install() works without it, or use fastsock.socket directly"
        )


def _update() -> None:
    """Bring the class in line with what is wanted. The lock is held."""
    cls = _descriptor.stdlib_class
    if (_is_wanted or _contexts > 0) == bool(_saved):
        return
    if not _saved:
        # First what is to be restored, whole: an interrupt in between must not lose any of it.
        _saved.update((name, vars(cls).get(name, _MISSING)) for name in _METHODS)
        for name in _METHODS:
            setattr(cls, name, vars(socket)[name])
        return
    for name, before in _saved.items():
        # A method that somebody has replaced since is theirs to take out.
        if vars(cls).get(name) is not vars(socket)[name]:
            continue
        if before is _MISSING:
            delattr(cls, name)
        else:
            setattr(cls, name, before)
    _saved.clear()


def install() -> None:
    """Put fastsock's data-carrying methods into the standard library's ``socket.socket``.

    The whole program then uses them: its libraries, and the sockets that it already has. Calling it
    again changes nothing. Any thread may call it; calls that are under way finish as they began.

    Raises
    ------
    RuntimeError
        ``socket.socket`` is not CPython's class: gevent or another library has replaced it.
    """
    global _is_wanted
    with _lock:
        _check_owner()
        _is_wanted = True
        _update()


def uninstall() -> None:
    """Take out again what ``install()`` put in; without it nothing happens.

    While a ``with installed():`` block is open the methods stay until it ends.
    """
    global _is_wanted
    with _lock:
        _is_wanted = False
        _update()


class installed:
    """A context in which ``install()`` is in force: ``with fastsock.installed(): ...``.

    Blocks nest, and may be open in several threads at once: the last to end takes the methods out,
    unless ``install()`` itself was called. The methods serve every thread, not only this one.
    """

    def __enter__(self) -> None:
        global _contexts
        with _lock:
            _check_owner()
            _contexts += 1
            _update()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _contexts
        with _lock:
            _contexts -= 1
            _update()
