# SPDX-License-Identifier: MIT
"""Sending sockets to other processes with ``multiprocessing``.

multiprocessing looks a reducer up by the exact type, so a subclass of ``socket.socket`` needs its
own. Plain ``pickle`` refuses sockets, and goes on doing so.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastsock.dropin import socket
from fastsock.native.readahead import refuse_sharing

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
    refuse_sharing(sock, "pickling")
    descriptor = sys.modules[_MODULE].DupFd(sock.fileno())
    return _rebuild, (descriptor, sock.family, sock.type, sock.proto)


class _RegisteringLoader:
    """Loads the module as its own loader does, registers the reducer, and is gone."""

    def __init__(self, loader: Loader, watcher: _Watcher) -> None:
        self._loader = loader
        self._watcher = watcher

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # inspect, pkgutil and a reload find the module's own loader, as without us.
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        module.register(socket, _reduce)
        with suppress(ValueError):
            sys.meta_path.remove(self._watcher)


class _Watcher:
    """Waits for the module to be imported; doing that ourselves would cost 10 ms and more."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        # It stays until the module is there: looking is not importing, and an import can fail.
        for finder in list(sys.meta_path):
            spec = None if isinstance(finder, _Watcher) else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    loader = _RegisteringLoader(spec.loader, self)
                    spec.loader = loader  # type: ignore[assignment]
                return spec
        return None


def register() -> None:
    """Make ``multiprocessing`` able to send our sockets, now or when it is imported."""
    if _MODULE in sys.modules:
        # Another thread may be in the middle of importing it: this waits for its end.
        import_module(_MODULE).register(socket, _reduce)
    elif not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())
