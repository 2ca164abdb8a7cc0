#pragma once

// What the forward and the backward of the oracle share.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "testing/oracle.h"

namespace grouphead::testing::oracle {

using Numbers = std::vector<double>;

inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

inline double element(ConstView x, Index offset) {
  return x.dtype() == Dtype::f32 ? static_cast<double>(x.data<float>()[offset])
                                 : x.data<double>()[offset];
}

// [b][h][t] rows of a [B, T, H, D] view, in double.
class Rows {
 public:
  explicit Rows(ConstView x) : T_(x.dim(1)), H_(x.dim(2)), D_(x.dim(3)), data_(at(x.size())) {
    std::size_t next = 0;
    for (Index b = 0; b < x.dim(0); ++b) {
      for (Index t = 0; t < T_; ++t) {
        for (Index h = 0; h < H_; ++h) {
          const Index row = b * x.stride(0) + t * x.stride(1) + h * x.stride(2);
          for (Index d = 0; d < D_; ++d) data_[next++] = element(x, row + d);
        }
      }
    }
  }
  std::span<const double> operator()(Index b, Index t, Index h) const {
    return {data_.data() + ((b * T_ + t) * H_ + h) * D_, at(D_)};
  }

 private:
  Index T_, H_, D_;
  Numbers data_;
};

struct Dot {
  double value = 0;
  double magnitude = 0;  // the same sum of absolute values
};

inline Dot dot(std::span<const double> a, std::span<const double> b) {
  Dot sum;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum.value += a[i] * b[i];
    sum.magnitude += std::abs(a[i] * b[i]);
  }
  return sum;
}

// Offset of an element of a view whose axes of size 1 are broadcast.
inline Index place(ConstView x, std::initializer_list<Index> indices) {
  Index offset = 0;
  int axis = 0;
  for (const Index i : indices) {
    if (x.dim(axis) > 1) offset += i * x.stride(axis);
    ++axis;
  }
  return offset;
}

inline bool flag(ConstView x, std::initializer_list<Index> indices) {
  return static_cast<const std::uint8_t*>(x.raw())[place(x, indices)] != 0;
}

// What `count` roundings of one unit add up to.
inline double roundings(double count) { return std::min(count, 4 * std::sqrt(count)); }

inline OracleResult make_result(const Shape& shape) {
  return {Tensor::zeros(shape, Dtype::f64), Tensor::zeros(shape, Dtype::f64),
          Tensor::zeros(shape, Dtype::f64)};
}

// The elements of a result, from one on.
struct Elements {
  Elements(OracleResult& result, Index first)
      : value(result.value.data<double>() + first),
        rounding(result.rounding.data<double>() + first),
        bf16(result.bf16.data<double>() + first) {}
  void add(Index i, double number, double rounds) const {
    value[i] += number;
    rounding[i] += rounds;
  }
  void add_square(Index i, double term) const { bf16[i] += term * term; }

  double *value, *rounding, *bf16;
};

inline Index integer(ConstView x, Index i) {
  return x.dtype() == Dtype::i32 ? Index{x.data<std::int32_t>()[i]} : x.data<Index>()[i];
}

// The sequence that position i belongs to, of those that end at bounds[n + 1]; -1 behind the last.
inline Index sequence_at(ConstView bounds, Index i) {
  for (Index n = 0; n + 1 < bounds.dim(0); ++n) {
    if (i < integer(bounds, n + 1)) return n;
  }
  return -1;
}

struct Problem {
  Problem(ConstView q_view, ConstView k_view, ConstView v_view, const AttentionOptions& given)
      : q(q_view),
        k(k_view),
        v(v_view),
        options(given),
        B(q_view.dim(0)),
        T(q_view.dim(1)),
        S(k_view.dim(1)),
        Hq(q_view.dim(2)),
        Hkv(k_view.dim(2)),
        D(q_view.dim(3)),
        Dv(v_view.dim(3)) {
    scale = given.scale.value_or(1 / std::sqrt(static_cast<double>(D)));
  }
  ConstView key_segments() const {
    return options.key_segments.has_value() ? options.key_segments : options.segments;
  }
  /// Whether the key is one of the query's own sequence.
  bool is_own(Index b, Index t, Index s) const {
    if (options.lengths.has_value()) return s < integer(options.lengths, b);
    if (!options.segments.has_value()) return true;
    const Index n = sequence_at(options.segments, t);
    return n >= 0 && n == sequence_at(key_segments(), s);
  }
  /// The query's position minus the key's, both within their sequence.
  Index distance(Index b, Index t, Index s) const {
    // Nothing overflows, and past this neither causality nor a window changes any more.
    const Index far = Index{1} << 42;
    const Index offset = std::clamp(options.causal_offset, -far, far);
    if (options.lengths.has_value()) return integer(options.lengths, b) - T + t - s;
    if (!options.segments.has_value()) return t + offset - s;
    const Index n = sequence_at(options.segments, t);
    return t - integer(options.segments, n) + offset - (s - integer(key_segments(), n));
  }
  bool is_visible(Index b, Index h, Index t, Index s) const {
    if (!is_own(b, t, s)) return false;
    // Past these neither causality nor a window changes any more, and nothing overflows.
    const auto width = [](std::optional<Index> side) {
      return side ? std::min(*side, Index{1} << 40) : Index{1} << 41;
    };
    const Index left = width(options.window_left);
    const Index limit = width(options.window_right);
    const Index right = options.causal ? std::min<Index>(0, limit) : limit;
    const Index ahead = distance(b, t, s);
    if (options.window_left && ahead > left) return false;
    if ((options.causal || options.window_right) && ahead < -right) return false;
    if (options.key_mask.has_value() && !flag(options.key_mask, {b, s})) return false;
    if (options.query_mask.has_value() && !flag(options.query_mask, {b, t})) return false;
    return !options.mask.has_value() || flag(options.mask, {b, h, t, s});
  }
  double bias(Index b, Index h, Index t, Index s) const {
    return options.bias.has_value() ? element(options.bias, place(options.bias, {b, h, t, s})) : 0;
  }
  double slope(Index h) const {
    return options.alibi_slopes.has_value() ? element(options.alibi_slopes, h) : 0;
  }
  bool has_sinks() const { return options.sinks.has_value(); }
  double sink(Index h) const { return element(options.sinks, h); }
  /// What dropout multiplies a probability with.
  double kept(Index b, Index h, Index t, Index s) const {
    const double rate = options.dropout_rate;
    if (rate == 0) return 1;
    const auto index = static_cast<std::uint64_t>(((b * Hq + h) * T + t) * S + s);
    bool keeps = false;
    if (options.draw.algorithm == RandomAlgorithm::threefry) {
      const std::uint32_t bits = threefry2x32(options.draw.key, index) >> 9 | 0x3F800000;
      keeps = std::bit_cast<float>(bits) - 1.0F < static_cast<float>(1 - rate);
    } else {
      const std::uint32_t word = philox4x32(options.draw.key, index / 4).words[index % 4];
      keeps = word >= std::round(rate * 0x1p32);
    }
    return keeps ? 1 / (1 - rate) : 0;
  }
  Rows q, k, v;
  AttentionOptions options;
  Index B, T, S, Hq, Hkv, D, Dv;
  double scale = 0;
};

// Softmax of one query over all keys and the relative rounding of each probability.
struct Softmax {
  Numbers prob{};            // 0 where it does not see
  Numbers prob_rounding{};   // relative
  Numbers slope{};           // of each logit by its product
  Numbers slope_rounding{};  //
  double sink = 0;           // probability
  double lse = -std::numeric_limits<double>::infinity();
  double lse_rounding = 0;
  Index num_visible = 0;
  bool is_blind = false;  // sees nothing and attends to all keys alike
};

Softmax softmax(const Problem& p, Index b, Index t, Index h);

// out, its rounding and the squares of its terms for one query.
struct Attended {
  Numbers out{}, rounding{}, squares{};
};

void attend(const Problem& p, const Softmax& probs, Index b, Index t, Index h, Attended& to);

/// What a sum of terms of which each is rounded to bf16 is off by, in units of 2^-8, given the sum
/// of their squares: such roundings are spread over one unit at most, and are of either sign.
inline double bf16_rounding(double squares) { return 2 * std::sqrt(squares); }

}  // namespace grouphead::testing::oracle
