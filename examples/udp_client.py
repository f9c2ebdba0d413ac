# SPDX-License-Identifier: MIT
"""Send one UDP message. Whether anybody receives it UDP does not tell.

Usage:

    python udp_client.py                    # to 127.0.0.1 8888
    python udp_client.py ::1 9999           # IPv6
    python udp_client.py --message "Hello"
"""

import argparse
import os
import sys

import fastsock as socket


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=8888, type=port)
    parser.add_argument("--message", default="Ground control to Major Tom")
    args = parser.parse_args()
    try:
        # fsencode gives back the very bytes of the command line.
        send(args.host, args.port, os.fsencode(args.message))
    except KeyboardInterrupt:
        sys.exit("udp_client: interrupted")
    except UnicodeError:
        sys.exit(f"udp_client: {args.host} is not a host name")
    except OSError as error:
        host = f"[{args.host}]" if ":" in args.host else args.host
        sys.exit(f"udp_client: {host}:{args.port}: {error.strerror or error}")


def send(host, port, data):
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.sendto(data, address)


def port(text):
    if int(text) not in range(65536):
        raise ValueError(text)  # getaddrinfo would take it modulo 65536
    return int(text)


if __name__ == "__main__":
    main()
