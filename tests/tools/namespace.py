# SPDX-License-Identifier: MIT
"""Give this process a network of its own, in which the loopback device has the MTU of a cable.

    python -m tools.namespace 1500 -- command arguments ...

Over the usual loopback device, MTU 65536, a segmented UDP send (GSO) is never refused. Here a
segment that does not fit the MTU is, while a plain datagram of that size is cut into fragments and
passes. There is nothing else in the network: 127.0.0.1 and ::1, no route and no ports in use.
"""

import ctypes
import fcntl
import os
import socket
import struct

from tools import child

SIOCADDRT = 0x890B  # linux/sockios.h
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFMTU, SIOCSIFMTU = 0x8913, 0x8914, 0x8921, 0x8922
IFF_UP = 1
RTF_UP, RTF_LOCAL = 1, 0x80000000  # linux/route.h, linux/ipv6_route.h
IFREQ = "16si20x"  # struct ifreq with its number; the flags are that number's low half


def enter(mtu):
    """Leave the network of this process for a new one. The process may have one thread only.

    OSError: the host does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    # In the new namespace of users this one is root, as with `unshare --map-root-user`.
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {user} 1")
    write("/proc/self/gid_map", f"0 {group} 1")
    loopback(SIOCSIFMTU, mtu)
    loopback(SIOCSIFFLAGS, loopback(SIOCGIFFLAGS) | IFF_UP)


def route_ipv6_groups():
    """Have the loopback device carry IPv6 multicast, as it carries that of IPv4 by itself.

    For a process in a network of its own.
    """
    index = socket.if_nametoindex("lo")
    groups = socket.inet_pton(socket.AF_INET6, "ff00::")
    # struct in6_rtmsg: destination, source, gateway, type, prefix lengths, metric, info, flags.
    route = struct.pack("@16s32xIHHILIi", groups, 0, 8, 0, 1, 0, RTF_UP | RTF_LOCAL, index)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCADDRT, route)


def loopback(request, value=0):
    """Set or get a number of the loopback device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, request, struct.pack(IFREQ, b"lo", value))
    return struct.unpack(IFREQ, answer)[1]


def loopback_mtu():
    return loopback(SIOCGIFMTU)


def unshare(kinds):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kinds) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    child.become(lambda options: enter(int(options[0])))
