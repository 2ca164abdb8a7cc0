#include "grouphead/dropout.h"
#include "nn/layer_checks.h"
#include "ops/elementwise.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "dropout";

struct DropoutSaved final : Saved {
  std::optional<RandomKey> key;  // absent: the call was the identity
};

}  // namespace

Dropout::Dropout(const DropoutConfig& config) : Layer(config.name, config.dtype), config_(config) {
  if (!(config.rate >= 0 && config.rate < 1)) {
    detail::throw_config_error(kLayer, "rate", "0 <= rate < 1", std::to_string(config.rate));
  }
}

void Dropout::build(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
}

std::optional<RandomKey> Dropout::draw(const Mode& mode) const {
  if (!mode.training || config_.rate == 0) return {};
  if (mode.random == nullptr) {
    detail::throw_config_error(kLayer, "mode.random", "a random stream in training", "none");
  }
  return mode.random->next();
}

std::vector<Value> Dropout::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                    std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  const std::optional<RandomKey> key = draw(mode);
  if (saved != nullptr) {
    auto keep = std::make_unique<DropoutSaved>();
    keep->key = key;
    *saved = std::move(keep);
  }
  if (!key) return {in[0]};
  Tensor y = ctx.tensor(in[0].tensor.shape(), dtype());
  ops::dropout(ctx, in[0].tensor, config_.rate, *key, y);
  return {Value{std::move(y), in[0].mask}};
}

void Dropout::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                       std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<DropoutSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  if (!kept.key) {
    ops::add(ctx, d_in[0], d_out[0], d_in[0]);
    return;
  }
  Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
  ops::dropout(ctx, d_out[0], config_.rate, *kept.key, d_x);
  ops::add(ctx, d_in[0], d_x, d_in[0]);
}

void Dropout::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) const {}

}  // namespace grouphead
