#pragma once

#include "grouphead/parallel/communicator.h"

// MPI. Needs the CMake target grouphead::mpi, which a build with GROUPHEAD_MPI=ON has.

#pragma GCC visibility push(default)
namespace grouphead {

/// The processes that mpirun started, MPI_COMM_WORLD. Starts MPI where nobody did, and then ends it
/// with the last communicator made here. A program without mpirun is one process.
/// Errors: Error.
std::shared_ptr<Communicator> mpi_world();

/// The processes of a communicator of yours, which must outlive this; `handle` points to the
/// MPI_Comm (mpi4py: `MPI._addressof(comm)`). Messages are kept apart from yours.
/// Errors: Error, also where MPI is not running.
std::shared_ptr<Communicator> mpi_communicator(const void* handle);

}  // namespace grouphead
#pragma GCC visibility pop
