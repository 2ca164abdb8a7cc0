# The Python package's module, grouphead._core: `pip install .` builds it through scikit-build-core.
find_package(Python 3.9 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(
  COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir COMMAND_ERROR_IS_FATAL ANY
  OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
find_package(nanobind CONFIG REQUIRED)

file(GLOB grouphead_python_sources CONFIGURE_DEPENDS python/src/*.cc)
nanobind_add_module(_core NB_STATIC NOMINSIZE ${grouphead_python_sources})
# As system headers: our warnings are not theirs.
target_include_directories(_core SYSTEM PRIVATE ${NB_DIR}/include ${Python_INCLUDE_DIRS})
target_link_libraries(_core PRIVATE grouphead grouphead_options)
target_link_options(_core PRIVATE -Wl,--exclude-libs,ALL)  # shows the module's entry alone
set_target_properties(_core PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS _core LIBRARY DESTINATION grouphead)
# HDF5 from archives where the system has them: see python/hdf5_streams.cc.
if(GROUPHEAD_IO_KERAS)
  find_library(HDF5C_ARCHIVE libhdf5_serial.a)
  find_library(SZ_ARCHIVE libsz.a)
  find_library(AEC_ARCHIVE libaec.a)
  if(HDF5C_ARCHIVE AND SZ_ARCHIVE AND AEC_ARCHIVE)
    set_target_properties(HDF5C::HDF5C PROPERTIES IMPORTED_LOCATION ${HDF5C_ARCHIVE})
    target_link_libraries(HDF5C::HDF5C INTERFACE ${SZ_ARCHIVE} ${AEC_ARCHIVE} ZLIB::ZLIB
                                                 ${CMAKE_DL_LIBS} m)
    target_sources(_core PRIVATE python/hdf5_streams.cc)
  endif()
endif()

# What type checkers and editors read of it and of its submodule; its docstrings. A package of it
# alone gives both their names.
set(package ${CMAKE_CURRENT_BINARY_DIR}/package)
set(stubs ${CMAKE_CURRENT_BINARY_DIR}/stubs)
file(WRITE ${package}/grouphead/__init__.py "")
set_target_properties(_core PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${package}/grouphead)
nanobind_add_stub(
  core_stub MODULE grouphead._core RECURSIVE OUTPUT_PATH ${stubs} PYTHON_PATH ${package}
  OUTPUT ${stubs}/_core/__init__.pyi ${stubs}/_core/models.pyi DEPENDS _core)
# And of the modules whose classes signatures.json makes.
file(GLOB grouphead_python_modules CONFIGURE_DEPENDS python/grouphead/*.py)
add_custom_command(
  OUTPUT ${stubs}/layers.pyi
  COMMAND ${Python_EXECUTABLE} python/generate_stubs.py ${stubs}
  DEPENDS python/generate_stubs.py python/grouphead/signatures.json ${grouphead_python_modules}
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
add_custom_target(class_stubs ALL DEPENDS ${stubs}/layers.pyi)
install(DIRECTORY ${stubs}/ DESTINATION grouphead)
