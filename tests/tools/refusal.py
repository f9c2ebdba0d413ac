# SPDX-License-Identifier: MIT
"""Refuse chosen system calls to this process by a seccomp filter, as sandboxes do.

    python -m tools.refusal recvmmsg:EPERM,UDP_GRO:ENOSYS -- command arguments ...

runs the command under the filter. What can be refused: recvmmsg, sendmmsg, and by the name of one
of OPTIONS both setsockopt and getsockopt of that option; other options are not touched.

A filter never goes away: what it refuses it refuses to every thread and process that this thread
starts from then on.
"""

import ctypes
import errno
import os
import platform
import struct

from tools import child

# Numbers of the calls, and the AUDIT_ARCH_ value by which a filter knows whose numbers they are.
ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        {"recvmmsg": 299, "sendmmsg": 307, "setsockopt": 54, "getsockopt": 55},
    ),
    "aarch64": (
        0xC00000B7,
        {"recvmmsg": 243, "sendmmsg": 269, "setsockopt": 208, "getsockopt": 209},
    ),
}
# Level and number; an old kernel without one of them answers ENOPROTOOPT.
OPTIONS = {"UDP_SEGMENT": (17, 103), "UDP_GRO": (17, 104), "IPV6_MULTICAST_ALL": (41, 29)}
NAMES = ("recvmmsg", "sendmmsg", "UDP_SEGMENT", "UDP_GRO")  # those of capabilities

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP, JUMP_IF_EQUAL, RETURN = 0x20, 0x05, 0x15, 0x06
# Places in struct seccomp_data; of an argument the low half, both machines being little-endian.
NUMBER, ARCHITECTURE, LEVEL, OPTION = 0, 4, 16 + 8, 16 + 2 * 8


def install(rules):
    """Put a filter on this thread and what it starts.

    rules: text as on the command line. OSError: the kernel has no filters or this process may
    install none. NotImplementedError: another machine.
    """
    program = assemble(parse(rules))
    filters = ctypes.create_string_buffer(b"".join(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.c_void_p))

    header = Program(len(program), ctypes.addressof(filters))
    # A process without privileges may install a filter only after it gave up ever getting more.
    control(PR_SET_NO_NEW_PRIVS, 1)
    control(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header))


def parse(rules):
    """Return pairs (name, error number) of "recvmmsg:EPERM,sendmmsg:ENOSYS"."""
    pairs = []
    for rule in rules.split(","):
        name, _, error = rule.partition(":")
        if name not in (*NAMES, *OPTIONS) or error not in errno.errorcode.values():
            raise ValueError(
                f"not of the form name:ERRNO, with a name of {(*NAMES, *OPTIONS)}: {rule!r}"
            )
        pairs.append((name, getattr(errno, error)))
    return pairs


def assemble(pairs):
    """Return the filter's instructions, 8 bytes each."""
    if platform.machine() not in ARCHITECTURES:
        raise NotImplementedError(f"no numbers of system calls for {platform.machine()}")
    architecture, numbers = ARCHITECTURES[platform.machine()]
    # Calls of another architecture (32-bit programs) have other numbers, and are let pass.
    allow = instruction(RETURN, SECCOMP_RET_ALLOW)
    program = [*unless(ARCHITECTURE, architecture, skip=1), instruction(JUMP, 1), allow]
    for name, error in pairs:
        refuse = [instruction(RETURN, SECCOMP_RET_ERRNO | error)]
        if name in OPTIONS:
            level, option = OPTIONS[name]
            refuse = [*unless(OPTION, option, skip=1), *refuse]
            refuse = [*unless(LEVEL, level, skip=len(refuse)), *refuse]
        calls = ("setsockopt", "getsockopt") if name in OPTIONS else (name,)
        for call in calls:
            program += [*unless(NUMBER, numbers[call], skip=len(refuse)), *refuse]
    return [*program, allow]


def unless(place, value, skip):
    """Skip so many instructions if the word at place is another."""
    return [instruction(LOAD_WORD, place), instruction(JUMP_IF_EQUAL, value, if_not=skip)]


def instruction(code, value, if_not=0):
    return struct.pack("=HBBI", code, 0, if_not, value)


def control(option, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [*arguments, 0, 0, 0, 0][:4]
    if libc.prctl(option, *map(ctypes.c_ulong, padded)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


if __name__ == "__main__":
    child.become(lambda arguments: install(*arguments))
