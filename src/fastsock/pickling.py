# SPDX-License-Identifier: MIT
"""Sending sockets to other processes with ``multiprocessing``.

multiprocessing looks a reducer up by the exact type, so a subclass of ``socket.socket`` needs its
own. Plain ``pickle`` refuses sockets, and goes on doing so.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastsock.dropin import socket

if TYPE_CHECKING:
    # Protocols are enough: importing the base classes would cost 15 ms.
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_MODULE = "multiprocessing.reduction"


def _rebuild(descriptor: Any, family: int, type: int, proto: int) -> socket:
    return socket(family, type, proto, fileno=descriptor.detach())


def _reduce(sock: socket) -> tuple[Any, ...]:
    descriptor = sys.modules[_MODULE].DupFd(sock.fileno())
    return _rebuild, (descriptor, sock.family, sock.type, sock.proto)


class _RegisteringLoader:
    """Loads the module as its own loader does, and registers the reducer when it is there."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.register(socket, _reduce)


class _Watcher:
    """Waits for the module to be imported; doing that ourselves would cost 10 ms and more."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)  # type: ignore[assignment]
        return spec


def register() -> None:
    """Make ``multiprocessing`` able to send our sockets, now or when it is imported."""
    if _MODULE in sys.modules:
        sys.modules[_MODULE].register(socket, _reduce)
    else:
        sys.meta_path.insert(0, _Watcher())
