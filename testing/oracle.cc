#include "testing/oracle.h"

#include "testing/compare.h"
#include "testing/oracle_softmax.h"

namespace grouphead::testing {
namespace oracle {
namespace {

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

}  // namespace

Softmax softmax(const Problem& p, Index b, Index t, Index h) {
  Softmax out{Numbers(at(p.S)), Numbers(at(p.S)), Numbers(at(p.S), 1), Numbers(at(p.S))};
  std::vector<bool> sees(at(p.S));
  for (Index s = 0; s < p.S; ++s) {
    sees[at(s)] = p.is_visible(b, h, t, s);
    if (sees[at(s)]) ++out.num_visible;
  }
  if (out.num_visible == 0 && p.options.masked_rows == MaskedRows::uniform) {
    for (Index s = 0; s < p.S; ++s) {
      sees[at(s)] = p.is_own(b, t, s);
      if (sees[at(s)]) ++out.num_visible;
    }
    out.is_blind = out.num_visible > 0;
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

void attend(const Problem& p, const Softmax& probs, Index b, Index t, Index h, Attended& to) {
  auto& [out, rounding, squares] = to;
  for (Numbers* each : {&out, &rounding, &squares}) each->assign(at(p.Dv), 0);
  Numbers weights(at(p.S));
  for (Index s = 0; s < p.S; ++s) {
    weights[at(s)] = probs.prob[at(s)] == 0 ? 0 : p.kept(b, h, t, s);
    if (weights[at(s)] == 0) continue;
    const auto v = p.v(b, s, h / (p.Hq / p.Hkv));
    const double weight = probs.prob[at(s)] * weights[at(s)];
    for (std::size_t d = 0; d < v.size(); ++d) {
      const double term = weight * v[d];
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

}  // namespace oracle

using namespace oracle;  // NOLINT(google-build-using-namespace)

Tensor bounds_of(const OracleResult& result, Dtype dtype) {
  Tensor bounds(result.rounding.shape(), Dtype::f64);
  const double unit = unit_roundoff(dtype) * (dtype == Dtype::f64 ? 2 : 1);
  const double smallest = dtype == Dtype::f64 ? std::numeric_limits<double>::min()
                                              : double{std::numeric_limits<float>::min()};
  const double* const rounding = result.rounding.data<double>();
  double* const bound = bounds.data<double>();
  for (Index i = 0; i < bounds.size(); ++i) bound[i] = unit * rounding[i] + smallest;
  return bounds;
}

Tensor bf16_bounds(const OracleResult& result, Dtype dtype) {
  Tensor bounds = bounds_of(result, Dtype::f32);
  constexpr double kUnit = 0x1p-8 * (1 + 0x1p-7);  // 8 bits; and what rounding does to the rounded
  const double* const value = result.value.data<double>();
  const double* const bf16 = result.bf16.data<double>();
  double* const bound = bounds.data<double>();
  for (Index i = 0; i < bounds.size(); ++i) {
    const double stored = dtype == Dtype::bf16 ? std::abs(value[i]) : 0;
    bound[i] += kUnit * (stored + bf16[i]);
  }
  return bounds;
}

AttentionForwardOracle attention_forward_oracle(ConstView q, ConstView k, ConstView v,
                                                const AttentionOptions& options) {
  const Problem p(q, k, v, options);
  AttentionForwardOracle result{make_result({p.B, p.T, p.Hq, p.Dv}), make_result({p.B, p.Hq, p.T})};
  Attended here;
  for (Index b = 0; b < p.B; ++b) {
    for (Index t = 0; t < p.T; ++t) {
      for (Index h = 0; h < p.Hq; ++h) {
        const Softmax probs = softmax(p, b, t, h);
        attend(p, probs, b, t, h, here);
        const Elements out(result.out, ((b * p.T + t) * p.Hq + h) * p.Dv);
        for (Index d = 0; d < p.Dv; ++d) {
          out.add(d, here.out[at(d)], here.rounding[at(d)]);
          out.bf16[d] = bf16_rounding(here.squares[at(d)]);
        }
        Elements(result.lse, (b * p.Hq + h) * p.T + t).add(0, probs.lse, probs.lse_rounding);
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
        const Elements scores(result, next);
        for (Index s = 0; s < p.S; ++s) {
          scores.add(s, probs.prob[at(s)],
                     probs.prob[at(s)] * (probs.prob_rounding[at(s)] + probs.lse_rounding));
        }
        next += p.S;
      }
    }
  }
  return result;
}

}  // namespace grouphead::testing
