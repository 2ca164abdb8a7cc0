# oneDNN by library and header: its own package file asks for OpenCL's headers, which nothing here uses.
find_path(OneDNN_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
find_library(OneDNN_LIBRARY dnnl)
set(OneDNN_required OneDNN_LIBRARY OneDNN_INCLUDE_DIR)
# A oneDNN on OpenMP is told its number of threads through that runtime, which it brings along.
if(OneDNN_INCLUDE_DIR)
  file(STRINGS "${OneDNN_INCLUDE_DIR}/oneapi/dnnl/dnnl_config.h" OneDNN_runtime
       REGEX "^#define DNNL_CPU_THREADING_RUNTIME DNNL_RUNTIME_OMP")
  if(OneDNN_runtime)
    find_library(OneDNN_OPENMP_LIBRARY NAMES gomp libgomp.so.1 omp iomp5)
    list(APPEND OneDNN_required OneDNN_OPENMP_LIBRARY)
  endif()
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OneDNN REQUIRED_VARS ${OneDNN_required})
if(OneDNN_FOUND AND NOT TARGET OneDNN::OneDNN)
  add_library(OneDNN::OneDNN UNKNOWN IMPORTED)
  set_target_properties(OneDNN::OneDNN PROPERTIES IMPORTED_LOCATION "${OneDNN_LIBRARY}"
                                                  INTERFACE_INCLUDE_DIRECTORIES "${OneDNN_INCLUDE_DIR}")
  if(OneDNN_OPENMP_LIBRARY)
    set_property(TARGET OneDNN::OneDNN PROPERTY INTERFACE_LINK_LIBRARIES "${OneDNN_OPENMP_LIBRARY}")
  endif()
endif()
mark_as_advanced(OneDNN_INCLUDE_DIR OneDNN_LIBRARY OneDNN_OPENMP_LIBRARY)
