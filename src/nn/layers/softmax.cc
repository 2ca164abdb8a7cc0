#include "grouphead/layers/softmax.h"

#include <algorithm>
#include <limits>

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/activation.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "softmax";

/// The axes of x with those of the softmax last, and how many these are.
struct Order {
  std::vector<int> axes;
  std::size_t num_reduced = 0;

  bool is_identity() const { return std::is_sorted(axes.begin(), axes.end()); }
};

Order order_of(const std::vector<Index>& axis, int rank) {
  std::vector<bool> reduced(static_cast<std::size_t>(rank), axis.empty());
  for (const Index each : axis) {
    const auto at = static_cast<std::size_t>(nn::positive_axis(kLayer, each, rank));
    if (reduced[at]) {
      core::throw_shape_error(kLayer, "axis", "each axis once", std::to_string(each) + " again");
    }
    reduced[at] = true;
  }
  Order order;
  for (int i = 0; i < rank; ++i) {
    if (!reduced[static_cast<std::size_t>(i)]) order.axes.push_back(i);
  }
  for (int i = 0; i < rank; ++i) {
    if (reduced[static_cast<std::size_t>(i)]) order.axes.push_back(i);
  }
  order.num_reduced = static_cast<std::size_t>(std::count(reduced.begin(), reduced.end(), true));
  return order;
}

/// Rows of the softmax: [rows, elements of the reduced axes].
Shape rows_of(const Shape& permuted, const Order& order) {
  Index width = 1;
  for (std::size_t i = 0; i < order.num_reduced; ++i) {
    width *= permuted[permuted.rank() - 1 - static_cast<int>(i)];
  }
  return {width == 0 ? 0 : permuted.size() / width, width};
}

/// x in this order of axes, contiguous, as rows.
Tensor as_rows(Context& ctx, ConstView x, const Order& order) {
  Tensor rows = ctx.tensor(ops::permuted(x.shape(), order.axes), x.dtype());
  ops::copy_elements(ctx, ops::permuted(x, order.axes), rows);
  return rows.reshaped(rows_of(rows.shape(), order));
}

/// The mask as bool, of its own shape.
Tensor as_bool(Context& ctx, const Tensor& mask) {
  if (!mask.has_value() || mask.dtype() == Dtype::boolean) return mask;
  Tensor keep = ctx.tensor(mask.shape(), Dtype::boolean);
  if (ops::is_floating(mask.dtype())) {
    Tensor numbers = ctx.tensor(mask.shape(), Dtype::f64);
    ops::cast(ctx, mask, numbers);
    const double half = 0.5;
    ops::compare(ctx, ops::Comparison::greater, numbers, ConstView(&half, Shape{}), keep);
  } else {
    ops::cast(ctx, mask, keep);
  }
  return keep;
}

/// y = number where the mask is false.
void fill_masked(Context& ctx, const Tensor& mask, double number, Tensor& y) {
  if (!mask.has_value()) return;
  Tensor fill(Shape{}, Dtype::f64);
  *fill.data<double>() = number;
  Tensor typed(Shape{}, y.dtype());
  ops::cast(ctx, fill, typed);
  ops::select(ctx, mask, y, typed, y);
}

struct SoftmaxSaved final : Saved {
  Order order;
  Tensor y;  // [rows, width]
  Shape shape;
};

}  // namespace

Softmax::Softmax(const SoftmaxConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {
  std::vector<Index> sorted = config.axis;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    core::throw_config_error(kLayer, "axis", "each axis once", "one twice");
  }
}

ConfigValue Softmax::get_config() const {
  ConfigValue config = Layer::get_config();
  if (config_.axis.size() == 1) {
    config.set("axis", config_.axis[0]);
  } else if (config_.axis.empty()) {
    config.set("axis", nullptr);
  } else {
    config.set("axis", ConfigValue::List(config_.axis.begin(), config_.axis.end()));
  }
  return config;
}

std::span<const std::string_view> Softmax::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs", "mask"};
  return kNames;
}

void Softmax::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 2);
}

std::vector<Value> Softmax::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                    std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 2);
  const Tensor& x = in[0].tensor;
  core::require_dtype(kLayer, "inputs", x, dtype());
  const bool is_given = in.size() > 1 && in[1].tensor.has_value();
  const std::optional<Tensor> own = is_given ? std::optional(in[1].tensor) : in[0].mask;
  const Tensor mask = own ? as_bool(ctx, *own) : Tensor();
  const Order order = order_of(config_.axis, x.rank());

  // What is masked is -inf before and 0 after, so that a row of nothing else is 0 too.
  Tensor y = ctx.tensor(x.shape(), dtype());
  copy(x, y);
  fill_masked(ctx, mask, -std::numeric_limits<double>::infinity(), y);
  Tensor rows =
      order.is_identity() ? y.reshaped(rows_of(y.shape(), order)) : as_rows(ctx, y, order);
  ops::softmax_forward(ctx, rows, rows);
  if (!order.is_identity()) {
    const ConstView permuted = rows.view().reshaped(ops::permuted(x.shape(), order.axes));
    ops::copy_elements(ctx, permuted, ops::permuted(y.view(), order.axes));
  }
  fill_masked(ctx, mask, 0, y);
  if (saved != nullptr) {
    auto keep = std::make_unique<SoftmaxSaved>();
    keep->order = order;
    keep->shape = x.shape();
    keep->y = order.is_identity() ? y.reshaped(rows_of(y.shape(), order)) : as_rows(ctx, y, order);
    *saved = std::move(keep);
  }
  return {Value{std::move(y), own}};
}

void Softmax::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                       std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<SoftmaxSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 2);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor d_rows = as_rows(ctx, d_out[0], kept.order);
  ops::softmax_backward(ctx, kept.y, d_rows, d_rows);
  const Shape permuted = ops::permuted(kept.shape, kept.order.axes);
  ops::add_elements(ctx, d_rows.view().reshaped(permuted), ops::permuted(d_in[0], kept.order.axes));
}

void Softmax::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_softmax(const ConfigValue& config) {
  ConfigReader reader("Softmax", config);
  SoftmaxConfig options;
  read_base(reader, options);
  if (reader.has("axis")) {
    const ConfigValue& axis = reader.value("axis");
    options.axis.clear();
    if (axis.is_integer()) options.axis.push_back(axis.as_integer("axis"));
    if (axis.is_list() && axis.as_list("axis").empty()) {
      core::throw_config_error(kLayer, "axis", "one axis or more", "[]");
    }
    if (!axis.is_integer() && !axis.is_null()) {
      for (const ConfigValue& each : axis.as_list("axis")) {
        options.axis.push_back(each.as_integer("axis"));
      }
    }
  }
  reader.finish();
  return with_trainable(std::make_shared<Softmax>(options), config);
}

}  // namespace grouphead
