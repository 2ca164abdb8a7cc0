# Without a build type the compiler does not optimise: our own build is Release then, and a project
# that takes us in is told.
get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT multi_config AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CXX_FLAGS MATCHES "-O")
  if(PROJECT_IS_TOP_LEVEL)
    message(STATUS "CMAKE_BUILD_TYPE is not set: Release")
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
  else()
    message(WARNING "grouphead: CMAKE_BUILD_TYPE is not set, so the compiler does not optimise. "
                    "Only grouphead's kernels are optimised; all else is several times slower than "
                    "with -DCMAKE_BUILD_TYPE=Release.")
  endif()
elseif(NOT PROJECT_IS_TOP_LEVEL AND CMAKE_BUILD_TYPE STREQUAL Debug)
  message(STATUS "grouphead: a Debug build; only the kernels are optimised")
endif()
