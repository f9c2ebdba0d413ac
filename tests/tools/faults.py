# SPDX-License-Identifier: MIT
"""Make chosen calls of a child process fail, by a library that is loaded before libc.

A rule is

    call[-segment]=error@N     the Nth match fails
    call[-segment]=error@N+    and all after it

with call one of send, sendto, sendmsg, sendmmsg, recvmsg, recvmmsg; error a name like EIO, or
"count", which lets the call pass and only counts. With -segment, of sendmsg and sendmmsg, only a
message that carries a UDP_SEGMENT control item matches (one that GSO is to cut). Several rules are
separated by commas; each counts all its matches, and the first that fires gives the error.

A match is a call; of sendmmsg it is a message of the call, as the kernel takes them: those before
the failing one are sent and their number is returned, and only a call whose first message fails
gives the error. So "sendmmsg=ENOBUFS@4" sends three and returns 3. A message that the kernel did
not come to is not counted, nor a recvmmsg or sendmmsg of no messages.

FASTSOCK_FAULTS holds the rules a process starts with. In the process `arm` sets others.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from tools import child

SOURCE = Path(__file__).with_name("faults.c")


def build(folder):
    """Compile the library into folder and return its path."""
    compiler = shutil.which("cc")
    if compiler is None:
        child.skip("the faults are a C library, and no cc to compile it is on PATH")
    library = Path(folder) / "faults.so"
    command = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC"]
    # Without a sanitizer's runtime, which would report the compiler's own leaks.
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([*command, "-o", library, SOURCE, "-ldl"], check=True, env=clean)
    return library


def environment(library, rules=""):
    """Return what to add to a child's environment for it to have faults."""
    # A sanitizer's runtime must stay the first.
    preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))
    return {"LD_PRELOAD": preload, "FASTSOCK_FAULTS": rules}


# In the child


def arm(rules):
    """Replace the rules; every count starts at 0."""
    if ctypes.CDLL(None).faults_set(rules.encode()) < 0:
        raise ValueError(f"no rules: {rules!r}")


def matches(index=0):
    """Tell how many calls or messages the rule of that number was about."""
    return count(ctypes.CDLL(None).faults_matches, index)


def hits(index=0):
    """Tell how many of them failed by it."""
    return count(ctypes.CDLL(None).faults_hits, index)


def count(function, index):
    function.restype = ctypes.c_long
    value = function(index)
    if value < 0:
        raise IndexError(f"there is no rule {index}")
    return value
