#pragma once

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"
#include "grouphead/layers/lora.h"
#include "grouphead/layers/quantization.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Keras's arguments.
struct EmbeddingConfig {
  Index input_dim = 0;   ///< V
  Index output_dim = 0;  ///< M
  Initializer embeddings_initializer = initializers::random_uniform();
  Regularizer embeddings_regularizer{};
  Constraint embeddings_constraint{};
  bool mask_zero = false;  ///< token 0 is padding: the output's mask is tokens != 0
  std::optional<LoraOptions>
      lora{};  ///< Keras's lora_rank and lora_alpha: enable_lora() by build()
  std::optional<Quantization> quantization{};
  std::string name = "embedding";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Row lookup: tokens [...] to [..., M]. `layer(ctx, tokens)` takes i32, forward() any type;
/// floating numbers are cut off towards 0. Errors: ShapeError for a token outside [0, V). Tokens
/// have no gradient: what is passed for it in backward() stays as it is. Source:
/// keras.layers.Embedding.
class Embedding final : public Layer, public HasLora, public HasQuantization {
 public:
  using Config = EmbeddingConfig;
  /// Errors: ConfigError for sizes below 1.
  explicit Embedding(const EmbeddingConfig& config);
  ~Embedding() override;
  std::string_view class_name() const override { return "Embedding"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  void enable_lora(const LoraOptions& config, std::uint64_t seed = 0) override;
  void merge_lora() override;
  nn::LowRank* low_rank() const noexcept override;
  const Quantization* quantization() const noexcept override;
  bool takes_quantization(QuantizationMode mode) const override;
  void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) override;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }

 private:
  /// Rows of tokens (i32, contiguous).
  Tensor looked_up(Context& ctx, ConstView tokens) const;

  EmbeddingConfig config_;
  std::unique_ptr<Parameter> embeddings_;
  std::unique_ptr<nn::LowRank> lora_;  // null where the embeddings are used as they are
};

}  // namespace grouphead
#pragma GCC visibility pop
