# SPDX-License-Identifier: MIT
"""The numbers we give names to, against the system's headers and the running Python."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import fastsock
from fastsock import constants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux's")

HEADERS = [
    "sys/socket.h",
    "netinet/in.h",
    "netinet/udp.h",
    "asm/socket.h",
    "linux/tls.h",
    "linux/if_packet.h",
    "linux/udp.h",
    "linux/netfilter_ipv4.h",
]


def declared_numbers():
    """Every NAME: int = NUMBER in the module, also the names that the running Python has."""
    return {
        node.target.id: node.value.value
        for node in ast.walk(ast.parse(Path(constants.__file__).read_text()))
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant)
    }


def test_numbers_equal_those_of_the_system_headers():
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: cc is not on PATH")
    names = sorted(declared_numbers())
    lines = [f"#include <{header}>" for header in HEADERS]
    for name in names:
        lines += [f"#ifdef {name}", f"@{name}_ = {name};", "#endif"]
    # The preprocessor alone: what the headers declare as an enum it passes on as a name, which is
    # left out here like a name that these headers are too old to have.
    output = subprocess.run(
        [compiler, "-D_GNU_SOURCE", "-E", "-P", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        # A preloaded sanitizer would look for leaks in the compiler.
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
    ).stdout
    found = re.findall(r"@(\w+)_ = \(?(\w+)\)?;", output)
    known = {name: int(number, 0) for name, number in found if number[0].isdigit()}
    assert len(known) > len(names) // 2
    assert {name: declared_numbers()[name] for name in known} == known


def test_numbers_equal_those_of_the_running_python():
    ours = declared_numbers()
    shared = {name: int(getattr(socket, name)) for name in ours if hasattr(socket, name)}
    assert {name: ours[name] for name in shared} == shared


def test_name_that_python_has_is_its_object():
    for name in declared_numbers():
        if hasattr(socket, name):
            assert getattr(fastsock, name) is getattr(socket, name)
            assert name not in fastsock.__adds__
        else:
            assert name in fastsock.__adds__


def test_large_receive_buffer_option_works():
    """A number that is used for real: SO_RCVBUFFORCE, or its refusal by the kernel."""
    with fastsock.socket(fastsock.AF_INET, fastsock.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(fastsock.SOL_SOCKET, fastsock.SO_RCVBUFFORCE, 1 << 20)
        except PermissionError:
            return
        assert sock.getsockopt(fastsock.SOL_SOCKET, fastsock.SO_RCVBUF) == 2 << 20
