#pragma once

// The normalisation of rows with all that models vary about it: what LayerNormalization and
// RMSNormalization compute, and gains that Keras's layers do not have.

#include <memory>
#include <string>

#include "grouphead/layers/layer.h"
#include "ops/linear.h"

namespace grouphead::nn {

/// layer: rows are centred and divided by their deviation; rms: divided by their root mean square.
enum class RowNormKind : std::uint8_t { layer, rms };

struct RowNormSettings {
  RowNormKind kind = RowNormKind::rms;
  double epsilon = 1e-6;
  bool gains_from_one = false;  ///< y = (1 + gamma) x^: the parameter is 0 where nothing is scaled
  bool use_bias = false;        ///< + beta; of kind layer with groups 1 alone
  Index width = 0;              ///< M: elements of a row
  Index groups = 1;             ///< rows of a position, each with its own gains
};

/// y = gamma x^ + beta for rows x of M elements, x^ normalised.
/// Shapes: x, y [..., groups, M] or any shape of whole rows; gamma [groups, M], or [M] of one
/// group; beta [M].
class RowNorm {
 public:
  RowNorm(const RowNormSettings& settings, const DtypePolicy& policy, bool trainable);

  Tensor forward(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const;
  /// Adds to the parameters' gradients; d_x is told by `write`, absent: not computed. With
  /// Write::overwrite it may be d_y.
  void backward(Context& ctx, Saved& saved, ConstView d_y, ops::Write write, View d_x,
                Grads& grads) const;
  /// `<prefix>gamma` and, with a bias, `<prefix>beta`.
  void append_parameters(const std::string& prefix, ParameterList& out);

 private:
  struct SavedState;
  Tensor gains(Context& ctx) const;
  void normalise(Context& ctx, ConstView x, ConstView gains, View y, SavedState& keep) const;

  RowNormSettings settings_;
  std::unique_ptr<Parameter> gamma_;
  std::unique_ptr<Parameter> beta_;  // null without a bias
  Tensor zeros_;                     // [M] where kind layer has no bias
  Tensor ones_;                      // [M] where each group has gains, or gains start from one
};

}  // namespace grouphead::nn
