# SPDX-License-Identifier: MIT
"""Where the C library lies, for building other programs on it.

``python -m fastsock.config --cflags --libs`` prints what a compiler wants, ``--cmake``,
``--pkg-config`` and ``--cython`` the folders where those tools find the library.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import fastsock

LIBRARY = "libfastsock.0.dylib" if sys.platform == "darwin" else "libfastsock.so.0"


def get_include() -> str:
    """Return the folder for the compiler's ``-I``, to ``#include <fastsock/fastsock.h>``."""
    return str(_installed("include/fastsock/fastsock.h").parents[1])


def get_library() -> str:
    """Return the path of the shared library, for ``ctypes.CDLL`` and the like.

    It is the one that this process's fastsock uses. For a linker see ``python -m fastsock.config``.
    """
    return str(_installed(f"lib/{LIBRARY}"))


def _installed(name: str) -> Path:
    # An editable install has its built files in a folder other than its modules'.
    for folder in fastsock.__path__:
        path = Path(folder, name)
        if path.exists():
            return path
    raise FileNotFoundError(f"this installation of fastsock has no {name}; install it again")


def _cflags() -> str:
    return shlex.quote(f"-I{get_include()}")


def _libs() -> str:
    folder = str(Path(get_library()).parent)
    # No loader looks into a Python package by itself, so the program is told where.
    flags = [f"-L{folder}", f"-Wl,-rpath,{folder}"]
    # Without symbolic links a Mach-O library has no name without its version.
    flags.append(get_library() if sys.platform == "darwin" else "-lfastsock")
    return shlex.join(flags)


def _cmake() -> str:
    return str(_installed("lib/cmake/fastsock/fastsockConfig.cmake").parent)


def _pkg_config() -> str:
    return str(_installed("lib/pkgconfig/fastsock.pc").parent)


def _cython() -> str:
    return shlex.quote(f"-I{_installed('libfastsock.pxd').parents[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fastsock.config",
        description="Print how to build programs on fastsock's C library.",
        epilog="example: cc program.c $(python -m fastsock.config --cflags --libs)",
    )
    for flag, answer, told in (
        ("--cflags", _cflags, "what compiling C and C++ takes"),
        ("--libs", _libs, "what linking takes, with a path for the loader"),
        ("--cmake", _cmake, "the folder for fastsock_DIR, for find_package(fastsock)"),
        ("--pkg-config", _pkg_config, "the folder for PKG_CONFIG_PATH"),
        ("--cython", _cython, "what cython takes, to cimport fastsock.libfastsock"),
    ):
        parser.add_argument(flag, dest="answers", action="append_const", const=answer, help=told)
    answers = parser.parse_args().answers
    if not answers:
        parser.error("say what to print; --help lists it")
    print(*(answer() for answer in answers))


if __name__ == "__main__":
    main()
