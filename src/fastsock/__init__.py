# SPDX-License-Identifier: MIT
"""Python's ``socket`` module at C speed.

``import fastsock as socket`` and the program runs as before: every name of the standard library's
``socket`` is here, implemented by fastsock (``__implements__``) or the identical object
(``__imports__``). What the standard library lacks is in ``__adds__``.
"""

import socket as _stdlib
import typing as _typing

if _typing.TYPE_CHECKING:
    # Not in the standard library's __all__; found by __getattr__ below.
    from socket import EAGAIN as EAGAIN
    from socket import EBADF as EBADF
    from socket import EWOULDBLOCK as EWOULDBLOCK
    from socket import AddressInfo as AddressInfo
    from socket import MsgFlag as MsgFlag
    from socket import SocketIO as SocketIO

    from fastsock.capability import Capability as Capability
    from fastsock.capability import capabilities as capabilities
    from fastsock.config import get_include as get_include
    from fastsock.config import get_library as get_library
    from fastsock.credentials import PeerCredentials as PeerCredentials

    # Of two imports of a name mypy keeps the first, Python the last.
    from fastsock.dropin import socket as socket
    from fastsock.factories import create_connection as create_connection
    from fastsock.factories import create_server as create_server
    from fastsock.factories import fromfd as fromfd
    from fastsock.factories import socketpair as socketpair
    from fastsock.native.connection import Connection as Connection
    from fastsock.native.frame_reader import FrameReader as FrameReader
    from fastsock.native.frame_writer import FrameWriter as FrameWriter
    from fastsock.native.framer import Framer as Framer
    from fastsock.native.framing import Delimiter as Delimiter
    from fastsock.native.framing import FixedSize as FixedSize
    from fastsock.native.framing import LengthPrefix as LengthPrefix
    from fastsock.native.receiver import ReceivedBatch as ReceivedBatch
    from fastsock.native.server_batch import ServerBatch as ServerBatch
    from fastsock.receiver import Receiver as Receiver
    from fastsock.server import StreamServer as StreamServer
    from fastsock.shards import open_shards as open_shards
    from fastsock.stats import CloseReason as CloseReason
    from fastsock.stats import ReceiverStats as ReceiverStats
    from fastsock.stats import ServerStats as ServerStats

from socket import *  # type: ignore[assignment]

from fastsock import constants as _constants
from fastsock.batch import Batch as Batch
from fastsock.batch import Message as Message
from fastsock.batch import accept_many as accept_many
from fastsock.batch import recv_batch as recv_batch
from fastsock.batch import recv_many as recv_many
from fastsock.batch import recvfrom_many as recvfrom_many
from fastsock.batch import send_many as send_many
from fastsock.batch import send_segments as send_segments
from fastsock.batch import sendto_many as sendto_many
from fastsock.constants import *
from fastsock.dropin import socket as socket
from fastsock.factories import create_connection as create_connection
from fastsock.factories import create_server as create_server
from fastsock.factories import fromfd as fromfd
from fastsock.factories import socketpair as socketpair
from fastsock.inplace import install as install
from fastsock.inplace import installed as installed
from fastsock.inplace import uninstall as uninstall
from fastsock.native import library as _library
from fastsock.native.errors import CapabilityError as CapabilityError
from fastsock.native.errors import DescriptorsRefusedError as DescriptorsRefusedError
from fastsock.native.errors import FrameError as FrameError
from fastsock.native.errors import IncompleteFrameError as IncompleteFrameError
from fastsock.native.errors import StaleMessageError as StaleMessageError
from fastsock.pickling import register as _register
from fastsock.readiness import wait_readable as wait_readable

# Imported when they are first asked for: what they stand on takes longer to import than all the
# rest, and a program that has only changed its import line does not want it.
_LATER = {
    "Capability": "fastsock.capability",
    "CloseReason": "fastsock.stats",
    "Connection": "fastsock.native.connection",
    "Delimiter": "fastsock.native.framing",
    "FixedSize": "fastsock.native.framing",
    "FrameReader": "fastsock.native.frame_reader",
    "FrameWriter": "fastsock.native.frame_writer",
    "Framer": "fastsock.native.framer",
    "LengthPrefix": "fastsock.native.framing",
    "PeerCredentials": "fastsock.credentials",
    "ReceivedBatch": "fastsock.native.receiver",
    "Receiver": "fastsock.receiver",
    "ReceiverStats": "fastsock.stats",
    "ServerBatch": "fastsock.native.server_batch",
    "ServerStats": "fastsock.stats",
    "StreamServer": "fastsock.server",
    "capabilities": "fastsock.capability",
    "get_include": "fastsock.config",
    "get_library": "fastsock.config",
    "open_shards": "fastsock.shards",
}

__implements__: tuple[str, ...] = (
    "socket",
    "create_connection",
    "create_server",
    "fromfd",
    "socketpair",
)
__imports__: tuple[str, ...] = tuple(name for name in _stdlib.__all__ if name not in __implements__)
__adds__: tuple[str, ...] = (
    *_LATER,
    "Batch",
    "CapabilityError",
    "DescriptorsRefusedError",
    "FrameError",
    "IncompleteFrameError",
    "Message",
    "StaleMessageError",
    "accept_many",
    "install",
    "installed",
    "recv_batch",
    "recv_many",
    "recvfrom_many",
    "send_many",
    "send_segments",
    "sendto_many",
    "uninstall",
    "wait_readable",
    *(name for name in vars(_constants) if name.isupper() and not name.startswith("_")),
)
if not _typing.TYPE_CHECKING:
    # Type checkers can't work it out, and then have no name at all for ``from fastsock import *``.
    __all__ = [*__implements__, *__imports__, *__adds__]

__version__: str = "{}.{}.{}".format(*_library.version())

if _library.engine_name() is None:
    raise ImportError(
        "FASTSOCK_ENGINE names no engine of this build; unset it, or set it to linux or portable"
    )

_register()


if not _typing.TYPE_CHECKING:
    if hasattr(_stdlib, "_fallback_socketpair"):  # CPython 3.13
        from fastsock.factories import _fallback_socketpair

    def __dir__():
        return sorted({*globals(), *__all__})

    def __getattr__(name):
        if name in _LATER:
            import importlib

            found = getattr(importlib.import_module(_LATER[name]), name)
            globals()[name] = found
            return found
        # Names outside the standard library's __all__ that programs use all the same:
        # _GLOBAL_DEFAULT_TIMEOUT, EBADF, SocketIO. Hidden from type checkers, which would otherwise
        # take every misspelt name for one of them.
        try:
            return getattr(_stdlib, name)
        except AttributeError:
            raise AttributeError(f"module 'fastsock' has no attribute {name!r}") from None
