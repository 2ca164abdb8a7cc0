#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/transformer_model/feed_forward.h"

namespace grouphead::models {

/// A mixture of experts: a linear router rates the experts for each row, and the best
/// experts_per_token compute it. An expert sees its rows alone, in their order, and a row's sum
/// runs over its experts in ascending order, so threads and other rows change no bit.
class Experts {
 public:
  Experts(const FeedForwardConfig& config, Index hidden_size, const DtypePolicy& policy,
          RandomStream& random);

  Tensor forward(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const;
  /// As FeedForward::backward().
  void backward(Context& ctx, Saved& saved, ConstView d_y, ops::Write write, View d_x,
                Grads& grads) const;
  /// router/, experts/0/, experts/1/, ...
  void append_parameters(const std::string& prefix, ParameterList& out);

 private:
  struct Share;
  struct SavedState;
  std::vector<Share> shares(Context& ctx, const SavedState& routed) const;

  FeedForwardConfig config_;
  std::unique_ptr<nn::Projection> router_;
  std::vector<std::unique_ptr<FeedForward>> experts_;
};

}  // namespace grouphead::models
