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
    SO_ATTACH_FILTER: int = 26
    SO_DETACH_FILTER: int = 27
    SO_TIMESTAMP: int = 29
    SCM_TIMESTAMP: int = 29
    SO_SNDBUFFORCE: int = 32
    SO_RCVBUFFORCE: int = 33
    SO_TIMESTAMPNS: int = 35
    SCM_TIMESTAMPNS: int = 35
    SO_TIMESTAMPING: int = 37
    SCM_TIMESTAMPING: int = 37
    SO_RXQ_OVFL: int = 40
    SO_PEEK_OFF: int = 42
    SO_LOCK_FILTER: int = 44
    SO_BUSY_POLL: int = 46
    SO_MAX_PACING_RATE: int = 47
    SO_ATTACH_BPF: int = 50
    SO_ATTACH_REUSEPORT_CBPF: int = 51
    SO_ATTACH_REUSEPORT_EBPF: int = 52
    SO_MEMINFO: int = 55
    SO_INCOMING_NAPI_ID: int = 56
    SO_COOKIE: int = 57
    SO_PEERGROUPS: int = 59
    SO_ZEROCOPY: int = 60
    SO_TXTIME: int = 61
    SCM_TXTIME: int = 61
    SO_TIMESTAMP_NEW: int = 63
    SO_TIMESTAMPNS_NEW: int = 64
    SO_TIMESTAMPING_NEW: int = 65
    SO_PREFER_BUSY_POLL: int = 69
    SO_BUSY_POLL_BUDGET: int = 70
    SO_PASSPIDFD: int = 76
    SO_PEERPIDFD: int = 77
    # linux/socket.h
    SCM_PIDFD: int = 4
    MSG_WAITFORONE: int = 0x10000
    MSG_ZEROCOPY: int = 0x4000000
    AF_SMC: int = 43
    AF_XDP: int = 44
    SOL_PACKET: int = 263
    SOL_TLS: int = 282
    # linux/udp.h
    UDP_CORK: int = 1
    UDP_SEGMENT: int = 103
    UDP_GRO: int = 104
    # linux/tcp.h, linux/tls.h
    TCP_CM_INQ: int = 36
    TLS_TX: int = 1
    TLS_RX: int = 2
    # linux/in.h
    IP_PKTINFO: int = 8
    IP_MTU_DISCOVER: int = 10
    IP_RECVERR: int = 11
    IP_RECVTTL: int = 12
    IP_MTU: int = 14
    IP_FREEBIND: int = 15
    IP_RECVORIGDSTADDR: int = 20
    MCAST_JOIN_GROUP: int = 42
    MCAST_BLOCK_SOURCE: int = 43
    MCAST_UNBLOCK_SOURCE: int = 44
    MCAST_LEAVE_GROUP: int = 45
    MCAST_JOIN_SOURCE_GROUP: int = 46
    MCAST_LEAVE_SOURCE_GROUP: int = 47
    IP_MULTICAST_ALL: int = 49
    IP_PMTUDISC_DONT: int = 0
    IP_PMTUDISC_WANT: int = 1
    IP_PMTUDISC_DO: int = 2
    IP_PMTUDISC_PROBE: int = 3
    IP_PMTUDISC_INTERFACE: int = 4
    IP_PMTUDISC_OMIT: int = 5
    # linux/in6.h
    IPV6_MTU_DISCOVER: int = 23
    IPV6_MTU: int = 24
    IPV6_RECVERR: int = 25
    IPV6_MULTICAST_ALL: int = 29
    # linux/netfilter_ipv4.h
    SO_ORIGINAL_DST: int = 80
    # linux/if_packet.h
    PACKET_RX_RING: int = 5
    PACKET_FANOUT: int = 18

for _name in [name for name in globals() if hasattr(_socket, name) and name.isupper()]:
    del globals()[_name]
