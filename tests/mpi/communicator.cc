// Under mpirun, in each process: communicators of MPI.

#include <gtest/gtest.h>
#include <mpi.h>

#include <vector>

#include "grouphead/parallel/mpi.h"

namespace grouphead {
namespace {

TEST(Mpi, ProcessesOfTheWorldKnowEachOther) {
  const auto job = mpi_world();
  EXPECT_EQ(job->all_gather(static_cast<double>(job->rank())).size(),
            static_cast<std::size_t>(job->size()));
  Tensor values = Tensor::zeros({1000});
  for (int root = 0; root < job->size(); ++root) {
    for (Index i = 0; i < values.size(); ++i) {
      values.data<float>()[i] = static_cast<float>(job->rank() == root ? root + i : -1);
    }
    job->broadcast(values, root);
    for (Index i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values.data<float>()[i], static_cast<float>(root + i));
    }
  }
  const Index before = job->bytes_sent();
  job->all_reduce(values);
  EXPECT_EQ(values.data<float>()[7],
            static_cast<float>(job->size()) * static_cast<float>(job->size() + 6));
  EXPECT_NEAR(static_cast<double>(job->bytes_sent() - before),
              2 * (job->size() - 1) * 4000.0 / job->size(), 8);  // slices of 333 and 334
}

TEST(Mpi, ARingOfLongMessagesDoesNotWaitForItself) {
  const auto job = mpi_world();
  std::vector<std::byte> out(std::size_t{1} << 22, std::byte(job->rank()));
  std::vector<std::byte> in(out.size());
  const int next = (job->rank() + 1) % job->size();
  const int previous = (job->rank() + job->size() - 1) % job->size();
  if (job->size() > 1) {
    job->exchange(out, next, in, previous);
    EXPECT_EQ(in.front(), std::byte(previous));
    EXPECT_EQ(in.back(), std::byte(previous));
  }
}

TEST(Mpi, PartsOfACommunicatorThatTheCallerHandsIn) {
  const auto world = mpi_world();  // MPI runs
  MPI_Comm handle = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, 0, -world->rank(), &handle);  // the other way round
  {
    const auto job = mpi_communicator(&handle);
    EXPECT_EQ(job->rank(), world->size() - 1 - world->rank());
    const auto part = job->split(job->rank() % 2);
    EXPECT_EQ(part->size(), (job->size() + 1 - job->rank() % 2) / 2);
    EXPECT_EQ(part->rank(), job->rank() / 2);
    job->barrier();
  }
  MPI_Comm_free(&handle);
}

TEST(Mpi, WhatIsCancelledDoesNotWait) {
  const auto job = mpi_world()->split(0);
  if (job->size() == 1) return;
  job->barrier();
  job->cancel();
  std::byte nothing{};
  EXPECT_THROW(job->receive(std::span(&nothing, 1), (job->rank() + 1) % job->size()), Error);
}

}  // namespace
}  // namespace grouphead

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const auto world = grouphead::mpi_world();  // until all tests are done
  return RUN_ALL_TESTS();
}
