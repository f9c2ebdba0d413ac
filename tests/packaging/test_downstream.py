# SPDX-License-Identifier: MIT
"""What others build on the C library: of the wheel, of an editable install and of a prefix."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastsock.config import LIBRARY
from tools.packages import ROOT, need, run

pytestmark = pytest.mark.timeout(300)
# Correct C and C++: a message through the library and back, and the version of both sides.
PROGRAM = """
#include <fastsock/fastsock.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    struct fsk_address name;
    char text[8] = "";
    int fd = fsk_socket_open(AF_INET, SOCK_DGRAM, 0);
    int result = fsk_address_parse_host(&name, AF_INET, "127.0.0.1", 0);
    if (fd < 0 || result < 0 || fsk_socket_bind(fd, &name) < 0 || fsk_socket_name(fd, &name) < 0)
        return 2;
    if (fsk_send_to(fd, "message", 7, 0, &name) != 7 || fsk_receive(fd, text, 7, 0) != 7)
        return 3;
    printf("%d %d %s\\n", FSK_VERSION_MAJOR * 10000 + FSK_VERSION_MINOR * 100 + FSK_VERSION_PATCH,
           fsk_version(), text);
    return fsk_socket_close(fd) < 0 || strcmp(text, "message") != 0;
}
"""
HEADER = (ROOT / "csrc/include/fastsock/version.h").read_text()
MAJOR, MINOR, PATCH = map(int, re.findall(r"FSK_VERSION_[A-Z]+ (\d+)", HEADER))
VERSION = f"{MAJOR}.{MINOR}.{PATCH}"
NUMBER = MAJOR * 10000 + MINOR * 100 + PATCH
PRINTED = f"{NUMBER} {NUMBER} message\n"
STRICT = "-Wall -Wextra -Wpedantic -Werror"
CMAKE = """
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(fastsock {wanted} CONFIG REQUIRED)
add_executable(program program.c)
target_link_libraries(program PRIVATE fastsock::fastsock)
message(STATUS "found ${{fastsock_VERSION}}")
"""
MODULE = """
# cython: language_level=3
from fastsock.libfastsock cimport (
    AF_INET, FSK_FOREVER, FSK_HOST_SIZE, FSK_VERSION_MINOR, fsk_address, fsk_address_format_host,
    fsk_address_parse_host, fsk_address_port, fsk_version,
)

def told():
    cdef fsk_address address
    cdef char host[46]
    assert FSK_HOST_SIZE == 46 and FSK_FOREVER == -1
    assert fsk_address_parse_host(&address, AF_INET, b"192.0.2.1", 8888) == 0
    assert fsk_address_format_host(&address, host) > 0
    return fsk_version(), FSK_VERSION_MINOR, (<bytes>host).decode(), fsk_address_port(&address)
"""


@pytest.fixture
def program(tmp_path):
    """A folder with program.c."""
    (tmp_path / "program.c").write_text(PROGRAM)
    return tmp_path


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """A prefix into which csrc alone was installed, and which was moved since."""
    folder = tmp_path_factory.mktemp("c library")
    run("cmake", "-S", ROOT / "csrc", "-B", "build", cwd=folder)
    run("cmake", "--build", "build", cwd=folder)
    run("cmake", "--install", "build", "--prefix", folder / "first", cwd=folder)
    shutil.rmtree(folder / "build")
    return Path(shutil.move(folder / "first", folder / "moved"))


def told(python, *flags):
    """What fastsock.config says."""
    return run(python, "-m", "fastsock.config", *flags, cwd="/").rstrip("\n")


def found_under(prefix, name):
    (path,) = prefix.rglob(name)
    return path.parent


def check_pkg_config(folder, pkg_config_path, **environment):
    need("pkg-config", "pkg-config")
    path = {"PKG_CONFIG_PATH": str(pkg_config_path)}
    assert run("pkg-config", "--modversion", "fastsock", cwd=folder, **path) == f"{VERSION}\n"
    flags = run("pkg-config", "--cflags", "--libs", f"fastsock >= {VERSION}", cwd=folder, **path)
    command = ["cc", *STRICT.split(), "-o", "program", "program.c", *shlex.split(flags)]
    run(*command, cwd=folder)
    assert run("./program", cwd=folder, **environment) == PRINTED


def check_cmake(folder, cmake_path):
    (folder / "CMakeLists.txt").write_text(CMAKE.format(wanted=f"{MAJOR}.{MINOR}"))
    command = ["cmake", "-S", ".", "-B", "build", "-D", f"fastsock_DIR={cmake_path}"]
    assert f"found {VERSION}" in run(*command, "-D", f"CMAKE_C_FLAGS={STRICT}", cwd=folder)
    run("cmake", "--build", "build", cwd=folder)
    assert run("build/program", cwd=folder) == PRINTED
    for wanted in (f"{MAJOR}.{MINOR}.{PATCH + 1}", f"{MAJOR}.{MINOR + 1}", f"{MAJOR + 1}.0"):
        (folder / "CMakeLists.txt").write_text(CMAKE.format(wanted=wanted))
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, text=True)
        assert done.returncode != 0
        assert f"version: {VERSION}" in done.stderr


def test_c_program_by_flags(installed, program):
    flags = shlex.split(told(installed, "--cflags", "--libs"))
    run("cc", *STRICT.split(), "-std=c11", "-o", "program", "program.c", *flags, cwd=program)
    assert run("./program", cwd=program) == PRINTED


def test_c_program_by_pkg_config(installed, program):
    check_pkg_config(program, told(installed, "--pkg-config"))


def test_c_program_by_cmake(installed, program):
    check_cmake(program, told(installed, "--cmake"))


def test_cpp_program(installed, program):
    flags = shlex.split(told(installed, "--cflags", "--libs"))
    (program / "program.c").rename(program / "program.cpp")
    command = ["c++", "-std=c++17", *STRICT.split(), "-o", "program", "program.cpp", *flags]
    run(*command, cwd=program)
    assert run("./program", cwd=program) == PRINTED


def test_each_header_stands_alone(installed, tmp_path):
    flags = shlex.split(told(installed, "--cflags"))
    for header in sorted((ROOT / "csrc/include/fastsock").glob("*.h")):
        text = f"#include <fastsock/{header.name}>\n"
        for name, command in (("one.c", ["cc", "-std=c11"]), ("one.cpp", ["c++", "-std=c++17"])):
            (tmp_path / name).write_text(text)
            run(*command, *STRICT.split(), "-fsyntax-only", *flags, name, cwd=tmp_path)


def test_prefix_that_was_moved_serves_pkg_config(prefix, program):
    folder = found_under(prefix, LIBRARY)
    pkg_config = found_under(prefix, "fastsock.pc")
    check_pkg_config(program, pkg_config, LD_LIBRARY_PATH=str(folder))


def test_prefix_that_was_moved_serves_cmake(prefix, program):
    check_cmake(program, found_under(prefix, "fastsockConfig.cmake"))


def test_prefix_holds_no_path_of_the_build(prefix):
    """But the compiler's own, in what debugging needs."""
    texts = [path for path in prefix.rglob("*") if path.suffix in {".pc", ".cmake", ".h"}]
    assert len(texts) > 10
    for path in texts:
        assert str(prefix.parent) not in path.read_text()
        assert str(ROOT) not in path.read_text()


def build_module(folder, cython_flags, flags, **environment):
    """Make a module of MODULE with the running Python's Cython; return its folder."""
    (folder / "consumer.pyx").write_text(MODULE)
    cython = [sys.executable, "-m", "cython", "-3", "-Werror", *cython_flags, "consumer.pyx"]
    run(*cython, cwd=folder, **environment)
    include = run(
        sys.executable,
        *("-c", "import sysconfig; print(sysconfig.get_path('include'))"),
        cwd=folder,
    ).strip()
    linked = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    command = ["cc", "-shared", "-fPIC", f"-I{include}", "-o", "consumer.so", "consumer.c"]
    run(*command, *linked, *flags, cwd=folder)


def check_module(python, folder):
    code = "import json, fastsock, consumer; print(json.dumps(consumer.told()))"
    assert json.loads(run(python, "-c", code, cwd=folder)) == [NUMBER, MINOR, "192.0.2.1", 8888]


@pytest.mark.parametrize("way", ["told", "found"])
def test_cython_module_on_the_wheel(installed, tmp_path, way):
    """Found: as by a build in the environment that fastsock is installed in."""
    flags = shlex.split(told(installed, "--cflags", "--libs"))
    if way == "told":
        build_module(tmp_path, shlex.split(told(installed, "--cython")), flags)
    else:
        site = Path(told(installed, "--cmake")).parents[3]
        build_module(tmp_path, [], flags, PYTHONPATH=str(site))
    check_module(installed, tmp_path)


def test_cython_module_on_the_editable_install(tmp_path):
    libs = told(sys.executable, "--libs")
    if str(ROOT) not in libs:
        pytest.skip(f"the running Python's fastsock is not this checkout's: its --libs are {libs}")
    flags = shlex.split(told(sys.executable, "--cflags", "--libs"))
    build_module(tmp_path, shlex.split(told(sys.executable, "--cython")), flags)
    check_module(sys.executable, tmp_path)


def test_one_copy_of_the_library_is_loaded(installed, tmp_path):
    if not Path("/proc/self/maps").exists():
        pytest.skip("/proc/self/maps was looked for, which lists a process's files on Linux")
    code = """if True:
        import ctypes, fastsock
        library = ctypes.CDLL(fastsock.get_library())
        fastsock.socket().close()
        fastsock.StreamServer(("127.0.0.1", 0), fastsock.Delimiter(b"\\n")).close()
        with open("/proc/self/maps") as maps:
            files = {line.split()[-1] for line in maps if "libfastsock" in line}
        print(library.fsk_version(), *files)
    """
    assert run(installed, "-c", code, cwd=tmp_path) == f"{NUMBER} {library_of(installed)}\n"


def library_of(python):
    return run(python, "-c", "import fastsock; print(fastsock.get_library())", cwd="/").strip()
