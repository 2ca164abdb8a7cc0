// Workspaces of long sequences.

#include "attention_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::AttentionResults;
using testing_support::make_inputs;
using testing_support::run_backward;
using testing_support::run_forward;

constexpr Index kMebibyte = Index{1} << 20;
// Under a sanitizer the products take ten times as long; the growth is the same.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr Index kLength = 2048;
#else
constexpr Index kLength = 8192;
#endif

AttentionCase long_case(Index length) { return {1, length, length, 8, 2, 64, 64, true, 0}; }

// What the Context handed out at most while `run` ran; operands and results are not from it.
template <class Run>
Index peak_of(Context& ctx, Run&& run) {
  ctx.reset_memory_peak();
  const Index before = ctx.memory().in_use_bytes;
  run();
  return ctx.memory().peak_bytes - before;
}

TEST(AttentionMemory, ForwardWorkspaceGrowsWithTheLengthAlone) {
  Index peaks[2];
  for (const Index i : {0, 1}) {
    const AttentionCase c = long_case(kLength << i);
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    AttentionResults r;
    Context ctx({.num_threads = 2});
    peaks[i] = peak_of(ctx, [&] { run_forward(ctx, c, in, r); });
    EXPECT_LE(peaks[i], 64 * kMebibyte);
  }
  EXPECT_LE(static_cast<double>(peaks[1]), 2.2 * static_cast<double>(peaks[0]));
}

TEST(AttentionMemory, BackwardWorkspaceGrowsWithTheLengthAlone) {
  Index peaks[2];
  for (const Index i : {0, 1}) {
    const AttentionCase c = long_case(kLength / 2 << i);
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    AttentionResults r;
    Context ctx({.num_threads = 2});
    peaks[i] = peak_of(ctx, [&] {
      run_forward(ctx, c, in, r);
      run_backward(ctx, c, in, r);
    });
    EXPECT_LE(peaks[i], 64 * kMebibyte);
  }
  EXPECT_LE(static_cast<double>(peaks[1]), 2.2 * static_cast<double>(peaks[0]));
}

}  // namespace
}  // namespace grouphead
