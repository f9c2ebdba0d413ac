# SPDX-License-Identifier: MIT
from fastsock.libfastsock cimport fsk_address, fsk_batch, fsk_message
from fastsock.native.state cimport State
from fastsock.native.wakeup cimport Patience

cdef bytes receive_ahead(object sock, size_t bufsize, int flags, fsk_address *source)
cdef ssize_t receive_ahead_message(object sock, fsk_message *message, int flags) except -1
cdef ssize_t receive_ahead_batch(object sock, fsk_batch *filled, Patience *patience) except -1
