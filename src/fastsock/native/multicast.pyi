# SPDX-License-Identifier: MIT
from socket import socket

def join_group(
    self: socket, /, group: str, interface: int | str | None = None, source: str | None = None
) -> None: ...
def leave_group(
    self: socket, /, group: str, interface: int | str | None = None, source: str | None = None
) -> None: ...
def receive_own_groups(sock: socket) -> None: ...
