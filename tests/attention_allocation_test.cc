// Every operator new of this program is counted.

#include <atomic>
#include <cstdlib>
#include <new>

#include "attention_support.h"

namespace {
std::atomic<long> num_allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++num_allocations;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::isas_under_test;
using testing_support::make_inputs;

// Stores and attends positions [begin, end) one by one; the number of allocations.
long decode(Context& ctx, const AttentionInputs& in, const ops::CacheSlice& cache, Tensor& out,
            Index begin, Index end) {
  const long before = num_allocations;
  for (Index s = begin; s < end; ++s) {
    ops::cache_store(ctx, in.k.view().slice(1, s, s + 1), in.v.view().slice(1, s, s + 1), cache, s);
    ops::attention_cached(ctx, in.q, cache, s + 1, {.causal = true, .causal_offset = s}, out);
  }
  return num_allocations - before;
}

TEST(AttentionAllocation, WarmDecodeStepsAllocateNothing) {
  const AttentionCase c{1, 1, 2100, 8, 2, 64, 64, true, 0};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    for (const int threads : {1, 2}) {
      Context ctx({.num_threads = threads, .isa = isa});
      Tensor keys = Tensor::zeros({c.B, c.Hkv, 132, c.D, 16});
      Tensor values = Tensor::zeros({c.B, c.Hkv, 132 * 16, c.Dv});
      Tensor out({c.B, c.T, c.Hq, c.Dv});
      EXPECT_GT(decode(ctx, in, {keys, values}, out, 0, 1), 0);
      // Past the end of a chunk of 1024 keys, twice.
      ops::cache_store(ctx, in.k, in.v, {keys, values}, 0);
      EXPECT_EQ(decode(ctx, in, {keys, values}, out, 1, 5), 0);
      EXPECT_EQ(decode(ctx, in, {keys, values}, out, 1020, 1030), 0);
      EXPECT_EQ(decode(ctx, in, {keys, values}, out, 2040, 2060), 0) << threads;
    }
  }
}

TEST(AttentionAllocation, WarmPrefillAllocatesNothing) {
  const AttentionCase c{1, 100, 100, 4, 2, 64, 64, true, 0};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  Context ctx({.num_threads = 1});
  Tensor keys = Tensor::zeros({c.B, c.Hkv, 8, c.D, 16});
  Tensor values = Tensor::zeros({c.B, c.Hkv, 128, c.Dv});
  Tensor out({c.B, c.T, c.Hq, c.Dv});
  const auto prefill = [&] {
    ops::cache_store(ctx, in.k, in.v, {keys, values}, 0);
    ops::attention_cached(ctx, in.q, {keys, values}, c.S, c.options(), out);
  };
  prefill();
  const long before = num_allocations;
  prefill();
  EXPECT_EQ(num_allocations - before, 0);
}

}  // namespace
}  // namespace grouphead
