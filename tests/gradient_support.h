#pragma once

// Gradients judged in double, by central differences.

#include <cmath>
#include <functional>
#include <limits>

#include "model_support.h"
#include "testing/compare.h"

namespace grouphead::testing_support {

/// A layer called on fixed inputs, and the scalar sum(w * output) with fixed random w.
struct GradientProblem {
  Layer& layer;
  std::vector<Tensor> in;
  bool training = false;  ///< with the random stream of `seed`, the same at each call
  const CallArguments* arguments = nullptr;
  std::uint64_t seed = 7;

  Tensor run(Context& ctx, std::unique_ptr<Saved>* saved) const {
    RandomStream random(seed);
    const Mode mode{.training = training, .random = &random, .arguments = arguments};
    return call(ctx, layer, in, mode, saved);
  }
};

struct WeightedSum {
  double value = 0;
  double magnitude = 0;  ///< sum of the terms' absolute values
};

inline WeightedSum weighted_sum(ConstView y, ConstView w) {
  WeightedSum sum;
  for (Index i = 0; i < y.size(); ++i) {
    const double term = element(y, i) * element(w, i);
    sum.value += term;
    sum.magnitude += std::abs(term);
  }
  return sum;
}

/// Parameter gradients and input gradients of one forward and backward call.
struct Gradients {
  std::vector<std::string> names;
  std::vector<Tensor> values;

  double max_magnitude() const {
    double largest = 0;
    for (const Tensor& value : values) largest = std::max(largest, testing::max_abs(value));
    return largest;
  }
};

inline Gradients gradients_of(Context& ctx, const GradientProblem& problem) {
  const auto parameters = problem.layer.parameters();
  Grads grads(ctx, parameters);
  std::unique_ptr<Saved> saved;
  const Tensor y = problem.run(ctx, &saved);
  const std::vector<Tensor> d_in = call_backward(
      ctx, problem.layer, *saved, random_tensor(y.shape(), 99, y.dtype()), problem.in, grads);
  Gradients found;
  for (const auto& entry : parameters) {
    if (!entry.parameter->trainable()) continue;
    found.names.push_back(entry.path);
    found.values.push_back(dense(grads.of(*entry.parameter)));
  }
  for (std::size_t i = 0; i < d_in.size(); ++i) {
    if (!d_in[i].has_value()) continue;
    found.names.push_back("input " + std::to_string(i));
    found.values.push_back(d_in[i]);
  }
  return found;
}

/// Central difference of `sum` by one number, and how far it may be from the derivative.
///
/// With step h its error is c h^2 + ..., so the differences D(h) and D(h/2) are 3/4 c h^2 apart and
/// D(h/2) is a third of that away; the whole distance is allowed. Each sum is rounded, and the
/// numbers it adds carry the rounding of a few hundred operations: 2^10 units of the terms'
/// magnitude, divided by the step h/2 * 2.
struct Difference {
  double value;
  double bound;
};
inline Difference central_difference(double& x, const std::function<WeightedSum()>& sum) {
  constexpr double kStep = 1e-4;
  const double x0 = x;
  double magnitude = 0;
  const auto difference = [&](double h) {
    x = x0 + h;
    const WeightedSum above = sum();
    x = x0 - h;
    const WeightedSum below = sum();
    x = x0;
    magnitude = std::max(above.magnitude, below.magnitude);
    return (above.value - below.value) / (2 * h);
  };
  const double wide = difference(kStep);
  const double narrow = difference(kStep / 2);
  const double rounding = 0x1p10 * testing::unit_roundoff(Dtype::f64) * magnitude / kStep;
  return {narrow, std::abs(narrow - wide) + rounding};
}

/// Compares the gradients of all trainable parameters and inputs of an f64 problem with central
/// differences.
inline void check_gradients(Context& ctx, const GradientProblem& problem) {
  const Gradients found = gradients_of(ctx, problem);
  const Tensor w = random_tensor(problem.run(ctx, nullptr).shape(), 99, Dtype::f64);
  const auto sum = [&] { return weighted_sum(problem.run(ctx, nullptr), w); };

  std::vector<std::function<View()>> editors;
  for (const auto& entry : problem.layer.parameters()) {
    if (!entry.parameter->trainable()) continue;
    editors.push_back([parameter = entry.parameter] { return parameter->edit(); });
  }
  for (Tensor x : problem.in) {
    if (x.dtype() == Dtype::f64) editors.push_back([x]() mutable { return x.view(); });
  }
  ASSERT_EQ(editors.size(), found.values.size());
  for (std::size_t k = 0; k < editors.size(); ++k) {
    const Tensor& got = found.values[k];
    Tensor want(got.shape(), Dtype::f64);
    Tensor bounds(got.shape(), Dtype::f64);
    for (Index i = 0; i < got.size(); ++i) {
      const auto edited_sum = [&] {
        editors[k]();  // what was derived from the old number is stale
        return sum();
      };
      const Difference d = central_difference(editors[k]().data<double>()[i], edited_sum);
      want.data<double>()[i] = d.value;
      bounds.data<double>()[i] = d.bound;
    }
    const testing::Comparison result =
        testing::compare(found.names[k], got, want, ConstView(bounds));
    EXPECT_TRUE(result.ok()) << result.to_string();
  }
}

}  // namespace grouphead::testing_support
