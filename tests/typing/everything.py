# SPDX-License-Identifier: MIT
"""``from fastsock import *`` must bring every name to mypy, as it does in Python.

pyright has no wildcard import from a library; its rule for that is the only one to ignore here.
"""

from typing import Any, assert_type

from fastsock import *  # pyright: ignore[reportWildcardImportFromLibrary]

sock = socket(AF_INET, SOCK_DGRAM)
assert_type(sock.recvfrom_many(10), list[tuple[bytes, Any]])
assert_type(create_connection(("localhost", 9)).drops(), int)
assert_type(gethostname(), str)
assert_type(UDP_SEGMENT, int)
assert_type(Receiver(("", 0)).stats(), ReceiverStats)
assert_type(recv_many(sock, 10), list[bytes])
