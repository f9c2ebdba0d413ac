# SPDX-License-Identifier: MIT
"""Messages: many received messages in one memory, by columns and by rows.

What a Batch fills and what a Receiver gives have this in common. A Message is a row that pins
nothing and knows which fill it belongs to; a view pins the slab it shows.
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_AsSsize_t
from libc.stdint cimport uint32_t

from fastsock.native.errors import StaleMessageError

from fastsock.libfastsock cimport (
    FSK_BATCH_COALESCED, FSK_BATCH_CONTROL_TRUNCATED, FSK_BATCH_TRUNCATED, FSK_METADATA_DESTINATION,
    FSK_METADATA_HOP_LIMIT, FSK_METADATA_TIMESTAMP, FSK_METADATA_TOS, FSK_NO_ADDRESS,
)
from fastsock.native.slab cimport Slab, hosts_of, pin, sources_of, unpin, view_of


cdef class Messages:
    """What `Batch` and `ReceivedBatch` have in common, and describe."""

    TRUNCATED = FSK_BATCH_TRUNCATED
    CONTROL_TRUNCATED = FSK_BATCH_CONTROL_TRUNCATED
    COALESCED = FSK_BATCH_COALESCED
    NO_ADDRESS = FSK_NO_ADDRESS

    cdef int check(self, uint64_t fill) except -1:
        """In a critical section: nobody receives, and fill is the last receive."""
        if self.slab is None:
            raise TypeError(f"{type(self).__name__} objects are not made by calling the class")
        if fill != self.fill:
            raise StaleMessageError("the batch has received again; keep message.data or "
                                    "message.bytes() instead of the message")
        if self.is_receiving:
            raise RuntimeError("another thread receives into this batch; give each its own")
        return 0

    cdef Slab pinned(self, const uint64_t *fill):
        """The slab to read from, for unpin() or released(); NULL: of whatever fill."""
        with cython.critical_section(self):
            self.check(self.fill if fill == NULL else fill[0])
            pin(self.slab)
            return self.slab

    @property
    def data(self):
        """The filled part of the arena, read-only."""
        cdef Slab slab = self.pinned(NULL)
        return released(slab, view_of(slab, slab.filled.arena, slab.filled.used, 1, b"B"))

    @property
    def offsets(self):
        cdef Slab slab = self.pinned(NULL)
        return column(slab, slab.filled.offsets, 8, b"Q")

    @property
    def lengths(self):
        cdef Slab slab = self.pinned(NULL)
        return column(slab, slab.filled.lengths, 4, b"I")

    @property
    def wire_lengths(self):
        cdef Slab slab = self.pinned(NULL)
        return column(slab, slab.filled.wire_lengths, 4, b"I")

    @property
    def flags(self):
        cdef Slab slab = self.pinned(NULL)
        return column(slab, slab.filled.flags, 4, b"I")

    @property
    def source(self):
        cdef Slab slab = self.pinned(NULL)
        return column(slab, slab.filled.source, 4, b"I")

    @property
    def sources(self):
        """The distinct senders of this fill, a tuple, as ``recvfrom`` gives them."""
        cdef Slab slab = self.pinned(NULL)
        return released(slab, sources_of(slab))

    @property
    def timestamps_ns(self):
        cdef Slab slab = self.pinned(NULL)
        check_metadata(slab, FSK_METADATA_TIMESTAMP, "timestamps_ns", "timestamp")
        return column(slab, slab.filled.timestamps_ns, 8, b"q")

    @property
    def destination(self):
        cdef Slab slab = self.pinned(NULL)
        check_metadata(slab, FSK_METADATA_DESTINATION, "destination", "destination")
        return column(slab, slab.filled.destination, 4, b"I")

    @property
    def destinations(self):
        """The distinct local hosts of this fill that messages were sent to, a tuple of str."""
        cdef Slab slab = self.pinned(NULL)
        check_metadata(slab, FSK_METADATA_DESTINATION, "destinations", "destination")
        return released(slab, hosts_of(slab))

    @property
    def interface(self):
        cdef Slab slab = self.pinned(NULL)
        check_metadata(slab, FSK_METADATA_DESTINATION, "interface", "destination")
        return column(slab, slab.filled.interface, 4, b"I")

    @property
    def hop_limit(self):
        cdef Slab slab = self.pinned(NULL)
        check_metadata(slab, FSK_METADATA_HOP_LIMIT, "hop_limit", "hop_limit")
        return column(slab, slab.filled.hop_limit, 1, b"B")

    @property
    def tos(self):
        cdef Slab slab = self.pinned(NULL)
        check_metadata(slab, FSK_METADATA_TOS, "tos", "tos")
        return column(slab, slab.filled.tos, 1, b"B")

    def __len__(self):
        with cython.critical_section(self):
            return 0 if self.slab is None else self.slab.filled.count

    def __getitem__(self, index):
        cdef Py_ssize_t row = PyNumber_AsSsize_t(index, IndexError)
        cdef Py_ssize_t count
        with cython.critical_section(self):
            self.check(self.fill)
            count = self.slab.filled.count
            if row < 0:
                row += count
            if not 0 <= row < count:
                raise IndexError("batch index out of range")
            return make_message(self, self.fill, row)

    def __iter__(self):
        return MessageIterator.__new__(MessageIterator, self)


cdef object released(Slab slab, object result):
    """result, which was read from a pinned slab or has a view of it."""
    unpin(slab)
    return result


cdef object column(Slab slab, const void *start, Py_ssize_t item_size, const char *item_format):
    """A view of a column of a pinned slab, which is released."""
    return released(slab, view_of(slab, start, slab.filled.count, item_size, item_format))


cdef int check_metadata(Slab slab, unsigned metadata, str name, str option) except -1:
    """Raise, and unpin, when the last receive did not bring it."""
    if not slab.filled.metadata & metadata:
        unpin(slab)
        raise AttributeError(f"{name} was not received; call sock.set_metadata({option}=True) "
                             f"before recv_batch, or make the Receiver with metadata=({option!r},)")
    return 0


@cython.final
cdef class MessageIterator:
    cdef Messages messages
    cdef uint64_t fill
    cdef uint32_t row

    def __cinit__(self, Messages messages not None):
        self.messages = messages
        self.fill = messages.fill

    def __iter__(self):
        return self

    def __next__(self):
        cdef Messages messages = self.messages
        cdef uint32_t row
        with cython.critical_section(messages):
            messages.check(self.fill)
            if self.row >= messages.slab.filled.count:
                raise StopIteration
            row = self.row  # here, as other threads may share this iterator
            self.row += 1
        return make_message(messages, self.fill, row)


cdef inline Message make_message(Messages messages, uint64_t fill, uint32_t row):
    cdef Message message = Message.__new__(Message)
    message.messages = messages
    message.fill = fill
    message.row = row
    return message


@cython.final
@cython.freelist(64)
cdef class Message:
    """One message of a `Batch`: a reference to its row, valid until the batch's next receive.

    After that everything but ``repr`` raises StaleMessageError. Keep ``data`` (a view, which keeps
    the memory) or ``bytes()`` (a copy) instead. As the Batch, one thread at a time.
    """
    cdef Messages messages  # None: made by nobody
    cdef uint64_t fill
    cdef uint32_t row

    cdef Slab pinned(self):
        if self.messages is None:
            raise StaleMessageError("messages come from a Batch")
        return self.messages.pinned(&self.fill)

    @property
    def data(self):
        """The bytes stored, as a read-only memoryview that keeps them."""
        cdef Slab slab = self.pinned()
        return released(slab, view_of(slab, slab.filled.arena + slab.filled.offsets[self.row],
                                      slab.filled.lengths[self.row], 1, b"B"))

    def bytes(self):
        """Return a copy of the bytes stored."""
        cdef Slab slab = self.pinned()
        cdef const char *start = <const char *>slab.filled.arena + slab.filled.offsets[self.row]
        return released(slab, PyBytes_FromStringAndSize(start, slab.filled.lengths[self.row]))

    def __bytes__(self):
        return self.bytes()

    def __len__(self):
        cdef Slab slab = self.pinned()
        return released(slab, slab.filled.lengths[self.row])

    @property
    def address(self):
        """The sender, as ``recvfrom`` gives it; None without a name."""
        cdef Slab slab = self.pinned()
        cdef uint32_t number = slab.filled.source[self.row]
        if number == FSK_NO_ADDRESS:
            return released(slab, None)
        return released(slab, sources_of(slab)[number])

    @property
    def wire_length(self):
        """The bytes that the message really had."""
        cdef Slab slab = self.pinned()
        return released(slab, slab.filled.wire_lengths[self.row])

    @property
    def truncated(self):
        """True when the message was longer than ``max_message``."""
        cdef Slab slab = self.pinned()
        return released(slab, slab.filled.flags[self.row] & FSK_BATCH_TRUNCATED != 0)

    @property
    def timestamp_ns(self):
        """When the kernel took it, nanoseconds since 1970; 0 when it did not tell."""
        cdef Slab slab = self.pinned()
        check_metadata(slab, FSK_METADATA_TIMESTAMP, "timestamp_ns", "timestamp")
        return released(slab, slab.filled.timestamps_ns[self.row])

    @property
    def destination(self):
        """The local host it was sent to; None when the kernel did not tell."""
        cdef Slab slab = self.pinned()
        check_metadata(slab, FSK_METADATA_DESTINATION, "destination", "destination")
        cdef uint32_t number = slab.filled.destination[self.row]
        if number == FSK_NO_ADDRESS:
            return released(slab, None)
        return released(slab, hosts_of(slab)[number])

    @property
    def interface(self):
        """The index of the network interface it came in by; 0 when the kernel did not tell."""
        cdef Slab slab = self.pinned()
        check_metadata(slab, FSK_METADATA_DESTINATION, "interface", "destination")
        return released(slab, slab.filled.interface[self.row])

    @property
    def hop_limit(self):
        """The IPv4 TTL or IPv6 hop limit it arrived with."""
        cdef Slab slab = self.pinned()
        check_metadata(slab, FSK_METADATA_HOP_LIMIT, "hop_limit", "hop_limit")
        return released(slab, slab.filled.hop_limit[self.row])

    @property
    def tos(self):
        """The IPv4 TOS or IPv6 traffic class: DSCP << 2 | ECN."""
        cdef Slab slab = self.pinned()
        check_metadata(slab, FSK_METADATA_TOS, "tos", "tos")
        return released(slab, slab.filled.tos[self.row])

    def __repr__(self):
        return f"<fastsock.Message {self.row} of {self.messages!r}>"
