# SPDX-License-Identifier: MIT
"""The datagram transport of ``fastsock.aio``: a loop's readiness in, batches out.

Facts
    A turn of an event loop costs as much as ten datagrams or more. What read-ahead holds, and what
    is left of a batch, no selector knows.
What follows
    A turn receives into a batch and delivers, for about a millisecond. What is left goes on in the
    next turn, by call_soon. What a protocol answers meanwhile leaves at the end of the turn,
    together.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from errno import EBUSY, EOPNOTSUPP
from socket import AF_UNIX
from typing import TYPE_CHECKING, Any

from fastsock.aio.outbox import SendingTransport
from fastsock.native.batch import Batch
from fastsock.native.delivery import Delivery

if TYPE_CHECKING:
    import socket as stdlib
    from collections.abc import Callable

    from fastsock.dropin import socket

TURN_NS = 1_000_000  # of receiving and delivering, until other callbacks have their turn
UDP_ROWS, UDP_BYTES = 256, 65536
UNIX_ROWS, UNIX_BYTES = 64, 262144  # a Unix datagram may be longer; asyncio cuts it there
READ_AHEAD = 64  # kernel buffers, the most that one call takes


class DatagramTransport(SendingTransport):
    """The transport of an endpoint, made by ``create_datagram_endpoint``: as asyncio's.

    A turn of the loop receives and delivers for about a millisecond, one datagram at least; one
    receive brings up to 256 (of a Unix socket 64), and a batch is delivered as a whole. As all of
    asyncio it is for one thread, the loop's.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        original: stdlib.socket | None = None,
    ) -> None:
        super().__init__(loop, sock, address, original)
        self._batch: Batch | None = None  # made by the first receive
        self._delivery: Delivery | None = None
        self._is_paused = False
        self._is_read_planned = False  # without waiting for the descriptor
        self.set_protocol(protocol)
        loop.call_soon(protocol.connection_made, self)
        # Not before connection_made has been called.
        loop.call_soon(self._start_reading)

    def __repr__(self) -> str:
        state = "closed " if self._is_closed else "closing " if self._is_closing else ""
        return f"<fastsock.aio.DatagramTransport {state}fd={self._fd}>"

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        if not getattr(self, "_is_closed", True):
            warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._close_sockets()

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to protocol from now on: batches, if it has ``datagrams_received``.

        What is left of a batch that was delivered one by one still is.
        """
        self._protocol = protocol
        self._takes_batches = hasattr(protocol, "datagrams_received")
        self._stop_delivery()

    def is_reading(self) -> bool:
        return not self._is_closing and not self._is_paused

    def pause_reading(self) -> None:
        """Deliver nothing more, at once; what was received is kept for `resume_reading`."""
        if self.is_reading():
            self._is_paused = True
            self._stop_reading()

    def resume_reading(self) -> None:
        """Deliver again, from the loop's next turn on."""
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._start_reading()

    def _start_reading(self) -> None:
        if self.is_reading():
            self._loop.add_reader(self._fd, self._on_readable)
            self._plan_read()

    def _stop_reading(self) -> None:
        self._loop.remove_reader(self._fd)
        self._stop_delivery()

    def _stop_delivery(self) -> None:
        if self._delivery is not None:
            self._delivery.stop()

    def _left(self) -> int:
        """Datagrams of the batch that have not been delivered."""
        return 0 if self._delivery is None else self._delivery.left()

    def _plan_read(self) -> None:
        """Go on in the next turn with what the descriptor's readiness does not tell of."""
        if self._is_read_planned or not self.is_reading():
            return
        if self._left() or self._sock.pending():
            self._is_read_planned = True
            self._loop.call_soon(self._on_rest)

    def _on_rest(self) -> None:
        self._is_read_planned = False
        self._read()

    def _on_readable(self) -> None:
        if not self._is_read_planned:
            self._read()

    def _read(self) -> None:
        """Deliver what is left of the batch, or what one receive brings."""
        if not self.is_reading():
            return
        deadline_ns = time.monotonic_ns() + TURN_NS
        self._is_flush_planned = True  # below
        try:
            if self._left() or self._receive():
                while self._deliver(deadline_ns) and self._receive():
                    pass
        finally:
            # Also when the protocol has raised: the loop reports it, and the next datagram comes.
            self._plan_read()
            self._is_flush_planned = False
            if self._queue and not self._is_blocked:
                self._flush()

    def _deliver(self, deadline_ns: int) -> bool:
        """Deliver, until the deadline; True when another receive may bring more and has time to."""
        batch, delivery = self._batch, self._delivery
        assert batch is not None
        assert delivery is not None
        if self._takes_batches and delivery.is_whole():
            delivery.skip()
            self._protocol.datagrams_received(batch)
        else:
            delivery.run(self._protocol.datagram_received, deadline_ns)
        return (
            len(batch) == batch.capacity
            and not delivery.left()
            and self.is_reading()
            and time.monotonic_ns() < deadline_ns
        )

    def _receive(self) -> bool:
        """True when the batch has something to deliver."""
        if self._batch is None or self._delivery is None:
            is_unix = self._sock.family == AF_UNIX
            self._batch = Batch(UNIX_ROWS, UNIX_BYTES) if is_unix else Batch(UDP_ROWS, UDP_BYTES)
            self._delivery = Delivery(self._batch)
        self._delivery.begin()
        try:
            return self._sock.recv_batch(self._batch) > 0
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._protocol.error_received(error)
            return False
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal read error on datagram transport")
            return False

    def _close_sockets(self) -> None:
        super()._close_sockets()
        self._info["discarded"] = self._left() + self._sock.readahead_discarded
        self._batch = self._delivery = None


def read_ahead(sock: socket) -> None:
    """Receive ahead, with GRO, where that is possible and not arranged already."""
    if sock.family == AF_UNIX or sock.get_readahead():
        return
    try:
        sock.set_readahead(READ_AHEAD)
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, EBUSY):
            raise
