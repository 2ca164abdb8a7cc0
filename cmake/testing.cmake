# Problem strings, float64 oracle, golden runners and timer: shared by the tests and the program's
# `check` and `bench`.
find_package(fmt REQUIRED)

file(GLOB grouphead_testing_sources CONFIGURE_DEPENDS testing/*.cc)
add_library(grouphead_testing STATIC ${grouphead_testing_sources})
target_include_directories(grouphead_testing PUBLIC src ${PROJECT_SOURCE_DIR})
target_link_libraries(
  grouphead_testing
  PUBLIC grouphead_internal fmt::fmt
  PRIVATE TBB::tbb OneDNN::OneDNN nlohmann_json::nlohmann_json grouphead_options)
