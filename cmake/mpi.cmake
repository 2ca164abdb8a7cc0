# Communicators of MPI, a library beside the library, which needs nothing of it.
find_package(MPI REQUIRED COMPONENTS CXX)

file(GLOB grouphead_mpi_sources CONFIGURE_DEPENDS src/mpi/*.cc)
add_library(grouphead_mpi ${grouphead_mpi_sources})
add_library(grouphead::mpi ALIAS grouphead_mpi)
set_target_properties(grouphead_mpi PROPERTIES EXPORT_NAME mpi POSITION_INDEPENDENT_CODE ON
                                               VERSION ${PROJECT_VERSION}
                                               SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
target_compile_definitions(grouphead_mpi PRIVATE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
# The system's headers are C's, whose casts our warnings refuse.
target_include_directories(grouphead_mpi SYSTEM PRIVATE ${MPI_CXX_INCLUDE_DIRS})
target_compile_options(
  grouphead_mpi PRIVATE $<TARGET_PROPERTY:grouphead_options,INTERFACE_COMPILE_OPTIONS>)
target_link_libraries(grouphead_mpi PUBLIC grouphead PRIVATE ${MPI_CXX_LIBRARIES})
