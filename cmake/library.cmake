# The library: every source file of the rooms it is made of.
include(GNUInstallDirs)
find_package(hwy REQUIRED)
find_package(TBB REQUIRED)
list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
find_package(OneDNN REQUIRED)
find_package(nlohmann_json REQUIRED)
if(GROUPHEAD_IO_KERAS)
  find_package(HDF5C REQUIRED)
  find_package(LibZip REQUIRED)
  find_package(ZLIB REQUIRED)
endif()
if(GROUPHEAD_TEXT)
  find_package(ICU REQUIRED COMPONENTS i18n uc)
endif()

set(grouphead_rooms kernels core ops parallel nn graph models train io saved text)
list(TRANSFORM grouphead_rooms PREPEND src/ OUTPUT_VARIABLE grouphead_globs)
list(TRANSFORM grouphead_globs APPEND /*.cc)
file(GLOB_RECURSE grouphead_sources CONFIGURE_DEPENDS ${grouphead_globs})
# What reads and writes Keras's files, or says that this build does not.
if(GROUPHEAD_IO_KERAS)
  list(FILTER grouphead_sources EXCLUDE REGEX "/(saved/without_keras|io/without_npz)\\.cc$")
else()
  list(FILTER grouphead_sources EXCLUDE REGEX "/(io/(hdf5|zip|npz)|saved/keras)[a-z0-9_]*\\.cc$")
endif()

# Tokenizers, or what says that this build has none.
if(GROUPHEAD_TEXT)
  list(FILTER grouphead_sources EXCLUDE REGEX "/text/without_icu\\.cc$")
else()
  list(FILTER grouphead_sources EXCLUDE REGEX "/src/text/")
  list(APPEND grouphead_sources ${PROJECT_SOURCE_DIR}/src/text/without_icu.cc)
endif()

# Compiled once: for the library, and for what our program and tests link, which also call what a
# shared library hides.
add_library(grouphead_objects OBJECT ${grouphead_sources})
add_library(grouphead $<TARGET_OBJECTS:grouphead_objects>)
add_library(grouphead::grouphead ALIAS grouphead)
if(BUILD_SHARED_LIBS)
  add_library(grouphead_internal STATIC $<TARGET_OBJECTS:grouphead_objects>)
else()
  add_library(grouphead_internal ALIAS grouphead)
endif()
set(grouphead_archives grouphead_objects grouphead)
if(BUILD_SHARED_LIBS)
  list(APPEND grouphead_archives grouphead_internal)
endif()
foreach(target IN LISTS grouphead_archives)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_definitions(
    ${target} INTERFACE GROUPHEAD_HAS_KERAS_FILES=$<BOOL:${GROUPHEAD_IO_KERAS}>
                        GROUPHEAD_HAS_TEXT=$<BOOL:${GROUPHEAD_TEXT}>)
  target_include_directories(
    ${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE hwy::hwy TBB::tbb OneDNN::OneDNN)
  if(GROUPHEAD_IO_KERAS)
    target_link_libraries(${target} PRIVATE HDF5C::HDF5C LibZip::LibZip ZLIB::ZLIB)
  endif()
  if(GROUPHEAD_TEXT)
    target_link_libraries(${target} PRIVATE ICU::i18n ICU::uc)
  endif()
endforeach()
target_include_directories(grouphead_objects PRIVATE src)
set_target_properties(grouphead_objects PROPERTIES POSITION_INDEPENDENT_CODE ON)
if(BUILD_SHARED_LIBS)  # it shows the declarations of the public headers, which say so themselves
  set_target_properties(grouphead_objects PROPERTIES CXX_VISIBILITY_PRESET hidden
                                                     VISIBILITY_INLINES_HIDDEN ON)
endif()
set_target_properties(
  grouphead PROPERTIES VERSION ${PROJECT_VERSION}
                       SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
                       INSTALL_RPATH_USE_LINK_PATH ON)
# The kernels are optimised in every build: without it they take thirty times as long.
set(kernel_sources ${grouphead_sources})
list(FILTER kernel_sources INCLUDE REGEX "/src/kernels/")
if(NOT CMAKE_CXX_FLAGS MATCHES "-O")
  set_source_files_properties(
    ${kernel_sources} TARGET_DIRECTORY grouphead_objects
    PROPERTIES COMPILE_OPTIONS "$<$<NOT:$<CONFIG:Release,RelWithDebInfo,MinSizeRel>>:-O2>")
endif()

# On ARM g++ orders instructions before it gives out registers, and so runs out of these in our
# products. SVE's vectors get the size that level sve256 asks the processor for; clang 14 compiles SVE
# for whole files only.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set_property(SOURCE ${kernel_sources} TARGET_DIRECTORY grouphead_objects APPEND PROPERTY
               COMPILE_OPTIONS -fno-schedule-insns -msve-vector-bits=256)
  set_property(SOURCE ${kernel_sources} TARGET_DIRECTORY grouphead_objects APPEND PROPERTY
               COMPILE_DEFINITIONS GROUPHEAD_SVE_BITS=256)
endif()

# Options of everything that is ours. No contraction: a sum is rounded where the source says so.
add_library(grouphead_options INTERFACE)
target_compile_options(grouphead_options INTERFACE -ffp-contract=off)
if(GROUPHEAD_DEVELOPER)
  target_compile_options(grouphead_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                                                     -Werror)
endif()
target_link_libraries(grouphead_objects PRIVATE nlohmann_json::nlohmann_json grouphead_options)

if(GROUPHEAD_PRECOMPILED_HEADERS)
  target_precompile_headers(grouphead_objects PRIVATE ${PROJECT_SOURCE_DIR}/cmake/precompiled.h)
  set_source_files_properties(${kernel_sources} TARGET_DIRECTORY grouphead_objects
                              PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endif()
