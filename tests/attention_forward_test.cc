#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "attention_support.h"

namespace grouphead {
namespace {

using testing_support::attention_cases;
using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::AttentionResults;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::run_forward;

void expect_oracle(const AttentionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  const AttentionInputs in = make_inputs(c, dtype);
  const auto want = check::attention_forward_oracle(in.q, in.k, in.v, c.options());
  const Tensor out_bounds = bounds_of(want.out, dtype);
  const Tensor lse_bounds = bounds_of(want.lse, dtype);
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    AttentionResults got;
    run_forward(ctx, c, in, got);
    CHECK_CLOSE(got.out, want.out.value, out_bounds, c.key("attention.fwd", dtype, isa));
    CHECK_CLOSE(got.lse, want.lse.value, lse_bounds, c.key("attention.fwd", dtype, isa));
  }
}

TEST(AttentionForward, EveryLevelAgreesWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionForward, DoublesAgreeWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_oracle(c, Dtype::f64, {Isa::ref});
}

}  // namespace
}  // namespace grouphead
