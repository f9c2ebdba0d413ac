# SPDX-License-Identifier: MIT
"""The one crossing from libfastsock's results to Python's exceptions."""
from fastsock.native.interpreter cimport PyUnicode_DecodeLocale
from fastsock.native.libfastsock cimport fsk_error_text


cdef int raise_error(long result) except -1:
    """Raise the OSError of a negative result; Python picks the subclass by errno."""
    cdef char text[256]
    fsk_error_text(<int>-result, text, sizeof(text))
    raise OSError(-result, PyUnicode_DecodeLocale(text, b"surrogateescape"))
