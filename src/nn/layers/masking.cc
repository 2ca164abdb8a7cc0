#include "grouphead/layers/masking.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"

namespace grouphead {
namespace {

struct MaskingSaved final : Saved {
  Tensor mask;  // [..., 1]
};

Tensor scalar(Context& ctx, double value, Dtype dtype) {
  Tensor wide = ctx.tensor(Shape(), Dtype::f64);
  *wide.data<double>() = value;
  return nn::as_type(ctx, wide, dtype);
}

}  // namespace

Masking::Masking(const MaskingConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer),
      mask_value_(config.mask_value) {}

ConfigValue Masking::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("mask_value", mask_value_);
  return config;
}

void Masking::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  nn::require_last_axis(name(), inputs[0], -1);
}

std::vector<Value> Masking::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                    std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  nn::require_last_axis(name(), x, -1, dtype());
  // The value in the type that the layer computes in, as Keras compares.
  const Tensor value = nn::as_type(ctx, scalar(ctx, mask_value_, policy().compute()), dtype());
  Tensor differs = ctx.tensor(x.shape(), Dtype::boolean);
  ops::compare(ctx, ops::Comparison::not_equal, x, value, differs);
  Tensor mask = ctx.tensor(nn::with_last_axis(x.shape(), 1), Dtype::boolean);
  ops::extreme_to(ctx, ops::Extreme::max, differs, mask);
  Tensor y = ctx.tensor(x.shape(), dtype());
  const Tensor zero = scalar(ctx, 0, dtype());
  ops::select(ctx, mask, x, zero, y);
  const Tensor steps = mask.reshaped(nn::without_last_axis(x.shape()));
  if (saved != nullptr) {
    auto keep = std::make_unique<MaskingSaved>();
    keep->mask = std::move(mask);
    *saved = std::move(keep);
  }
  return {Value{std::move(y), steps}};
}

void Masking::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                       std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<MaskingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
  const Tensor zero = scalar(ctx, 0, dtype());
  ops::select(ctx, kept.mask, d_out[0], zero, d_x);
  ops::add(ctx, d_in[0], d_x, d_in[0]);
}

void Masking::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

namespace nn {

std::shared_ptr<Layer> make_masking(const ConfigValue& given) {
  ConfigReader reader("Masking", given);
  MaskingConfig config;
  read_base(reader, config);
  config.mask_value = reader.number("mask_value", config.mask_value);
  reader.finish();
  return with_trainable(std::make_shared<Masking>(config), given);
}

}  // namespace nn
}  // namespace grouphead
