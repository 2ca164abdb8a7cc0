#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/layers.h"
#include "models/tensor_scope.h"
#include "models/transformer_model/experts.h"
#include "nn/attention/core.h"

namespace grouphead::models {

/// What one run of the blocks works with besides x.
struct TransformerCall {
  Mode mode{};
  Tensor key_mask{};                     ///< [B, T] bool or absent
  KvCache* cache = nullptr;              ///< x continues what it holds; without key_mask
  std::span<const SequenceRows> rows{};  ///< of `cache`: whose the rows of x [1, N, M] are
  /// Gets each block's [B, Hq, T, T]; not with `cache`. May be null.
  const std::function<void(Tensor scores)>* scores = nullptr;
  std::vector<Tensor>* attended = nullptr;  ///< gets what each block's attention is given
};

/// Attention and feed-forward of one layer, with norms and residuals as TransformerModelConfig
/// places them.
class DescribedBlock {
 public:
  /// Block `number`, from 0.
  DescribedBlock(const TransformerModelConfig& config, Index number, RandomStream& random);
  ~DescribedBlock();

  Tensor forward(Context& ctx, const Tensor& x, const TransformerCall& call,
                 std::unique_ptr<Saved>* saved) const;
  /// The gradient of x.
  Tensor backward(Context& ctx, Saved& saved, const Tensor& d_y, Grads& grads) const;
  /// attention_norm, attention, attention_output_norm; then the same of feed_forward.
  void append_parameters(const std::string& prefix, ParameterList& out);
  /// What the attention alone makes of x [B, T, M].
  Tensor attend(Context& ctx, const Tensor& x, const TransformerCall& call,
                std::unique_ptr<Saved>* saved) const;
  void share_rope_tables(const DescribedBlock& other) {
    attention_.share_rope_tables(other.attention_);
  }

 private:
  /// Norms before and after one of the two, null where there is none.
  struct Norms {
    std::unique_ptr<nn::RowNorm> before, after;
  };
  struct BranchSaved;
  struct SavedState;

  Norms make_norms(bool has_before) const;
  /// Here and below: numbers are those of the policy's type, gradients are not rounded.
  Tensor normalised(Context& ctx, const nn::RowNorm& norm, const Tensor& x,
                    std::unique_ptr<Saved>* saved) const;
  Tensor feed(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const;
  template <class Function>
  Tensor branch(Context& ctx, const Norms& norms, const Tensor& x, const Mode& mode,
                BranchSaved* keep, const Function& function) const;
  template <class Function>
  Tensor branch_backward(Context& ctx, const Norms& norms, BranchSaved& kept, const Tensor& d_y,
                         Grads& grads, const Function& function) const;
  Tensor parallel(Context& ctx, const Tensor& x, const TransformerCall& call,
                  SavedState* keep) const;
  Tensor parallel_backward(Context& ctx, SavedState& kept, const Tensor& d_y, Grads& grads) const;
  void attend_backward(Context& ctx, Saved& saved, ConstView d_y, View d_x, Grads& grads) const;
  void feed_backward(Context& ctx, Saved& saved, ConstView d_y, View d_x, Grads& grads) const;
  /// Where several processes share out tensors: the sum of what their parts give, each of which has
  /// added the whole bias, where there is one.
  void add_parts(Context& ctx, const Parameter* bias, Tensor& y) const;
  void find_parameters();
  /// What joins the residual: dropped and scaled.
  std::optional<RandomDraw> weaken(Context& ctx, const Mode& mode, Tensor& x) const;
  Tensor weaken_backward(Context& ctx, const std::optional<RandomDraw>& drawn,
                         const Tensor& d) const;

  const TransformerModelConfig& config_;
  Communicator* tensor_job_;  // null: the block is whole
  Index number_;
  std::optional<Index> window_;
  Norms attention_norms_, feed_forward_norms_;
  nn::AttentionCore attention_;
  std::unique_ptr<FeedForward> feed_forward_;  // null with experts
  std::unique_ptr<Experts> experts_;           // null without
  Dropout dropout_;
  // Where tensors are shared out: biases of what the parts add up, and what all heads have one of.
  const Parameter *attention_bias_ = nullptr, *feed_forward_bias_ = nullptr;
  ParameterList of_all_heads_;
};

}  // namespace grouphead::models
