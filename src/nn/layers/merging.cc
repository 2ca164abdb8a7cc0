#include "grouphead/layers/merging.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/merge_values.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

using nn::expanded;
using ops::Binary;

Shape tail_of(const Shape& shape) { return nn::part_of(shape, 1, shape.rank()); }

/// A fold's intermediate results are rounded as Keras stores them.
struct Numbers {
  Dtype type;        // of the result
  Dtype arithmetic;  // in which it is computed
  Dtype stored;      // the compute type of the layer
  bool is_rounded() const { return ops::is_floating(type) && stored != arithmetic; }
};

void merge(Context& ctx, Binary operation, ConstView a, ConstView b, View y) {
  const bool is_plain = operation == Binary::add && ops::is_floating(y.dtype()) &&
                        a.shape() == b.shape() && a.is_contiguous() && b.is_contiguous();
  if (is_plain) return ops::add(ctx, a, b, y);
  ops::binary_forward(ctx, operation, a, b, y);
}

/// x1 (operation) x2 (operation) ...; `inputs` gets what a product's gradient needs.
Tensor folded(Context& ctx, std::string_view layer, Binary operation, const Numbers& numbers,
              std::span<const Value> in, std::vector<Tensor>* inputs) {
  Tensor sum;
  Shape merged;  // of the inputs up to here, without the batch
  for (const Value& value : in) {
    const Tensor x = nn::numbers_as(ctx, value.tensor, numbers.type);
    if (inputs != nullptr) inputs->push_back(x);
    if (!sum.has_value()) {
      sum = x;
      merged = tail_of(x.shape());
      continue;
    }
    if (numbers.is_rounded() && &value != &in[1]) ops::convert_rounded(sum, numbers.stored, sum);
    merged = ops::broadcast_shape(layer, merged, tail_of(x.shape()));
    Tensor next = ctx.tensor(nn::with_leading_axis(x.dim(0), merged), numbers.arithmetic);
    merge(ctx, operation, expanded(std::as_const(sum).view(), next.rank()),
          expanded(x.view(), next.rank()), next);
    sum = next;
  }
  return sum;
}

// ---- Sums: Add, Average, Subtract --------------------------------------------------------------

struct SumSaved final : Saved {};

struct Sum {
  Binary operation = Binary::add;
  bool is_mean = false;

  Tensor forward(Context& ctx, std::string_view layer, const Numbers& numbers,
                 std::span<const Value> in, int /*rank*/, std::unique_ptr<Saved>* saved) const {
    if (saved != nullptr) *saved = std::make_unique<SumSaved>();
    Tensor sum = folded(ctx, layer, operation, numbers, in, nullptr);
    if (!is_mean) return sum;
    if (numbers.is_rounded()) ops::convert_rounded(sum, numbers.stored, sum);
    Tensor mean = ctx.tensor(sum.shape(), sum.dtype());
    const auto count = static_cast<double>(in.size());
    const Tensor divisor =
        nn::as_type(ctx, Tensor::from(Shape(), std::span<const double>(&count, 1)), sum.dtype());
    ops::binary_forward(ctx, Binary::divide, sum, divisor, mean);
    return mean;
  }
  void backward(Context& ctx, std::string_view layer, Saved& saved, ConstView d_y,
                std::span<View> d_in) const {
    nn::saved_as<SumSaved>(layer, saved);
    for (std::size_t i = 0; i < d_in.size(); ++i) {
      if (!d_in[i].has_value()) continue;
      double factor = is_mean ? 1 / static_cast<double>(d_in.size()) : 1;
      if (operation == Binary::subtract && i == 1) factor = -1;
      ops::sum_to(ctx, d_y, factor, ops::Write::add, expanded(d_in[i], d_y.rank()));
    }
  }
};

// ---- Multiply ----------------------------------------------------------------------------------

struct ProductSaved final : Saved {
  std::vector<Tensor> inputs;
  std::vector<Tensor> steps;  // of each input, bool [..., 1]; absent where all count
  Tensor result;              // the same of the result
};

struct Product {
  Tensor forward(Context& ctx, std::string_view layer, const Numbers& numbers,
                 std::span<const Value> in, int rank, std::unique_ptr<Saved>* saved) const {
    auto keep = std::make_unique<ProductSaved>();
    std::vector<Value> factors(in.begin(), in.end());
    bool all_masked = true;
    for (Value& factor : factors) {
      const Tensor& steps = keep->steps.emplace_back(nn::step_mask(factor, rank));
      if (steps.has_value()) factor.tensor = nn::where(ctx, layer, steps, factor.tensor, 1);
      all_masked = all_masked && steps.has_value();
    }
    Tensor y = folded(ctx, layer, Binary::multiply, numbers, factors,
                      saved != nullptr ? &keep->inputs : nullptr);
    if (all_masked) {
      const Tensor mask = *nn::either_mask(ctx, layer, in);
      keep->result = mask.reshaped(nn::with_appended_axis(mask.shape(), 1));
      y = nn::where(ctx, layer, keep->result, y, 0);
    }
    if (saved != nullptr) *saved = std::move(keep);
    return y;
  }
  void backward(Context& ctx, std::string_view layer, Saved& saved, ConstView d_out,
                std::span<View> d_in) const {
    auto& kept = nn::saved_as<ProductSaved>(layer, saved);
    const auto& inputs = kept.inputs;
    nn::require_count(layer, "number of input gradients", d_in.size(), inputs.size(),
                      inputs.size());
    const int rank = d_out.rank();
    Tensor d_y = nn::copied(ctx, d_out);
    if (kept.result.has_value()) d_y = nn::where(ctx, layer, kept.result, d_y, 0);
    for (std::size_t i = 0; i < d_in.size(); ++i) {
      if (!d_in[i].has_value()) continue;
      Tensor product = nn::copied(ctx, d_y);  // times all other inputs
      for (std::size_t j = 0; j < inputs.size(); ++j) {
        if (j == i) continue;
        ops::binary_forward(ctx, Binary::multiply, product, expanded(inputs[j].view(), rank),
                            product);
      }
      if (kept.steps[i].has_value()) product = nn::where(ctx, layer, kept.steps[i], product, 0);
      ops::sum_to(ctx, product, 1, ops::Write::add, expanded(d_in[i], rank));
    }
  }
};

// ---- Maximum, Minimum --------------------------------------------------------------------------

/// One step of the fold: y = op(before', x') with x' = x where its mask is true, else before, and
/// before' = before where its own mask is true, else x'.
struct ExtremeStep {
  Tensor x_mask, before_mask;  // bool; absent: all true
  Tensor x, before;            // x' and before'
};

struct ExtremeSaved final : Saved {
  std::vector<ExtremeStep> steps;  // of the second input and those after it
};

/// a where the mask is true, else b, of the shape that all broadcast to.
Tensor chosen(Context& ctx, std::string_view layer, const Tensor& mask, ConstView a, ConstView b) {
  Shape shape = ops::broadcast_shape(layer, a.shape(), b.shape());
  shape = ops::broadcast_shape(layer, mask.shape(), shape);
  Tensor y = ctx.tensor(shape, a.dtype());
  ops::select(ctx, mask, a, b, y);
  return y;
}

/// d_a += d_y where the mask is true, d_b += d_y elsewhere.
void choose_backward(Context& ctx, std::string_view layer, const Tensor& mask, const Tensor& d_y,
                     View d_a, View d_b) {
  Tensor other = ctx.tensor(mask.shape(), Dtype::boolean);
  ops::invert(ctx, mask, other);
  ops::sum_to(ctx, nn::where(ctx, layer, mask, d_y, 0), 1, ops::Write::add, d_a);
  ops::sum_to(ctx, nn::where(ctx, layer, other, d_y, 0), 1, ops::Write::add, d_b);
}

struct Extreme {
  Binary operation = Binary::maximum;

  Tensor forward(Context& ctx, std::string_view layer, const Numbers& numbers,
                 std::span<const Value> in, int rank, std::unique_ptr<Saved>* saved) const {
    auto keep = std::make_unique<ExtremeSaved>();
    const auto wide = [&](const Tensor& x) { return expanded(std::as_const(x).view(), rank); };
    Tensor y = nn::copied(ctx, wide(nn::numbers_as(ctx, in[0].tensor, numbers.type)));
    Tensor mask = nn::step_mask(in[0], rank);
    for (const Value& value : in.subspan(1)) {
      ExtremeStep step{
          .x_mask = nn::step_mask(value, rank), .before_mask = mask, .x = {}, .before = {}};
      step.x = nn::copied(ctx, wide(nn::numbers_as(ctx, value.tensor, numbers.type)));
      step.before = y;
      if (step.x_mask.has_value()) step.x = chosen(ctx, layer, step.x_mask, step.x, y);
      if (mask.has_value()) step.before = chosen(ctx, layer, mask, y, step.x);
      mask = joined(ctx, layer, mask, step.x_mask);
      y = ctx.tensor(ops::broadcast_shape(layer, step.before.shape(), step.x.shape()), y.dtype());
      ops::binary_forward(ctx, operation, step.before, step.x, y);
      if (saved != nullptr) keep->steps.push_back(std::move(step));
    }
    if (saved != nullptr) *saved = std::move(keep);
    return y;
  }
  void backward(Context& ctx, std::string_view layer, Saved& saved, ConstView d_out,
                std::span<View> d_in) const {
    auto& kept = nn::saved_as<ExtremeSaved>(layer, saved);
    nn::require_count(layer, "number of input gradients", d_in.size(), kept.steps.size() + 1,
                      kept.steps.size() + 1);
    Tensor d_y = nn::copied(ctx, d_out);
    for (std::size_t i = kept.steps.size(); i > 0; --i) {
      const ExtremeStep& step = kept.steps[i - 1];
      d_y = step_backward(ctx, layer, step, shape_before(kept, i - 1, d_in, d_out.rank()), d_y,
                          d_in[i]);
    }
    if (d_in[0].has_value()) {
      ops::sum_to(ctx, d_y, 1, ops::Write::add, expanded(d_in[0], d_out.rank()));
    }
  }

 private:
  static Tensor joined(Context& ctx, std::string_view layer, const Tensor& a, const Tensor& b) {
    if (!a.has_value() || !b.has_value()) return {};
    Tensor y = ctx.tensor(ops::broadcast_shape(layer, a.shape(), b.shape()), Dtype::boolean);
    ops::combine(ctx, ops::Logical::either, a, b, y);
    return y;
  }
  /// The shape of the fold before step i, whose result's gradient is wanted.
  static Shape shape_before(const ExtremeSaved& kept, std::size_t i, std::span<const View> d_in,
                            int rank) {
    if (i > 0) {
      const ExtremeStep& step = kept.steps[i - 1];
      return ops::broadcast_shape("merging", step.before.shape(), step.x.shape());
    }
    return d_in[0].has_value() ? expanded(d_in[0], rank).shape() : kept.steps[0].before.shape();
  }
  /// Adds to d_x; returns the gradient of the fold before the step.
  Tensor step_backward(Context& ctx, std::string_view layer, const ExtremeStep& step,
                       const Shape& shape, const Tensor& d_y, View d_x) const {
    Tensor d_later = ctx.zeros(step.before.shape(), d_y.dtype());
    Tensor d_other = ctx.zeros(step.x.shape(), d_y.dtype());
    ops::binary_backward(ctx, operation, step.before, step.x, d_y, d_later, d_other);
    Tensor d_before = ctx.zeros(shape, d_y.dtype());
    if (step.before_mask.has_value()) {
      choose_backward(ctx, layer, step.before_mask, d_later, d_before, d_other);
    } else {
      ops::sum_to(ctx, d_later, 1, ops::Write::add, d_before);
    }
    Tensor unused;
    View d_own = expanded(d_x, d_y.rank());
    if (!d_x.has_value()) {
      unused = ctx.zeros(d_other.shape(), d_y.dtype());
      d_own = unused.view();
    }
    if (step.x_mask.has_value()) {
      choose_backward(ctx, layer, step.x_mask, d_other, d_own, d_before);
    } else {
      ops::sum_to(ctx, d_other, 1, ops::Write::add, d_own);
    }
    return d_before;
  }
};

// ---- The classes -------------------------------------------------------------------------------

template <class Config>
struct Rule;
template <>
struct Rule<AddConfig> {
  static constexpr std::string_view kClass = "Add";
  static constexpr Sum kMerge{};
};
template <>
struct Rule<AverageConfig> {
  static constexpr std::string_view kClass = "Average";
  static constexpr Sum kMerge{.is_mean = true};
};
template <>
struct Rule<SubtractConfig> {
  static constexpr std::string_view kClass = "Subtract";
  static constexpr Sum kMerge{.operation = Binary::subtract};
};
template <>
struct Rule<MultiplyConfig> {
  static constexpr std::string_view kClass = "Multiply";
  static constexpr Product kMerge{};
};
template <>
struct Rule<MaximumConfig> {
  static constexpr std::string_view kClass = "Maximum";
  static constexpr Extreme kMerge{};
};
template <>
struct Rule<MinimumConfig> {
  static constexpr std::string_view kClass = "Minimum";
  static constexpr Extreme kMerge{.operation = Binary::minimum};
};

template <class Config>
constexpr bool kTakesTwo = std::is_same_v<Config, SubtractConfig>;

/// The type of the result: a mean of integers is a floating number.
template <class Config>
Dtype type_of(std::span<const Value> in, const DtypePolicy& policy) {
  const Dtype type = nn::result_type_of(in);
  const bool divides = std::is_same_v<Config, AverageConfig>;
  return divides && !ops::is_floating(type) ? policy.arithmetic() : type;
}

}  // namespace

template <class Config>
std::string_view detail::MergingLayer<Config>::class_name() const {
  return Rule<Config>::kClass;
}

template <class Config>
std::vector<Shape> detail::MergingLayer<Config>::output_shapes(
    std::span<const Shape> inputs, const CallArguments* /*arguments*/) const {
  nn::require_inputs(name(), inputs);
  if (kTakesTwo<Config>) nn::require_count(name(), "number of inputs", inputs.size(), 2, 2);
  Index batch = -1;
  Shape tail = tail_of(inputs[0]);
  for (const Shape& shape : inputs) {
    if (batch >= 0 && shape[0] >= 0 && shape[0] != batch) {
      core::throw_shape_error(name(), "inputs", "one batch size",
                              std::to_string(batch) + " and " + std::to_string(shape[0]));
    }
    batch = std::max(batch, shape[0]);
    tail = ops::broadcast_shape(name(), tail, tail_of(shape));
  }
  return {nn::with_leading_axis(batch, tail)};
}

template <class Config>
void detail::MergingLayer<Config>::create_parameters(std::span<const Shape> inputs,
                                                     RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

template <class Config>
std::vector<Value> detail::MergingLayer<Config>::forward(Context& ctx, std::span<const Value> in,
                                                         const Mode& /*mode*/,
                                                         std::unique_ptr<Saved>* saved) const {
  const int rank = output_shapes(nn::shapes_of(in), nullptr)[0].rank();
  const Dtype type = type_of<Config>(in, policy());
  const Numbers numbers{type, nn::arithmetic_type(type), policy().compute()};
  const Tensor y = Rule<Config>::kMerge.forward(ctx, name(), numbers, in, rank, saved);
  return {Value{nn::as_type(ctx, y, type), nn::either_mask(ctx, name(), in)}};
}

template <class Config>
void detail::MergingLayer<Config>::backward(Context& ctx, Saved& saved,
                                            std::span<const ConstView> d_out, std::span<View> d_in,
                                            Grads& /*grads*/) const {
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  Rule<Config>::kMerge.backward(ctx, name(), saved, d_out[0], d_in);
}

template <class Config>
Tensor detail::MergingLayer<Config>::operator()(Context& ctx,
                                                std::initializer_list<Tensor> in) const {
  return call(ctx, nn::values_of(in), {}, nullptr).front().tensor;
}

template <class Config>
void detail::MergingLayer<Config>::append_parameters(const std::string& /*prefix*/,
                                                     ParameterList& /*out*/) {}

template class detail::MergingLayer<AddConfig>;
template class detail::MergingLayer<AverageConfig>;
template class detail::MergingLayer<MaximumConfig>;
template class detail::MergingLayer<MinimumConfig>;
template class detail::MergingLayer<MultiplyConfig>;
template class detail::MergingLayer<SubtractConfig>;

namespace nn {
namespace {

template <class Config>
std::shared_ptr<Layer> make_merging(const ConfigValue& given) {
  ConfigReader reader(Rule<Config>::kClass, given);
  Config config;
  read_base(reader, config);
  reader.finish();
  return with_trainable(std::make_shared<detail::MergingLayer<Config>>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_add(const ConfigValue& config) {
  return make_merging<AddConfig>(config);
}
std::shared_ptr<Layer> make_average(const ConfigValue& config) {
  return make_merging<AverageConfig>(config);
}
std::shared_ptr<Layer> make_maximum(const ConfigValue& config) {
  return make_merging<MaximumConfig>(config);
}
std::shared_ptr<Layer> make_minimum(const ConfigValue& config) {
  return make_merging<MinimumConfig>(config);
}
std::shared_ptr<Layer> make_multiply(const ConfigValue& config) {
  return make_merging<MultiplyConfig>(config);
}
std::shared_ptr<Layer> make_subtract(const ConfigValue& config) {
  return make_merging<SubtractConfig>(config);
}

}  // namespace nn
}  // namespace grouphead
