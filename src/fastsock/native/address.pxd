# SPDX-License-Identifier: MIT
from fastsock.native.libfastsock cimport fsk_address

cdef object to_python(const fsk_address *address)
cdef bint from_python(object value, object family, fsk_address *address) except -1
