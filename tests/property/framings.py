# SPDX-License-Identifier: MIT
"""Framings and what they mean, in plain Python: one byte after the other, as one learns it."""

import errno

from hypothesis import strategies as st

import fastsock


class Wrong(Exception):
    """No frame can begin here; code is the errno."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Prefix:
    def __init__(self, size, byteorder, includes_header):
        self.size, self.byteorder, self.includes_header = size, byteorder, includes_header
        self.framing = fastsock.LengthPrefix(size, byteorder, includes_header=includes_header)

    def first(self, data, max_frame):
        """The first frame and the bytes it takes; None while it is not whole."""
        if len(data) < self.size:
            return None
        length = int.from_bytes(data[: self.size], self.byteorder)
        if self.includes_header:
            length -= self.size
        if length < 0:
            raise Wrong(errno.EBADMSG)
        if length > max_frame:
            raise Wrong(errno.EMSGSIZE)
        end = self.size + length
        return (data[self.size : end], end) if end <= len(data) else None

    def encode(self, frame):
        length = len(frame) + (self.size if self.includes_header else 0)
        return length.to_bytes(self.size, self.byteorder) + frame

    def allows(self, frame):
        length = len(frame) + (self.size if self.includes_header else 0)
        return length < 256**self.size


class Varint:
    def __init__(self):
        self.framing = fastsock.LengthPrefix("varint")

    def first(self, data, max_frame):
        length = 0
        for i, byte in enumerate(data[:10]):
            length += (byte & 127) << 7 * i
            if length >= 1 << 64 or (i == 9 and byte >= 128):
                raise Wrong(errno.EBADMSG)
            if byte < 128:
                if length > max_frame:
                    raise Wrong(errno.EMSGSIZE)
                end = i + 1 + length
                return (data[i + 1 : end], end) if end <= len(data) else None
        return None

    def encode(self, frame):
        header = bytearray()
        length = len(frame)
        while length >= 128:
            header.append(length & 127 | 128)
            length >>= 7
        return bytes(header) + bytes([length]) + frame

    def allows(self, frame):
        return True


class Separated:
    def __init__(self, separator, keep):
        self.separator, self.keep = separator, keep
        self.framing = fastsock.Delimiter(separator, keep=keep)

    def first(self, data, max_frame):
        place = data.find(self.separator)
        end = place + len(self.separator)
        most = max_frame if self.keep else max_frame + len(self.separator)
        if (place < 0 and len(data) >= most) or end > most:
            raise Wrong(errno.EMSGSIZE)
        if place < 0:
            return None
        return data[: end if self.keep else place], end

    def encode(self, frame):
        return frame if self.keep else frame + self.separator

    def allows(self, frame):
        encoded = self.encode(frame)
        return encoded.find(self.separator) == len(encoded) - len(self.separator) >= 0


class Fixed:
    def __init__(self, size):
        self.size = size
        self.framing = fastsock.FixedSize(size)

    def first(self, data, max_frame):
        return (data[: self.size], self.size) if len(data) >= self.size else None

    def encode(self, frame):
        return frame

    def allows(self, frame):
        return len(frame) == self.size


def cut(rules, data, max_frame):
    """All frames of a stream, what is left of it, and the (errno, offset) that ended it or None."""
    frames = []
    offset = 0
    while True:
        try:
            found = rules.first(data[offset:], max_frame)
        except Wrong as wrong:
            return frames, data[offset:], (wrong.code, offset)
        if found is None:
            return frames, data[offset:], None
        frames.append(found[0])
        offset += found[1]


def rules():
    """A strategy: any framing."""
    # Few different bytes, so that a separator overlaps with itself and stands in the data.
    separator = st.one_of(
        st.text("ab", min_size=1, max_size=5).map(str.encode), st.binary(min_size=1, max_size=64)
    )
    return st.one_of(
        st.builds(
            Prefix, st.sampled_from([1, 2, 4, 8]), st.sampled_from(["big", "little"]), st.booleans()
        ),
        st.builds(Varint),
        st.builds(Separated, separator, st.booleans()),
        st.builds(Fixed, st.integers(1, 20)),
    )
