# SPDX-License-Identifier: MIT
"""Print the UDP messages that come to an address, until Ctrl+C.

Usage:

    python udp_server.py               # 127.0.0.1 8888
    python udp_server.py ::1 9999      # IPv6
    python udp_server.py 127.0.0.1 0   # any free port: the first line tells which
"""

import argparse
import errno
import sys

import fastsock as socket


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=8888, type=port)
    args = parser.parse_args()
    # A peer's text may be more than stdout can encode: that must not end the server.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        serve(args.host, args.port)
    except KeyboardInterrupt:
        pass
    except UnicodeError:
        sys.exit(f"udp_server: {args.host} is not a host name")
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        reason = " is already in use" if busy else f": {error.strerror or error}"
        sys.exit(f"udp_server: {shown((args.host, args.port))}{reason}")


def serve(host, port):
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.bind(address)
        print(f"Listening on {shown(sock.getsockname())}", flush=True)
        while True:
            data, peer = sock.recvfrom(65535)  # bytes; no UDP message is longer
            print(f"Message: {printable(data)} (from {shown(peer)})", flush=True)


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
