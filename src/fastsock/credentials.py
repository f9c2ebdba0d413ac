# SPDX-License-Identifier: MIT
"""Who a peer is, as the kernel knows it."""

from typing import NamedTuple


class PeerCredentials(NamedTuple):
    """The process at the other end of a Unix socket; see ``socket.peer_credentials``.

    Attributes
    ----------
    pid : int
        0 where the system does not tell it, or for a process of another namespace.
    uid, gid : int
        Its effective user and group.
    """

    pid: int
    uid: int
    gid: int
