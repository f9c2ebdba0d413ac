# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from socket import socket
from typing import Any

from _typeshed import FileDescriptorLike, ReadableBuffer

from fastsock.credentials import PeerCredentials

def peer_credentials(self: socket, /) -> PeerCredentials: ...
def recv_fds(
    self: socket, /, bufsize: int, maxfds: int, flags: int = 0
) -> tuple[bytes, list[int], int, Any]: ...
def send_fds(
    self: socket,
    /,
    buffers: Iterable[ReadableBuffer],
    fds: Iterable[FileDescriptorLike],
    flags: int = 0,
    address: str | ReadableBuffer | None = None,
) -> int: ...
