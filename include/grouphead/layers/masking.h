#pragma once

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct MaskingConfig {
  double mask_value = 0;
  std::string name = "masking";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Marks the steps of x [..., M] whose elements all equal mask_value: they become 0, and the mask
/// [...] is false there. NaN equals nothing. Source: keras.layers.Masking.
class Masking final : public Layer {
 public:
  using Config = MaskingConfig;
  explicit Masking(const MaskingConfig& config = {});
  std::string_view class_name() const override { return "Masking"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  double mask_value_;
};

}  // namespace grouphead
#pragma GCC visibility pop
