#pragma once

#include <optional>

#include "grouphead/layer.h"

namespace grouphead {

struct DropoutConfig {
  double rate = 0;  ///< in [0, 1)
  std::string name = "dropout";
  DtypePolicy dtype{};
};

/// Inverted dropout in training, identity otherwise. Numbers are Philox4x32-10 of (seed, draw,
/// element), so threads do not change them. Errors: ConfigError in training without Mode::random.
/// Source: keras.layers.Dropout.
class Dropout final : public Layer {
 public:
  /// Errors: ConfigError for a rate outside [0, 1).
  explicit Dropout(const DropoutConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  const DropoutConfig& config() const noexcept { return config_; }
  /// The next draw where dropout acts (training, rate > 0), absent where it is the identity.
  std::optional<RandomKey> draw(const Mode& mode) const;

 private:
  DropoutConfig config_;
};

}  // namespace grouphead
