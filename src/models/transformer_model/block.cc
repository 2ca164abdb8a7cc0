#include "models/transformer_model/block.h"

#include <cmath>

#include "models/transformer_model/embeddings.h"
#include "nn/layer_checks.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"

namespace grouphead::models {
namespace {

constexpr std::string_view kLayer = "transformer";

TransformerLayerConfig layer_config(const TransformerModelConfig& config, Index number) {
  if (!config.layers.empty()) return config.layers[static_cast<std::size_t>(number)];
  return {.rope = config.ropes.empty() ? -1 : 0};
}

std::optional<nn::HeadNormSettings> head_norm(const SelfAttentionConfig& config) {
  const nn::RowNormSettings norm = norm_settings(config.query_key_norm_config, 0);
  switch (config.query_key_norm) {
    case QueryKeyNorm::none:
      return {};
    case QueryKeyNorm::shared_gains:
      return nn::HeadNormSettings{nn::HeadNormScope::shared_gains, norm};
    case QueryKeyNorm::own_gains:
      return nn::HeadNormSettings{nn::HeadNormScope::own_gains, norm};
    case QueryKeyNorm::all_heads:
      return nn::HeadNormSettings{nn::HeadNormScope::all_heads, norm};
  }
  return {};
}

std::optional<double> scale_of(const SelfAttentionConfig& config, Index number) {
  if (!config.scale_by_depth) return config.scale;
  const double whole = config.scale.value_or(1 / std::sqrt(static_cast<double>(config.head_dim)));
  return whole / static_cast<double>(number + 1);
}

Index shares_of(const Communicator* job) { return job != nullptr ? job->size() : 1; }

Communicator* tensor_job() {
  const TensorParts* const parts = TensorScope::current();
  return parts != nullptr ? parts->job.get() : nullptr;
}

nn::AttentionSettings attention_settings(const TransformerModelConfig& config, Index number,
                                         Index shares) {
  const SelfAttentionConfig& a = config.attention;
  const Index rope = layer_config(config, number).rope;
  nn::AttentionSettings settings;
  settings.layer = kLayer;
  settings.num_query_heads = a.num_heads / shares;
  settings.num_key_value_heads = a.num_key_value_heads / shares;
  settings.key_dim = a.head_dim;
  settings.value_dim = a.head_dim;
  settings.dropout = a.dropout;
  if (rope >= 0) settings.rope = config.ropes[static_cast<std::size_t>(rope)];
  settings.softcap = a.softcap;
  settings.alibi_slopes = a.alibi_slopes;
  settings.sinks = a.sinks;
  settings.scale = scale_of(a, number);
  settings.biases = nn::ProjectionBiases{a.query_bias, a.key_bias, a.value_bias, a.output_bias};
  settings.head_norm = head_norm(a);
  settings.policy = config.dtype;
  return settings;
}

}  // namespace

/// norm, function, norm, weakened, added: what each step keeps.
struct DescribedBlock::BranchSaved {
  std::unique_ptr<Saved> before, function, after;
  std::optional<RandomDraw> drawn;
};

struct DescribedBlock::SavedState final : Saved {
  BranchSaved attention, feed_forward;
};

DescribedBlock::Norms DescribedBlock::make_norms(bool has_before) const {
  const auto make = [&] {
    return std::make_unique<nn::RowNorm>(norm_settings(config_.norm, config_.hidden_size),
                                         DtypePolicy(config_.dtype.variable()), true);
  };
  const NormPlacement place = config_.norm_placement;
  Norms norms;
  if (has_before && (place == NormPlacement::before || place == NormPlacement::both)) {
    norms.before = make();
  }
  if (place != NormPlacement::before) norms.after = make();
  return norms;
}

DescribedBlock::DescribedBlock(const TransformerModelConfig& config, Index number,
                               RandomStream& random)
    : config_(config),
      tensor_job_(tensor_job()),
      number_(number),
      window_(layer_config(config, number).window),
      attention_norms_(make_norms(true)),
      feed_forward_norms_(make_norms(!config.shared_norm)),
      attention_(attention_settings(config, number, shares_of(tensor_job_))),
      dropout_({.rate = config.residual_dropout, .dtype = config.dtype}) {
  const Index width = config.hidden_size;
  attention_.build({width, width, width, Shape{width}}, true, random);
  FeedForwardConfig feed = config.feed_forward;
  feed.width /= shares_of(tensor_job_);
  if (feed.num_experts > 0) {
    experts_ = std::make_unique<Experts>(feed, width, config.dtype, random);
  } else {
    feed_forward_ = std::make_unique<FeedForward>(feed, width, config.dtype, random);
  }
  if (tensor_job_ != nullptr) find_parameters();
}

void DescribedBlock::find_parameters() {
  ParameterList all;
  append_parameters({}, all);
  for (const NamedParameter& named : all) {
    const auto is_in = [&](const char* layer) {
      return named.path.find(layer) != std::string::npos;
    };
    if (is_in("attention_output/bias")) attention_bias_ = named.parameter;
    if (is_in("feed_forward/down/bias")) feed_forward_bias_ = named.parameter;
    if (is_in("/query_norm/") || is_in("/key_norm/")) of_all_heads_.push_back(named);
  }
}

void DescribedBlock::add_parts(Context& ctx, const Parameter* bias, Tensor& y) const {
  if (tensor_job_ == nullptr) return;
  tensor_job_->all_reduce(y);
  if (bias != nullptr) {
    Tensor surplus = ctx.tensor(bias->shape(), y.dtype());
    ops::scale(ctx, bias->value(), static_cast<double>(1 - tensor_job_->size()), surplus);
    ops::binary_forward(ctx, ops::Binary::add, y, surplus, y);
  }
  ops::round_to(ctx, config_.dtype.compute(), y);
}

DescribedBlock::~DescribedBlock() = default;

void DescribedBlock::append_parameters(const std::string& prefix, ParameterList& out) {
  const auto append = [&](const std::unique_ptr<nn::RowNorm>& norm, const char* name) {
    if (norm) norm->append_parameters(prefix + name + "/", out);
  };
  append(attention_norms_.before, "attention_norm");
  attention_.append_parameters(prefix + "attention/", out);
  append(attention_norms_.after, "attention_output_norm");
  append(feed_forward_norms_.before, "feed_forward_norm");
  if (experts_) experts_->append_parameters(prefix + "feed_forward/", out);
  if (feed_forward_) feed_forward_->append_parameters(prefix + "feed_forward/", out);
  append(feed_forward_norms_.after, "feed_forward_output_norm");
}

Tensor DescribedBlock::attend(Context& ctx, const Tensor& x, const TransformerCall& call,
                              std::unique_ptr<Saved>* saved) const {
  if (call.attended != nullptr) call.attended->push_back(x);
  if (!call.rows.empty()) {
    return attention_.forward_packed(ctx, x, *call.cache, number_, window_, call.rows);
  }
  if (call.cache != nullptr) {
    return attention_.forward_cached(ctx, x, *call.cache, number_, window_, {});
  }
  nn::AttentionCall inner;
  inner.query = inner.key = inner.value = x;
  inner.key_mask = call.key_mask;
  inner.causal = config_.causal;
  inner.window = window_;
  inner.return_scores = call.scores != nullptr;
  inner.batch = x.dim(0);
  AttentionOutput both = attention_.forward(ctx, std::move(inner), call.mode, saved);
  if (call.scores != nullptr) (*call.scores)(std::move(both.scores));
  add_parts(ctx, attention_bias_, both.output);
  return std::move(both.output);
}

Tensor DescribedBlock::feed(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved) const {
  Tensor y = experts_ ? experts_->forward(ctx, x, saved) : feed_forward_->forward(ctx, x, saved);
  add_parts(ctx, feed_forward_bias_, y);
  return y;
}

void DescribedBlock::attend_backward(Context& ctx, Saved& saved, ConstView d_y, View d_x,
                                     Grads& grads) const {
  attention_.backward(ctx, saved, d_y, {},
                      {.d_query = d_x, .d_key = d_x, .d_value = d_x, .d_bias = {}}, grads);
  if (tensor_job_ == nullptr) return;
  tensor_job_->all_reduce(d_x);
  for (const NamedParameter& named : of_all_heads_) {
    const View gradient = grads.of(*named.parameter);
    if (gradient.has_value()) tensor_job_->all_reduce(gradient);
  }
}

// Adds to d_x, as attend_backward(); where tensors are shared out that is zero before.
void DescribedBlock::feed_backward(Context& ctx, Saved& saved, ConstView d_y, View d_x,
                                   Grads& grads) const {
  if (experts_) {
    experts_->backward(ctx, saved, d_y, ops::Write::add, d_x, grads);
  } else {
    feed_forward_->backward(ctx, saved, d_y, ops::Write::add, d_x, grads);
  }
  if (tensor_job_ != nullptr) tensor_job_->all_reduce(d_x);
}

std::optional<RandomDraw> DescribedBlock::weaken(Context& ctx, const Mode& mode, Tensor& x) const {
  const std::optional<RandomDraw> drawn = dropout_.draw(mode);
  if (drawn) dropout_.apply(ctx, *drawn, x, x);
  if (config_.residual_scale != 1) ops::scale(ctx, x, config_.residual_scale, x);
  return drawn;
}

Tensor DescribedBlock::weaken_backward(Context& ctx, const std::optional<RandomDraw>& drawn,
                                       const Tensor& d) const {
  if (!drawn && config_.residual_scale == 1) return d;
  Tensor out = nn::copied(ctx, d);
  if (config_.residual_scale != 1) ops::scale(ctx, out, config_.residual_scale, out);
  if (drawn) dropout_.apply(ctx, *drawn, out, out);
  return out;
}

Tensor DescribedBlock::normalised(Context& ctx, const nn::RowNorm& norm, const Tensor& x,
                                  std::unique_ptr<Saved>* saved) const {
  Tensor y = norm.forward(ctx, x, saved);
  ops::round_to(ctx, config_.dtype.compute(), y);
  return y;
}

// x + f(x) with the norms around it.
template <class Function>
Tensor DescribedBlock::branch(Context& ctx, const Norms& norms, const Tensor& x, const Mode& mode,
                              BranchSaved* keep, const Function& function) const {
  const auto kept = [keep](std::unique_ptr<Saved> BranchSaved::*one) {
    return keep != nullptr ? &(keep->*one) : nullptr;
  };
  const bool is_after_sum = config_.norm_placement == NormPlacement::after_sum;
  const Tensor n = norms.before ? normalised(ctx, *norms.before, x, kept(&BranchSaved::before)) : x;
  Tensor y = function(n, kept(&BranchSaved::function));
  if (norms.after && !is_after_sum) y = normalised(ctx, *norms.after, y, kept(&BranchSaved::after));
  const std::optional<RandomDraw> drawn = weaken(ctx, mode, y);
  if (keep != nullptr) keep->drawn = drawn;
  ops::add(ctx, config_.residual_from_norm ? n : x, y, y);
  ops::round_to(ctx, config_.dtype.compute(), y);
  return is_after_sum ? normalised(ctx, *norms.after, y, kept(&BranchSaved::after)) : y;
}

template <class Function>
Tensor DescribedBlock::branch_backward(Context& ctx, const Norms& norms, BranchSaved& kept,
                                       const Tensor& d_y, Grads& grads,
                                       const Function& function) const {
  const bool is_after_sum = config_.norm_placement == NormPlacement::after_sum;
  Tensor d_sum = nn::copied(ctx, d_y);
  const auto through = [&](const nn::RowNorm& norm, Saved& saved, ConstView d_from, View d_to) {
    norm.backward(ctx, saved, d_from, ops::Write::overwrite, d_to, grads);
  };
  if (is_after_sum) through(*norms.after, *kept.after, d_sum, d_sum);
  Tensor d_f = weaken_backward(ctx, kept.drawn, d_sum);
  if (norms.after && !is_after_sum) {
    Tensor d_inner = ctx.tensor(d_f.shape(), d_f.dtype());
    through(*norms.after, *kept.after, d_f, d_inner);
    d_f = std::move(d_inner);
  }
  if (!norms.before) {
    // f reads x itself; it must not add to what it reads.
    Tensor d_x = nn::copied(ctx, d_sum);
    function(*kept.function, d_f, d_x);
    return d_x;
  }
  Tensor d_n =
      config_.residual_from_norm ? nn::copied(ctx, d_sum) : ctx.zeros(d_sum.shape(), d_sum.dtype());
  function(*kept.function, d_f, d_n);
  if (config_.residual_from_norm) {
    through(*norms.before, *kept.before, d_n, d_n);
    return d_n;
  }
  norms.before->backward(ctx, *kept.before, d_n, ops::Write::add, d_sum, grads);
  return d_sum;
}

Tensor DescribedBlock::parallel(Context& ctx, const Tensor& x, const TransformerCall& call,
                                SavedState* keep) const {
  const auto kept = [keep](BranchSaved SavedState::*branch,
                           std::unique_ptr<Saved> BranchSaved::*one) {
    return keep != nullptr ? &(keep->*branch.*one) : nullptr;
  };
  const Tensor n = normalised(ctx, *attention_norms_.before, x,
                              kept(&SavedState::attention, &BranchSaved::before));
  const Tensor m = config_.shared_norm
                       ? n
                       : normalised(ctx, *feed_forward_norms_.before, x,
                                    kept(&SavedState::feed_forward, &BranchSaved::before));
  Tensor y = attend(ctx, n, call, kept(&SavedState::attention, &BranchSaved::function));
  Tensor z = feed(ctx, m, kept(&SavedState::feed_forward, &BranchSaved::function));
  const std::optional<RandomDraw> first = weaken(ctx, call.mode, y);
  const std::optional<RandomDraw> second = weaken(ctx, call.mode, z);
  if (keep != nullptr) {
    keep->attention.drawn = first;
    keep->feed_forward.drawn = second;
  }
  ops::add(ctx, y, z, y);
  ops::add(ctx, x, y, y);
  ops::round_to(ctx, config_.dtype.compute(), y);
  return y;
}

Tensor DescribedBlock::parallel_backward(Context& ctx, SavedState& kept, const Tensor& d_y,
                                         Grads& grads) const {
  Tensor d_x = nn::copied(ctx, d_y);
  Tensor d_n = ctx.zeros(d_y.shape(), d_y.dtype());
  const Tensor d_fed = weaken_backward(ctx, kept.feed_forward.drawn, d_y);
  feed_backward(ctx, *kept.feed_forward.function, d_fed, d_n, grads);
  if (!config_.shared_norm) {
    feed_forward_norms_.before->backward(ctx, *kept.feed_forward.before, d_n, ops::Write::add, d_x,
                                         grads);
    fill_zero(d_n);
  }
  const Tensor d_attended = weaken_backward(ctx, kept.attention.drawn, d_y);
  attend_backward(ctx, *kept.attention.function, d_attended, d_n, grads);
  attention_norms_.before->backward(ctx, *kept.attention.before, d_n, ops::Write::add, d_x, grads);
  return d_x;
}

Tensor DescribedBlock::forward(Context& ctx, const Tensor& x, const TransformerCall& call,
                               std::unique_ptr<Saved>* saved) const {
  std::unique_ptr<SavedState> keep;
  if (saved != nullptr) keep = std::make_unique<SavedState>();
  Tensor y;
  if (config_.parallel) {
    y = parallel(ctx, x, call, keep.get());
  } else {
    y = branch(
        ctx, attention_norms_, x, call.mode, keep ? &keep->attention : nullptr,
        [&](const Tensor& n, std::unique_ptr<Saved>* kept) { return attend(ctx, n, call, kept); });
    y = branch(ctx, feed_forward_norms_, y, call.mode, keep ? &keep->feed_forward : nullptr,
               [&](const Tensor& n, std::unique_ptr<Saved>* kept) { return feed(ctx, n, kept); });
  }
  if (saved != nullptr) *saved = std::move(keep);
  return y;
}

Tensor DescribedBlock::backward(Context& ctx, Saved& saved, const Tensor& d_y, Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>(kLayer, saved);
  if (config_.parallel) return parallel_backward(ctx, kept, d_y, grads);
  const Tensor d = branch_backward(ctx, feed_forward_norms_, kept.feed_forward, d_y, grads,
                                   [&](Saved& of_call, ConstView d_f, View d_x) {
                                     feed_backward(ctx, of_call, d_f, d_x, grads);
                                   });
  return branch_backward(ctx, attention_norms_, kept.attention, d, grads,
                         [&](Saved& of_call, ConstView d_f, View d_x) {
                           attend_backward(ctx, of_call, d_f, d_x, grads);
                         });
}

}  // namespace grouphead::models
