#pragma once

// What GroupQueryAttention and MultiHeadAttention are called with, and give back.

#include "grouphead/attention.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
struct AttentionOperands;
}

/// Arguments of the two layers that are not tensors.
struct AttentionArguments : CallArguments {
  bool use_causal_mask = false;          ///< key j is visible to query i iff j <= i
  bool return_attention_scores = false;  ///< the second output
  Index causal_offset = 0;               ///< ours: ... iff j <= i + causal_offset
};

/// One call's inputs by name, tensors or views. Keras's positional order is (query, value, key);
/// value serves as key where none is given.
///
/// Masks are bool or integer tensors, true (not 0) = attend. The last one is ours.
struct AttentionInputs {
  LayerInput query{};           ///< [B, T, M]
  LayerInput value{};           ///< [B, S, Mv]
  LayerInput key{};             ///< [B, S, Mk]
  LayerInput query_mask{};      ///< [B, T]: which queries are real
  LayerInput value_mask{};      ///< [B, S]
  LayerInput key_mask{};        ///< [B, S]
  LayerInput attention_mask{};  ///< [T, S], [B, T, S] or [B, H, T, S]; any axis may be 1
  LayerInput attention_bias{};  ///< of attention_mask's shapes, floating: added to the logits
  bool use_causal_mask = false;
  Index causal_offset = 0;
};

/// What a call with scores gives.
struct AttentionOutput {
  Tensor output{};
  Tensor scores{};  ///< [B, H, T, S]: probabilities before dropout
};

namespace detail {

/// The typed calls of GroupQueryAttention and MultiHeadAttention: forward(), with 16-bit policies
/// call(), so what they save is for backward() or call_backward(). `mode` without arguments. A
/// layer that is not const is built first (Layer::build_once()). `layer(ctx, x)`: x is query, value
/// and key.
///
/// Views of query, value and key [B, T, M] are read in place in inference where their rows are
/// contiguous each and evenly spaced, as in a slice of the last axis. Else, and with 16-bit
/// policies, a view is copied once; masks are.
class AttentionLayer : public Layer {
 public:
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;

  using Layer::operator();
  Tensor operator()(Context& ctx, const AttentionInputs& in,
                    std::unique_ptr<Saved>* saved = nullptr, const Mode& mode = {});
  Tensor operator()(Context& ctx, const AttentionInputs& in,
                    std::unique_ptr<Saved>* saved = nullptr, const Mode& mode = {}) const;
  /// The same with the scores.
  AttentionOutput with_scores(Context& ctx, const AttentionInputs& in,
                              std::unique_ptr<Saved>* saved = nullptr, const Mode& mode = {});
  AttentionOutput with_scores(Context& ctx, const AttentionInputs& in,
                              std::unique_ptr<Saved>* saved = nullptr, const Mode& mode = {}) const;

 protected:
  using Layer::Layer;

 private:
  /// forward() of operands that may be views.
  virtual std::vector<Value> run(Context& ctx, const nn::AttentionOperands& in, const Mode& mode,
                                 std::unique_ptr<Saved>* saved) const = 0;
  void build_for(const AttentionInputs& in);
  AttentionOutput called(Context& ctx, const AttentionInputs& in, bool return_scores, Mode mode,
                         std::unique_ptr<Saved>* saved) const;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
};

}  // namespace detail

}  // namespace grouphead
#pragma GCC visibility pop
