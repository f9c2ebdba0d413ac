# SPDX-License-Identifier: MIT
"""The binary interface of libfastsock is the one that is kept, and a break of it is found."""

import platform
import shutil
import subprocess
import sys

import pytest

from tools.packages import ROOT

pytestmark = [
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="the interface that is kept is Linux's on x86_64",
    ),
    pytest.mark.skipif(
        shutil.which("abidw") is None,
        reason="abidw was looked for and is not on PATH; Debian has it in abigail-tools",
    ),
]


def check(*arguments):
    command = [sys.executable, ROOT / ".ci/abi", "check", *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True)


def test_interface_is_the_one_that_is_kept():
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("header", "text", "changed"),
    [
        ("server.h", "size_t max_pending; ", "int max_pending;"),
        ("framing.h", "uint64_t needed;", "uint32_t needed;"),
        ("framing.h", "FSK_FRAMING_VARINT, ", ""),
        ("error.h", "fsk_error_text(int code", "fsk_error_text(long code"),
    ],
)
def test_break_is_found(header, text, changed, tmp_path):
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    file = tmp_path / "csrc/include/fastsock" / header
    before = file.read_text()
    assert text in before
    file.write_text(before.replace(text, changed))
    done = check(tmp_path / "csrc")
    assert done.returncode == 1
    assert "SOVERSION" in done.stderr
