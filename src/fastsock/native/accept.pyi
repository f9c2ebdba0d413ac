# SPDX-License-Identifier: MIT
from socket import socket
from typing import Any

def accept(self: socket, /) -> tuple[Any, Any]: ...
