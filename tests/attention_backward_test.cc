#include <gmock/gmock.h>

#include <cmath>

#include "attention_support.h"

namespace grouphead {
namespace {

using testing_support::attention_cases;
using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::AttentionResults;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::run_backward;
using testing_support::run_forward;

void expect_oracle(const AttentionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  const AttentionInputs in = make_inputs(c, dtype);
  const auto want = check::attention_backward_oracle(in.q, in.k, in.v, in.d_out, c.options());
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    const std::string key = c.key("attention.fwdbwd", dtype, isa);
    AttentionResults got;
    run_forward(ctx, c, in, got);
    run_backward(ctx, c, in, got);
    CHECK_CLOSE(got.d_q, want.d_q.value, bounds_of(want.d_q, dtype), "d_q of " + key);
    CHECK_CLOSE(got.d_k, want.d_k.value, bounds_of(want.d_k, dtype), "d_k of " + key);
    CHECK_CLOSE(got.d_v, want.d_v.value, bounds_of(want.d_v, dtype), "d_v of " + key);
  }
}

TEST(AttentionBackward, EveryLevelAgreesWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionBackward, DoublesAgreeWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_oracle(c, Dtype::f64, {Isa::ref});
}

}  // namespace
}  // namespace grouphead
