# SPDX-License-Identifier: MIT
"""Receive UDP in several processes at one port until Ctrl+C; the kernel spreads the senders.

Usage: python udp_workers.py PORT [WORKERS]

A Receiver belongs to the process that opened it. So each worker opens its own, over a socket that
shares the port.
"""

import multiprocessing
import signal
import sys
import threading

import fastsock


def work(port, stop):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when to stop
    with fastsock.socket(fastsock.AF_INET, fastsock.SOCK_DGRAM) as sock:
        sock.setsockopt(fastsock.SOL_SOCKET, fastsock.SO_REUSEPORT, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(f"udp_workers: 127.0.0.1:{port}: {error.strerror}")
        receiver = fastsock.Receiver(sock)
        closer = threading.Thread(target=lambda: stop.wait() and receiver.close(), daemon=True)
        closer.start()
        say(f"Listening on 127.0.0.1:{port}")
        for batch in receiver:
            del batch  # here goes the work
        closer.join()  # close() ends the loop first, and then counts what still waits
        say(receiver.stats())


def say(text):
    """Print a line by one write, as the workers share the output."""
    print(f"{text}\n", end="", flush=True)


def main():
    port, count = int(sys.argv[1]), int((sys.argv[2:] or [2])[0])
    stop = multiprocessing.Event()
    workers = [multiprocessing.Process(target=work, args=(port, stop)) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        stop.set()


if __name__ == "__main__":
    main()
