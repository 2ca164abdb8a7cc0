include(CMakePackageConfigHelpers)

# What the package files need to know of this build: a static library also names what it links.
if(GROUPHEAD_IO_KERAS)
  set(GROUPHEAD_HAS_KERAS_FILES 1)
else()
  set(GROUPHEAD_HAS_KERAS_FILES 0)
endif()
if(BUILD_SHARED_LIBS)
  set(GROUPHEAD_SHARED 1)
else()
  set(GROUPHEAD_SHARED 0)
  set(GROUPHEAD_PC_REQUIRES "libhwy tbb")
  set(GROUPHEAD_PC_LIBS ${OneDNN_LIBRARY} ${OneDNN_OPENMP_LIBRARY})
  if(GROUPHEAD_IO_KERAS)
    list(APPEND GROUPHEAD_PC_LIBS ${HDF5C_LIBRARY} ${LibZip_LIBRARY} ${ZLIB_LIBRARIES})
  endif()
  list(JOIN GROUPHEAD_PC_LIBS " " GROUPHEAD_PC_LIBS)
endif()

# The .pc file finds the prefix from where it lies, so that an installed tree may be moved.
foreach(folder LIBDIR INCLUDEDIR)
  file(RELATIVE_PATH GROUPHEAD_PC_${folder} ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_${folder}})
endforeach()
file(RELATIVE_PATH GROUPHEAD_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
     ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" GROUPHEAD_PC_PREFIX ${GROUPHEAD_PC_PREFIX})
configure_file(cmake/grouphead.pc.in grouphead.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/grouphead.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/grouphead)
install(TARGETS grouphead EXPORT grouphead_targets)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT grouphead_targets NAMESPACE grouphead:: DESTINATION ${package_folder})
configure_package_config_file(cmake/grouphead-config.cmake.in grouphead-config.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(grouphead-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/FindOneDNN.cmake cmake/FindHDF5C.cmake cmake/FindLibZip.cmake
              ${PROJECT_BINARY_DIR}/grouphead-config.cmake
              ${PROJECT_BINARY_DIR}/grouphead-config-version.cmake DESTINATION ${package_folder})
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
if(GROUPHEAD_TOOLS)
  install(TARGETS grouphead_program)
endif()
