#include "grouphead/layers/identity.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct NothingSaved final : Saved {};

void require_one(std::string_view layer, std::size_t count) {
  nn::require_count(layer, "number of inputs", count, 1, 1);
}

Dtype passed(std::span<const Dtype> inputs, const DtypePolicy& policy) {
  return ops::is_floating(inputs[0]) ? policy.compute() : inputs[0];
}

}  // namespace

Identity::Identity(const IdentityConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer) {}

void Identity::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  require_one(name(), inputs.size());
}

Dtype Identity::output_dtype(std::span<const Dtype> inputs,
                             const CallArguments* /*arguments*/) const {
  return passed(inputs, policy());
}

std::vector<Value> Identity::forward(Context& /*ctx*/, std::span<const Value> in,
                                     const Mode& /*mode*/, std::unique_ptr<Saved>* saved) const {
  require_one(name(), in.size());
  if (saved != nullptr) *saved = std::make_unique<NothingSaved>();
  return {in[0]};
}

void Identity::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                        std::span<View> d_in, Grads& /*grads*/) const {
  nn::saved_as<NothingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  ops::add(ctx, d_in[0], d_out[0], d_in[0]);
}

void Identity::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

RepeatVector::RepeatVector(const RepeatVectorConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), n_(config.n) {
  core::require_positive("repeat_vector", "n", config.n);
}

ConfigValue RepeatVector::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("n", n_);
  return config;
}

std::vector<Shape> RepeatVector::output_shapes(std::span<const Shape> inputs,
                                               const CallArguments* /*arguments*/) const {
  require_one(name(), inputs.size());
  if (inputs[0].rank() != 2) {
    core::throw_shape_error(name(), "input", "[B, M]", inputs[0].to_string());
  }
  return {Shape::partial({inputs[0][0], n_, inputs[0][1]})};
}

Dtype RepeatVector::output_dtype(std::span<const Dtype> inputs,
                                 const CallArguments* /*arguments*/) const {
  return passed(inputs, policy());
}

void RepeatVector::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> RepeatVector::forward(Context& ctx, std::span<const Value> in,
                                         const Mode& /*mode*/,
                                         std::unique_ptr<Saved>* saved) const {
  require_one(name(), in.size());
  const Tensor& x = in[0].tensor;
  const Shape shape = output_shapes(std::array{x.shape()}, nullptr)[0];
  if (saved != nullptr) *saved = std::make_unique<NothingSaved>();
  Tensor y = ctx.tensor(shape, x.dtype());
  const ConstView once = x.view().reshaped({x.dim(0), 1, x.dim(1)});
  ops::copy_elements(ctx, ops::broadcast_to(name(), once, shape), y);
  return {Value{std::move(y), {}}};
}

void RepeatVector::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                            std::span<View> d_in, Grads& /*grads*/) const {
  nn::saved_as<NothingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  const Shape& shape = d_in[0].shape();
  ops::sum_to(ctx, d_out[0], 1, ops::Write::add, d_in[0].reshaped({shape[0], 1, shape[1]}));
}

void RepeatVector::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

namespace nn {

std::shared_ptr<Layer> make_identity(const ConfigValue& given) {
  ConfigReader reader("Identity", given);
  IdentityConfig config;
  read_base(reader, config);
  reader.finish();
  return with_trainable(std::make_shared<Identity>(config), given);
}

std::shared_ptr<Layer> make_repeat_vector(const ConfigValue& given) {
  ConfigReader reader("RepeatVector", given);
  RepeatVectorConfig config;
  read_base(reader, config);
  config.n = reader.integer("n", 0);
  reader.finish();
  return with_trainable(std::make_shared<RepeatVector>(config), given);
}

}  // namespace nn
}  // namespace grouphead
