# SPDX-License-Identifier: MIT
from socket import socket

def drops(self: socket, /) -> int: ...
def set_metadata(
    self: socket,
    /,
    *,
    timestamp: bool = False,
    destination: bool = False,
    hop_limit: bool = False,
    tos: bool = False,
) -> None: ...
def enabled_metadata(sock: socket, /) -> int: ...
def enable_metadata(sock: socket, bits: int, /) -> None: ...
