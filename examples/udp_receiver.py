# SPDX-License-Identifier: MIT
"""Receive in a thread of its own and print once a second how much came, until Ctrl+C.

Usage:

    python udp_receiver.py                        # udp://127.0.0.1:8888
    python udp_receiver.py udp://[::]:8888        # IPv6
    python udp_receiver.py unix:///tmp/x.sock     # datagrams over a Unix socket

The receive thread goes on whatever this program does; what is too much is dropped and counted.
"""

import argparse
import sys
import time

from fastsock import Receiver


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address", nargs="?", default="udp://127.0.0.1:8888")
    args = parser.parse_args()
    try:
        with Receiver(args.address) as receiver:
            print(f"Listening on {receiver.getsockname()}", flush=True)
            count(receiver)
    except KeyboardInterrupt:
        print(receiver.stats())
    except (OSError, ValueError) as error:
        sys.exit(f"udp_receiver: {error}")


def count(receiver):
    messages = size = 0
    second = time.monotonic() + 1
    while True:
        try:
            batch = receiver.next_batch(max(0, second - time.monotonic()))
            messages += len(batch)
            size += sum(batch.lengths)
        except (TimeoutError, BlockingIOError):
            pass
        if time.monotonic() >= second:
            print(f"{messages} messages, {size} bytes", flush=True)
            messages = size = 0
            second += 1


if __name__ == "__main__":
    main()
