# SPDX-License-Identifier: MIT
"""Send one message over TCP.

Usage:

    python tcp_client.py                    # to 127.0.0.1 55555
    python tcp_client.py ::1 9999           # IPv6
    python tcp_client.py --message "Hello"
"""

import argparse
import os
import sys

import fastsock as socket


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=55555, type=port)
    parser.add_argument("--message", default="Ground control to Major Tom")
    args = parser.parse_args()
    try:
        # Tries each address of the name, IPv6 and IPv4, until one answers.
        with socket.create_connection((args.host, args.port)) as sock:
            # fsencode gives back the very bytes of the command line.
            sock.sendall(os.fsencode(args.message))
    except KeyboardInterrupt:
        sys.exit("tcp_client: interrupted")
    except UnicodeError:
        sys.exit(f"tcp_client: {args.host} is not a host name")
    except OSError as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        sys.exit(f"tcp_client: {host}:{args.port}: {error.strerror or error}")


def port(text):
    if int(text) not in range(65536):
        raise ValueError(text)  # getaddrinfo would take it modulo 65536
    return int(text)


if __name__ == "__main__":
    main()
