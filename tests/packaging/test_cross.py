# SPDX-License-Identifier: MIT
"""Wheels for other systems, built by ziglang: that their files are what their names promise."""

import io
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection

ROOT = Path(__file__).resolve().parents[2]
VERSION = f"cp{sys.version_info[0]}{sys.version_info[1]}"
# Target of .ci/cross: policy, e_machine, the C library's file
TARGETS = {
    "x86_64-linux-gnu.2.17": ("manylinux_2_17_x86_64", "EM_X86_64", "libc.so.6"),
    "x86_64-linux-musl": ("musllinux_1_2_x86_64", "EM_X86_64", "libc.musl-x86_64.so.1"),
    "aarch64-linux-gnu.2.17": ("manylinux_2_17_aarch64", "EM_AARCH64", "libc.so.6"),
}
EXPORTED = set(re.findall(r"\b(fsk_\w+);", (ROOT / "csrc/fastsock.map").read_text()))


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


@pytest.fixture
def wheel(target):
    pattern = f"fastsock-*-{VERSION}-*{TARGETS[target][0]}.whl"
    found = list((ROOT / "dist/cross").glob(pattern))
    assert len(found) == 1, f"there is no dist/cross/{pattern}; make cross builds it"
    return found[0]


@pytest.fixture
def objects(wheel):
    """The shared objects of a wheel by their names in it."""
    with zipfile.ZipFile(wheel) as packed:
        return {
            name: ELFFile(io.BytesIO(packed.read(name)))
            for name in packed.namelist()
            if re.search(r"\.so(\.0)?$", name) and not name.endswith("libfastsock.so")
        }


def symbols(elf, defined):
    """Names of the dynamic symbols that are defined, or that are not."""
    return {
        symbol.name
        for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
        if symbol.name and (symbol["st_shndx"] != "SHN_UNDEF") == defined
    }


def entries(elf, tag):
    tags = elf.get_section_by_name(".dynamic").iter_tags(tag)
    return {getattr(entry, tag[3:].lower(), None) for entry in tags}


def test_auditwheel_tells_the_policy_of_the_name(target, wheel):
    command = [sys.executable, "-m", "auditwheel", "show", wheel]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f'"{TARGETS[target][0]}"' in shown


def test_wheel_has_one_library_that_every_module_finds(objects):
    libraries = [name for name in objects if "libfastsock" in name]
    modules = set(objects) - {*libraries}
    assert libraries == ["fastsock/lib/libfastsock.so.0"]
    sources = {path.stem for path in (ROOT / "src/fastsock/native").glob("*.pyx")}
    assert {Path(name).name.partition(".")[0] for name in modules} == sources | {"_cython"}
    users = {name for name in modules if "libfastsock.so.0" in entries(objects[name], "DT_NEEDED")}
    assert users
    for name in users:
        assert entries(objects[name], "DT_RUNPATH") == {"$ORIGIN/../lib"}


def test_objects_are_of_the_target_and_stripped(target, objects):
    _, machine, libc = TARGETS[target]
    for name, elf in objects.items():
        assert elf["e_machine"] == machine, name
        assert libc in entries(elf, "DT_NEEDED"), name
        assert elf.get_section_by_name(".symtab") is None, name
        assert elf.get_section_by_name(".debug_info") is None, name


def test_library_exports_the_list_with_its_version(objects):
    library = objects["fastsock/lib/libfastsock.so.0"]
    versions = [
        name
        for section in library.iter_sections()
        if isinstance(section, GNUVerDefSection)
        for _, names in section.iter_versions()
        for name in (aux.name for aux in names)
    ]
    assert symbols(library, True) - set(versions) == EXPORTED
    assert versions == ["libfastsock.so.0", "FASTSOCK_0.1"]
    numbers = library.get_section_by_name(".gnu.version")
    dynamic = library.get_section_by_name(".dynsym")
    for number, symbol in enumerate(dynamic.iter_symbols()):
        if symbol.name in EXPORTED:
            assert numbers.get_symbol(number)["ndx"] == 2, symbol.name


def test_modules_export_their_beginning_only(objects):
    for name, elf in objects.items():
        if "/native/" in name:
            module = Path(name).name.partition(".")[0]
            assert symbols(elf, True) == {f"PyInit_{module}"}, name


def test_nothing_of_a_sanitizer_is_in_it(objects):
    for name, elf in objects.items():
        assert not [s for s in symbols(elf, False) if re.search("san_|__ubsan|__asan", s)], name


@pytest.mark.parametrize("target", ["x86_64-linux-musl"], indirect=True)
def test_everything_that_musllinux_asks_for_is_in_debians_musl(objects):
    """musl has no symbol versions; its 1.2.3 stands for the 1.2 of the wheel's name."""
    with open("/lib/ld-musl-x86_64.so.1", "rb") as file:
        there = symbols(ELFFile(file), True) | EXPORTED
    for name, elf in objects.items():
        asked = {symbol for symbol in symbols(elf, False) if not re.match(r"_?Py", symbol)}
        weak = {
            "__cxa_finalize",
            "_ITM_deregisterTMCloneTable",
            "_ITM_registerTMCloneTable",
            "__gmon_start__",
            "__deregister_frame_info",
            "__register_frame_info",
        }
        assert asked - weak <= there, name


@pytest.mark.parametrize("target", ["x86_64-linux-gnu.2.17"], indirect=True)
def test_wheel_of_old_glibc_works_alone(wheel, tmp_path):
    venv.create(tmp_path / "alone", with_pip=True)
    python = tmp_path / "alone/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True, cwd=tmp_path)
    program = """
import fastsock
receiver = fastsock.socket(fastsock.AF_INET, fastsock.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
sender = fastsock.socket(fastsock.AF_INET, fastsock.SOCK_DGRAM)
sender.sendto_many([(data, receiver.getsockname()) for data in (b"one", b"two")])
print([bytes(data) for data in receiver.recv_many(100)], fastsock.__file__)
"""
    done = subprocess.run(
        [python, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout.startswith(f"[b'one', b'two'] {tmp_path}")
