#include "models/transformer_model/experts.h"

#include "nn/layer_checks.h"
#include "ops/broadcasting.h"
#include "ops/embedding.h"
#include "ops/routing.h"

namespace grouphead::models {

/// The rows that one expert computes.
struct Experts::Share {
  std::vector<std::int32_t> rows;
  std::vector<Index> places;  // of their weights in [R, k]
  Tensor weights;             // [n, 1]
  Tensor output;              // [n, M], before the weights
  std::unique_ptr<Saved> saved;

  ConstView row_numbers() const { return {rows.data(), Shape{static_cast<Index>(rows.size())}}; }
};

struct Experts::SavedState final : Saved {
  Tensor x;        // [R, M]
  Tensor chosen;   // [R, k]
  Tensor weights;  // [R, k]
  std::vector<Share> shares;
};

namespace {

template <class F>
void gather(ConstView from, const std::vector<Index>& places, View to) {
  for (std::size_t i = 0; i < places.size(); ++i) to.data<F>()[i] = from.data<F>()[places[i]];
}
template <class F>
void scatter(ConstView from, const std::vector<Index>& places, View to) {
  for (std::size_t i = 0; i < places.size(); ++i) to.data<F>()[places[i]] = from.data<F>()[i];
}

Tensor rows_of(Context& ctx, ConstView rows, ConstView x) {
  Tensor y = ctx.tensor({rows.size(), x.dim(1)}, x.dtype());
  ops::embedding_forward(ctx, rows, x, y);
  return y;
}

}  // namespace

Experts::Experts(const FeedForwardConfig& config, Index hidden_size, const DtypePolicy& policy,
                 RandomStream& random)
    : config_(config) {
  nn::ProjectionOptions options;
  options.use_bias = config.router_bias;
  router_ = std::make_unique<nn::Projection>(Shape{hidden_size, config.num_experts}, 1, options,
                                             policy, random);
  for (Index i = 0; i < config.num_experts; ++i) {
    experts_.push_back(std::make_unique<FeedForward>(config, hidden_size, policy, random));
  }
}

void Experts::append_parameters(const std::string& prefix, ParameterList& out) {
  router_->append_parameters(prefix + "router/", out);
  for (std::size_t i = 0; i < experts_.size(); ++i) {
    experts_[i]->append_parameters(prefix + "experts/" + std::to_string(i) + "/", out);
  }
}

std::vector<Experts::Share> Experts::shares(Context& ctx, const SavedState& routed) const {
  std::vector<Share> shares(experts_.size());
  const Index per_row = config_.experts_per_token;
  for (Index place = 0; place < routed.chosen.size(); ++place) {
    const auto expert = static_cast<std::size_t>(routed.chosen.data<std::int32_t>()[place]);
    shares[expert].rows.push_back(static_cast<std::int32_t>(place / per_row));
    shares[expert].places.push_back(place);
  }
  for (Share& share : shares) {
    const Dtype dtype = routed.weights.dtype();
    share.weights = ctx.tensor({static_cast<Index>(share.rows.size()), 1}, dtype);
    const auto copy_weights = dtype == Dtype::f32 ? gather<float> : gather<double>;
    copy_weights(routed.weights, share.places, share.weights);
  }
  return shares;
}

Tensor Experts::forward(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const {
  const Index width = x.shape().back();
  const Index rows = x.size() / width;
  auto keep = std::make_unique<SavedState>();
  keep->x = x.reshaped({rows, width});
  Tensor ratings = ctx.tensor({rows, config_.num_experts}, x.dtype());
  router_->forward(ctx, keep->x, ops::Epilogue::none, ratings);
  keep->chosen = ctx.tensor({rows, config_.experts_per_token}, Dtype::i32);
  keep->weights = ctx.tensor({rows, config_.experts_per_token}, x.dtype());
  ops::route_forward(ctx, ratings, keep->chosen, keep->weights);
  keep->shares = shares(ctx, *keep);

  Tensor y = ctx.zeros({rows, width}, x.dtype());
  for (std::size_t i = 0; i < experts_.size(); ++i) {
    Share& share = keep->shares[i];
    if (share.rows.empty()) continue;
    share.output = experts_[i]->forward(ctx, rows_of(ctx, share.row_numbers(), keep->x),
                                        saved != nullptr ? &share.saved : nullptr);
    Tensor weighted = ctx.tensor(share.output.shape(), x.dtype());
    ops::binary_forward(ctx, ops::Binary::multiply, share.output, share.weights, weighted);
    ops::embedding_backward(ctx, share.row_numbers(), weighted, y);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return y.reshaped(x.shape());
}

void Experts::backward(Context& ctx, Saved& saved, ConstView d_y, ops::Write write, View d_x,
                       Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>("experts", saved);
  const Dtype dtype = kept.x.dtype();
  const ConstView d_rows = d_y.reshaped(kept.x.shape());
  const View d_in = d_x.reshaped(kept.x.shape());
  if (write == ops::Write::overwrite) fill_zero(d_in);
  Tensor d_weights = ctx.zeros(kept.weights.shape(), dtype);
  for (std::size_t i = 0; i < experts_.size(); ++i) {
    Share& share = kept.shares[i];
    if (share.rows.empty()) continue;
    const Tensor d_weighted = rows_of(ctx, share.row_numbers(), d_rows);
    Tensor d_output = ctx.zeros(share.output.shape(), dtype);
    Tensor d_share = ctx.zeros(share.weights.shape(), dtype);
    ops::binary_backward(ctx, ops::Binary::multiply, share.output, share.weights, d_weighted,
                         d_output, d_share);
    (dtype == Dtype::f32 ? scatter<float> : scatter<double>)(d_share, share.places, d_weights);
    Tensor d_input = ctx.tensor(share.output.shape(), dtype);
    experts_[i]->backward(ctx, *share.saved, d_output, ops::Write::overwrite, d_input, grads);
    share.saved.reset();
    ops::embedding_backward(ctx, share.row_numbers(), d_input, d_in);
  }
  Tensor d_ratings = ctx.tensor({kept.x.dim(0), config_.num_experts}, dtype);
  ops::route_backward(ctx, kept.chosen, kept.weights, d_weights, d_ratings);
  router_->backward(ctx, kept.x, d_ratings, ops::Write::add, d_in, grads);
}

}  // namespace grouphead::models
