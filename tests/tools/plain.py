# SPDX-License-Identifier: MIT
"""Plain calls of the standard library and of libc, for the children that run under tools."""

import atexit
import ctypes
import errno
import platform
import socket
import struct

from tools import refusal

SOL_UDP, UDP_SEGMENT = 17, 103


class Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", Header), ("length", ctypes.c_uint))


def mmsg(name, fd, payloads, segments=(), size=4):
    """Call recvmmsg or sendmmsg by syscall(2), without waiting; return the result or -errno.

    payloads: one each message; receiving leaves them as they are. segments: the indexes of those
    that the kernel is to cut into datagrams of that size.
    """
    control = struct.pack("@NiiHxxxxxx", 18, SOL_UDP, UDP_SEGMENT, size)
    messages = (Message * max(len(payloads), 1))()
    rooms = [ctypes.create_string_buffer(payload, max(len(payload), 1)) for payload in payloads]
    for index, room in enumerate(rooms):
        header = messages[index].header
        header.vectors = ctypes.pointer(Vector(ctypes.addressof(room), len(payloads[index])))
        header.vector_count = 1
        if index in segments:
            header.control, header.control_length = control, len(control)
    number = refusal.ARCHITECTURES[platform.machine()][1][name]
    place, flags = ctypes.addressof(messages), socket.MSG_DONTWAIT
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [number, fd, place, len(payloads), flags, 0]
    result = libc.syscall(*map(ctypes.c_long, arguments))
    return result if result >= 0 else -ctypes.get_errno()


def udp(family=socket.AF_INET):
    """Return two UDP sockets that are closed at exit; the first is connected to the other."""
    one, other = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
    atexit.register(one.close)
    atexit.register(other.close)
    other.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    one.connect(other.getsockname())
    return one, other


def arrived(sock):
    """Take all datagrams that are queued."""
    got = []
    while True:
        try:
            got.append(sock.recv(65536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return got


def error(call, *arguments):
    """Return the name of the errno that the call fails with, or None."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None
