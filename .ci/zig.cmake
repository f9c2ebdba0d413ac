# SPDX-License-Identifier: MIT
# CMake toolchain: the compiler of PyPI's ziglang, which has the headers and stub libraries of every
# target. ZIG is its program, ZIG_TARGET what `zig targets` calls a system, for example
# x86_64-linux-gnu.2.17 (the number is glibc's), aarch64-linux-musl or aarch64-macos.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)
string(REGEX MATCH "^([^-]*)-([^-]*)" whole ${ZIG_TARGET})
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
if(CMAKE_MATCH_2 STREQUAL "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_OSX_SYSROOT "")
  # What CMake looks for; it is called at an installation with an rpath only.
  set(CMAKE_INSTALL_NAME_TOOL install_name_tool)
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()

set(CMAKE_C_COMPILER ${ZIG} cc -target ${ZIG_TARGET})
set(CMAKE_CXX_COMPILER ${ZIG} c++ -target ${ZIG_TARGET})
# Without optimization it would add traps for undefined behaviour.
set(CMAKE_C_FLAGS_INIT -fno-sanitize=undefined)
# The machine's strip knows its own processor only.
set(CMAKE_SHARED_LINKER_FLAGS_RELEASE_INIT -s)
set(CMAKE_MODULE_LINKER_FLAGS_RELEASE_INIT -s)
foreach(language C CXX)
  set(CMAKE_${language}_ARCHIVE_CREATE "${ZIG} ar qc <TARGET> <LINK_FLAGS> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_FINISH "${ZIG} ranlib <TARGET>")
endforeach()

if(ZIG_TARGET MATCHES "musl")
  set(CMAKE_EXE_LINKER_FLAGS_INIT -dynamic) # the default is static
  # Its stub of the C library has the name libc.so, by which other systems have something else. Alpine's
  # linker writes this one, and auditwheel knows musl by it.
  set(CMAKE_C_CREATE_SHARED_LIBRARY
    "<CMAKE_C_COMPILER> <CMAKE_SHARED_LIBRARY_C_FLAGS> <LANGUAGE_COMPILE_FLAGS> <LINK_FLAGS> <CMAKE_SHARED_LIBRARY_CREATE_C_FLAGS> <SONAME_FLAG><TARGET_SONAME> -o <TARGET> <OBJECTS> <LINK_LIBRARIES>"
    "patchelf --replace-needed libc.so libc.musl-${CMAKE_SYSTEM_PROCESSOR}.so.1 <TARGET>")
  set(CMAKE_C_CREATE_SHARED_MODULE ${CMAKE_C_CREATE_SHARED_LIBRARY})
endif()
