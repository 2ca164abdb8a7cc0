#pragma once

// The change of low rank of a kernel, LoRA.

#include "grouphead/layers/lora.h"
#include "nn/config_reader.h"

namespace grouphead::nn {

/// w + scale a b in the place of a parameter w, which it freezes; a and b are trained where the
/// layer is. Belongs to w's layer.
class LowRank {
 public:
  /// Errors: as HasLora::enable_lora().
  LowRank(Parameter& w, const LoraOptions& config, const Layer& layer, RandomStream& random);

  /// The changed w, to compute with: in the arithmetic type, each step rounded as Keras rounds.
  std::unique_ptr<Parameter> changed() const;
  /// The change alone, for a w that is quantized: added to the product with w.
  std::unique_ptr<Parameter> change() const;
  /// Sums for its gradient, zero; absent where nobody asks for it.
  Tensor gradient_sums(Context& ctx, Grads& grads) const;
  /// Adds to w's and the factors' gradients what came into such sums, which are spent.
  void add_gradient(Context& ctx, View d_w, Grads& grads) const;

  bool has_factor(const Parameter& parameter) const noexcept {
    return &parameter == a_.get() || &parameter == b_.get();
  }
  /// w with its change, in w's type.
  Tensor merged() const;
  void merge();
  /// Makes the change 0.
  void reset();

  void append_parameters(const std::string& prefix, ParameterList& out) const;
  /// Keras's keys.
  void write_config(ConfigValue& out) const;

 private:
  Index rank() const noexcept { return a_->shape().back(); }
  Index rows() const noexcept { return a_->shape().size() / rank(); }
  Index columns() const noexcept { return b_->shape().back(); }
  /// sum += scale a b, rounded to `compute`, with the factors' numbers of that type.
  void add_to(View sum, Dtype compute) const;

  Parameter& w_;
  DtypePolicy policy_;
  std::unique_ptr<Parameter> a_;
  std::unique_ptr<Parameter> b_;
  double scale_ = 1;
};

/// Of a layer's configuration: Keras's `lora_rank` and `lora_alpha`.
std::optional<LoraOptions> read_lora(ConfigReader& reader);
/// What HasLora's functions do for a layer with this parameter, null before build().
void enable_lora(std::unique_ptr<LowRank>& change, Parameter* w, const LoraOptions& config,
                 const Layer& layer, RandomStream& random);
void merge_lora(std::unique_ptr<LowRank>& change);

}  // namespace grouphead::nn
