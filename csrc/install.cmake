# SPDX-License-Identifier: MIT
# What is installed: the library, its headers, and how CMake and pkg-config find them, either under a
# prefix or, with FASTSOCK_PACKAGE, in that Python package. Every path in it is relative to the file that
# has it, so that the whole may be moved.
include(CMakePackageConfigHelpers)

if(NOT DEFINED FASTSOCK_PACKAGE)
  set(libdir ${CMAKE_INSTALL_LIBDIR})
  set(includedir ${CMAKE_INSTALL_INCLUDEDIR})
  install(TARGETS fastsock EXPORT fastsock LIBRARY DESTINATION ${libdir}
          INCLUDES DESTINATION ${includedir})
else()
  set(libdir ${FASTSOCK_PACKAGE}/lib)
  set(includedir ${FASTSOCK_PACKAGE}/include)
  install(TARGETS fastsock EXPORT fastsock LIBRARY DESTINATION ${libdir} NAMELINK_SKIP
          INCLUDES DESTINATION ${includedir})
  # Wheels hold no symbolic links. ld, gold, lld and mold take such a script for one.
  if(NOT APPLE)
    file(CONFIGURE OUTPUT namelink/libfastsock.so CONTENT "INPUT(libfastsock.so.0)\n")
    install(FILES ${CMAKE_CURRENT_BINARY_DIR}/namelink/libfastsock.so DESTINATION ${libdir})
  endif()
endif()
install(DIRECTORY include/fastsock DESTINATION ${includedir} FILES_MATCHING PATTERN "*.h")

# As the library needs no other package, its targets are all of its configuration.
set(cmakedir ${libdir}/cmake/fastsock)
install(EXPORT fastsock NAMESPACE fastsock:: FILE fastsockConfig.cmake DESTINATION ${cmakedir})
# Before 1.0 a minor version may break what was.
write_basic_package_version_file(fastsockConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fastsockConfigVersion.cmake DESTINATION ${cmakedir})

# What the library itself needs is in its file; who links it needs nothing but its name.
set(pcdir ${libdir}/pkgconfig)
cmake_path(RELATIVE_PATH libdir BASE_DIRECTORY ${pcdir} OUTPUT_VARIABLE pc_libdir)
cmake_path(RELATIVE_PATH includedir BASE_DIRECTORY ${pcdir} OUTPUT_VARIABLE pc_includedir)
if(APPLE AND DEFINED FASTSOCK_PACKAGE)
  set(pc_libs "\${libdir}/libfastsock.0.dylib")
else()
  set(pc_libs "-L\${libdir} -lfastsock")
endif()
# No loader looks into a Python package by itself, and macOS's nowhere for a library without a path.
if(APPLE OR DEFINED FASTSOCK_PACKAGE)
  string(APPEND pc_libs " -Wl,-rpath,\${libdir}")
endif()
configure_file(fastsock.pc.in fastsock.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fastsock.pc DESTINATION ${pcdir})
