#include "testing/oracle.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "testing/compare.h"

namespace grouphead::testing {
namespace {

using Numbers = std::vector<double>;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

double element(ConstView x, Index offset) {
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

Dot dot(std::span<const double> a, std::span<const double> b) {
  Dot sum;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum.value += a[i] * b[i];
    sum.magnitude += std::abs(a[i] * b[i]);
  }
  return sum;
}

// Offset of an element of a view whose axes of size 1 are broadcast.
Index place(ConstView x, std::initializer_list<Index> indices) {
  Index offset = 0;
  int axis = 0;
  for (const Index i : indices) {
    if (x.dim(axis) > 1) offset += i * x.stride(axis);
    ++axis;
  }
  return offset;
}

bool flag(ConstView x, std::initializer_list<Index> indices) {
  return static_cast<const std::uint8_t*>(x.raw())[place(x, indices)] != 0;
}

// What `count` roundings of one unit add up to.
double roundings(double count) { return std::min(count, 4 * std::sqrt(count)); }

OracleResult make_result(const Shape& shape) {
  return {Tensor::zeros(shape, Dtype::f64), Tensor::zeros(shape, Dtype::f64)};
}

// Adds to element `index`.
void add(OracleResult& result, Index index, double value, double rounding) {
  result.value.data<double>()[index] += value;
  result.rounding.data<double>()[index] += rounding;
}

Index integer(ConstView x, Index i) {
  return x.dtype() == Dtype::i32 ? Index{x.data<std::int32_t>()[i]} : x.data<Index>()[i];
}

// The sequence that position i belongs to, of those that end at bounds[n + 1]; -1 behind the last.
Index sequence_at(ConstView bounds, Index i) {
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
    const Index right = options.causal ? 0 : width(options.window_right);
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

// A logit without what its maximum does to it.
struct Logit {
  double value = 0;
  double magnitude = 0;
  double slope = 1;
  double slope_rounding = 0;
};

Logit logit_of(const Problem& p, Index b, Index h, Index t, Index s) {
  const Dot product = dot(p.q(b, t, h), p.k(b, s, h / (p.Hq / p.Hkv)));
  Logit out{p.scale * product.value, std::abs(p.scale) * product.magnitude};
  if (p.options.softcap) {
    const double cap = *p.options.softcap;
    const double bent = std::tanh(out.value / cap);
    out.value = cap * bent;
    out.slope = 1 - bent * bent;
    // The argument of tanh has the product's rounding, tanh and its square some units.
    out.slope_rounding = 2 * std::abs(bent) * out.slope / cap *
                             (roundings(static_cast<double>(p.D)) + 6) * out.magnitude +
                         8 * bent * bent + 1;
  }
  const double added[] = {
      -p.slope(h) * std::abs(static_cast<double>(p.slope(h) == 0 ? 0 : p.distance(b, t, s))),
      p.bias(b, h, t, s)};
  for (const double x : added) {
    out.value += x;
    out.magnitude += std::abs(x);
  }
  return out;
}

Softmax softmax(const Problem& p, Index b, Index t, Index h) {
  Softmax out{Numbers(at(p.S)), Numbers(at(p.S)), Numbers(at(p.S), 1), Numbers(at(p.S))};
  std::vector<bool> sees(at(p.S));
  for (Index s = 0; s < p.S; ++s) {
    sees[at(s)] = p.is_visible(b, h, t, s);
    if (sees[at(s)]) ++out.num_visible;
  }
  if (out.num_visible == 0 && p.options.masked_rows == MaskedRows::uniform) {
    out.is_blind = true;
    sees.assign(at(p.S), true);
    out.num_visible = p.S;
  }
  if (out.num_visible == 0) {
    const bool is_in_sequence =
        !p.options.segments.has_value() || sequence_at(p.options.segments, t) >= 0;
    if (!p.has_sinks() || !is_in_sequence) return out;
    out.lse = p.sink(h);
    out.lse_rounding = 8 + 4 * std::abs(out.lse);
    return out;
  }
  const auto length = static_cast<double>(out.num_visible);
  double max = -std::numeric_limits<double>::infinity();
  double max_magnitude = 0;
  for (Index s = 0; s < p.S; ++s) {
    if (!sees[at(s)] || out.is_blind) continue;
    const Logit logit = logit_of(p, b, h, t, s);
    out.prob[at(s)] = logit.value;
    out.prob_rounding[at(s)] = logit.magnitude;
    out.slope[at(s)] = logit.slope;
    out.slope_rounding[at(s)] = logit.slope_rounding;
    max = std::max(max, out.prob[at(s)]);
    max_magnitude = std::max(max_magnitude, out.prob_rounding[at(s)]);
  }
  if (out.is_blind) max = 0;
  if (p.has_sinks()) {
    max = std::max(max, p.sink(h));
    if (std::isfinite(p.sink(h))) max_magnitude = std::max(max_magnitude, std::abs(p.sink(h)));
    out.sink = std::exp(p.sink(h) - max);
  }
  double sum = out.sink;
  for (Index s = 0; s < p.S; ++s) {
    double& x = out.prob[at(s)];
    sum += x = sees[at(s)] ? std::exp(x - max) : 0;
  }
  out.lse = max + std::log(sum);
  out.sink /= sum;
  // A logit: D additions, scale and log2(e); its distance to a maximum is rounded again, also
  // when partial results with other maxima meet; exp itself has a few units.
  out.lse_rounding = roundings(length) + 8 + 4 * std::abs(out.lse) + 8 * max_magnitude;
  for (Index s = 0; s < p.S; ++s) {
    out.prob[at(s)] /= sum;
    double& rounding = out.prob_rounding[at(s)];
    rounding = (roundings(static_cast<double>(p.D)) + 6) * rounding + 4 * max_magnitude + 8 +
               roundings(length / 32);
    out.lse_rounding += out.prob[at(s)] * rounding;
  }
  return out;
}

// out, its rounding and the squares of its terms for one query.
struct Attended {
  Numbers out{}, rounding{}, squares{};
};

void attend(const Problem& p, const Softmax& probs, Index b, Index t, Index h, Attended& to) {
  auto& [out, rounding, squares] = to;
  for (Numbers* each : {&out, &rounding, &squares}) each->assign(at(p.Dv), 0);
  Numbers weights(at(p.S));
  for (Index s = 0; s < p.S; ++s) {
    weights[at(s)] = probs.prob[at(s)] == 0 ? 0 : p.kept(b, h, t, s);
    if (weights[at(s)] == 0) continue;
    const auto v = p.v(b, s, h / (p.Hq / p.Hkv));
    for (std::size_t d = 0; d < v.size(); ++d) {
      const double term = probs.prob[at(s)] * weights[at(s)] * v[d];
      out[d] += term;
      squares[d] += term * term;
    }
  }
  const double additions = roundings(static_cast<double>(2 * probs.num_visible)) + 8;
  for (Index s = 0; s < p.S; ++s) {
    if (probs.prob[at(s)] == 0) continue;
    const auto v = p.v(b, s, h / (p.Hq / p.Hkv));
    for (std::size_t d = 0; d < v.size(); ++d) {
      // A change of one weight moves out towards its v; both sums have n terms.
      const double term = weights[at(s)] * v[d];
      rounding[d] += probs.prob[at(s)] * (std::abs(term - out[d]) * probs.prob_rounding[at(s)] +
                                          additions * std::abs(term));
    }
  }
}

double additions(Index count) { return roundings(static_cast<double>(count)) + 4; }

// A number and its rounding.
struct Rounded {
  double value = 0;
  double rounding = 0;
};

// sum_d out d_out + sum_j prob d_score of one query.
Rounded delta_of(const Problem& p, const Softmax& probs, const Rows& d_outs, ConstView d_scores,
                 Index b, Index t, Index h) {
  Attended here;
  attend(p, probs, b, t, h, here);
  const auto d_out = d_outs(b, t, h);
  const Dot sum = dot(here.out, d_out);
  Rounded delta{sum.value, dot(here.rounding, d_out).magnitude + additions(p.Dv) * sum.magnitude};
  for (Index s = 0; d_scores.has_value() && s < p.S; ++s) {
    const double term = probs.prob[at(s)] * element(d_scores, place(d_scores, {b, h, t, s}));
    delta.value += term;
    delta.rounding +=
        std::abs(term) * (probs.prob_rounding[at(s)] + probs.lse_rounding + additions(p.S));
  }
  return delta;
}

// Gradient of logit s of one query, without the scale.
Rounded d_logit_of(const Problem& p, const Softmax& probs, const Rows& d_outs, ConstView d_scores,
                   const Rounded& delta, Index b, Index t, Index h, Index s) {
  if (probs.is_blind) return {};
  const double prob = probs.prob[at(s)];
  const double prob_rounding = prob * (probs.prob_rounding[at(s)] + probs.lse_rounding);
  const double kept = p.kept(b, h, t, s);
  const Dot product = dot(d_outs(b, t, h), p.v(b, s, h / (p.Hq / p.Hkv)));
  const double d_score =
      d_scores.has_value() ? element(d_scores, place(d_scores, {b, h, t, s})) : 0;
  const double magnitude = kept * product.magnitude + std::abs(d_score);
  const double distance = kept * product.value + d_score - delta.value;
  return {prob * distance, prob_rounding * std::abs(distance) +
                               prob * (additions(p.Dv) * magnitude + delta.rounding +
                                       4 * (magnitude + std::abs(delta.value)))};
}

// Adds what query (b, t, h) gives to the gradients.
void add_gradients(const Problem& p, const Rows& d_outs, ConstView d_scores, Index b, Index t,
                   Index h, AttentionBackwardOracle& g) {
  const Index n = h / (p.Hq / p.Hkv);
  const Softmax probs = softmax(p, b, t, h);
  const auto q = p.q(b, t, h);
  const auto d_out = d_outs(b, t, h);
  const Rounded delta = delta_of(p, probs, d_outs, d_scores, b, t, h);
  const Index rows = p.T * (p.Hq / p.Hkv);
  if (p.has_sinks()) {
    add(g.d_sinks, h, -probs.sink * delta.value,
        probs.sink * (delta.rounding +
                      std::abs(delta.value) * (probs.lse_rounding + 8 + additions(p.B * p.T))));
  }
  for (Index s = 0; s < p.S; ++s) {
    const double prob = probs.prob[at(s)];
    if (prob == 0) continue;
    const auto k = p.k(b, s, n);
    const Rounded d_logit = d_logit_of(p, probs, d_outs, d_scores, delta, b, t, h, s);
    const Index q_row = ((b * p.T + t) * p.Hq + h) * p.D;
    const Index k_row = ((b * p.S + s) * p.Hkv + n) * p.D;
    const Index v_row = ((b * p.S + s) * p.Hkv + n) * p.Dv;
    const double slope = probs.slope[at(s)];
    const double scaled = p.scale * d_logit.value * slope;
    const double rounding =
        std::abs(p.scale) *
        (d_logit.rounding * slope + std::abs(d_logit.value) * probs.slope_rounding[at(s)]);
    for (Index d = 0; !probs.is_blind && d < p.D; ++d) {
      add(g.d_q, q_row + d, scaled * k[at(d)],
          (rounding + additions(p.S) * std::abs(scaled)) * std::abs(k[at(d)]));
      add(g.d_k, k_row + d, scaled * q[at(d)],
          (rounding + additions(rows) * std::abs(scaled)) * std::abs(q[at(d)]));
    }
    const double kept = p.kept(b, h, t, s);
    const double prob_rounding = prob * (probs.prob_rounding[at(s)] + probs.lse_rounding);
    for (Index d = 0; d < p.Dv; ++d) {
      add(g.d_v, v_row + d, kept * prob * d_out[at(d)],
          kept * (prob_rounding + additions(rows) * prob) * std::abs(d_out[at(d)]));
    }
    if (g.d_bias.value.has_value() && (g.d_bias.value.dim(3) > 1 || p.has_sinks())) {
      const Index terms = p.B * p.Hq * p.T * p.S / std::max<Index>(1, g.d_bias.value.size());
      add(g.d_bias, place(g.d_bias.value, {b, h, t, s}), d_logit.value,
          d_logit.rounding + additions(terms) * std::abs(d_logit.value));
    }
  }
}

}  // namespace

Tensor bounds_of(const OracleResult& result, Dtype dtype) {
  Tensor bounds(result.rounding.shape(), Dtype::f64);
  const double unit = unit_roundoff(dtype) * (dtype == Dtype::f64 ? 2 : 1);
  const double smallest = dtype == Dtype::f64 ? std::numeric_limits<double>::min()
                                              : double{std::numeric_limits<float>::min()};
  for (Index i = 0; i < bounds.size(); ++i) {
    bounds.data<double>()[i] = unit * result.rounding.data<double>()[i] + smallest;
  }
  return bounds;
}

Tensor bf16_bounds(const AttentionForwardOracle& exact) {
  Tensor bounds = bounds_of(exact.out, Dtype::f32);
  constexpr double kUnit = 0x1p-8 * (1 + 0x1p-7);  // 8 bits; and what rounding does to the rounded
  for (Index i = 0; i < bounds.size(); ++i) {
    bounds.data<double>()[i] +=
        kUnit * (std::abs(exact.out.value.data<double>()[i]) + 2 * exact.spread.data<double>()[i]);
  }
  return bounds;
}

AttentionForwardOracle attention_forward_oracle(ConstView q, ConstView k, ConstView v,
                                                const AttentionOptions& options) {
  const Problem p(q, k, v, options);
  AttentionForwardOracle result{make_result({p.B, p.T, p.Hq, p.Dv}), make_result({p.B, p.Hq, p.T}),
                                Tensor({p.B, p.T, p.Hq, p.Dv}, Dtype::f64)};
  Attended here;
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      for (Index h = 0; h < p.Hq; ++h) {
        const Softmax probs = softmax(p, b, t, h);
        attend(p, probs, b, t, h, here);
        const Index row = ((b * p.T + t) * p.Hq + h) * p.Dv;
        for (Index d = 0; d < p.Dv; ++d) {
          add(result.out, row + d, here.out[at(d)], here.rounding[at(d)]);
          result.spread.data<double>()[row + d] = std::sqrt(here.squares[at(d)]);
        }
        add(result.lse, (b * p.Hq + h) * p.T + t, probs.lse, probs.lse_rounding);
      }
    }
  }
  return result;
}

OracleResult attention_scores_oracle(ConstView q, ConstView k, const AttentionOptions& options) {
  const Problem p(q, k, k, options);
  OracleResult result = make_result({p.B, p.Hq, p.T, p.S});
  Index next = 0;
  for (Index b = 0; b < p.B; ++b) {
    for (Index h = 0; h < p.Hq; ++h) {
      for (Index t = 0; t < p.T; ++t) {
        const Softmax probs = softmax(p, b, t, h);
        for (std::size_t s = 0; s < probs.prob.size(); ++s) {
          add(result, next++, probs.prob[s],
              probs.prob[s] * (probs.prob_rounding[s] + probs.lse_rounding));
        }
      }
    }
  }
  return result;
}

AttentionBackwardOracle attention_backward_oracle(ConstView q, ConstView k, ConstView v,
                                                  ConstView d_out, const AttentionOptions& options,
                                                  ConstView d_scores) {
  const Problem p(q, k, v, options);
  const Rows d_outs(d_out);
  AttentionBackwardOracle result{make_result(q.shape()), make_result(k.shape()),
                                 make_result(v.shape())};
  if (options.bias.has_value()) result.d_bias = make_result(options.bias.shape());
  if (options.sinks.has_value()) result.d_sinks = make_result(options.sinks.shape());
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      for (Index h = 0; h < p.Hq; ++h) add_gradients(p, d_outs, d_scores, b, t, h, result);
    }
  }
  return result;
}

}  // namespace grouphead::testing
