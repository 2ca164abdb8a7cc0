#pragma once

// What the attention operations share: the checks, and the way from views to a kernel's problem.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <span>
#include <string_view>
#include <thread>

#include "core/context_impl.h"
#include "kernels/attention/problem.h"
#include "ops/attention.h"

namespace grouphead::ops {

/// Refuses operands whose shapes, types or strides do not fit each other. `Hkv` and the element
/// type are those of k.
enum class MayBeBf16 : std::uint8_t { no, yes };
void check_queries(std::string_view operation, std::string_view operand, const ConstView& q,
                   Index num_key_value_heads, MayBeBf16 may_be_bf16);
void check_heads(std::string_view operation, std::string_view operand, const ConstView& x, Index b,
                 Index t, Index h, Index d, Dtype dtype);

template <class F>
kernels::Heads<const F> heads_of(const ConstView& x) {
  return {x.data<F>(), x.stride(0), x.stride(1), x.stride(2)};
}
template <class F>
kernels::Heads<F> mutable_heads_of(const View& x) {
  return {x.data<F>(), x.stride(0), x.stride(1), x.stride(2)};
}

/// Of statistics, lse, scores, and what is summed up.
inline Dtype wide_dtype(const ConstView& q) {
  return q.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
}

template <class F>
const kernels::AttentionKernels<F>& kernels_of(Context& ctx) noexcept {
  return kernels::attention_kernels<F>(static_cast<kernels::Level>(ctx.isa()));
}

/// Refuses options that the operands do not fit, with sizes B, T, S, Hq. A cache takes no lengths
/// and segments.
enum class Keys : std::uint8_t { given, cached };
void check_options(std::string_view operation, const AttentionOptions& options, const ConstView& q,
                   Index num_keys, Keys keys);

/// Offsets and windows as the kernels take them: sums of two of these do not overflow.
inline Index clamped_offset(Index offset) noexcept {
  constexpr Index kFar = Index{1} << 60;
  return std::clamp(offset, -kFar, kFar);
}

/// The options as the kernels take them; p has its sizes.
template <class F>
void set_options(const AttentionOptions& options, kernels::AttentionProblem<F>& p);

/// Notes which queries see nothing, where the options want these to attend to all keys alike. The
/// note lives as long as the tensor; absent without such options.
template <class F>
Tensor note_fully_masked_queries(Context& ctx, const AttentionOptions& options,
                                 kernels::AttentionProblem<F>& p);

/// The operand as a grid of the kernels: broadcast axes get stride 0.
template <class E>
kernels::Grid<const E> grid_of(const ConstView& x) {
  const auto stride = [&](int axis) { return x.dim(axis) == 1 ? 0 : x.stride(axis); };
  return {static_cast<const E*>(x.raw()), stride(0), stride(1), stride(2), stride(3)};
}

/// Multiply-adds of the two products of the forward, counted 2, without the mask.
template <class F>
double forward_flops(const kernels::AttentionProblem<F>& p) noexcept {
  return 2.0 * static_cast<double>(p.B * p.Hkv * p.rows()) * static_cast<double>(p.S) *
         static_cast<double>(p.D + p.Dv);
}

/// Takes every thread's scratch before the units start: then nothing fails inside them, and no
/// unit waits for one that died.
template <class F>
void reserve_scratch(Context& ctx, Index count) {
  for (int slot = 0; slot < ctx.num_threads(); ++slot) ctx.impl().scratch<F>(slot, count);
}

/// body(unit, slot) for all units; on the calling thread alone if `flops` are too few to pay for
/// waking the others (some microseconds).
template <class Body>
void for_units(Context& ctx, Index units, double flops, Body&& body) {
  constexpr double kFewFlops = 1e6;
  if (flops < kFewFlops) {
    for (Index unit = 0; unit < units; ++unit) body(unit, 0);
  } else {
    ctx.impl().parallel_for(units, body);
  }
}

/// body(entry, its unit, slot) for the units(entry) of all entries, in one region of work. Entries
/// have a member first_unit.
template <class Entry, class Units, class Body>
void for_entry_units(Context& ctx, std::span<Entry> entries, double flops, const Units& units,
                     const Body& body) {
  Index count = 0;
  for (Entry& entry : entries) {
    entry.first_unit = count;
    count += units(entry);
  }
  for_units(ctx, count, flops, [&](Index unit, int slot) {
    // The last one that begins here or before: those without units begin where the next one does.
    const auto after = std::upper_bound(entries.begin(), entries.end(), unit,
                                        [](Index u, const Entry& e) { return u < e.first_unit; });
    Entry& entry = *(after - 1);
    body(entry, unit - entry.first_unit, slot);
  });
}

/// Counters by which units of one parallel_for wait for earlier ones. Units start in ascending
/// order, so a unit that waits only for lower ones never waits for one that has not started.
class Progress {
 public:
  Progress(Context& ctx, Index count) {
    if (count <= static_cast<Index>(few_.size())) return;
    many_ = ctx.zeros({count}, Dtype::i64);
    data_ = many_.data<Index>();
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Sets a counter that one unit alone raises.
  void reach(Index counter, Index value) noexcept {
    std::atomic_ref<Index>(data_[counter]).store(value, std::memory_order_release);
  }
  /// Counts one more; the new value.
  Index add(Index counter) noexcept {
    return 1 + std::atomic_ref<Index>(data_[counter]).fetch_add(1, std::memory_order_acq_rel);
  }
  void wait_for(Index counter, Index value) noexcept {
    std::atomic_ref<Index> reached(data_[counter]);
    while (reached.load(std::memory_order_acquire) < value) std::this_thread::yield();
  }

 private:
  std::array<Index, 8> few_{};  // small calls take no memory for them
  Tensor many_;
  Index* data_ = few_.data();
};

/// The statistics that the kernels read or write, [2, B, Hq, T] of the whole call.
template <class F>
void set_statistics(const ConstView& statistics, kernels::AttentionProblem<F>& p) {
  p.tops = const_cast<F*>(statistics.data<F>());
  p.sums = p.tops + statistics.size() / 2;
}

/// SoftmaxOutputs::lse from the statistics that a forward noted.
void write_lse(const ConstView& statistics, const View& lse);

/// attention() of bf16 operands that were checked; `statistics` may be absent.
void forward_bf16(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                  const AttentionOptions& options, const View& out, const View& statistics);
/// The same of f32 or f64 ones.
template <class F>
void forward_wide(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                  const AttentionOptions& options, const View& out, const View& statistics);
/// attention_scores() of f32 or f64 ones; `scores` in their type.
template <class F>
void scores_wide(Context& ctx, const ConstView& q, const ConstView& k,
                 const AttentionOptions& options, const ConstView& statistics, const View& scores);
/// attention_backward() of f32 or f64 ones; d_scores, d_bias and d_sinks in their type. `softmax`:
/// whether `out` and `statistics` are of these keys, or of these and others.
enum class SoftmaxOf : std::uint8_t { these_keys, more_keys };
template <class F>
void backward_wide(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                   const AttentionOptions& options, const ConstView& out,
                   const ConstView& statistics, const AttentionGradients& gradients,
                   SoftmaxOf softmax);

/// The same of bf16 ones at a level that has kernels for them: gradients and options in f32.
void backward_natively(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                       const AttentionOptions& options, const ConstView& out,
                       const ConstView& statistics, const AttentionGradients& gradients);

/// Options for queries in f32 that stand for bf16 ones: bias, sinks and slopes in f32. They live as
/// long as this.
class WideOptions {
 public:
  WideOptions(Context& ctx, const AttentionOptions& options);
  const AttentionOptions& options() const noexcept { return options_; }

 private:
  AttentionOptions options_;
  Tensor bias_, sinks_, slopes_;
};

/// Whether this level has kernels for bf16.
bool bf16_is_native(Context& ctx) noexcept;

/// A copy in the other of bf16 and f32; the last axis is contiguous, or all are copied first.
Tensor converted(Context& ctx, const ConstView& x, Dtype dtype);
/// The same into memory that is there.
void convert_heads(Context& ctx, const ConstView& from, const View& to);

}  // namespace grouphead::ops
