# SPDX-License-Identifier: MIT
cdef int raise_error(long result) except -1
