# The library: every source file of the rooms it is made of.
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

set(grouphead_rooms kernels core ops nn graph models train io saved)
list(TRANSFORM grouphead_rooms PREPEND src/ OUTPUT_VARIABLE grouphead_globs)
list(TRANSFORM grouphead_globs APPEND /*.cc)
file(GLOB_RECURSE grouphead_sources CONFIGURE_DEPENDS ${grouphead_globs})
# What reads and writes Keras's files, or says that this build does not.
if(GROUPHEAD_IO_KERAS)
  list(FILTER grouphead_sources EXCLUDE REGEX "/(saved/without_keras|io/without_npz)\\.cc$")
else()
  list(FILTER grouphead_sources EXCLUDE REGEX "/(io/(hdf5|zip|npz)|saved/keras)[a-z0-9_]*\\.cc$")
endif()

add_library(grouphead ${grouphead_sources})
add_library(grouphead::grouphead ALIAS grouphead)
target_compile_features(grouphead PUBLIC cxx_std_20)
target_include_directories(
  grouphead
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
  PRIVATE src)
target_link_libraries(grouphead PRIVATE hwy::hwy TBB::tbb OneDNN::OneDNN
                                        $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
if(GROUPHEAD_IO_KERAS)
  target_link_libraries(grouphead PRIVATE HDF5C::HDF5C LibZip::LibZip ZLIB::ZLIB)
endif()
set_target_properties(grouphead PROPERTIES POSITION_INDEPENDENT_CODE ON)

# Options of everything that is ours. No contraction: a sum is rounded where the source says so.
add_library(grouphead_options INTERFACE)
target_compile_options(grouphead_options INTERFACE -ffp-contract=off)
if(GROUPHEAD_DEVELOPER)
  target_compile_options(grouphead_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
                                                     -Werror)
endif()
target_link_libraries(grouphead PRIVATE $<BUILD_INTERFACE:grouphead_options>)
