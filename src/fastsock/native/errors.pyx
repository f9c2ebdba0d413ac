# SPDX-License-Identifier: MIT
"""The one crossing from libfastsock's results to Python's exceptions."""
from fastsock.native.interpreter cimport PyUnicode_DecodeLocale
from fastsock.libfastsock cimport fsk_error_text


class CapabilityError(OSError):
    """The system can't do what was asked for; the text says what to do instead."""

    __module__ = "fastsock"


class DescriptorsRefusedError(OSError):
    """A message brought more descriptors than were asked for, or than this process may open.

    All of them are closed. ``data``, ``flags`` and ``address`` are what came with them, as of
    ``recv_fds``; ``fds_refused`` is how many were seen, and the system may have closed more.
    """

    __module__ = "fastsock"

    def __init__(self, code, text, data=b"", flags=0, address=None, fds_refused=0):
        super().__init__(code, text)
        self.data = data
        self.flags = flags
        self.address = address
        self.fds_refused = fds_refused


class StaleMessageError(RuntimeError):
    """A Message of a Batch that has received again since: its memory holds other messages."""

    __module__ = "fastsock"


class FrameError(OSError):
    """What a peer sent is no frame by the framing's rules; the stream can't be cut any further.

    ``errno`` is EMSGSIZE for a frame longer than ``max_frame``, EBADMSG for a header that is no
    length. ``offset`` tells where the frame begins, in bytes of the stream.
    """

    __module__ = "fastsock"

    def __init__(self, code, text, offset):
        super().__init__(code, text)
        self.offset = offset


class IncompleteFrameError(EOFError):
    """The stream ended inside a frame.

    ``partial`` is what came of it, its header included; ``missing`` tells how many bytes it lacks,
    or at least lacks where its length is not known.
    """

    __module__ = "fastsock"

    def __init__(self, text, partial, missing):
        super().__init__(text)
        self.partial = partial
        self.missing = missing


cdef int raise_error(long result) except -1:
    """Raise the OSError of a negative result; Python picks the subclass by errno."""
    cdef char text[256]
    fsk_error_text(<int>-result, text, sizeof(text))
    raise OSError(-result, PyUnicode_DecodeLocale(text, b"surrogateescape"))
