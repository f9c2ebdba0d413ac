# SPDX-License-Identifier: MIT
"""Numbers of the Linux kernel's socket interface that CPython gives no name.

Each is an int. Source: the kernel's own headers (asm-generic/socket.h, linux/udp.h, linux/in.h and
the like). These numbers are part of the kernel's stable interface, whatever headers the machine had
that built this package. A name that the running Python has is taken out again: its object is the
one to use.
"""

import os as _os
import socket as _socket
import sys as _sys

# These architectures number the options of SOL_SOCKET in a way of their own.
_OWN_NUMBERS = ("alpha", "mips", "parisc", "sparc")

if _sys.platform == "linux" and not _os.uname().machine.startswith(_OWN_NUMBERS):
    # SOL_SOCKET: asm-generic/socket.h
    SO_ATTACH_FILTER = 26
    SO_DETACH_FILTER = 27
    SO_TIMESTAMP = SCM_TIMESTAMP = 29
    SO_SNDBUFFORCE = 32
    SO_RCVBUFFORCE = 33
    SO_TIMESTAMPNS = SCM_TIMESTAMPNS = 35
    SO_TIMESTAMPING = SCM_TIMESTAMPING = 37
    SO_RXQ_OVFL = 40
    SO_PEEK_OFF = 42
    SO_LOCK_FILTER = 44
    SO_BUSY_POLL = 46
    SO_MAX_PACING_RATE = 47
    SO_ATTACH_BPF = 50
    SO_ATTACH_REUSEPORT_CBPF = 51
    SO_ATTACH_REUSEPORT_EBPF = 52
    SO_MEMINFO = 55
    SO_INCOMING_NAPI_ID = 56
    SO_COOKIE = 57
    SO_PEERGROUPS = 59
    SO_ZEROCOPY = 60
    SO_TXTIME = SCM_TXTIME = 61
    SO_TIMESTAMP_NEW = 63
    SO_TIMESTAMPNS_NEW = 64
    SO_TIMESTAMPING_NEW = 65
    SO_PREFER_BUSY_POLL = 69
    SO_BUSY_POLL_BUDGET = 70
    SO_PASSPIDFD = 76
    SO_PEERPIDFD = 77
    # linux/socket.h
    SCM_PIDFD = 4
    MSG_WAITFORONE = 0x10000
    MSG_ZEROCOPY = 0x4000000
    AF_SMC = 43
    AF_XDP = 44
    SOL_PACKET = 263
    SOL_TLS = 282
    # linux/udp.h
    UDP_CORK = 1
    UDP_SEGMENT = 103
    UDP_GRO = 104
    # linux/tcp.h, linux/tls.h
    TCP_CM_INQ = 36
    TLS_TX = 1
    TLS_RX = 2
    # linux/in.h
    IP_PKTINFO = 8
    IP_MTU_DISCOVER = 10
    IP_RECVERR = 11
    IP_RECVTTL = 12
    IP_MTU = 14
    IP_FREEBIND = 15
    IP_RECVORIGDSTADDR = 20
    MCAST_JOIN_GROUP = 42
    MCAST_BLOCK_SOURCE = 43
    MCAST_UNBLOCK_SOURCE = 44
    MCAST_LEAVE_GROUP = 45
    MCAST_JOIN_SOURCE_GROUP = 46
    MCAST_LEAVE_SOURCE_GROUP = 47
    IP_MULTICAST_ALL = 49
    IP_PMTUDISC_DONT = 0
    IP_PMTUDISC_WANT = 1
    IP_PMTUDISC_DO = 2
    IP_PMTUDISC_PROBE = 3
    IP_PMTUDISC_INTERFACE = 4
    IP_PMTUDISC_OMIT = 5
    # linux/in6.h
    IPV6_MTU_DISCOVER = 23
    IPV6_MTU = 24
    IPV6_RECVERR = 25
    IPV6_MULTICAST_ALL = 29
    # linux/netfilter_ipv4.h
    SO_ORIGINAL_DST = 80
    # linux/if_packet.h
    PACKET_RX_RING = 5
    PACKET_FANOUT = 18

for _name in [name for name in globals() if hasattr(_socket, name) and name.isupper()]:
    del globals()[_name]
