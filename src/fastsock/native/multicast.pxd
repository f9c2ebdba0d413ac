# SPDX-License-Identifier: MIT
cdef int join(int fd, int family, object group, object interface, object source) except -1
