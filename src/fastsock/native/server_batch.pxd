# SPDX-License-Identifier: MIT
from fastsock.native.slab cimport Slab


cdef class ServerBatch:
    cdef Slab slab
    cdef readonly list opened
    cdef readonly list closed
    cdef readonly tuple connections

    cdef Slab filled(self)
    cdef tuple row(self, Py_ssize_t index)
