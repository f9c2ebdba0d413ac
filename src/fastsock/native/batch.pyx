# SPDX-License-Identifier: MIT
"""Batch: memory for many messages, and Message: one of its rows.

Facts
    A view (memoryview, NumPy array) may live as long as its owner likes. An error when memory with
    live views is to be filled again would break the plainest loop: the name of the last view is
    still bound when the next receive comes.
What follows
    A slab with live views is left to them, and the receive takes another one, which is kept for the
    next time. A Message pins nothing and knows which receive it belongs to.
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_AsSsize_t
from libc.stdint cimport uint32_t

from fastsock.native.errors import StaleMessageError

from fastsock.native.interpreter cimport fastsock_count
from fastsock.native.libfastsock cimport (
    FSK_BATCH_COALESCED, FSK_BATCH_CONTROL_TRUNCATED, FSK_BATCH_TRUNCATED, FSK_METADATA_DESTINATION,
    FSK_METADATA_HOP_LIMIT, FSK_METADATA_TIMESTAMP, FSK_METADATA_TOS, FSK_NO_ADDRESS, fsk_batch,
    fsk_batch_clear, fsk_batch_size,
)
from fastsock.native.slab cimport Slab, hosts_of, make_slab, pin, sources_of, unpin, view_of

cdef enum:
    FREE_SLABS = 2  # without views that are kept: a loop that holds its last view uses two in turn


@cython.final
cdef class Batch:
    """Reusable memory for many received messages, filled by ``recv_batch``.

    ``for m in batch`` gives a `Message` for each; the columns give all rows at once, as read-only
    memoryviews of length ``len(batch)``, which NumPy takes without a copy.

    Parameters
    ----------
    capacity : int, messages, optional
    max_message : int, bytes, optional
        What is longer is cut, and flagged.

    Attributes
    ----------
    offsets : memoryview of uint64
        Where each message begins in ``data``, bytes.
    lengths, wire_lengths : memoryview of uint32
        Bytes stored, and bytes the message really had.
    flags : memoryview of uint32
        Bits: ``Batch.TRUNCATED``, ``Batch.CONTROL_TRUNCATED`` and ``Batch.COALESCED`` (it came in a
        train of datagrams, by UDP_GRO).
    source : memoryview of uint32
        Index into ``sources``; ``Batch.NO_ADDRESS`` for a sender without a name.
    timestamps_ns, destination, interface, hop_limit, tos : memoryview
        After ``sock.set_metadata(...)``: int64 nanoseconds since 1970, uint32 index into
        ``destinations``, uint32 interface index (``socket.if_indextoname``), uint8, uint8.

    Notes
    -----
    Memory: capacity x (max_message + 64) bytes a slab (``nbytes`` says), mapped and zero-filled, no
    allocation while receiving. A view stays valid, and its bytes unchanged, as long as it lives:
    then the next receive fills another slab. ``slabs`` counts them, normally 1 or 2.

    One thread at a time: a second one gets RuntimeError.
    """

    TRUNCATED = FSK_BATCH_TRUNCATED
    CONTROL_TRUNCATED = FSK_BATCH_CONTROL_TRUNCATED
    COALESCED = FSK_BATCH_COALESCED
    NO_ADDRESS = FSK_NO_ADDRESS

    def __cinit__(self, capacity=1024, max_message=2048):
        self.slab = make_slab(PyNumber_AsSsize_t(capacity, ValueError),
                              PyNumber_AsSsize_t(max_message, ValueError))
        self.capacity = self.slab.filled.capacity
        self.max_message = self.slab.filled.max_message
        self.all_slabs = [self.slab]

    cdef fsk_batch *begin(self, unsigned metadata) except NULL:
        """Begin a receive: an empty slab without views. end() is to follow."""
        cdef Slab slab
        with cython.critical_section(self):
            self.check(self.fill)
            if fastsock_count(&self.slab.exports) != 0 or len(self.all_slabs) > FREE_SLABS:
                self.slab = self.free_slab()
            slab = self.slab
            self.is_receiving = True
            self.fill += 1
            slab.sources = slab.hosts = None
        fsk_batch_clear(slab.filled)
        slab.filled.metadata = metadata
        return slab.filled

    cdef int end(self) except -1:
        with cython.critical_section(self):
            self.is_receiving = False
        return 0

    cdef Slab free_slab(self):
        """A slab without views; of more than a few such the rest is let go."""
        cdef Slab slab, found = None
        cdef int free = 0
        cdef list kept = []
        for slab in self.all_slabs:
            if fastsock_count(&slab.exports) == 0:
                free += 1
                if free > FREE_SLABS:
                    continue
                found = slab
            kept.append(slab)
        if found is None:
            found = make_slab(self.capacity, self.max_message)
            kept.append(found)
        self.all_slabs = kept
        return found

    cdef int check(self, uint64_t fill) except -1:
        """In a critical section: nobody receives, and fill is the last receive."""
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
    def slabs(self):
        """Slabs of memory in use: one, and one for each whose views outlived a later receive."""
        with cython.critical_section(self):
            return len(self.all_slabs)

    @property
    def nbytes(self):
        """Bytes of memory that all slabs together may occupy."""
        cdef Slab slab
        cdef size_t total = 0
        with cython.critical_section(self):
            for slab in self.all_slabs:
                total += fsk_batch_size(slab.filled)
        return total

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
            return self.slab.filled.count

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
        return Messages.__new__(Messages, self)

    def __repr__(self):
        return (f"<fastsock.Batch of {len(self)} messages, capacity {self.capacity}, "
                f"max_message {self.max_message}>")


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
                             "before recv_batch")
    return 0


@cython.final
cdef class Messages:
    # The iterator over a Batch.
    cdef Batch batch
    cdef uint64_t fill
    cdef uint32_t row

    def __cinit__(self, Batch batch not None):
        self.batch = batch
        self.fill = batch.fill

    def __iter__(self):
        return self

    def __next__(self):
        cdef Batch batch = self.batch
        with cython.critical_section(batch):
            batch.check(self.fill)
            if self.row >= batch.slab.filled.count:
                raise StopIteration
        self.row += 1
        return make_message(batch, self.fill, self.row - 1)


cdef inline Message make_message(Batch batch, uint64_t fill, uint32_t row):
    cdef Message message = Message.__new__(Message)
    message.batch = batch
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
    cdef Batch batch  # None: made by nobody
    cdef uint64_t fill
    cdef uint32_t row

    cdef Slab pinned(self):
        if self.batch is None:
            raise StaleMessageError("messages come from a Batch")
        return self.batch.pinned(&self.fill)

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
        return f"<fastsock.Message {self.row} of {self.batch!r}>"
