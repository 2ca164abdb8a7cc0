// Operations that show the same elements differently: other axes, another shape, parts, repeats.

#include "nn/layer_checks.h"
#include "nn/operations/layout.h"
#include "nn/operations/operation.h"
#include "nn/shapes.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead::nn {
namespace {

struct ShapeSaved final : Saved {
  Dtype type = Dtype::f32;
  std::unique_ptr<OperationArguments> arguments;
};

class ShapeOperation : public Operation {
 public:
  using Operation::Operation;

  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"x"};
    return kNames;
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    const std::vector<OperationOperand> all = operands(in, mode);
    require_count(name(), "number of operands", all.size(), 1, 1);
    const Tensor& x = all[0].tensor;
    const OperationArguments& arguments = arguments_of(mode.arguments);
    const Layout layout = applied(Layout::of(x.shape(), x.view().strides()), arguments);
    if (saved != nullptr) {
      auto keep = std::make_unique<ShapeSaved>();
      keep->type = x.dtype();
      keep->arguments = std::make_unique<OperationArguments>();
      keep->arguments->given = arguments.given;
      *saved = std::move(keep);
    }
    const ConstView view = layout.view(x.view());
    if (view.is_contiguous() && view.size() == x.size()) {
      return {Value{x.reshaped(view.shape()), {}}};
    }
    Tensor y = ctx.tensor(view.shape(), x.dtype());
    ops::copy_elements(ctx, view, y);
    return {Value{std::move(y), {}}};
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    auto& kept = saved_as<ShapeSaved>(name(), saved);
    const bool is_asked = ops::is_floating(kept.type) && !d_out.empty() && d_out[0].has_value() &&
                          !d_in.empty() && d_in[0].has_value();
    if (!is_asked) return;
    const View d_x = d_in[0];
    const Layout layout = applied(Layout::of(d_x.shape(), d_x.strides()), *kept.arguments);
    if (repeats()) {
      ops::sum_to(ctx, d_out[0], 1, ops::Write::add, d_x);
    } else {
      ops::add_elements(ctx, d_out[0], layout.view(d_x));
    }
  }

 protected:
  virtual Layout applied(Layout x, const OperationArguments& arguments) const = 0;
  /// Whether an element may stand in several places, as broadcasting leaves it.
  virtual bool repeats() const { return false; }

  bool is_operand(std::size_t place) const override { return place == 0; }

 private:
  Shape result_shape(std::span<const Shape> operands,
                     const OperationArguments& arguments) const override {
    return applied(Layout::of(operands[0], {}), arguments).shape();
  }
  Dtype result_type_of(std::span<const OperandType> operands) const override {
    return operands[0].dtype;
  }
};

class ExpandDims final : public ShapeOperation {
  using ShapeOperation::ShapeOperation;
  Layout applied(Layout x, const OperationArguments& /*arguments*/) const override {
    const ConfigValue& axis = config()["axis"];
    const int added = axis.is_list() ? static_cast<int>(axis.as_list("axis").size()) : 1;
    for (const int place : operation_axes(name(), axis, x.rank() + added)) {
      x.dims.insert(x.dims.begin() + place, 1);
      x.strides.insert(x.strides.begin() + place, 0);
    }
    return x;
  }

 public:
  static std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
    return std::make_shared<ExpandDims>(self, config);
  }
};

class Squeeze final : public ShapeOperation {
  using ShapeOperation::ShapeOperation;
  Layout applied(Layout x, const OperationArguments& /*arguments*/) const override {
    const ConfigValue& axis = config()["axis"];
    const std::vector<int> axes = operation_axes(name(), axis, x.rank());
    Layout left;
    left.offset = x.offset;
    for (int i = 0; i < x.rank(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool is_named = std::find(axes.begin(), axes.end(), i) != axes.end();
      if (is_named && x.dims[at] == 1) continue;
      if (is_named && !axis.is_null() && x.dims[at] >= 0) {
        core::throw_shape_error(name(), "x", "size 1 on axis " + std::to_string(i),
                                x.shape().to_string());
      }
      if (is_named && !axis.is_null()) continue;
      left.push(x.dims[at], x.strides[at]);
    }
    return left;
  }

 public:
  static std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
    return std::make_shared<Squeeze>(self, config);
  }
};

/// Transpose and Swapaxes.
class Transpose final : public ShapeOperation {
  using ShapeOperation::ShapeOperation;
  Layout applied(Layout x, const OperationArguments& /*arguments*/) const override {
    Layout turned;
    turned.offset = x.offset;
    for (const int axis : order(x.rank())) {
      turned.push(x.dims[static_cast<std::size_t>(axis)],
                  x.strides[static_cast<std::size_t>(axis)]);
    }
    return turned;
  }

  std::vector<int> order(int rank) const {
    std::vector<int> order;
    for (int axis = 0; axis < rank; ++axis) order.push_back(axis);
    if (config().contains("axis1")) {
      const int a = positive_axis(name(), config()["axis1"].as_integer("axis1"), rank);
      const int b = positive_axis(name(), config()["axis2"].as_integer("axis2"), rank);
      std::swap(order[static_cast<std::size_t>(a)], order[static_cast<std::size_t>(b)]);
      return order;
    }
    const ConfigValue& axes = config()["axes"];
    if (axes.is_null()) return {order.rbegin(), order.rend()};
    order.clear();
    for (const ConfigValue& axis : axes.as_list("axes")) {
      order.push_back(positive_axis(name(), axis.as_integer("axes"), rank));
    }
    const bool is_whole = static_cast<int>(operation_axes(name(), axes, rank).size()) == rank;
    if (!is_whole) core::throw_shape_error(name(), "axes", "each axis once", axes.to_string());
    return order;
  }

 public:
  static std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
    return std::make_shared<Transpose>(self, config);
  }
};

class BroadcastTo final : public ShapeOperation {
  using ShapeOperation::ShapeOperation;
  bool repeats() const override { return true; }
  Layout applied(Layout x, const OperationArguments& /*arguments*/) const override {
    const Shape target = config()["shape"].as_shape("shape");
    const Shape shape = ops::broadcast_shape(name(), x.shape(), target);
    if (shape.rank() != target.rank() || (target.is_complete() && !(shape == target))) {
      core::throw_shape_error(name(), "x", "a shape that broadcasts to " + target.to_string(),
                              x.shape().to_string());
    }
    Layout wide;
    wide.offset = x.offset;
    const int added = shape.rank() - x.rank();
    for (int axis = 0; axis < shape.rank(); ++axis) {
      const auto from = static_cast<std::size_t>(axis - added);
      const bool is_own = axis >= added && x.dims[from] != 1;
      wide.push(shape[axis], is_own ? x.strides[from] : 0);
    }
    return wide;
  }

 public:
  static std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
    return std::make_shared<BroadcastTo>(self, config);
  }
};

/// Part of a tensor by a key of indices, slices, new axes and an ellipsis: the second argument.
class GetItem final : public ShapeOperation {
  using ShapeOperation::ShapeOperation;

  static std::string_view kind_of(const ConfigValue& part) {
    return part.is_object() ? std::string_view(part["class_name"].as_string("key"))
                            : std::string_view();
  }
  static bool takes_axis(const ConfigValue& part) {
    return !part.is_null() && kind_of(part) != "__ellipsis__";
  }

  Layout applied(Layout x, const OperationArguments& arguments) const override {
    const ConfigValue::List& args = arguments.given["args"].as_list("args");
    const ConfigValue& key = args.size() > 1 ? args[1] : arguments.given["key"];
    const ConfigValue::List parts = key.is_list() ? key.as_list("key") : ConfigValue::List{key};
    const auto used = std::count_if(parts.begin(), parts.end(), takes_axis);
    if (used > x.rank()) {
      core::throw_shape_error(name(), "key", "at most " + std::to_string(x.rank()) + " axes",
                              key.to_string());
    }
    Layout part_layout;
    part_layout.offset = x.offset;
    std::size_t axis = 0;
    const auto keep = [&](std::size_t count) {
      for (; count > 0; --count, ++axis) part_layout.push(x.dims[axis], x.strides[axis]);
    };
    for (const ConfigValue& part : parts) {
      if (part.is_null()) {
        part_layout.push(1, 0);
      } else if (kind_of(part) == "__ellipsis__") {
        keep(static_cast<std::size_t>(x.rank() - used));
      } else if (kind_of(part) == "__slice__") {
        add_slice(part["config"], x.dims[axis], x.strides[axis], part_layout);
        ++axis;
      } else {
        part_layout.offset += index_of(part, x.dims[axis]) * x.strides[axis];
        ++axis;
      }
    }
    keep(x.dims.size() - axis);
    return part_layout;
  }

  Index index_of(const ConfigValue& part, Index dim) const {
    const Index index = part.as_integer("key");
    if (dim >= 0 && (index < -dim || index >= dim)) {
      core::throw_shape_error(name(), "key", "an index of an axis of " + std::to_string(dim),
                              std::to_string(index));
    }
    return index < 0 ? index + dim : index;
  }

  // Python's rule: bounds from the end where negative, cut to the axis.
  void add_slice(const ConfigValue& slice, Index dim, Index stride, Layout& out) const {
    const Index step = slice["step"].is_null() ? 1 : slice["step"].as_integer("step");
    if (step == 0) core::throw_shape_error(name(), "key", "a step that is not 0", "0");
    const bool is_all = slice["start"].is_null() && slice["stop"].is_null() && step == 1;
    if (dim < 0) return out.push(is_all ? dim : -1, stride);
    const Index first = step > 0 ? 0 : -1;
    const Index last = step > 0 ? dim : dim - 1;
    const auto bound = [&](std::string_view key, Index fallback) {
      if (slice[key].is_null()) return fallback;
      const Index given = slice[key].as_integer(key);
      return std::clamp(given < 0 ? given + dim : given, first, last);
    };
    const Index start = bound("start", step > 0 ? 0 : dim - 1);
    const Index stop = bound("stop", step > 0 ? dim : -1);
    const Index span = step > 0 ? stop - start : start - stop;
    const Index size = span <= 0 ? 0 : (span - 1) / std::abs(step) + 1;
    if (size > 0) out.offset += start * stride;
    out.push(size, stride * step);
  }

 public:
  static std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
    return std::make_shared<GetItem>(self, config);
  }
};

/// Another shape of the same elements in the same order.
class ReshapeOperation final : public ShapeOperation {
  using ShapeOperation::ShapeOperation;
  Layout applied(Layout x, const OperationArguments& /*arguments*/) const override {
    const Shape asked = config()["newshape"].as_shape("newshape");
    if (std::count(asked.begin(), asked.end(), -1) > 1) {
      core::throw_shape_error(name(), "newshape", "at most one -1", asked.to_string());
    }
    const Shape to = reshaped_shape(name(), x.shape(), asked);
    Layout reshaped;
    reshaped.offset = x.offset;
    reshaped.dims.assign(to.begin(), to.end());
    reshaped.strides.resize(reshaped.dims.size());
    Index stride = 1;
    for (std::size_t i = reshaped.dims.size(); i-- > 0;) {
      reshaped.strides[i] = stride;
      stride *= std::max<Index>(reshaped.dims[i], 1);
    }
    return reshaped;
  }

 public:
  static std::shared_ptr<Layer> make(const OperationClass& self, const ConfigValue& config) {
    return std::make_shared<ReshapeOperation>(self, config);
  }
};

constexpr std::string_view kNumpy = "keras.src.ops.numpy";
constexpr OperationClass kClasses[] = {
    {kNumpy, "BroadcastTo", BroadcastTo::make, 0}, {kNumpy, "ExpandDims", ExpandDims::make, 0},
    {kNumpy, "GetItem", GetItem::make, 0},         {kNumpy, "Reshape", ReshapeOperation::make, 0},
    {kNumpy, "Squeeze", Squeeze::make, 0},         {kNumpy, "Swapaxes", Transpose::make, 0},
    {kNumpy, "Transpose", Transpose::make, 0},
};

}  // namespace

std::span<const OperationClass> shape_operations() { return kClasses; }

}  // namespace grouphead::nn
