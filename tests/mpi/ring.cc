// Under mpirun, in each process: ring attention against attention of the whole sequence.

#include <gtest/gtest.h>

#include "../ring_support.h"
#include "grouphead/parallel/mpi.h"

namespace grouphead {
namespace {

using testing_support::RingCase;
using testing_support::RingResults;

void expect_those_of_one_process(const RingCase& c) {
  const auto job = mpi_world();
  Context ctx({.num_threads = 1});
  const auto in = testing_support::ring_inputs(c, Dtype::f32);
  // Computed by the first process alone: it is the most of the work.
  RingResults whole{Tensor(in.d_out.shape()), Tensor({c.B, c.Hq, c.T}), Tensor(in.q.shape()),
                    Tensor(in.k.shape()), Tensor(in.v.shape())};
  if (job->rank() == 0) whole = testing_support::whole_results(ctx, c, in);
  for (Tensor* x : {&whole.out, &whole.lse, &whole.d_q, &whole.d_k, &whole.d_v}) {
    job->broadcast(*x, 0);
  }
  const RingResults want =
      testing_support::parts_of(whole, ring_share(c.T, job->rank(), job->size()));
  const RingResults got = testing_support::ring_results(ctx, *job, c, in);
  for (std::size_t i = 0; i < got.all().size(); ++i) {
    EXPECT_LE(testing_support::largest_difference(*got.all()[i], *want.all()[i]), 1e-5)
        << "result " << i << " of process " << job->rank();
  }
}

TEST(MpiRing, AllKeys) { expect_those_of_one_process({2, 240, 4, 2, 32, 16}); }

TEST(MpiRing, Causal) {
  expect_those_of_one_process({1, 480, 6, 2, 32, 32, {.causal = true, .softcap = 5}});
}

TEST(MpiRing, PackedSequencesAndAWindow) {
  const std::int32_t bounds[] = {0, 100, 130, 400, 470};
  const Tensor segments = Tensor::from({5}, std::span<const std::int32_t>(bounds));
  expect_those_of_one_process(
      {1, 480, 4, 4, 16, 16, {.causal = true, .window_left = 50, .segments = segments}});
}

TEST(MpiRing, LongSequenceOfFourProcesses) {
  ASSERT_EQ(mpi_world()->size(), 4);
  expect_those_of_one_process({1, 8192, 4, 2, 64, 64, {.causal = true}});
}

}  // namespace
}  // namespace grouphead

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const auto world = grouphead::mpi_world();  // until all tests are done
  return RUN_ALL_TESTS();
}
