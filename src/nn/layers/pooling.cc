#include "grouphead/layers/pooling.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
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

struct AverageSaved final : Saved {
  Shape input, reduced;
  Tensor mask;   // [B, T, 1] or [B, 1, T]; absent without one
  Tensor count;  // of real steps, of the rank of the mask
};

struct MaxSaved final : Saved {
  Tensor x, y;  // y of x's rank
};

Tensor zero(Context& ctx, Dtype dtype) { return ctx.zeros(Shape(), dtype); }

}  // namespace

ConfigValue GlobalPooling1D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("data_format", name_of(data_format_));
  config.set("keepdims", keepdims_);
  return config;
}

Shape GlobalPooling1D::reduced_shape(const Shape& input) const {
  return time_axis() == 1 ? Shape::partial({input[0], 1, input[2]})
                          : Shape::partial({input[0], input[1], 1});
}

std::vector<Shape> GlobalPooling1D::output_shapes(std::span<const Shape> inputs,
                                                  const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, input_names().size());
  detail::require_shape(name(), "input", inputs[0], {-1, -1, -1});
  if (keepdims_) return {reduced_shape(inputs[0])};
  return {Shape::partial({inputs[0][0], inputs[0][time_axis() == 1 ? 2 : 1]})};
}

void GlobalPooling1D::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

Shape GlobalPooling1D::checked_shape(const Tensor& x) const {
  const Shape shape = output_shapes(std::span(&x.shape(), 1), nullptr)[0];
  detail::require_dtype(name(), "input", x, dtype());
  return shape;
}

void GlobalPooling1D::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

GlobalAveragePooling1D::GlobalAveragePooling1D(const GlobalAveragePooling1DConfig& config)
    : GlobalPooling1D(config) {}

std::span<const std::string_view> GlobalAveragePooling1D::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs", "mask"};
  return kNames;
}

std::vector<Value> GlobalAveragePooling1D::forward(Context& ctx, std::span<const Value> in,
                                                   const Mode& /*mode*/,
                                                   std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 2);
  const Tensor& x = in[0].tensor;
  const Shape shape = checked_shape(x);
  const Shape reduced = reduced_shape(x.shape());
  const Index length = x.dim(time_axis());
  auto keep = std::make_unique<AverageSaved>();
  keep->input = x.shape();
  keep->reduced = reduced;
  const bool is_given = in.size() > 1 && in[1].tensor.has_value();
  Tensor y = ctx.tensor(shape, dtype());
  const View sum = y.view().reshaped(reduced);
  if (!is_given && !in[0].mask) {
    ops::sum_to(ctx, x, 1 / static_cast<double>(length), ops::Write::overwrite, sum);
  } else {
    const Tensor mask = nn::as_type(ctx, is_given ? in[1].tensor : *in[0].mask, Dtype::boolean);
    detail::require_shape(name(), "mask", mask, {x.dim(0), length});
    const bool is_last = time_axis() == 1;
    keep->mask = mask.reshaped(is_last ? Shape{x.dim(0), length, 1} : Shape{x.dim(0), 1, length});
    Tensor real = ctx.tensor(x.shape(), dtype());
    const Tensor hidden = zero(ctx, dtype());
    ops::select(ctx, keep->mask, x, hidden, real);
    ops::sum_to(ctx, real, 1, ops::Write::overwrite, sum);
    keep->count = ctx.tensor({x.dim(0), 1, 1}, dtype());
    const Tensor ones = nn::as_type(ctx, keep->mask, dtype());
    ops::sum_to(ctx, ones, 1, ops::Write::overwrite, keep->count);
    if (policy().compute() != dtype()) {  // where Keras has 16-bit numbers
      ops::convert_rounded(sum, policy().compute(), sum);
      ops::convert_rounded(keep->count, policy().compute(), keep->count);
    }
    ops::binary_forward(ctx, ops::Binary::divide, sum, keep->count, sum);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{std::move(y), {}}};
}

void GlobalAveragePooling1D::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                      std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<AverageSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 2);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor each = ctx.tensor(kept.reduced, dtype());
  const ConstView d_mean = d_out[0].reshaped(kept.reduced);
  if (!kept.mask.has_value()) {
    ops::scale(ctx, d_mean, 1 / static_cast<double>(kept.input[time_axis()]), each);
    ops::add_elements(ctx, ops::broadcast_to(name(), each, kept.input), d_in[0]);
    return;
  }
  ops::binary_forward(ctx, ops::Binary::divide, d_mean, kept.count, each);
  Tensor d_x = ctx.tensor(kept.input, dtype());
  const Tensor hidden = zero(ctx, dtype());
  ops::select(ctx, kept.mask, each, hidden, d_x);
  ops::add_elements(ctx, d_x, d_in[0]);
}

GlobalMaxPooling1D::GlobalMaxPooling1D(const GlobalMaxPooling1DConfig& config)
    : GlobalPooling1D(config) {}

std::vector<Value> GlobalMaxPooling1D::forward(Context& ctx, std::span<const Value> in,
                                               const Mode& /*mode*/,
                                               std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  const Shape shape = checked_shape(x);
  if (x.dim(time_axis()) < 1) {
    detail::throw_shape_error(name(), "input", "1 step or more", x.shape().to_string());
  }
  const Tensor y = ctx.tensor(shape, dtype());
  Tensor reduced = y.reshaped(reduced_shape(x.shape()));
  ops::extreme_to(ctx, ops::Extreme::max, x, reduced);
  if (saved != nullptr) {
    auto keep = std::make_unique<MaxSaved>();
    keep->x = x;
    keep->y = reduced;
    *saved = std::move(keep);
  }
  return {Value{y, {}}};
}

void GlobalMaxPooling1D::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                  std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<MaxSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  ops::add_extreme_gradient(ctx, kept.x, kept.y, d_out[0].reshaped(kept.y.shape()), d_in[0]);
}

namespace nn {
namespace {

template <class L, class Config>
std::shared_ptr<Layer> make_pooling(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  Config config;
  read_base(reader, config);
  config.data_format = data_format_from_name(reader.string("data_format", "channels_last"));
  config.keepdims = reader.boolean("keepdims", config.keepdims);
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_global_average_pooling_1d(const ConfigValue& config) {
  return make_pooling<GlobalAveragePooling1D, GlobalAveragePooling1DConfig>(
      "GlobalAveragePooling1D", config);
}

std::shared_ptr<Layer> make_global_max_pooling_1d(const ConfigValue& config) {
  return make_pooling<GlobalMaxPooling1D, GlobalMaxPooling1DConfig>("GlobalMaxPooling1D", config);
}

}  // namespace nn
}  // namespace grouphead
