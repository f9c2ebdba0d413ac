# SPDX-License-Identifier: MIT
"""Rules about the tree itself. A rule that only a comment states is not a rule."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Lines a file of each kind may have; past that it holds more than one noun.
LIMITS = {".c": 500, ".h": 250, ".pyx": 400, ".pxd": 400, ".py": 300}
TEST_LIMIT = 500
MISSPELT_CMSG = re.compile(r"\bCMSG_(?!CLOEXEC)")


def tracked(*patterns):
    """The files of the checkout that match; those not yet committed included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    try:
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    files = [ROOT / name for name in names.stdout.splitlines()]
    return [file for file in files if file.is_file()]


def code_of(file):
    """The text without C and Python comments and without docstrings."""
    text = file.read_text()
    text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    text = re.sub(r"/\*(?:.|\n)*?\*/", "", text)
    if file.suffix in {".py", ".pyx", ".pxd"}:
        text = re.sub(r"#.*", "", text)
    return text


def names_of(files):
    return sorted(str(file.relative_to(ROOT)) for file in files)


def test_files_are_short_enough_to_hold_one_noun():
    too_long = {}
    for file in tracked(*(f"*{suffix}" for suffix in LIMITS)):
        limit = TEST_LIMIT if "tests" in file.relative_to(ROOT).parts else LIMITS[file.suffix]
        lines = len(file.read_text().splitlines())
        if lines > limit:
            too_long[str(file.relative_to(ROOT))] = f"{lines} lines, {limit} allowed"
    assert too_long == {}


def test_source_files_name_their_licence():
    files = tracked(
        *("*.c", "*.h", "*.py", "*.pyx", "*.pxd", "*.pyi", "*.txt", "*.rs", "*.go"),
        *("Makefile", ".ci/*"),
    )
    files = [file for file in files if "allowlist" not in file.name]
    unnamed = [file for file in files if "SPDX-License-Identifier: MIT" not in file.read_text()]
    assert names_of(unnamed) == []


def test_errno_is_read_only_in_kernel_h():
    sources = tracked("csrc/*.c", "csrc/*.h")
    readers = [file for file in sources if re.search(r"\berrno\b(?!\.h)", code_of(file))]
    assert names_of(readers) == ["csrc/src/kernel.h"]


def test_control_message_macros_stand_only_in_cmsg_c():
    users = [
        file
        for file in tracked("csrc/*.c", "csrc/*.h", "src/*.pyx", "src/*.pxd", "src/*.h")
        if MISSPELT_CMSG.search(code_of(file))
    ]
    assert names_of(users) == ["csrc/src/cmsg.c"]


def test_extern_declarations_stand_in_two_files():
    users = [file for file in tracked("src/*.pyx", "src/*.pxd") if "cdef extern" in code_of(file)]
    assert names_of(users) == [
        "src/fastsock/libfastsock.pxd",
        "src/fastsock/native/interpreter.pxd",
    ]


def test_native_modules_do_not_print():
    talkers = [file for file in tracked("src/*.pyx") if re.search(r"\bprint\(", code_of(file))]
    assert names_of(talkers) == []


def test_no_module_has_a_name_of_the_standard_library():
    """Cython run in a folder with a built ``socket*.so`` would import that in its place."""
    import sys

    modules = tracked("src/*.pyx", "src/*.py")
    clashes = [file for file in modules if file.stem in sys.stdlib_module_names]
    assert names_of(file for file in clashes if file.stem != "__init__") == []


def test_conditional_compilation_stays_outside_functions():
    """An engine is chosen by file; a function body with #if is two functions in disguise."""
    inside = []
    for file in tracked("csrc/src/*.c"):
        depth = 0
        for line in code_of(file).splitlines():
            if depth > 0 and line.startswith("#if") and file.name != "engine.c":
                inside.append(f"{file.name}: {line}")
            depth += line.count("{") - line.count("}")
    assert inside == []


def test_symbol_map_lists_exactly_the_functions_of_the_headers():
    declared = set()
    for header in tracked("csrc/include/fastsock/*.h"):
        declared |= set(re.findall(r"FSK_API [^;]*?\b(fsk_\w+)\(", code_of(header)))
    exported = set(re.findall(r"\b(fsk_\w+);", (ROOT / "csrc/fastsock.map").read_text()))
    assert declared == exported


def test_pxd_declares_what_the_headers_do():
    """Cython takes a wrong declaration as it is; the C compiler then converts what it can."""
    text = "".join(code_of(file) for file in tracked("csrc/include/fastsock/*.h"))
    declared = re.findall(r"^FSK_API ([^;]*?\bfsk_\w+\([^;]*\));", text, re.MULTILINE)
    constants = set(re.findall(r"\bFSK_[A-Z0-9_]+\b", text)) - {"FSK_API"}
    pxd = code_of(ROOT / "src/fastsock/libfastsock.pxd")
    in_pxd = re.findall(r"^    (\w[\w *]*?\bfsk_\w+\([^)]*\))$", pxd, re.MULTILINE)
    assert {of_pxd(one) for one in declared} == {" ".join(one.split()) for one in in_pxd}
    assert constants - set(re.findall(r"\w+", pxd)) == set()


def of_pxd(declaration):
    """A function's declaration in C as it is written in Cython."""
    text = re.sub(r"\b(struct|enum) ", "", declaration).replace("(void)", "()")
    text = re.sub(r"\bbool\b", "bint", text)
    text = re.sub(r"(\w+)\[\w+\]", r"*\1", text)  # an array as parameter
    # In C functions and structures have name spaces of their own.
    return " ".join(re.sub(r"(fsk_\w+_stats) \*", r"\1_t *", text).split())


def test_every_exported_function_is_tested_in_c():
    exported = set(re.findall(r"\b(fsk_\w+);", (ROOT / "csrc/fastsock.map").read_text()))
    tests = "\n".join(file.read_text() for file in tracked("tests/c/*.c"))
    assert {name for name in exported if not re.search(rf"\b{name}\b", tests)} == set()


def test_umbrella_header_includes_every_header():
    headers = {file.name for file in tracked("csrc/include/fastsock/*.h")} - {"fastsock.h"}
    umbrella = (ROOT / "csrc/include/fastsock/fastsock.h").read_text()
    assert set(re.findall(r"#include <fastsock/(\w+\.h)>", umbrella)) == headers


def test_every_native_module_is_built_and_has_its_types():
    modules = {file.stem for file in tracked("src/fastsock/native/*.pyx")}
    types = {file.stem for file in tracked("src/fastsock/native/*.pyi")}
    listed = (ROOT / "src/fastsock/native/CMakeLists.txt").read_text()
    built = set(re.search(r"set\(modules ([^)]*)\)", listed)[1].split())
    assert modules == types == built
