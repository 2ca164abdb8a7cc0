# The program `grouphead`.
find_package(CLI11 REQUIRED)

# All of it but the command line, which the tests call too.
file(GLOB grouphead_tools_sources CONFIGURE_DEPENDS tools/*.cc tools/report/*.cc)
list(FILTER grouphead_tools_sources EXCLUDE REGEX "/tools/main\\.cc$")

# The page of `attend`, as a string.
set(attention_page ${PROJECT_SOURCE_DIR}/tools/report/attention_page.html)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${attention_page})
file(READ ${attention_page} attention_page_text)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/attention_page_text.cc @ONLY CONTENT
[[#include "tools/report/attention_page.h"
namespace grouphead::tools::report {
const char* const kAttentionPage = R"page(@attention_page_text@)page";
}
]])

add_library(grouphead_tools STATIC ${grouphead_tools_sources}
                                   ${PROJECT_BINARY_DIR}/attention_page_text.cc)
target_link_libraries(
  grouphead_tools
  PUBLIC grouphead_testing
  PRIVATE nlohmann_json::nlohmann_json grouphead_options)

file(GLOB grouphead_verb_sources CONFIGURE_DEPENDS tools/verbs/*.cc)
add_executable(grouphead_program tools/main.cc ${grouphead_verb_sources})
# A few files at once, since each compiles CLI11's templates.
set_target_properties(
  grouphead_program PROPERTIES OUTPUT_NAME grouphead INSTALL_RPATH_USE_LINK_PATH ON UNITY_BUILD ON
                               UNITY_BUILD_BATCH_SIZE 7)
target_link_libraries(
  grouphead_program PRIVATE grouphead_tools CLI11::CLI11 nlohmann_json::nlohmann_json
                            grouphead_options)

if(GROUPHEAD_MPI)
  target_link_libraries(grouphead_program PRIVATE grouphead_mpi)
  target_compile_definitions(grouphead_program PRIVATE GROUPHEAD_HAS_MPI)
endif()

# Not part of the build: what bench/projections.cc says.
add_executable(bench_projections EXCLUDE_FROM_ALL bench/projections.cc)
target_link_libraries(bench_projections PRIVATE grouphead_testing OneDNN::OneDNN fmt::fmt
                                                grouphead_options)
# The same: what bench/tokenizers runs.
add_executable(bench_tokenizers EXCLUDE_FROM_ALL bench/tokenizers.cc)
target_link_libraries(bench_tokenizers PRIVATE grouphead_internal grouphead_options)
# And bench/rivals/hub.
add_executable(bench_hub EXCLUDE_FROM_ALL bench/hub.cc)
target_link_libraries(bench_hub PRIVATE grouphead::grouphead grouphead_options)

