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

from fastsock.native.address cimport to_python
from fastsock.native.errors import StaleMessageError

from fastsock.native.libfastsock cimport (
    FSK_BATCH_COALESCED, FSK_BATCH_CONTROL_TRUNCATED, FSK_BATCH_TRUNCATED, FSK_METADATA_DESTINATION,
    FSK_METADATA_HOP_LIMIT, FSK_METADATA_TIMESTAMP, FSK_METADATA_TOS, FSK_NO_ADDRESS, fsk_address,
    fsk_batch_clear, fsk_batch_destination, fsk_batch_size,
)
from fastsock.native.slab cimport addresses_of, make_slab, view_of

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
        self.all_slabs = [self.slab]

    cdef fsk_batch *begin(self, unsigned metadata) except NULL:
        """Begin a receive: an empty slab without views. end() is to follow."""
        with cython.critical_section(self):
            self.check_idle()
            if self.slab.exports != 0 or len(self.all_slabs) > FREE_SLABS:
                self.slab = self.free_slab()
            self.is_receiving = True
            self.fill += 1
            self.known_sources = self.known_destinations = None
        fsk_batch_clear(self.slab.filled)
        self.slab.filled.metadata = metadata
        return self.slab.filled

    cdef void end(self) noexcept:
        self.is_receiving = False

    cdef Slab free_slab(self):
        """A slab without views; of more than a few such the rest is let go."""
        cdef Slab slab, found = None
        cdef int free = 0
        cdef list kept = []
        for slab in self.all_slabs:
            if slab.exports == 0:
                free += 1
                if free > FREE_SLABS:
                    continue
                found = slab
            kept.append(slab)
        if found is None:
            found = make_slab(self.slab.filled.capacity, self.slab.filled.max_message)
            kept.append(found)
        self.all_slabs = kept
        return found

    cdef int check_idle(self) except -1:
        if self.is_receiving:
            raise RuntimeError("another thread receives into this batch; give each its own")
        return 0

    cdef Slab now(self):
        self.check_idle()
        return self.slab

    cdef object column(self, const void *start, Py_ssize_t item_size, const char *item_format):
        return view_of(self.slab, start, self.slab.filled.count, item_size, item_format)

    cdef int need(self, unsigned metadata, str name, str option) except -1:
        if not self.now().filled.metadata & metadata:
            raise AttributeError(f"{name} was not received; call sock.set_metadata({option}=True) "
                                 "before recv_batch")
        return 0

    @property
    def capacity(self):
        """Messages that one receive takes at most."""
        return self.slab.filled.capacity

    @property
    def max_message(self):
        """Bytes of a message that are kept."""
        return self.slab.filled.max_message

    @property
    def slabs(self):
        """Slabs of memory in use: one, and one for each whose views outlived a later receive."""
        return len(self.all_slabs)

    @property
    def nbytes(self):
        """Bytes of memory that all slabs together may occupy."""
        return sum([fsk_batch_size((<Slab>slab).filled) for slab in self.all_slabs])

    @property
    def data(self):
        """The filled part of the arena, read-only."""
        cdef Slab slab = self.now()
        return view_of(slab, slab.filled.arena, slab.filled.used, 1, b"B")

    @property
    def offsets(self):
        return self.column(self.now().filled.offsets, 8, b"Q")

    @property
    def lengths(self):
        return self.column(self.now().filled.lengths, 4, b"I")

    @property
    def wire_lengths(self):
        return self.column(self.now().filled.wire_lengths, 4, b"I")

    @property
    def flags(self):
        return self.column(self.now().filled.flags, 4, b"I")

    @property
    def source(self):
        return self.column(self.now().filled.source, 4, b"I")

    @property
    def sources(self):
        """The distinct senders of this fill, as ``recvfrom`` gives them."""
        with cython.critical_section(self):
            if self.known_sources is None:
                self.known_sources = addresses_of(self.now().filled)
            return self.known_sources

    @property
    def timestamps_ns(self):
        self.need(FSK_METADATA_TIMESTAMP, "timestamps_ns", "timestamp")
        return self.column(self.slab.filled.timestamps_ns, 8, b"q")

    @property
    def destination(self):
        self.need(FSK_METADATA_DESTINATION, "destination", "destination")
        return self.column(self.slab.filled.destination, 4, b"I")

    @property
    def destinations(self):
        """The distinct local addresses of this fill that messages were sent to: hosts, as str."""
        cdef fsk_address address
        cdef uint32_t i
        self.need(FSK_METADATA_DESTINATION, "destinations", "destination")
        with cython.critical_section(self):
            if self.known_destinations is None:
                found = []
                for i in range(self.slab.filled.destination_count):
                    fsk_batch_destination(self.slab.filled, i, &address)
                    found.append(to_python(&address)[0])
                self.known_destinations = found
            return self.known_destinations

    @property
    def interface(self):
        self.need(FSK_METADATA_DESTINATION, "interface", "destination")
        return self.column(self.slab.filled.interface, 4, b"I")

    @property
    def hop_limit(self):
        self.need(FSK_METADATA_HOP_LIMIT, "hop_limit", "hop_limit")
        return self.column(self.slab.filled.hop_limit, 1, b"B")

    @property
    def tos(self):
        self.need(FSK_METADATA_TOS, "tos", "tos")
        return self.column(self.slab.filled.tos, 1, b"B")

    def __len__(self):
        return self.slab.filled.count

    def __getitem__(self, index):
        cdef Slab slab = self.now()
        cdef Py_ssize_t row = PyNumber_AsSsize_t(index, IndexError)
        if row < 0:
            row += slab.filled.count
        if not 0 <= row < slab.filled.count:
            raise IndexError("batch index out of range")
        return make_message(self, row)

    def __iter__(self):
        return Messages.__new__(Messages, self)

    def __repr__(self):
        return (f"<fastsock.Batch of {len(self)} messages, capacity {self.capacity}, "
                f"max_message {self.max_message}>")


@cython.final
cdef class Messages:
    # The iterator over a Batch.
    cdef Batch batch
    cdef uint64_t fill
    cdef uint32_t row

    def __cinit__(self, Batch batch):
        self.batch = batch
        self.fill = batch.fill

    def __iter__(self):
        return self

    def __next__(self):
        cdef Batch batch = self.batch
        if self.fill != batch.fill:
            raise StaleMessageError("the batch has received again; iterate over it anew")
        if self.row >= batch.slab.filled.count:
            raise StopIteration
        self.row += 1
        return make_message(batch, self.row - 1)


cdef inline Message make_message(Batch batch, uint32_t row):
    cdef Message message = Message.__new__(Message)
    message.batch = batch
    message.fill = batch.fill
    message.row = row
    return message


@cython.final
@cython.freelist(64)
cdef class Message:
    """One message of a `Batch`: a reference to its row, valid until the batch's next receive.

    After that everything but ``repr`` raises StaleMessageError. Keep ``data`` (a view, which keeps
    the memory) or ``bytes()`` (a copy) instead. As the Batch, one thread at a time.
    """
    cdef Batch batch
    cdef uint64_t fill
    cdef uint32_t row

    cdef const fsk_batch *now(self) except NULL:
        if self.fill != self.batch.fill:
            raise StaleMessageError("the batch has received again; keep message.data or "
                                    "message.bytes() instead of the message")
        self.batch.check_idle()
        return self.batch.slab.filled

    @property
    def data(self):
        """The bytes stored, as a read-only memoryview that keeps them."""
        cdef const fsk_batch *filled = self.now()
        return view_of(self.batch.slab, filled.arena + filled.offsets[self.row],
                       filled.lengths[self.row], 1, b"B")

    def bytes(self):
        """Return a copy of the bytes stored."""
        cdef const fsk_batch *filled = self.now()
        return PyBytes_FromStringAndSize(<const char *>filled.arena + filled.offsets[self.row],
                                         filled.lengths[self.row])

    def __bytes__(self):
        return self.bytes()

    def __len__(self):
        return self.now().lengths[self.row]

    @property
    def address(self):
        """The sender, as ``recvfrom`` gives it; None without a name."""
        cdef uint32_t number = self.now().source[self.row]
        return None if number == FSK_NO_ADDRESS else self.batch.sources[number]

    @property
    def wire_length(self):
        """The bytes that the message really had."""
        return self.now().wire_lengths[self.row]

    @property
    def truncated(self):
        """True when the message was longer than ``max_message``."""
        return self.now().flags[self.row] & FSK_BATCH_TRUNCATED != 0

    @property
    def timestamp_ns(self):
        """When the kernel took it, nanoseconds since 1970; 0 when it did not tell."""
        self.now()
        self.batch.need(FSK_METADATA_TIMESTAMP, "timestamp_ns", "timestamp")
        return self.now().timestamps_ns[self.row]

    @property
    def destination(self):
        """The local host it was sent to; None when the kernel did not tell."""
        self.now()
        self.batch.need(FSK_METADATA_DESTINATION, "destination", "destination")
        cdef uint32_t number = self.now().destination[self.row]
        return None if number == FSK_NO_ADDRESS else self.batch.destinations[number]

    @property
    def interface(self):
        """The index of the network interface it came in by; 0 when the kernel did not tell."""
        self.now()
        self.batch.need(FSK_METADATA_DESTINATION, "interface", "destination")
        return self.now().interface[self.row]

    @property
    def hop_limit(self):
        """The IPv4 TTL or IPv6 hop limit it arrived with."""
        self.now()
        self.batch.need(FSK_METADATA_HOP_LIMIT, "hop_limit", "hop_limit")
        return self.now().hop_limit[self.row]

    @property
    def tos(self):
        """The IPv4 TOS or IPv6 traffic class: DSCP << 2 | ECN."""
        self.now()
        self.batch.need(FSK_METADATA_TOS, "tos", "tos")
        return self.now().tos[self.row]

    def __repr__(self):
        return f"<fastsock.Message {self.row} of {self.batch!r}>"
