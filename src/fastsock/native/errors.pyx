# SPDX-License-Identifier: MIT
"""The one crossing from libfastsock's results to Python's exceptions."""
from fastsock.native.interpreter cimport PyUnicode_DecodeLocale
from fastsock.native.libfastsock cimport fsk_error_text


class CapabilityError(OSError):
    """The system can't do what was asked for; the text says what to do instead."""

    __module__ = "fastsock"


class StaleMessageError(RuntimeError):
    """A Message of a Batch that has received again since: its memory holds other messages."""

    __module__ = "fastsock"


cdef int raise_error(long result) except -1:
    """Raise the OSError of a negative result; Python picks the subclass by errno."""
    cdef char text[256]
    fsk_error_text(<int>-result, text, sizeof(text))
    raise OSError(-result, PyUnicode_DecodeLocale(text, b"surrogateescape"))
