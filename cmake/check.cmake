# Problem strings, oracle, golden runner, timer and report: shared by the program and the tests.
find_package(fmt REQUIRED)

file(GLOB grouphead_check_sources CONFIGURE_DEPENDS src/check/*.cc src/report/*.cc)
add_library(grouphead_check STATIC ${grouphead_check_sources})
target_include_directories(grouphead_check PUBLIC src)
target_link_libraries(
  grouphead_check
  PUBLIC grouphead::grouphead fmt::fmt
  PRIVATE TBB::tbb OneDNN::OneDNN nlohmann_json::nlohmann_json grouphead_options)
