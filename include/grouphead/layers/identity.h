#pragma once

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct IdentityConfig {
  std::string name = "identity";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = x, of any shape and type. Hands the mask on. Source: keras.layers.Identity.
class Identity final : public Layer {
 public:
  using Config = IdentityConfig;
  explicit Identity(const IdentityConfig& config = {});
  std::string_view class_name() const override { return "Identity"; }
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
};

struct RepeatVectorConfig {
  Index n = 1;
  std::string name = "repeat_vector";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// [B, M] to [B, n, M], the same vector n times, of any type. No mask.
/// Source: keras.layers.RepeatVector.
class RepeatVector final : public Layer {
 public:
  using Config = RepeatVectorConfig;
  /// Errors: ConfigError for n below 1.
  explicit RepeatVector(const RepeatVectorConfig& config);
  std::string_view class_name() const override { return "RepeatVector"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  Dtype output_dtype(std::span<const Dtype> inputs, const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Index n_;
};

}  // namespace grouphead
#pragma GCC visibility pop
