#pragma once

// Work on views of any strides, in blocks of elements that threads share: copies, conversions and
// sums. A stride of 0 repeats elements, which is how operands broadcast.

#include <array>
#include <span>
#include <string_view>

#include "ops/rowwise.h"

namespace grouphead::ops {

/// The order in which N operands of one shape are visited: row-major, with neighbouring axes merged
/// where all operands allow it, so that runs are long.
template <std::size_t N>
class Walk {
 public:
  Walk(const Shape& shape, const std::array<Strides, N>& strides) : size_(shape.size()) {
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] != 1) append(shape[axis], static_cast<std::size_t>(axis), strides);
    }
    if (rank_ == 0) rank_ = 1;  // one element
  }

  Index size() const noexcept { return size_; }

  /// body(offsets, steps, count) for the runs that make up elements [begin, end): operand n of a
  /// run's element i lies at offsets[n] + i * steps[n].
  template <class Body>
  void run(Index begin, Index end, Body&& body) const {
    const int last = rank_ - 1;
    std::array<Index, kMaxRank> at{};
    Index rest = begin;
    for (int axis = last; axis >= 0 && rest > 0; --axis) {
      at[index(axis)] = rest % dims_[index(axis)];
      rest /= dims_[index(axis)];
    }
    while (begin < end) {
      const Index count = std::min(end - begin, dims_[index(last)] - at[index(last)]);
      std::array<Index, N> offsets{};
      std::array<Index, N> steps{};
      for (std::size_t n = 0; n < N; ++n) {
        for (int axis = 0; axis <= last; ++axis) {
          offsets[n] += at[index(axis)] * strides_[n][index(axis)];
        }
        steps[n] = strides_[n][index(last)];
      }
      body(offsets, steps, count);
      begin += count;
      at[index(last)] = 0;
      for (int axis = last - 1; axis >= 0; --axis) {
        if (++at[index(axis)] < dims_[index(axis)]) break;
        at[index(axis)] = 0;
      }
    }
  }

 private:
  static std::size_t index(int axis) noexcept { return static_cast<std::size_t>(axis); }

  void append(Index dim, std::size_t axis, const std::array<Strides, N>& strides) {
    bool merges = rank_ > 0;
    for (std::size_t n = 0; n < N && merges; ++n) {
      merges = strides_[n][index(rank_ - 1)] == dim * strides[n][axis];
    }
    if (!merges) dims_[index(rank_++)] = 1;
    dims_[index(rank_ - 1)] *= dim;
    for (std::size_t n = 0; n < N; ++n) strides_[n][index(rank_ - 1)] = strides[n][axis];
  }

  Index size_;
  int rank_ = 0;
  std::array<Index, kMaxRank> dims_{1};
  std::array<Strides, N> strides_{};
};

/// Walks all of it in blocks.
template <std::size_t N, class Body>
void for_runs(Context& ctx, const Walk<N>& walk, Body&& body) {
  for_blocks(ctx, walk.size(), kBlockElements,
             [&](Index begin, Index end) { walk.run(begin, end, body); });
}

/// body(T{}) for the C++ type of `dtype`.
template <class Body>
auto with_type(Dtype dtype, Body&& body) {
  switch (dtype) {
    case Dtype::f32:
      return body(float{});
    case Dtype::f64:
      return body(double{});
    case Dtype::bf16:
      return body(Bf16{});
    case Dtype::f16:
      return body(F16{});
    case Dtype::boolean:
      return body(bool{});
    case Dtype::u8:
      return body(std::uint8_t{});
    case Dtype::i32:
      return body(std::int32_t{});
    case Dtype::i64:
      break;
  }
  return body(std::int64_t{});
}

/// The shape that both broadcast to, aligned at the last axis; an unknown axis (-1) meets any.
/// Errors: ShapeError for sizes that differ and are not 1. Source: NumPy's broadcasting rule.
Shape broadcast_shape(std::string_view operation, const Shape& a, const Shape& b);
/// x repeated to `shape` without a copy. Errors: ShapeError.
ConstView broadcast_to(std::string_view operation, ConstView x, const Shape& shape);
/// Axis i of the result is axis order[i] of x; no copy.
ConstView permuted(ConstView x, std::span<const int> order);
View permuted(View x, std::span<const int> order);
Shape permuted(const Shape& shape, std::span<const int> order);

/// to = from, of equal shapes and any strides, converted as Keras casts: to bool is != 0, floating
/// numbers are cut off towards 0 and clamped to an integer type's range, NaN to 0.
void cast(Context& ctx, ConstView from, View to);
/// to = from, of equal shape and type.
void copy_elements(Context& ctx, ConstView from, View to);
/// to += from, both f32 or f64 (each of its own type), of equal shape.
void add_elements(Context& ctx, ConstView from, View to);

}  // namespace grouphead::ops
