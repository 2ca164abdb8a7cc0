#pragma once

#include <memory>
#include <string>

#include "grouphead/parallel/communicator.h"
#include "models/tensor_scope.h"
#include "models/transformer.h"

namespace grouphead {

/// What a block keeps for its backward pass.
struct BlockSaved {
  std::unique_ptr<Saved> attn_norm, attn, ffn_norm, ffn_up, ffn_down;
  std::optional<RandomDraw> attn_dropout, ffn_dropout;  // absent: it was the identity
  Index length = 0;                                     // T
};

/// y = x + dropout(GQA(LN(x))); out = y + dropout(down(gelu(up(LN(y))))).
class TransformerBlock {
 public:
  /// `config` lives as long as this.
  TransformerBlock(const TransformerConfig& config, const std::string& name);
  const std::string& name() const noexcept { return name_; }
  void build(RandomStream& random);
  void append_parameters(const std::string& prefix, ParameterList& out);
  const GroupQueryAttention& attention() const noexcept { return attn_; }
  void share_rope_tables(const TransformerBlock& other) { attn_.share_rope_tables(other.attn_); }

  /// `layer` is the block's place in call.cache; `saved` may be null. The result shares no elements
  /// with anything kept.
  Tensor run(Context& ctx, const Tensor& x, const StackCall& call, Index layer,
             BlockSaved* saved) const;
  /// Turns the gradient of the result into that of x [B, T, M].
  void backward(Context& ctx, BlockSaved& saved, Tensor& d, Grads& grads) const;

 private:
  Tensor attend(Context& ctx, const Tensor& x, const StackCall& call, Index layer,
                std::unique_ptr<Saved>* saved) const;
  Tensor last_position(Context& ctx, const Tensor& x) const;
  void add_parts(Context& ctx, const Parameter& bias, Tensor& y) const;
  void build_layers(RandomStream& random);

  const TransformerConfig& config_;
  std::string name_;
  Index width_;                                                 // M
  models::TensorParts* parts_;                                  // null: the block is whole
  Communicator* tensor_job_;                                    // of parts_
  const Parameter *attn_bias_ = nullptr, *ffn_bias_ = nullptr;  // of what the parts add up
  LayerNormalization attn_norm_;
  GroupQueryAttention attn_;
  LayerNormalization ffn_norm_;
  Dense ffn_up_;
  Dense ffn_down_;
  Dropout dropout_;
};

}  // namespace grouphead
