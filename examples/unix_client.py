# SPDX-License-Identifier: MIT
"""Send one message to a Unix datagram socket.

Usage:

    python unix_client.py                    # to ./unix.sock
    python unix_client.py /tmp/my.sock
    python unix_client.py --message "Hello"
"""

import argparse
import os
import sys

import fastsock as socket


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", default="unix.sock")
    parser.add_argument("--message", default="Ground control to Major Tom")
    args = parser.parse_args()
    try:
        # fsencode gives back the very bytes of the command line.
        send(args.path, os.fsencode(args.message))
    except KeyboardInterrupt:
        sys.exit("unix_client: interrupted")
    except OSError as error:
        sys.exit(f"unix_client: {args.path}: {error.strerror or error}")


def send(path, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, path)  # waits while the server's queue is full


if __name__ == "__main__":
    main()
