# SPDX-License-Identifier: MIT
"""Framings: where a message ends in a stream of bytes."""
import functools

cimport cython
from cpython.buffer cimport Py_buffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.number cimport PyNumber_AsSsize_t
from libc.errno cimport EMSGSIZE
from libc.string cimport memcmp, memcpy

from fastsock.native.arguments cimport pin_data
from fastsock.libfastsock cimport (
    FSK_DELIMITER_MAX, FSK_FRAME_MAX, FSK_FRAMING_DELIMITER, FSK_FRAMING_FIXED, FSK_FRAMING_LENGTH,
    FSK_FRAMING_VARINT, fsk_framing_check_frame, fsk_framing_encode, fsk_framing_encoded_size,
)


cdef class Framing:
    """What `LengthPrefix`, `Delimiter` and `FixedSize` have in common.

    Immutable; one serves any number of threads and connections.
    """

    cdef int limited(self, object max_frame, fsk_framing *rules) except -1:
        """The rules with a limit of the user's."""
        cdef Py_ssize_t limit = PyNumber_AsSsize_t(max_frame, ValueError)
        self.check()
        if not 1 <= limit <= <Py_ssize_t>FSK_FRAME_MAX:
            raise ValueError(f"max_frame must be 1 to {FSK_FRAME_MAX}, not {limit}")
        if self.rules.keeps_delimiter and self.rules.delimiter_size > limit:
            raise ValueError(f"max_frame is {limit}, but each frame ends with a separator of "
                             f"{self.rules.delimiter_size}")
        if self.rules.frame_size > limit:
            raise ValueError(f"max_frame is {limit}, but each frame has {self.rules.frame_size}")
        rules[0] = self.rules
        rules.max_frame = limit
        return 0

    cdef int check(self) except -1:
        if self.rules.size == 0:
            raise TypeError("a framing is a LengthPrefix, a Delimiter or a FixedSize")
        return 0

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return memcmp(&self.rules, &(<Framing>other).rules, sizeof(self.rules)) == 0

    def __hash__(self):
        return hash((type(self), <bytes>(<char *>&self.rules)[:sizeof(self.rules)]))

    def encode(self, messages, /):
        """Return the bytes that a stream has of messages.

        Parameters
        ----------
        messages : iterable of bytes-like

        Raises
        ------
        ValueError
            A message can't be one frame: it contains the delimiter, does not end with one that is
            kept, has not the fixed size, or is longer than the prefix can tell.
        """
        cdef bytes encoded = PyBytes_FromStringAndSize(NULL, 4096)
        cdef Py_ssize_t size = 0
        self.check()
        refuse_single(messages, "encode")
        for message in messages:
            encoded = self.append(encoded, &size, message)
        return encoded[:size]

    cdef bytes append(self, bytes encoded, Py_ssize_t *size, object message):
        """Append a message; encoded is nobody else's, and replaced by what is returned."""
        cdef Py_buffer view
        cdef Py_ssize_t needed
        pin_data(message, &view)
        try:
            check_frame(&self.rules, view.buf, view.len)
            needed = size[0] + fsk_framing_encoded_size(&self.rules, view.len)
            if needed > len(encoded):
                longer = PyBytes_FromStringAndSize(NULL, max(needed, 2 * len(encoded)))
                memcpy(PyBytes_AS_STRING(longer), PyBytes_AS_STRING(encoded), size[0])
                encoded = longer
            fsk_framing_encode(&self.rules, view.buf, view.len,
                               <unsigned char *>PyBytes_AS_STRING(encoded) + size[0])
            size[0] = needed
        finally:
            PyBuffer_Release(&view)
        return encoded


@cython.final
cdef class LengthPrefix(Framing):
    """LengthPrefix(size, byteorder="big", *, includes_header=False)

    Each frame follows its length.

    Parameters
    ----------
    size : int or "varint"
        Bytes of the length: 1, 2, 4 or 8, unsigned; "varint": 7 bits a byte, the lowest first, as
        protobuf has it (LEB128).
    byteorder : "big" or "little", optional
    includes_header : bool, optional
        The length counts its own bytes too.
    """

    def __cinit__(self, size, byteorder="big", *, includes_header=False):
        if byteorder not in ("big", "little"):
            raise ValueError(f"byteorder must be 'big' or 'little', not {byteorder!r}")
        self.rules.max_frame = FSK_FRAME_MAX
        if size == "varint":
            if includes_header or byteorder != "big":
                raise ValueError("a varint has neither a byteorder nor includes_header")
            self.rules.kind = FSK_FRAMING_VARINT
        elif size in (1, 2, 4, 8):
            self.rules.kind = FSK_FRAMING_LENGTH
            self.rules.header_size = size
            self.rules.little_endian = byteorder == "little"
            self.rules.includes_header = bool(includes_header)
        else:
            raise ValueError(f"size must be 1, 2, 4, 8 or 'varint', not {size!r}")
        self.rules.size = sizeof(self.rules)

    def __reduce__(self):
        if self.rules.kind == FSK_FRAMING_VARINT:
            return LengthPrefix, ("varint",)
        order = "little" if self.rules.little_endian else "big"
        make = functools.partial(LengthPrefix, includes_header=self.rules.includes_header)
        return make, (self.rules.header_size, order)

    def __repr__(self):
        if self.rules.kind == FSK_FRAMING_VARINT:
            return "LengthPrefix('varint')"
        order = "little" if self.rules.little_endian else "big"
        header = ", includes_header=True" if self.rules.includes_header else ""
        return f"LengthPrefix({self.rules.header_size}, {order!r}{header})"


@cython.final
cdef class Delimiter(Framing):
    """Delimiter(separator, *, keep=False)

    Each frame ends where the separator stands, such as ``b"\\n"``.

    Parameters
    ----------
    separator : bytes-like
        1 to 64 bytes.
    keep : bool, optional
        Frames end with the separator, in both directions; else it is cut off, and added.
    """

    def __cinit__(self, separator, *, keep=False):
        cdef bytes given = bytes(memoryview(separator))
        if not 1 <= len(given) <= FSK_DELIMITER_MAX:
            raise ValueError(f"a separator has 1 to {FSK_DELIMITER_MAX} bytes, not {len(given)}")
        self.rules.kind = FSK_FRAMING_DELIMITER
        self.rules.max_frame = FSK_FRAME_MAX
        self.rules.delimiter_size = len(given)
        memcpy(self.rules.delimiter, PyBytes_AS_STRING(given), len(given))
        self.rules.keeps_delimiter = bool(keep)
        self.rules.size = sizeof(self.rules)

    def __reduce__(self):
        make = functools.partial(Delimiter, keep=self.rules.keeps_delimiter)
        return make, (<bytes>self.rules.delimiter[:self.rules.delimiter_size],)

    def __repr__(self):
        separator = self.rules.delimiter[:self.rules.delimiter_size]
        return f"Delimiter({separator!r}{', keep=True' if self.rules.keeps_delimiter else ''})"


@cython.final
cdef class FixedSize(Framing):
    """FixedSize(size)

    Every frame has the same number of bytes.

    Parameters
    ----------
    size : int, bytes
    """

    def __cinit__(self, size):
        cdef Py_ssize_t number = PyNumber_AsSsize_t(size, ValueError)
        if not 1 <= number <= <Py_ssize_t>FSK_FRAME_MAX:
            raise ValueError(f"size must be 1 to {FSK_FRAME_MAX}, not {size}")
        self.rules.kind = FSK_FRAMING_FIXED
        self.rules.max_frame = FSK_FRAME_MAX
        self.rules.frame_size = number
        self.rules.size = sizeof(self.rules)

    def __reduce__(self):
        return FixedSize, (self.rules.frame_size,)

    def __repr__(self):
        return f"FixedSize({self.rules.frame_size})"


cdef int refuse_single(object frames, str function) except -1:
    """One frame in place of many would be taken for its bytes."""
    if isinstance(frames, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"{function}() takes an iterable of bytes-like objects, not "
                        f"{type(frames).__name__}; put a single one into a list")
    return 0


cdef int check_frame(const fsk_framing *rules, const void *data, size_t length) except -1:
    """Raise ValueError when data can't be sent as one frame."""
    cdef int result = fsk_framing_check_frame(rules, data, length)
    if result == 0:
        return 0
    if result != -EMSGSIZE:
        if rules.keeps_delimiter:
            raise ValueError("a frame must end with the delimiter, and have it nowhere before, or "
                             "its receiver would cut it elsewhere")
        raise ValueError("a frame must not contain the delimiter, or its receiver would cut it in "
                         "two; use a LengthPrefix for such messages")
    if rules.kind == FSK_FRAMING_FIXED:
        raise ValueError(f"a frame has {rules.frame_size} bytes by FixedSize, not {length}")
    if length > rules.max_frame:
        raise ValueError(f"a frame of {length} bytes is longer than max_frame, {rules.max_frame}")
    raise ValueError(f"a frame of {length} bytes is longer than {rules.header_size} bytes of "
                     "length can tell; use a larger LengthPrefix")
