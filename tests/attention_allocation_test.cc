// Memory that attention asks for once it is warm.

#include "allocation_counter.h"
#include "attention_support.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead {
namespace {

using testing_support::allocations_of;
using testing_support::AttentionCase;
using testing_support::isas_under_test;
using testing_support::make_inputs;

// Stores and attends positions [begin, end) one by one; the number of allocations.
long decode(Context& ctx, const testing_support::AttentionInputs& in, const ops::CacheSlice& cache,
            Tensor& out, Index begin, Index end) {
  const auto run = [&] {
    for (Index s = begin; s < end; ++s) {
      const ConstView k = in.k.view().slice(1, s, s + 1);
      ops::cache_store(ctx, "cache_store", k, in.v.view().slice(1, s, s + 1), cache, s);
      ops::attention_cached(ctx, "attention_cached", in.q, cache, s + 1,
                            {.causal = true, .causal_offset = s}, out);
    }
  };
  return allocations_of(run).count;
}

TEST(AttentionAllocation, WarmDecodeStepsAllocateNothing) {
  const AttentionCase c{1, 1, 2100, 8, 2, 64, 64, true, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    for (const int threads : {1, 2}) {
      Context ctx({.num_threads = threads, .isa = isa});
      Tensor keys = Tensor::zeros({c.B, c.Hkv, 132, c.D, 16});
      Tensor values = Tensor::zeros({c.B, c.Hkv, 132 * 16, c.Dv});
      Tensor out({c.B, c.T, c.Hq, c.Dv});
      EXPECT_GT(decode(ctx, in, {keys, values}, out, 0, 1), 0);
      // Past the end of a chunk of 1024 keys, twice.
      ops::cache_store(ctx, "cache_store", in.k, in.v, {keys, values}, 0);
      EXPECT_EQ(decode(ctx, in, {keys, values}, out, 1, 5), 0);
      EXPECT_EQ(decode(ctx, in, {keys, values}, out, 1020, 1030), 0);
      EXPECT_EQ(decode(ctx, in, {keys, values}, out, 2040, 2060), 0) << threads;
    }
  }
}

TEST(AttentionAllocation, WarmPrefillAllocatesNothing) {
  const AttentionCase c{1, 100, 100, 4, 2, 64, 64, true, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  Context ctx({.num_threads = 1});
  Tensor keys = Tensor::zeros({c.B, c.Hkv, 8, c.D, 16});
  Tensor values = Tensor::zeros({c.B, c.Hkv, 128, c.Dv});
  Tensor out({c.B, c.T, c.Hq, c.Dv});
  const auto prefill = [&] {
    ops::cache_store(ctx, "cache_store", in.k, in.v, {keys, values}, 0);
    ops::attention_cached(ctx, "attention_cached", in.q, {keys, values}, c.S, c.options(), out);
  };
  prefill();
  EXPECT_EQ(allocations_of(prefill).count, 0);
}

// Every option at once, of a problem of one entry with `length` queries and keys.
struct AllOptions {
  explicit AllOptions(Index length)
      : key_mask(Tensor::zeros({1, length}, Dtype::boolean)),
        bias({1, 2, 1, length}),
        heads({2}),
        segments(Tensor::from({3}, std::span<const Index>({0, length / 3, length}))) {
    std::fill_n(key_mask.data<bool>(), length, true);
    for (Tensor* x : {&bias, &heads}) std::fill_n(x->data<float>(), x->size(), 0.25F);
    options = {.causal = true,
               .window_left = 699,
               .key_mask = key_mask,
               .query_mask = key_mask,
               .bias = bias,
               .softcap = 2,
               .alibi_slopes = heads,
               .sinks = heads,
               .segments = segments,
               .dropout_rate = 0.1};
  }
  Tensor key_mask, bias, heads, segments;
  AttentionOptions options;
};

// Bytes beside operands and results at their peak: of the forward, and of both.
struct Peaks {
  Index forward = 0, both = 0;
};
Peaks peak_bytes(Context& ctx, Index length, Dtype dtype, bool has_all) {
  const AttentionCase c{1, length, length, 2, 1, 16, 16, true, 0};
  const AllOptions all(length);
  const AttentionOptions options = has_all ? all.options : c.options();
  testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  for (Tensor* x : {&in.q, &in.k, &in.v, &in.d_out}) *x = cast(*x, dtype);
  Tensor out(in.d_out.shape(), dtype), softmax({2, c.B, c.Hq, c.T});
  Tensor d_q(in.q.shape(), dtype), d_k(in.k.shape(), dtype), d_v(in.v.shape(), dtype);
  const Index before = ctx.memory().in_use_bytes;
  ctx.reset_memory_peak();
  attention(ctx, in.q, in.k, in.v, options, out, {.statistics = softmax});
  const Index forward = ctx.memory().peak_bytes - before;
  attention_backward(ctx, in.q, in.k, in.v, options, out, softmax,
                     {.d_out = in.d_out, .d_q = d_q, .d_k = d_k, .d_v = d_v});
  return {forward, ctx.memory().peak_bytes - before};
}

TEST(AttentionAllocation, MemoryGrowsWithTheLengthAlone) {
  for (const Isa isa : isas_under_test()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      for (const bool has_all : {false, true}) {
        Context ctx({.num_threads = 1, .isa = isa});
        const Peaks half = peak_bytes(ctx, 1024, dtype, has_all);
        const Peaks whole = peak_bytes(ctx, 2048, dtype, has_all);
        EXPECT_LE(whole.forward, 2 * half.forward) << name_of(isa) << " " << name_of(dtype);
        EXPECT_LE(whole.both, 2 * half.both) << name_of(isa) << " " << name_of(dtype);
        // Less than a byte for each of T S; gradients of bf16 two, as they are summed up in f32.
        EXPECT_LT(half.forward, 1024 * 1024);
        EXPECT_LT(half.both, 1024 * 1024 * (dtype == Dtype::bf16 ? 2 : 1));
      }
    }
  }
}

}  // namespace
}  // namespace grouphead
