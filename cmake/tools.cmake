# The program `grouphead`.
find_package(CLI11 REQUIRED)

file(GLOB grouphead_tool_sources CONFIGURE_DEPENDS tools/*.cc)
add_executable(grouphead_program ${grouphead_tool_sources})
set_target_properties(grouphead_program PROPERTIES OUTPUT_NAME grouphead)
target_link_libraries(grouphead_program PRIVATE grouphead_check CLI11::CLI11 nlohmann_json::nlohmann_json
                                                grouphead_options)

# Not part of the build: what bench/projections.cc says.
add_executable(bench_projections EXCLUDE_FROM_ALL bench/projections.cc)
target_link_libraries(bench_projections PRIVATE grouphead_check OneDNN::OneDNN fmt::fmt
                                                grouphead_options)
