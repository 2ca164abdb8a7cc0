// Workspaces of long sequences.

#include "attention_options_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionResults;
using testing_support::make_inputs;
using testing_support::make_operands;
using testing_support::OptionCase;
using testing_support::OptionOperands;
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
    const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
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
    const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
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

// Masks, a window, a bias and dropout; the arrays with T x S elements are the caller's.
TEST(AttentionMemory, OptionsKeepTheWorkspaceGrowingWithTheLengthAlone) {
  Index peaks[2];
  for (const Index i : {0, 1}) {
    const Index length = kLength / 4 << i;
    const OptionCase c{.base = {1, length, length, 4, 2, 64, 64, true, 0},
                       .window_left = length / 2,
                       .window_right = length / 2,
                       .mask = {1, 1, length, length},
                       .bias = {1, 1, length, length},
                       .key_mask = true,
                       .query_mask = true,
                       .masked_rows = MaskedRows::uniform,
                       .dropout_rate = 0.1};
    const OptionOperands o = make_operands(c, Dtype::f32);
    const testing_support::AttentionInputs& in = o.in;
    Tensor out(in.d_out.shape()), softmax({2, 1, 4, length}), d_bias(c.bias);
    Tensor d_q(in.q.shape()), d_k(in.k.shape()), d_v(in.v.shape());
    Context ctx({.num_threads = 2});
    peaks[i] = peak_of(ctx, [&] {
      attention(ctx, in.q, in.k, in.v, o.options, out, {.statistics = softmax});
      attention_backward(ctx, in.q, in.k, in.v, o.options, out, softmax,
                         {.d_out = in.d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v, .d_bias = d_bias});
    });
    EXPECT_LE(peaks[i], 16 * kMebibyte);
  }
  EXPECT_LE(static_cast<double>(peaks[1]), 2.2 * static_cast<double>(peaks[0]));
}

}  // namespace
}  // namespace grouphead
