# SPDX-License-Identifier: MIT
cdef object credentials_of(int fd)
