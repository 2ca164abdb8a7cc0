#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "grouphead/models/transformer.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct LoraConfig {
  Index rank = 8;          ///< r
  double alpha = 16;       ///< what is added to a kernel is (alpha / r) A B
  std::uint64_t seed = 0;  ///< of A; B is zero at the start
};

/// A TransformerModel whose attention projections are trained by matrices of low rank: the kernel
/// W [K, N] of each becomes W + (alpha / r) A B, with A [K, r] and B [r, N]. Everything else stays
/// as it is. The layer's own parameters are A and B; the model inside has the sums as its kernels,
/// and can be used and saved like any other.
///
/// A and B get the exact gradients of the sums, so a step takes the time of one that trains the
/// attention, and the optimizer the memory of A and B.
///
/// Parameters  layers/0/attention/query/lora_a, layers/0/attention/query/lora_b, ...
/// Memory      the attention's kernels a second time
/// Errors      ConfigError for a rank below 1, or an alpha that is not finite
/// Source      Hu et al. 2021, arXiv:2106.09685; the initial values are those of PEFT's LoraConfig
class LoraModel final : public Layer {
 public:
  /// Nobody else changes `model` while this lives.
  explicit LoraModel(std::shared_ptr<TransformerModel> model, const LoraConfig& config = {});
  ~LoraModel() override;
  std::string_view class_name() const override { return "LoraModel"; }
  std::string_view module() const override { return "grouphead.models"; }
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const LoraConfig& config() const noexcept { return config_; }
  /// The model's; its weights may lack the latest sums.
  const TransformerModelConfig& model_config() const noexcept { return model_->config(); }
  /// The model with the sums of now.
  const std::shared_ptr<TransformerModel>& merged(Context& ctx) const;
  /// The kernels as they were before: [K, N] of each parameter that is changed, under its path.
  std::vector<std::pair<std::string, ConstView>> original() const;

 private:
  struct Adapted;
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  void update(Context& ctx) const;

  LoraConfig config_;
  std::shared_ptr<TransformerModel> model_;
  std::vector<std::unique_ptr<Adapted>> adapted_;
  mutable std::mutex updating_;
};

}  // namespace grouphead
#pragma GCC visibility pop
