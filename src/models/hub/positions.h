#pragma once

// Where KerasHub's position layers stand in a sequence.

#include <vector>

#include "grouphead/layers/layer.h"

namespace grouphead::models::hub {

/// As KerasHub writes numbers: whole ones as integers.
ConfigValue number_config(double number);

/// Their call's argument: the position of the first element.
struct PositionArguments final : CallArguments {
  Index start_index = 0;
};

/// A layer of `inputs` and, where they are not those from start_index on, `positions` [T] or
/// [B, T], integers. It makes a tensor of the inputs' shape and passes no mask on.
class PositionLayer : public Layer {
 public:
  using Layer::Layer;
  std::span<const std::string_view> input_names() const override;
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override;
  ConfigValue arguments_config(const CallArguments* arguments) const override;
  bool can_decode(std::span<const Shape> inputs, const CallArguments* arguments) const override;

 protected:
  static Index start_index(const CallArguments* arguments) noexcept;
  /// For each position of x (its axes [T] or [B, T] at `axes`) its number; `batches` is 1 where all
  /// entries of the batch have the same ones. Errors: ShapeError.
  struct Numbers {
    Index batches = 1;
    Index length = 0;
    std::vector<Index> values{};  // [batches, length]
  };
  Numbers numbers(std::span<const Value> in, Index batches, Index length, const Mode& mode) const;
};

}  // namespace grouphead::models::hub
