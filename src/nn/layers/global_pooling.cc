// Poolings over whole sequences and images.

#include "grouphead/layers/pooling.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/windows.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct GlobalSaved final : Saved {
  Shape input, reduced;
  Tensor mask;   // [B, T, 1] or [B, 1, T]; absent without one
  Tensor count;  // of real steps, of the rank of the mask
  Tensor x, y;   // of a maximum; y of x's rank
};

Tensor zero(Context& ctx, Dtype dtype) { return ctx.zeros(Shape(), dtype); }

}  // namespace

ConfigValue detail::GlobalPooling::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("data_format", name_of(data_format_));
  config.set("keepdims", keepdims_);
  return config;
}

std::span<const std::string_view> detail::GlobalPooling::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs", "mask"};
  return std::span(kNames).first(takes_mask() ? 2 : 1);
}

Shape detail::GlobalPooling::reduced_shape(const Shape& input) const {
  const std::array<Index, 2> ones{1, 1};
  return nn::in_format(data_format_, input[0],
                       std::span(ones).first(static_cast<std::size_t>(axes_)),
                       input[nn::channel_axis(data_format_, axes_)]);
}

Index detail::GlobalPooling::area(const Shape& input) const noexcept {
  Index count = 1;
  for (int axis = first_axis(); axis < first_axis() + axes_; ++axis) count *= input[axis];
  return count;
}

std::vector<Shape> detail::GlobalPooling::output_shapes(std::span<const Shape> inputs,
                                                        const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, input_names().size());
  if (inputs[0].rank() != axes_ + 2) {
    core::throw_shape_error(name(), "input", "rank " + std::to_string(axes_ + 2),
                            inputs[0].to_string());
  }
  if (keepdims_) return {reduced_shape(inputs[0])};
  return {Shape::partial({inputs[0][0], inputs[0][nn::channel_axis(data_format_, axes_)]})};
}

void detail::GlobalPooling::create_parameters(std::span<const Shape> inputs,
                                              RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

void detail::GlobalPooling::append_parameters(const std::string& /*prefix*/,
                                              ParameterList& /*out*/) {}

void detail::GlobalPooling::forward_masked(Context& ctx, const Tensor& x, const Tensor& given,
                                           Saved& saved, View mean) const {
  auto& keep = nn::saved_as<GlobalSaved>(name(), saved);
  const Index length = x.dim(first_axis());
  const Tensor mask = nn::as_type(ctx, given, Dtype::boolean);
  core::require_shape(name(), "mask", mask, {x.dim(0), length});
  const bool is_last = first_axis() == 1;
  keep.mask = mask.reshaped(is_last ? Shape{x.dim(0), length, 1} : Shape{x.dim(0), 1, length});
  Tensor real = ctx.tensor(x.shape(), dtype());
  const Tensor hidden = zero(ctx, dtype());
  ops::select(ctx, keep.mask, x, hidden, real);
  ops::sum_to(ctx, real, 1, ops::Write::overwrite, mean);
  keep.count = ctx.tensor({x.dim(0), 1, 1}, dtype());
  const Tensor ones = nn::as_type(ctx, keep.mask, dtype());
  ops::sum_to(ctx, ones, 1, ops::Write::overwrite, keep.count);
  if (policy().compute() != dtype()) {  // where Keras has 16-bit numbers
    ops::convert_rounded(mean, policy().compute(), mean);
    ops::convert_rounded(keep.count, policy().compute(), keep.count);
  }
  ops::binary_forward(ctx, ops::Binary::divide, mean, keep.count, mean);
}

std::vector<Value> detail::GlobalPooling::forward(Context& ctx, std::span<const Value> in,
                                                  const Mode& /*mode*/,
                                                  std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, input_names().size());
  const Tensor& x = in[0].tensor;
  const Shape shape = output_shapes(std::span(&x.shape(), 1), nullptr)[0];
  core::require_dtype(name(), "input", x, dtype());
  auto keep = std::make_unique<GlobalSaved>();
  keep->input = x.shape();
  keep->reduced = reduced_shape(x.shape());
  const Tensor y = ctx.tensor(shape, dtype());
  Tensor pooled = y.reshaped(keep->reduced);
  const bool is_given = in.size() > 1 && in[1].tensor.has_value();
  if (kind_ == PoolingKind::max) {
    if (area(x.shape()) < 1) {
      core::throw_shape_error(name(), "input", "1 step or more", x.shape().to_string());
    }
    ops::extreme_to(ctx, ops::Extreme::max, x, pooled);
    keep->x = x;
    keep->y = pooled;
  } else if (takes_mask() && (is_given || in[0].mask)) {
    forward_masked(ctx, x, is_given ? in[1].tensor : *in[0].mask, *keep, pooled);
  } else {
    ops::sum_to(ctx, x, 1 / static_cast<double>(area(x.shape())), ops::Write::overwrite, pooled);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{y, {}}};
}

void detail::GlobalPooling::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                     std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<GlobalSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, input_names().size());
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  const ConstView d_pooled = d_out[0].reshaped(kept.reduced);
  if (kind_ == PoolingKind::max) {
    return ops::add_extreme_gradient(ctx, kept.x, kept.y, d_pooled, d_in[0]);
  }
  Tensor each = ctx.tensor(kept.reduced, dtype());
  if (!kept.mask.has_value()) {
    ops::scale(ctx, d_pooled, 1 / static_cast<double>(area(kept.input)), each);
    ops::add_elements(ctx, ops::broadcast_to(name(), each, kept.input), d_in[0]);
    return;
  }
  ops::binary_forward(ctx, ops::Binary::divide, d_pooled, kept.count, each);
  Tensor d_x = ctx.tensor(kept.input, dtype());
  const Tensor hidden = zero(ctx, dtype());
  ops::select(ctx, kept.mask, each, hidden, d_x);
  ops::add_elements(ctx, d_x, d_in[0]);
}

namespace nn {
namespace {

template <class L>
std::shared_ptr<Layer> make_global_pooling(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  typename L::Config config;
  read_base(reader, config);
  config.data_format = data_format_from_name(reader.string("data_format", "channels_last"));
  config.keepdims = reader.boolean("keepdims", config.keepdims);
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_global_average_pooling_1d(const ConfigValue& config) {
  return make_global_pooling<GlobalAveragePooling1D>("GlobalAveragePooling1D", config);
}
std::shared_ptr<Layer> make_global_average_pooling_2d(const ConfigValue& config) {
  return make_global_pooling<GlobalAveragePooling2D>("GlobalAveragePooling2D", config);
}
std::shared_ptr<Layer> make_global_max_pooling_1d(const ConfigValue& config) {
  return make_global_pooling<GlobalMaxPooling1D>("GlobalMaxPooling1D", config);
}
std::shared_ptr<Layer> make_global_max_pooling_2d(const ConfigValue& config) {
  return make_global_pooling<GlobalMaxPooling2D>("GlobalMaxPooling2D", config);
}

}  // namespace nn
}  // namespace grouphead
