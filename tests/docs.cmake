# The C++ programs of README and docs/: each ```cpp block is one, and prints what the ```output block
# after it says. They run beside model.keras, a model that Keras wrote.
function(grouphead_docs_programs page)
  cmake_path(GET page STEM name)
  set(programs ${CMAKE_CURRENT_BINARY_DIR}/docs/${name})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
  file(MAKE_DIRECTORY ${programs})
  execute_process(COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/docs_programs.sh ${page} ${programs}
                  OUTPUT_VARIABLE count COMMAND_ERROR_IS_FATAL ANY)
  if(count EQUAL 0)
    return()
  endif()
  foreach(number RANGE 1 ${count})
    file(STRINGS ${programs}/${number}.cc keras_file REGEX "\\.keras\"")
    if(keras_file AND NOT GROUPHEAD_IO_KERAS)
      continue()
    endif()
    set(target docs_${name}_${number})
    add_executable(${target} ${programs}/${number}.cc)
    target_link_libraries(${target} PRIVATE grouphead::grouphead grouphead_options)
    add_test(NAME docs.${name}_${number}
             COMMAND sh -c "\"$0\" | diff - \"$1\"" $<TARGET_FILE:${target}> ${programs}/${number}.txt
             WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/docs)
    set_tests_properties(docs.${name}_${number} PROPERTIES LABELS unit)
  endforeach()
endfunction()

configure_file(golden/keras/models/model_b_gqa_residual.keras docs/model.keras COPYONLY)
file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/*.md)
foreach(page IN LISTS pages)
  grouphead_docs_programs(${page})
endforeach()

# README's program that runs a model of Keras, beside such a model.
if(GROUPHEAD_IO_KERAS)
  file(READ ${PROJECT_SOURCE_DIR}/README.md text)
  string(REGEX MATCH "## A model of Keras.*```cpp\n(.*)```\n\n`save_model`" block "${text}")
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/docs/readme_model.cc CONTENT "${CMAKE_MATCH_1}"
       @ONLY)
  add_executable(docs_readme_model ${CMAKE_CURRENT_BINARY_DIR}/docs/readme_model.cc)
  target_link_libraries(docs_readme_model PRIVATE grouphead::grouphead)
  add_test(NAME docs.readme_model COMMAND docs_readme_model
           WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/docs)
  set_tests_properties(docs.readme_model PROPERTIES LABELS unit
                                                    PASS_REGULAR_EXPRESSION "\\[2, 6, 3\\]")
endif()
