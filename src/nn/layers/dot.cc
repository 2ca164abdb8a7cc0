#include "grouphead/layers/merging.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/merge_values.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/convert.h"
#include "ops/matmul.h"
#include "ops/strided.h"
#include "ops/unit_rows.h"

namespace grouphead {
namespace {

struct DotSaved final : Saved {
  std::array<Shape, 2> shapes;    // of the inputs
  std::array<Tensor, 2> rows;     // the inputs as matrices
  std::array<Tensor, 2> factors;  // the same as multiplied
};

std::array<int, 2> axes_of(std::string_view layer, const DotConfig& config,
                           std::span<const Shape> inputs) {
  nn::require_count(layer, "number of inputs", inputs.size(), 2, 2);
  const auto* both = std::get_if<Index>(&config.axes);
  const std::array<Index, 2> given =
      both != nullptr ? std::array{*both, *both} : std::get<1>(config.axes);
  std::array<int, 2> axes{};
  for (std::size_t i = 0; i < 2; ++i) {
    if (inputs[i].rank() < 2) {
      core::throw_shape_error(layer, "inputs", "rank 2 or more", inputs[i].to_string());
    }
    axes[i] = nn::positive_axis(layer, given[i], inputs[i].rank());
    if (axes[i] == 0) {
      core::throw_shape_error(layer, "axes", "others than that of the batch", "0");
    }
  }
  const Index first = inputs[0][axes[0]];
  const Index second = inputs[1][axes[1]];
  const bool differ = first >= 0 && second >= 0 && first != second;
  const bool batches = inputs[0][0] >= 0 && inputs[1][0] >= 0 && inputs[0][0] != inputs[1][0];
  if (differ || batches) {
    core::throw_shape_error(layer, "inputs", "one batch and one size of the axes",
                            inputs[0].to_string() + " and " + inputs[1].to_string());
  }
  return axes;
}

/// The axes of x with `axis` last.
std::vector<int> order_of(int rank, int axis) {
  std::vector<int> order;
  for (int i = 0; i < rank; ++i) {
    if (i != axis) order.push_back(i);
  }
  order.push_back(axis);
  return order;
}

/// x as matrices [B, rest, axis], its elements in a new order.
Tensor matrices(Context& ctx, ConstView x, int axis) {
  const ConstView moved = ops::permuted(x, order_of(x.rank(), axis));
  Tensor dense = ctx.tensor(moved.shape(), x.dtype());
  ops::copy_elements(ctx, moved, dense);
  Index rest = 1;
  for (int i = 1; i < x.rank(); ++i) rest *= i == axis ? 1 : x.dim(i);
  return dense.reshaped({x.dim(0), rest, x.dim(axis)});
}

ConstView transposed(const Tensor& x) {
  constexpr std::array kOrder = {0, 2, 1};
  return ops::permuted(std::as_const(x).view(), kOrder);
}

}  // namespace

Dot::Dot(const DotConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {}

ConfigValue Dot::get_config() const {
  ConfigValue config = Layer::get_config();
  if (const auto* both = std::get_if<Index>(&config_.axes)) {
    config.set("axes", *both);
  } else {
    const auto& [first, second] = std::get<1>(config_.axes);
    config.set("axes", ConfigValue::List{first, second});
  }
  config.set("normalize", config_.normalize);
  return config;
}

std::vector<Shape> Dot::output_shapes(std::span<const Shape> inputs,
                                      const CallArguments* /*arguments*/) const {
  const std::array<int, 2> axes = axes_of(name(), config_, inputs);
  std::vector<Index> dims{std::max(inputs[0][0], inputs[1][0])};
  for (std::size_t i = 0; i < 2; ++i) {
    for (int axis = 1; axis < inputs[i].rank(); ++axis) {
      if (axis != axes[i]) dims.push_back(inputs[i][axis]);
    }
  }
  if (dims.size() == 1) dims.push_back(1);
  if (dims.size() > static_cast<std::size_t>(kMaxRank)) {
    core::throw_shape_error(name(), "inputs", "a result of rank " + std::to_string(kMaxRank),
                            "one of rank " + std::to_string(dims.size()));
  }
  return {Shape::partial(dims)};
}

void Dot::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> Dot::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                std::unique_ptr<Saved>* saved) const {
  const std::vector<Shape> shapes = nn::shapes_of(in);
  const Shape shape = output_shapes(shapes, nullptr)[0];
  const std::array<int, 2> axes = axes_of(name(), config_, shapes);
  auto keep = std::make_unique<DotSaved>();
  for (std::size_t i = 0; i < 2; ++i) {
    const Tensor& x = in[i].tensor;
    core::require_dtype(name(), "inputs", x, dtype());
    keep->shapes[i] = x.shape();
    keep->rows[i] = matrices(ctx, x, axes[i]);
    keep->factors[i] = keep->rows[i];
    if (!config_.normalize) continue;
    Tensor& factor = keep->factors[i];
    factor = ctx.tensor(keep->rows[i].shape(), dtype());
    ops::unit_rows_forward(ctx, keep->rows[i], factor);
    if (policy().compute() != dtype()) ops::convert_rounded(factor, policy().compute(), factor);
  }
  const auto& [a, b] = keep->factors;
  Tensor y = ctx.tensor(shape, dtype());
  ops::matmul(ctx, a, transposed(b), ops::Write::overwrite,
              y.view().reshaped({a.dim(0), a.dim(1), b.dim(1)}));
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{std::move(y), {}}};
}

void Dot::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                   std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<DotSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 2, 2);
  if (!d_out[0].has_value()) return;
  const std::array<int, 2> axes = axes_of(name(), config_, kept.shapes);
  const auto& [a, b] = kept.factors;
  const Tensor d_y = nn::copied(ctx, d_out[0]).reshaped({a.dim(0), a.dim(1), b.dim(1)});
  for (std::size_t i = 0; i < 2; ++i) {
    if (!d_in[i].has_value()) continue;
    Tensor d_rows = ctx.tensor(kept.rows[i].shape(), dtype());
    ops::matmul(ctx, i == 0 ? std::as_const(d_y).view() : transposed(d_y), i == 0 ? b : a,
                ops::Write::overwrite, d_rows);
    if (config_.normalize) ops::unit_rows_backward(ctx, kept.rows[i], d_rows, d_rows);
    const View moved = ops::permuted(d_in[i], order_of(d_in[i].rank(), axes[i]));
    ops::add_elements(ctx, d_rows.reshaped(moved.shape()), moved);
  }
}

void Dot::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_dot(const ConfigValue& given) {
  ConfigReader reader("Dot", given);
  DotConfig config;
  read_base(reader, config);
  const ConfigValue& axes = reader.value("axes");
  if (axes.is_list() && axes.as_list("axes").size() == 2) {
    const ConfigValue::List& both = axes.as_list("axes");
    config.axes = std::array{both[0].as_integer("axes"), both[1].as_integer("axes")};
  } else {
    config.axes = axes.as_integer("axes");
  }
  config.normalize = reader.boolean("normalize", config.normalize);
  reader.finish();
  return with_trainable(std::make_shared<Dot>(config), given);
}

}  // namespace grouphead
