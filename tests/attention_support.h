#pragma once

// Problems, operands and runs shared by the tests of attention.

#include <tbb/global_control.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>

#include "ops/attention.h"
#include "support.h"
#include "testing/oracle.h"

namespace grouphead::testing_support {

struct AttentionCase {
  Index B = 1, T = 1, S = 1, Hq = 1, Hkv = 1, D = 1, Dv = 1;
  bool causal = false;
  Index causal_offset = 0;

  AttentionOptions options() const { return {.causal = causal, .causal_offset = causal_offset}; }
  std::string key(const std::string& operation, Dtype dtype, Isa isa) const {
    std::string text = operation + " " + std::string(name_of(dtype));
    const auto word = [&](const char* name, Index value) {
      text += std::string(" ") + name + std::to_string(value);
    };
    word("b", B), word("t", T), word("s", S), word("hq", Hq), word("hkv", Hkv), word("d", D);
    word("dv", Dv);
    if (causal) text += " causal", word("offset=", causal_offset);
    return text + " isa=" + std::string(name_of(isa));
  }
};

/// Numbers in (-width, width) that depend on the seed and the place alone.
inline Tensor uniform(const Shape& shape, Dtype dtype, std::uint64_t seed, double width = 1) {
  Tensor x(shape, dtype);
  const auto fill = [&](auto* numbers) {
    using F = std::remove_pointer_t<decltype(numbers)>;
    std::uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
    for (Index i = 0, size = x.size(); i < size; ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      numbers[i] = static_cast<F>(width * (static_cast<double>(state >> 11) * 0x1p-52 - 1));
    }
  };
  dtype == Dtype::f32 ? fill(x.data<float>()) : fill(x.data<double>());
  return x;
}

struct AttentionInputs {
  Tensor q, k, v, d_out;
};

/// Queries are wide enough for probabilities far from uniform.
inline AttentionInputs make_inputs(const AttentionCase& c, Dtype dtype, std::uint64_t seed = 1) {
  return {uniform({c.B, c.T, c.Hq, c.D}, dtype, seed, 4),
          uniform({c.B, c.S, c.Hkv, c.D}, dtype, seed + 1),
          uniform({c.B, c.S, c.Hkv, c.Dv}, dtype, seed + 2),
          uniform({c.B, c.T, c.Hq, c.Dv}, dtype, seed + 3)};
}

struct AttentionResults {
  Tensor out, softmax, lse, d_q, d_k, d_v;
};

inline void run_forward(Context& ctx, const AttentionCase& c, const AttentionOptions& options,
                        const AttentionInputs& in, AttentionResults& r) {
  const Dtype dtype = in.q.dtype();
  r.out = Tensor({c.B, c.T, c.Hq, c.Dv}, dtype);
  r.softmax = Tensor({2, c.B, c.Hq, c.T}, dtype);
  r.lse = Tensor({c.B, c.Hq, c.T}, dtype);
  attention(ctx, in.q, in.k, in.v, options, r.out, {.lse = r.lse, .statistics = r.softmax});
}
inline void run_forward(Context& ctx, const AttentionCase& c, const AttentionInputs& in,
                        AttentionResults& r) {
  run_forward(ctx, c, c.options(), in, r);
}

inline void run_backward(Context& ctx, const AttentionOptions& options, const AttentionInputs& in,
                         AttentionResults& r) {
  const Dtype dtype = in.q.dtype();
  r.d_q = Tensor(in.q.shape(), dtype);
  r.d_k = Tensor(in.k.shape(), dtype);
  r.d_v = Tensor(in.v.shape(), dtype);
  attention_backward(ctx, in.q, in.k, in.v, options, r.out, r.softmax,
                     {.d_out = in.d_out, .d_q = r.d_q, .d_k = r.d_k, .d_v = r.d_v});
}
inline void run_backward(Context& ctx, const AttentionCase& c, const AttentionInputs& in,
                         AttentionResults& r) {
  run_backward(ctx, c.options(), in, r);
}

/// A view in the order [B, H, T, D] with gaps behind rows and a start off every alignment. What is
/// not part of it holds NaN, which nothing may read or change.
class Strided {
 public:
  Strided(const Shape& shape, Dtype dtype)
      : row_(shape[3] + 3),
        data_({kMargin + shape.size() / shape[3] * row_ + kMargin}, dtype),
        view_(static_cast<std::byte*>(data_.view().raw()) + kMargin * size_of(dtype), dtype, shape,
              {shape[1] * shape[2] * row_, row_, shape[1] * row_, 1}) {
    std::fill_n(bytes(), data_.bytes(), std::byte{0xff});
  }
  explicit Strided(const Tensor& values) : Strided(values.shape(), values.dtype()) {
    copy(values, view_);
  }
  View view() noexcept { return view_; }
  Tensor dense() const {
    Tensor out(view_.shape(), view_.dtype());
    copy(view_, out);
    return out;
  }
  /// Whether all that is not part of the view is as it was.
  bool guards_are_intact() {
    Strided untouched(view_.shape(), view_.dtype());
    copy(view_, untouched.view_);
    return std::equal(bytes(), bytes() + data_.bytes(), untouched.bytes());
  }

 private:
  static constexpr Index kMargin = 37;
  std::byte* bytes() { return static_cast<std::byte*>(data_.view().raw()); }

  Index row_;
  Tensor data_;
  View view_;
};

/// Contexts of 1, 2 and 5 threads whatever the machine has, for the life of this object.
class ManyThreads {
 public:
  static constexpr int kCounts[] = {1, 2, 5};

 private:
  tbb::global_control control_{tbb::global_control::max_allowed_parallelism, 8};
};

/// Many lengths around lanes and tiles, group sizes, head dims and causal offsets; each value of
/// the lists meets several of the others.
inline std::vector<AttentionCase> attention_cases() {
  return {
      {1, 1, 1, 1, 1, 1, 1, false, 0},       {2, 1, 15, 3, 1, 5, 1, false, 0},
      {1, 15, 16, 8, 1, 40, 64, false, 0},   {1, 16, 17, 3, 3, 64, 72, true, 0},
      {2, 17, 15, 8, 8, 72, 5, true, -2},    {1, 17, 96, 3, 1, 80, 40, true, 79},
      {1, 96, 97, 1, 1, 128, 128, true, 1},  {1, 97, 96, 6, 2, 64, 64, true, 0},
      {1, 33, 256, 8, 1, 64, 64, true, 223}, {1, 257, 257, 1, 1, 64, 64, true, 0},
      {1, 300, 300, 3, 1, 5, 128, true, 0},  {1, 97, 257, 3, 1, 128, 80, false, 0},
      {1, 256, 17, 3, 3, 1, 64, true, -100}, {1, 300, 97, 1, 1, 40, 1, true, -203},
      {2, 16, 300, 8, 1, 72, 72, true, 100}, {1, 5, 7, 8, 2, 3, 3, true, -10},
      {1, 7, 5, 2, 2, 65, 17, true, 20},
  };
}

}  // namespace grouphead::testing_support
