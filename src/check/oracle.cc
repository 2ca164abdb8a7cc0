#include "check/oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "check/compare.h"

namespace grouphead::check {
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

OracleResult make_result(const Shape& shape) {
  return {Tensor::zeros(shape, Dtype::f64), Tensor::zeros(shape, Dtype::f64)};
}

// Adds to element `index`.
void add(OracleResult& result, Index index, double value, double rounding) {
  result.value.data<double>()[index] += value;
  result.rounding.data<double>()[index] += rounding;
}

struct Problem {
  Problem(ConstView q_view, ConstView k_view, ConstView v_view, const ops::AttentionOptions& given)
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
    scale = given.scale != 0 ? given.scale : 1 / std::sqrt(static_cast<double>(D));
  }
  Index num_visible(Index t) const {
    return options.causal ? std::clamp<Index>(t + options.causal_offset + 1, 0, S) : S;
  }
  Rows q, k, v;
  ops::AttentionOptions options;
  Index B, T, S, Hq, Hkv, D, Dv;
  double scale = 0;
};

// Softmax of one query's visible keys and the relative rounding of each probability.
struct Softmax {
  Numbers prob{};
  Numbers prob_rounding{};  // relative
  double lse = std::numeric_limits<double>::infinity();
  double lse_rounding = 0;
};

Softmax softmax(const Problem& p, Index b, Index t, Index h) {
  const Index n = p.num_visible(t);
  Softmax out{Numbers(at(n)), Numbers(at(n))};
  if (n == 0) return out;
  const auto length = static_cast<double>(n);
  double max = -std::numeric_limits<double>::infinity();
  double max_magnitude = 0;
  for (Index s = 0; s < n; ++s) {
    const Dot logit = dot(p.q(b, t, h), p.k(b, s, h / (p.Hq / p.Hkv)));
    out.prob[at(s)] = p.scale * logit.value;
    out.prob_rounding[at(s)] = p.scale * logit.magnitude;
    max = std::max(max, p.scale * logit.value);
    max_magnitude = std::max(max_magnitude, p.scale * logit.magnitude);
  }
  double sum = 0;
  for (double& x : out.prob) sum += x = std::exp(x - max);
  out.lse = max + std::log(sum);
  // A logit: D additions, scale and log2(e); its distance to a maximum is rounded again, also
  // when partial results with other maxima meet; exp itself has a few units.
  out.lse_rounding = length + 8 + 4 * std::abs(out.lse) + 8 * max_magnitude;
  for (Index s = 0; s < n; ++s) {
    out.prob[at(s)] /= sum;
    double& rounding = out.prob_rounding[at(s)];
    rounding = static_cast<double>(p.D + 6) * rounding + 4 * max_magnitude + 8 + length / 32;
    out.lse_rounding += out.prob[at(s)] * rounding;
  }
  return out;
}

// out and its rounding for one query.
void attend(const Problem& p, const Softmax& probs, Index b, Index h, Numbers& out,
            Numbers& rounding) {
  const std::size_t n = probs.prob.size();
  out.assign(at(p.Dv), 0);
  rounding.assign(at(p.Dv), 0);
  for (std::size_t s = 0; s < n; ++s) {
    const auto v = p.v(b, static_cast<Index>(s), h / (p.Hq / p.Hkv));
    for (std::size_t d = 0; d < v.size(); ++d) out[d] += probs.prob[s] * v[d];
  }
  for (std::size_t s = 0; s < n; ++s) {
    const auto v = p.v(b, static_cast<Index>(s), h / (p.Hq / p.Hkv));
    for (std::size_t d = 0; d < v.size(); ++d) {
      // A change of one weight moves out towards its v; both sums have n terms.
      rounding[d] += probs.prob[s] * (std::abs(v[d] - out[d]) * probs.prob_rounding[s] +
                                      static_cast<double>(2 * n + 8) * std::abs(v[d]));
    }
  }
}

// Adds what query (b, t, h) gives to the three gradients.
void add_gradients(const Problem& p, const Rows& d_outs, Index b, Index t, Index h,
                   AttentionBackwardOracle& g) {
  const Index n = h / (p.Hq / p.Hkv);
  const Softmax probs = softmax(p, b, t, h);
  const auto q = p.q(b, t, h);
  const auto d_out = d_outs(b, t, h);
  Numbers out;
  Numbers out_rounding;
  attend(p, probs, b, h, out, out_rounding);
  const auto additions = [](Index count) { return static_cast<double>(count + 4); };
  const Dot delta = dot(out, d_out);
  const double delta_rounding =
      dot(out_rounding, d_out).magnitude + additions(p.Dv) * delta.magnitude;
  const Index rows = p.T * (p.Hq / p.Hkv);
  for (Index s = 0; s < static_cast<Index>(probs.prob.size()); ++s) {
    const auto k = p.k(b, s, n);
    const double prob = probs.prob[at(s)];
    const double prob_rounding = prob * (probs.prob_rounding[at(s)] + probs.lse_rounding);
    const Dot d_prob = dot(d_out, p.v(b, s, n));
    const double distance = d_prob.value - delta.value;
    const double d_logit = p.scale * prob * distance;
    const double d_logit_rounding =
        p.scale * (prob_rounding * std::abs(distance) +
                   prob * (additions(p.Dv) * d_prob.magnitude + delta_rounding +
                           4 * (d_prob.magnitude + delta.magnitude)));
    const Index q_row = ((b * p.T + t) * p.Hq + h) * p.D;
    const Index k_row = ((b * p.S + s) * p.Hkv + n) * p.D;
    const Index v_row = ((b * p.S + s) * p.Hkv + n) * p.Dv;
    for (Index d = 0; d < p.D; ++d) {
      add(g.d_q, q_row + d, d_logit * k[at(d)],
          (d_logit_rounding + additions(p.S) * std::abs(d_logit)) * std::abs(k[at(d)]));
      add(g.d_k, k_row + d, d_logit * q[at(d)],
          (d_logit_rounding + additions(rows) * std::abs(d_logit)) * std::abs(q[at(d)]));
    }
    for (Index d = 0; d < p.Dv; ++d) {
      add(g.d_v, v_row + d, prob * d_out[at(d)],
          (prob_rounding + additions(rows) * prob) * std::abs(d_out[at(d)]));
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

AttentionForwardOracle attention_forward_oracle(ConstView q, ConstView k, ConstView v,
                                                const ops::AttentionOptions& options) {
  const Problem p(q, k, v, options);
  AttentionForwardOracle result{make_result({p.B, p.T, p.Hq, p.Dv}), make_result({p.B, p.Hq, p.T})};
  Numbers out;
  Numbers rounding;
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      for (Index h = 0; h < p.Hq; ++h) {
        const Softmax probs = softmax(p, b, t, h);
        attend(p, probs, b, h, out, rounding);
        const Index row = ((b * p.T + t) * p.Hq + h) * p.Dv;
        for (Index d = 0; d < p.Dv; ++d) add(result.out, row + d, out[at(d)], rounding[at(d)]);
        add(result.lse, (b * p.Hq + h) * p.T + t, probs.lse, probs.lse_rounding);
      }
    }
  }
  return result;
}

AttentionBackwardOracle attention_backward_oracle(ConstView q, ConstView k, ConstView v,
                                                  ConstView d_out,
                                                  const ops::AttentionOptions& options) {
  const Problem p(q, k, v, options);
  const Rows d_outs(d_out);
  AttentionBackwardOracle result{make_result(q.shape()), make_result(k.shape()),
                                 make_result(v.shape())};
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      for (Index h = 0; h < p.Hq; ++h) add_gradients(p, d_outs, b, t, h, result);
    }
  }
  return result;
}

}  // namespace grouphead::check
