# SPDX-License-Identifier: MIT
"""Print the messages that come to a Unix datagram socket, until Ctrl+C.

Usage:

    python unix_server.py              # ./unix.sock
    python unix_server.py /tmp/my.sock

A file that an ended server left behind is replaced. The file of a living server, and one
that is no socket, are left alone.
"""

import argparse
import errno
import os
import stat
import sys

import fastsock as socket


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", default="unix.sock")
    path = parser.parse_args().path
    # A peer's text may be more than stdout can encode: that must not end the server.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        serve(path)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        reason = " is already in use" if busy else f": {error.strerror or error}"
        sys.exit(f"unix_server: {path}{reason}")


def serve(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if os.path.lexists(path):
            remove_stale(path)
        sock.bind(path)
        own = os.lstat(path)
        try:
            print(f"Listening on {path}", flush=True)
            while True:
                data, peer = sock.recvfrom(1 << 18)  # bytes; Linux sends 212,960 by default
                source = f" (from {printable(os.fsencode(peer))})" if peer else ""
                print(f"Message: {printable(data)}{source}", flush=True)
        finally:
            # The open socket holds its inode, so another's file cannot have the same number.
            if os.path.lexists(path) and os.path.samestat(own, os.lstat(path)):
                os.unlink(path)


def remove_stale(path):
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:  # unix(7): nobody has it open
            os.unlink(path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # a living stream socket: bind will tell
                raise


def printable(data):
    """Decode data, with escapes for all that could drive the terminal."""
    text = data.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


if __name__ == "__main__":
    main()
