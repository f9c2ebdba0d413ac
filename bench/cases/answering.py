# SPDX-License-Identifier: MIT
"""The answering process of request_reply.py; a control socket tells it which peer is next."""

from __future__ import annotations

import gc
import json
import socket
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from measure import timed  # noqa: E402
from peers import all_peers  # noqa: E402


def main() -> None:
    settings = json.loads(sys.argv[1])
    connection, size, count = settings["connection"], settings["size"], settings["count"]
    peers = all_peers()
    endpoints = {name: peer.attach(connection, settings["timeout"]) for name, peer in peers.items()}
    gc.disable()
    with socket.socket(fileno=settings["control"]) as control:
        # An empty message is the end of the control connection.
        while name := control.recv(64).decode():
            peer, endpoint = peers[name], endpoints[name]
            control.send(b"ready")
            _, _, cpu = timed(lambda: peer.answer(endpoint, size, count))  # noqa: B023
            control.send(str(cpu).encode())
    for name, peer in peers.items():
        peer.detach(endpoints[name])


if __name__ == "__main__":
    main()
