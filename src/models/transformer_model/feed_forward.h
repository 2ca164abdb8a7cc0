#pragma once

#include <memory>
#include <string>

#include "grouphead/models/transformer.h"
#include "nn/attention/projection.h"

namespace grouphead::models {

/// One feed-forward of a TransformerModel, on rows x [R, M] or [B, T, M]; FeedForwardConfig says
/// what it computes. Without experts: those are several of these.
class FeedForward {
 public:
  FeedForward(const FeedForwardConfig& config, Index hidden_size, const DtypePolicy& policy,
              RandomStream& random);

  Tensor forward(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const;
  /// Adds to the parameters' gradients and, as told by `write`, gives d_x.
  void backward(Context& ctx, Saved& saved, ConstView d_y, ops::Write write, View d_x,
                Grads& grads) const;
  /// gate, up, down.
  void append_parameters(const std::string& prefix, ParameterList& out);

 private:
  struct SavedState;
  Tensor projected(Context& ctx, const nn::Projection& projection, const Tensor& x,
                   ops::Epilogue epilogue) const;
  Tensor inner(Context& ctx, const Tensor& x, SavedState* keep) const;

  FeedForwardConfig config_;
  Dtype grid_;                            // of what it reads, makes and gives
  std::unique_ptr<nn::Projection> gate_;  // null unless gated
  std::unique_ptr<nn::Projection> up_, down_;
};

}  // namespace grouphead::models
