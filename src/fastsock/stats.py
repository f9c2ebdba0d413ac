# SPDX-License-Identifier: MIT
"""What has become of every message: the counters of the endpoints."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class ReceiverStats:
    """What has become of every message, counted since the receiver was opened.

    Always ``received == delivered + ring_drops + queued + discarded``. And ``sent == received +
    kernel_drops`` when ``kernel_drops_exact``: with ``gro=False``, or while nothing is dropped.

    Attributes
    ----------
    received : int
        Messages taken from the kernel.
    bytes : int
        Bytes of the messages received.
    system_calls : int
        Receiving system calls, those that found nothing included.
    largest_batch : int
        Messages that one system call brought at most.
    high_water : int
        Messages that ever waited for the consumer at once (of several shards the sum). When it
        comes near what ``memory`` holds, the consumer is about to be too slow.
    kernel_drops : int
        Dropped by the kernel, as its own receive buffer was full. Give the receive thread a larger
        ``receive_buffer``, a CPU of its own (``cpu``) or a ``priority``, or use ``shards``. With
        ``overflow="block"``: the consumer is too slow.
    kernel_drops_exact : bool
        False: ``kernel_drops`` is a lower bound, as a train of datagrams (GRO) counts once, or the
        system does not count them at all.
    ring_drops : int
        Dropped as the consumer was too slow and ``memory`` full. Give it more ``memory`` for longer
        bursts, or do less for each message: use the columns of the batch.
    delivered : int
        Given to the consumer.
    queued : int
        Wait for the consumer now.
    discarded : int
        Left when the receiver was closed, the kernel's queue included. Take what is queued before
        ``close()`` if it matters.
    truncated : int
        Unix datagrams longer than 64 KiB, cut (``Batch.TRUNCATED``). Send smaller ones.
    control_truncated : int
        Messages with more control data than there is room for. Switch off what the receiver did
        not ask for, such as SO_PASSCRED.
    fds_refused : int
        Descriptors that a Unix peer sent along, and that were closed. Receive from such a peer with
        ``recv_fds``.
    pinned : int
        Batches taken of which a view still lives. When they are many, the receiver lacks their
        memory: copy what is to be kept.
    errors : int
        Errors that a socket reported, such as a peer's ICMP message. Receiving goes on after them,
        but for one that makes the socket useless: its shard then receives nothing more.
    """

    received: int
    bytes: int
    system_calls: int
    largest_batch: int
    high_water: int
    kernel_drops: int
    kernel_drops_exact: bool
    ring_drops: int
    delivered: int
    queued: int
    discarded: int
    truncated: int
    control_truncated: int
    fds_refused: int
    pinned: int
    errors: int


class CloseReason(enum.Enum):
    """Why a connection of a `StreamServer` has ended."""

    EOF = "the peer had sent all"
    RESET = "the peer or the network broke it"
    IDLE = "nothing came within idle_timeout"
    OVERSIZE = "a frame was longer than max_frame, or its header no length"
    SLOW = "what was sent to it had no room: max_pending, or memory"
    LOCAL = "closed here"
    MEMORY = "its unfinished frame needed more than the memory left"


@dataclass(frozen=True, slots=True)
class ServerStats:
    """What a `StreamServer` has done so far: ``accepted == connections + sum(closed.values())``.

    Attributes
    ----------
    accepted : int
        Connections.
    connections : int
        Open now.
    closed : dict of CloseReason to int
    frames_received, bytes_received : int
        Frames given in batches, and bytes of the streams.
    frames_queued, bytes_sent : int
        Frames taken by ``send``, and bytes of the streams that the kernel took.
    bytes_unsent : int
        Queued for connections that ended first.
    bytes_unfinished : int
        Of frames that the end of their connection cut off.
    accept_pauses : int
        How often no descriptor was left for a new connection (EMFILE), which then waits in the
        backlog. Raise the limit (``ulimit -n``), or set ``max_connections`` below it.
    memory, memory_peak : int, bytes
        Of unfinished frames and queued output, now and at most; not of batches.
    """

    accepted: int
    connections: int
    closed: dict[CloseReason, int]
    frames_received: int
    bytes_received: int
    frames_queued: int
    bytes_sent: int
    bytes_unsent: int
    bytes_unfinished: int
    accept_pauses: int
    memory: int
    memory_peak: int
