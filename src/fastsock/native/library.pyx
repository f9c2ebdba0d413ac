# SPDX-License-Identifier: MIT
"""Which libfastsock is loaded."""
from fastsock.libfastsock cimport fsk_engine_name, fsk_version


def engine_name():
    """The engine in use, or None when FASTSOCK_ENGINE names none of this build."""
    cdef const char *name = fsk_engine_name()
    return None if name == NULL else name.decode("ascii")


def version():
    """The version of the loaded library, as (major, minor, patch)."""
    cdef int number = fsk_version()
    return (number // 10000, number // 100 % 100, number % 100)
