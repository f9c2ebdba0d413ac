# SPDX-License-Identifier: MIT
"""The sending half of a datagram transport, and its end, which waits for what is to be sent.

Facts
    sendto_many finds an address that is none before it sends anything, and does not tell whose it
    is. An error that the kernel tells is the first datagram's that is left.
    epoll says that a Unix socket is writable for ever, though its peer's queue is full.
What follows
    After an error that may be any one's the queue is sent one by one, and each meets its own.
    A socket that is writable and takes nothing is tried again after a millisecond, as a wait of a
    plain call would.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.log import logger
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket as stdlib

    from fastsock.dropin import socket

MOST_QUEUED = 256  # datagrams of a turn that are sent together
RETRY_SECONDS = 0.001
WARN_AFTER = 5  # sends in vain, as asyncio
SENDS_EMPTY = sys.version_info >= (3, 13)  # asyncio's sendto drops them before
HEADER_BYTES = 8 if SENDS_EMPTY else 0  # of each datagram, in asyncio's count of what is queued


class SendingTransport(asyncio.DatagramTransport):
    """What a datagram transport has beside reading."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket,
        address: Any,
        original: stdlib.socket | None,
    ) -> None:
        self._info: dict[str, Any] = {"socket": sock, "sockname": None, "peername": None}
        for name in ("sockname", "peername"):
            with suppress(OSError):
                self._info[name] = getattr(sock, f"get{name}")()
        super().__init__(self._info)
        self._loop = loop
        self._sock: socket = sock
        self._original = original  # the caller's, of which sock is a duplicate
        self._fd = sock.fileno()
        self._protocol: Any = None
        self._is_closing = False
        self._is_closed = False
        self._lost = 0  # set when the call of connection_lost is planned; then counts sends in vain
        self._address = address  # the only one that is sent to; None: each datagram has its own
        is_connected = self._info["peername"] is not None
        # With one destination the queue holds the bytes alone.
        self._has_one_peer = is_connected or bool(address)
        self._destination = None if is_connected else address
        self._queue: list[Any] = []
        self._size = 0  # bytes queued
        self._is_flush_planned = False
        self._is_blocked = False  # the kernel takes no more; _on_writable goes on
        self._is_writer_paused = False
        self.set_write_buffer_limits()

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Queue a datagram, which leaves at the end of the loop's turn.

        The datagrams of a turn are sent with one call, in order. The queue is sent at once when it
        is longer than the high-water mark (``set_write_buffer_limits(0)``: always) or 256
        datagrams. Errors are told as by asyncio, but when the datagram is sent: a datagram that the
        system refuses by ``error_received``, and the next ones go on; an address that is none ends
        the transport.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if not data and not SENDS_EMPTY:
            return
        if self._address and addr not in (None, self._address):
            raise ValueError(f"Invalid address: must be None or {self._address}")
        if self._is_closed or (self._lost and self._address):
            if self._lost >= WARN_AFTER:
                logger.warning("socket.send() raised exception.")
            self._lost += 1
            return
        # Others may change the caller's buffer until it is sent.
        self._queue.append(bytes(data) if self._has_one_peer else (bytes(data), addr))
        self._size += len(data) + HEADER_BYTES
        if self._is_blocked:
            self._pause_writing()
        elif self._size > self._high or len(self._queue) >= MOST_QUEUED or self._lost:
            self._flush()
        elif not self._is_flush_planned:
            self._is_flush_planned = True
            self._loop.call_soon(self._flush)

    def get_write_buffer_size(self) -> int:
        """Bytes that are queued: for the end of the turn, or until the kernel takes them."""
        return self._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high
        self._pause_writing()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Send what is queued, then close. Nothing is delivered any more.

        Then ``get_extra_info("discarded")`` tells how many datagrams had been received and were not
        delivered; what the kernel still held is not among them.
        """
        if self._is_closing:
            return
        self._is_closing = True
        self._stop_reading()
        if not self._is_blocked:
            self._flush()
        if not self._queue:
            self._plan_end(None)

    def abort(self) -> None:
        """Close at once; of what is queued goes what the kernel takes without waiting."""
        if not self._is_blocked:
            self._flush()
        self._force_close(None)

    def _stop_reading(self) -> None:
        raise NotImplementedError

    def _drop(self, count: int) -> None:
        """Take the first datagrams out of the queue."""
        if count == len(self._queue):
            self._size = 0
            self._queue.clear()
            return
        for item in self._queue[:count]:
            self._size -= len(item if self._has_one_peer else item[0]) + HEADER_BYTES
        del self._queue[:count]

    def _send(self, one_by_one: bool) -> int:
        """Send from the front of the queue: how many datagrams went."""
        if self._has_one_peer:
            return self._sock.send_many(self._queue, self._destination)
        if not one_by_one:
            return self._sock.sendto_many(self._queue)
        self._sock.sendto(*self._queue[0])
        return 1

    def _flush(self) -> None:
        """Send what is queued, as far as the kernel takes it."""
        self._is_flush_planned = False
        one_by_one = False
        try:
            while self._queue:
                try:
                    self._drop(self._send(one_by_one))
                except (BlockingIOError, InterruptedError):
                    self._block()
                    return
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    if self._has_one_peer or one_by_one:
                        self._drop(1)
                        self._tell(error)
                    one_by_one = True
        finally:
            if self._queue and not self._is_blocked and not self._is_flush_planned:
                self._is_flush_planned = True  # after an exception of the protocol
                self._loop.call_soon(self._flush)

    def _tell(self, error: BaseException) -> None:
        if isinstance(error, OSError):
            self._protocol.error_received(error)
        else:
            self._fatal_error(error, "Fatal write error on datagram transport")

    def _block(self) -> None:
        if not self._is_blocked:
            self._is_blocked = True
            self._loop.add_writer(self._fd, self._on_writable)
        self._pause_writing()

    def _unblock(self) -> None:
        self._is_blocked = False
        self._loop.remove_writer(self._fd)

    def _on_writable(self) -> None:
        if not self._is_blocked:
            return  # a retry that has become needless
        before = self._size
        self._flush()
        after = self._size
        self._resume_writing()  # the protocol may send more
        if not self._is_blocked:
            return
        if not self._queue:
            self._unblock()
            if self._is_closing and not self._lost:
                self._lost = 1
                self._end(None)
        elif after < before:
            self._loop.add_writer(self._fd, self._on_writable)
        else:
            self._loop.remove_writer(self._fd)
            self._loop.call_later(RETRY_SECONDS, self._on_writable)

    def _pause_writing(self) -> None:
        if self._is_blocked and self._size > self._high and not self._is_writer_paused:
            self._is_writer_paused = True
            self._call_protocol("pause_writing")

    def _resume_writing(self) -> None:
        if self._is_writer_paused and self._size <= self._low:
            self._is_writer_paused = False
            self._call_protocol("resume_writing")

    def _call_protocol(self, name: str) -> None:
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report(error, f"protocol.{name}() failed")

    def _report(self, error: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": message,
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    def _fatal_error(self, error: BaseException, message: str) -> None:
        if not isinstance(error, OSError):
            self._report(error, message)
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._drop(len(self._queue))
        if not self._is_closing:
            self._is_closing = True
            self._stop_reading()
        self._plan_end(error)

    def _plan_end(self, error: BaseException | None) -> None:
        if not self._lost:
            self._lost = 1
            self._loop.call_soon(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if self._is_blocked:
            self._unblock()  # what was queued has been sent since, or given up
        try:
            self._protocol.connection_lost(error)
        finally:
            self._close_sockets()
            self._protocol = None

    def _close_sockets(self) -> None:
        self._is_closed = True
        self._sock.close()
        if self._original is not None:
            self._original.close()
