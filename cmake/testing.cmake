# Problem strings, float64 oracle, golden runners and timer: shared by the tests and the program's
# `check` and `bench`.
find_package(fmt REQUIRED)

file(GLOB grouphead_testing_sources CONFIGURE_DEPENDS testing/*.cc)
add_library(grouphead_testing STATIC ${grouphead_testing_sources})
# The oracles are plain loops that took most of the time of attention's tests. A call reads operands
# that are finished and writes what it returns: the thread sanitizer has nothing to find in it.
file(GLOB oracle_sources CONFIGURE_DEPENDS testing/*oracle*.cc)
set(oracle_options $<$<NOT:$<CONFIG:Release>>:-O2>)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
  list(APPEND oracle_options -fno-sanitize=thread)
endif()
set_source_files_properties(${oracle_sources} PROPERTIES COMPILE_OPTIONS "${oracle_options}")
target_include_directories(grouphead_testing PUBLIC src ${PROJECT_SOURCE_DIR})
target_link_libraries(
  grouphead_testing
  PUBLIC grouphead_internal fmt::fmt
  PRIVATE TBB::tbb OneDNN::OneDNN nlohmann_json::nlohmann_json grouphead_options)
