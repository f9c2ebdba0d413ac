# SPDX-License-Identifier: MIT
"""Print what TCP clients send, one client after another, until Ctrl+C.

Usage:

    python tcp_server.py               # 127.0.0.1 55555
    python tcp_server.py ::1 9999      # IPv6
    python tcp_server.py 127.0.0.1 0   # any free port: the first line tells which

A client's message ends where its stream ends; the next client waits till then.
"""

import argparse
import errno
import sys

import fastsock as socket

LIMIT = 1 << 20  # bytes of one message, so that no client can fill the memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=55555, type=port)
    args = parser.parse_args()
    # A peer's text may be more than stdout can encode: that must not end the server.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        serve(args.host, args.port)
    except KeyboardInterrupt:
        pass
    except UnicodeError:
        sys.exit(f"tcp_server: {args.host} is not a host name")
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        reason = " is already in use" if busy else f": {error.strerror or error}"
        sys.exit(f"tcp_server: {shown((args.host, args.port))}{reason}")


def serve(host, port):
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as sock:
        # Connections of an earlier run that still time out do not make the port busy.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(5)
        print(f"Listening on {shown(sock.getsockname())}", flush=True)
        while True:
            try:
                client, peer = sock.accept()
            except ConnectionAbortedError:  # accept(2): it left while it queued
                continue
            with client:
                outcome = received(client)
            print(f"{outcome} (from {shown(peer)})", flush=True)


def received(client):
    data = bytearray()
    try:
        while chunk := client.recv(65536):
            data += chunk
            if len(data) > LIMIT:
                return f"Refused: longer than {LIMIT} bytes"
    except OSError as error:  # a reset ends this client, not the server
        return f"Lost: {error.strerror}"
    return f"Message: {printable(data)}"


def port(text):
    if int(text) not in range(65536):
        raise ValueError(text)  # getaddrinfo would take it modulo 65536
    return int(text)


def shown(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def printable(data):
    """Decode data, with escapes for all that could drive the terminal."""
    text = data.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


if __name__ == "__main__":
    main()
