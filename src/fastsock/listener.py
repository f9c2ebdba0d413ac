# SPDX-License-Identifier: MIT
"""The socket that a stream server accepts from: opened and set up, or borrowed."""

from __future__ import annotations

import socket as stdlib
from typing import TYPE_CHECKING

from fastsock import bound_path
from fastsock.dropin import socket
from fastsock.endpoint import Address, parse_endpoint
from fastsock.native.descriptor import refuse_tls

if TYPE_CHECKING:
    from contextlib import ExitStack

    from fastsock.bound_path import BoundPath


def borrow(lender: stdlib.socket, nodelay: bool) -> socket:
    refuse_tls(lender)
    if hasattr(lender, "do_handshake"):  # of no connection, which is all that is looked at there
        raise NotImplementedError(
            "a StreamServer takes no listener of TLS: accept there, and give each connection a "
            "FrameReader"
        )
    if lender.type != stdlib.SOCK_STREAM or not lender.getsockopt(
        stdlib.SOL_SOCKET, stdlib.SO_ACCEPTCONN
    ):
        raise ValueError("a StreamServer takes a stream socket that listens; call listen() first")
    duplicate = socket(lender.family, lender.type, lender.proto, lender.dup().detach())
    if lender.family != stdlib.AF_UNIX:
        duplicate.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, nodelay)
    return duplicate


def listen(
    address: Address, backlog: int, reuse_port: bool, nodelay: bool, undo: ExitStack
) -> tuple[socket, BoundPath | None]:
    endpoint = parse_endpoint(address, stdlib.SOCK_STREAM)
    listener = undo.enter_context(socket(endpoint.family, stdlib.SOCK_STREAM))
    if endpoint.family != stdlib.AF_UNIX:
        # A port is free at once for the next server, though old connections linger.
        listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
        listener.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, nodelay)
        if reuse_port:
            listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
    if endpoint.family == stdlib.AF_INET6:
        listener.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 0)
    made = None
    try:
        if endpoint.family == stdlib.AF_UNIX:
            made = bound_path.bind(listener, endpoint.address)
            undo.callback(bound_path.remove_path, made)
        else:
            listener.bind(endpoint.address)
        listener.listen(backlog)
    except OSError as error:
        if error.errno is None:
            raise  # the standard library's own: the path is too long
        raise OSError(error.errno, f"{error.strerror}: {endpoint}") from None
    return listener, made
