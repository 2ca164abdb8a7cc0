#pragma once

#include <memory>
#include <string>

#include "grouphead/layers/layers.h"
#include "grouphead/models/transformer.h"
#include "nn/attention/projection.h"
#include "nn/row_norm.h"

namespace grouphead::models {

/// The settings of a RowNorm over rows of `width`.
nn::RowNormSettings norm_settings(const NormConfig& config, Index width);

/// What a TransformerModel's blocks are given, and its tied head: rows of the tables of tokens,
/// positions and token types, added and normalised as the configuration says.
class Embeddings {
 public:
  Embeddings(const TransformerModelConfig& config, RandomStream& random);

  /// [B, T, M]. `cache` holds what comes before these tokens, which are those of `rows` where there
  /// are any.
  Tensor forward(Context& ctx, const TransformerInputs& inputs, const KvCache* cache,
                 std::span<const SequenceRows> rows, const Mode& mode,
                 std::unique_ptr<Saved>* saved) const;
  /// Adds to the tables' gradients.
  void backward(Context& ctx, Saved& saved, Tensor d_y, Grads& grads) const;

  /// x [..., E] times the transposed table of tokens: [..., V].
  Tensor logits(Context& ctx, const Tensor& x) const;
  /// The gradient of its x; adds to the table's.
  Tensor logits_backward(Context& ctx, const Tensor& x, View d_logits, Grads& grads) const;

  void append_parameters(const std::string& prefix, ParameterList& out);

 private:
  struct SavedState;
  Tensor rows_of(Context& ctx, const Parameter& table, const Tensor& numbers) const;
  void number(const TransformerInputs& inputs, Index begin, Index end, Index first,
              Tensor& numbers) const;
  Tensor positions(Context& ctx, const TransformerInputs& inputs, const KvCache* cache,
                   std::span<const SequenceRows> rows) const;
  void add_rows_gradient(Context& ctx, const Parameter& table, const Tensor& numbers, ConstView d,
                         Grads& grads) const;

  const TransformerModelConfig& config_;
  std::unique_ptr<Parameter> tokens_;
  std::unique_ptr<Parameter> positions_;        // null without a table of positions
  std::unique_ptr<Parameter> types_;            // null without token types
  std::unique_ptr<nn::Projection> projection_;  // null where tokens have the model's width
  std::unique_ptr<nn::RowNorm> norm_;           // null without a norm
  Dropout dropout_;
};

}  // namespace grouphead::models
