# SPDX-License-Identifier: MIT
"""Print what TCP clients send, as tcp_server.py, but all clients at once, and line by line.

Usage: python stream_server.py [HOST [PORT]]
"""

import signal
import sys

import fastsock


def main():
    host, port = (sys.argv[1:] + ["127.0.0.1", "55555"][len(sys.argv) - 1 :])[:2]
    sys.stdout.reconfigure(errors="backslashreplace")
    with fastsock.StreamServer((host, int(port)), fastsock.Delimiter(b"\n")) as server:
        signal.signal(signal.SIGINT, lambda *_: server.stop())
        print(f"Listening on {shown(server.getsockname())}", flush=True)
        for batch in server:
            for connection, line in batch:
                print(f"Message: {printable(line)} (from {shown(connection.peer)})", flush=True)
            for connection, reason in batch.closed:
                print(f"{reason.name}: {reason.value} (from {shown(connection.peer)})", flush=True)


def shown(address):
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def printable(line):
    """Decode line, with escapes for all that could drive the terminal."""
    text = bytes(line).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


if __name__ == "__main__":
    main()
