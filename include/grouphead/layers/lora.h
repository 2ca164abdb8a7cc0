#pragma once

#include <memory>
#include <optional>

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class LowRank;
}

/// Keras's arguments of `enable_lora()`.
struct LoraOptions {
  Index rank = 0;                 ///< r, 1 to 64, or up to the smaller of the kernel's sizes
  std::optional<double> alpha{};  ///< the change is alpha / rank times a b; none: as the rank
  Initializer a_initializer = initializers::he_uniform();
  Initializer b_initializer = initializers::zeros();
};

/// A layer whose kernel or embeddings w can be frozen, and a change of low rank be trained in their
/// place: it computes with w + alpha / rank * a b. With w [..., N], a is [..., r] and b [r, N], its
/// parameters `lora_<name>_a` and `lora_<name>_b`; the bias stays trainable. Keras's files have w
/// and its change merged: what is loaded from one has b = 0.
/// Source: keras.layers.Dense.enable_lora; Hu et al. 2021, arXiv:2106.09685.
class HasLora {
 public:
  virtual ~HasLora() = default;
  /// Of a built layer, before its model is compiled. Errors: ConfigError before build(), for a rank
  /// that is none, for a constraint of w, and where it was enabled already.
  virtual void enable_lora(const LoraOptions& config, std::uint64_t seed = 0) = 0;
  /// Adds the change to w, which is trained again if the change was, and drops it; nothing where
  /// there is none.
  virtual void merge_lora() = 0;
  /// The library's own view of the change; null where there is none.
  virtual nn::LowRank* low_rank() const noexcept = 0;
};

}  // namespace grouphead
#pragma GCC visibility pop
