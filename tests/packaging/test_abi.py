# SPDX-License-Identifier: MIT
"""The binary interface of libfastsock is the one that is kept, and a break of it is found."""

import platform
import shutil
import subprocess
import sys

import pytest

from tools.packages import ROOT, need

pytestmark = [
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="the interface that is kept is Linux's on x86_64",
    ),
]


@pytest.fixture(autouse=True)
def tools():
    need("abidw", "abigail-tools")


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
        ("metadata.h", "FSK_METADATA_HOP_LIMIT = 4", "FSK_METADATA_HOP_LIMIT = 32"),
        ("server.h", "FSK_CLOSE_PLACES 16", "FSK_CLOSE_PLACES 17"),
        ("framer.h", "((size_t)256", "((size_t)128"),
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
