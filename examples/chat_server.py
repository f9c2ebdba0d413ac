# SPDX-License-Identifier: MIT
"""A chat: every line that one client sends goes to all the others, until Ctrl+C.

Usage: python chat_server.py [HOST [PORT]], then: nc HOST PORT
"""

import signal
import sys

import fastsock


def main():
    host, port = (sys.argv[1:] + ["127.0.0.1", "55556"][len(sys.argv) - 1 :])[:2]
    # Who takes too little is put out, so that nobody keeps the others waiting.
    with fastsock.StreamServer(
        (host, int(port)), fastsock.Delimiter(b"\n"), max_frame=4096, max_pending=1 << 20
    ) as server:
        signal.signal(signal.SIGINT, lambda *_: server.stop())
        print(f"Listening on {host}:{server.getsockname()[1]}", flush=True)
        talk(server, set())


def talk(server, people):
    for batch in server:
        for connection in batch.opened:
            connection.context = f"{connection.peer[0]}:{connection.peer[1]}".encode()
            people.add(connection)
        for connection, line in batch:
            for other in people - {connection}:
                other.send((connection.context + b": " + line)[:4096])  # max_frame
        for connection, _ in batch.closed:
            people.discard(connection)


if __name__ == "__main__":
    main()
