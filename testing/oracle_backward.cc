#include "testing/oracle_softmax.h"

namespace grouphead::testing {
namespace {

using namespace oracle;  // NOLINT(google-build-using-namespace)

double additions(Index count) { return roundings(static_cast<double>(count)) + 4; }

// A number and its rounding.
struct Rounded {
  double value = 0;
  double rounding = 0;
  double bf16 = 0;
};

// sum_d out d_out + sum_j prob d_score of one query.
Rounded delta_of(const Problem& p, const Softmax& probs, const Rows& d_outs, ConstView d_scores,
                 Index b, Index t, Index h) {
  Attended here;
  attend(p, probs, b, t, h, here);
  const auto d_out = d_outs(b, t, h);
  const Dot sum = dot(here.out, d_out);
  Rounded delta{sum.value, dot(here.rounding, d_out).magnitude + additions(p.Dv) * sum.magnitude};
  for (std::size_t d = 0; d < here.out.size(); ++d) {  // from `out` in bf16
    delta.bf16 += std::abs(d_out[d]) * (std::abs(here.out[d]) + bf16_rounding(here.squares[d]));
  }
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

// Adds the squares of what is rounded to bf16 for query (b, t, h): its probabilities, the gradients
// of its products, and `d_delta`, by which delta is off and what follows from it.
void add_bf16_squares(const Problem& p, const Softmax& probs, const Numbers& d_products,
                      std::span<const double> d_out, double d_delta, Index b, Index t, Index h,
                      AttentionBackwardOracle& g) {
  const Index n = h / (p.Hq / p.Hkv);
  const auto q = p.q(b, t, h);
  const Elements d_q(g.d_q, ((b * p.T + t) * p.Hq + h) * p.D);
  Numbers moved_q(at(p.D));
  double sum = 0;
  for (Index s = 0; s < p.S; ++s) {
    const double prob = probs.prob[at(s)];
    const auto k = p.k(b, s, n);
    const double d_product = d_products[at(s)];
    const double moved = probs.is_blind ? 0 : p.scale * prob * probs.slope[at(s)] * d_delta;
    const double both = std::hypot(d_product, moved);
    const Index row = (b * p.S + s) * p.Hkv + n;
    const Elements d_k(g.d_k, row * p.D);
    for (Index d = 0; prob != 0 && d < p.D; ++d) {
      moved_q[at(d)] += moved * k[at(d)];
      d_q.add_square(d, d_product * k[at(d)]);
      d_k.add_square(d, both * q[at(d)]);
    }
    const double kept = prob == 0 ? 0 : prob * p.kept(b, h, t, s);
    const Elements d_v(g.d_v, row * p.Dv);
    for (Index d = 0; kept != 0 && d < p.Dv; ++d) d_v.add_square(d, kept * d_out[at(d)]);
    sum += prob;
    if (!g.d_bias.value.has_value() || (g.d_bias.value.dim(3) == 1 && s + 1 < p.S)) continue;
    const double share = g.d_bias.value.dim(3) == 1 ? sum : prob;
    Elements(g.d_bias, place(g.d_bias.value, {b, h, t, s})).add_square(0, share * d_delta);
  }
  for (Index d = 0; d < p.D; ++d) d_q.add_square(d, moved_q[at(d)]);
  if (p.has_sinks()) Elements(g.d_sinks, h).add_square(0, probs.sink * d_delta);
}

// Adds what query (b, t, h) gives to the gradients.
void add_gradients(const Problem& p, const Rows& d_outs, ConstView d_scores, Index b, Index t,
                   Index h, AttentionBackwardOracle& g) {
  const Index n = h / (p.Hq / p.Hkv);
  const Softmax probs = softmax(p, b, t, h);
  const auto q = p.q(b, t, h);
  const auto d_out = d_outs(b, t, h);
  const Rounded delta = delta_of(p, probs, d_outs, d_scores, b, t, h);
  const double of_keys = additions(p.S);
  const double of_rows = additions(p.T * (p.Hq / p.Hkv));
  if (p.has_sinks()) {
    Elements(g.d_sinks, h)
        .add(0, -probs.sink * delta.value,
             probs.sink * (delta.rounding + std::abs(delta.value) *
                                                (probs.lse_rounding + 8 + additions(p.B * p.T))));
  }
  const Elements d_q(g.d_q, ((b * p.T + t) * p.Hq + h) * p.D);
  Numbers d_products(at(p.S));
  for (Index s = 0; s < p.S; ++s) {
    const double prob = probs.prob[at(s)];
    if (prob == 0) continue;
    const auto k = p.k(b, s, n);
    const Rounded d_logit = d_logit_of(p, probs, d_outs, d_scores, delta, b, t, h, s);
    const Elements d_k(g.d_k, ((b * p.S + s) * p.Hkv + n) * p.D);
    const Elements d_v(g.d_v, ((b * p.S + s) * p.Hkv + n) * p.Dv);
    const double slope = probs.slope[at(s)];
    const double scaled = d_products[at(s)] = p.scale * d_logit.value * slope;
    const double rounding =
        std::abs(p.scale) *
        (d_logit.rounding * slope + std::abs(d_logit.value) * probs.slope_rounding[at(s)]);
    for (Index d = 0; !probs.is_blind && d < p.D; ++d) {
      d_q.add(d, scaled * k[at(d)], (rounding + of_keys * std::abs(scaled)) * std::abs(k[at(d)]));
      d_k.add(d, scaled * q[at(d)], (rounding + of_rows * std::abs(scaled)) * std::abs(q[at(d)]));
    }
    const double kept = p.kept(b, h, t, s);
    const double prob_rounding = prob * (probs.prob_rounding[at(s)] + probs.lse_rounding);
    for (Index d = 0; d < p.Dv; ++d) {
      d_v.add(d, kept * prob * d_out[at(d)],
              kept * (prob_rounding + of_rows * prob) * std::abs(d_out[at(d)]));
    }
    if (g.d_bias.value.has_value() && (g.d_bias.value.dim(3) > 1 || p.has_sinks())) {
      const Index terms = p.B * p.Hq * p.T * p.S / std::max<Index>(1, g.d_bias.value.size());
      Elements(g.d_bias, place(g.d_bias.value, {b, h, t, s}))
          .add(0, d_logit.value, d_logit.rounding + additions(terms) * std::abs(d_logit.value));
    }
  }
  add_bf16_squares(p, probs, d_products, d_out, delta.bf16, b, t, h, g);
}

}  // namespace

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
  for (OracleResult* each :
       {&result.d_q, &result.d_k, &result.d_v, &result.d_bias, &result.d_sinks}) {
    if (!each->bf16.has_value()) continue;
    const Elements elements(*each, 0);
    // Probabilities that are all alike, of queries that see nothing, are rounded alike.
    const bool alike = each == &result.d_v && options.masked_rows == MaskedRows::uniform;
    for (Index i = 0; i < each->bf16.size(); ++i) {
      elements.bf16[i] =
          bf16_rounding(elements.bf16[i]) + (alike ? std::abs(elements.value[i]) : 0);
    }
  }
  return result;
}

}  // namespace grouphead::testing
