include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS grouphead EXPORT grouphead_targets)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  EXPORT grouphead_targets
  NAMESPACE grouphead::
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/grouphead)
configure_package_config_file(cmake/grouphead-config.cmake.in grouphead-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/grouphead)
write_basic_package_version_file(grouphead-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/FindOneDNN.cmake cmake/FindHDF5C.cmake cmake/FindLibZip.cmake
              ${PROJECT_BINARY_DIR}/grouphead-config.cmake
              ${PROJECT_BINARY_DIR}/grouphead-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/grouphead)
configure_file(cmake/grouphead.pc.in grouphead.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/grouphead.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(GROUPHEAD_TOOLS)
  install(TARGETS grouphead_program)
endif()
