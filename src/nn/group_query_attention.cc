#include "grouphead/group_query_attention.h"

#include "nn/layer_checks.h"
#include "nn/projection.h"
#include "nn/rope_tables.h"
#include "ops/attention.h"

namespace grouphead {
namespace {

using detail::Projection;

constexpr std::string_view kLayer = "group_query_attention";

struct AttentionSaved final : Saved {
  Tensor query, value, key;  // the call's inputs
  Tensor q, k, v;            // [B, T, Hq, D], [B, S, Hkv, D]; q and k rotated
  Tensor out;                // [B, T, Hq, D]
  Tensor lse;                // [B, Hq, T]
  ops::AttentionOptions options;
};

void check_config(const GroupQueryAttentionConfig& config) {
  nn::require_positive(kLayer, "head_dim", config.head_dim);
  nn::require_positive(kLayer, "num_query_heads", config.num_query_heads);
  nn::require_positive(kLayer, "num_key_value_heads", config.num_key_value_heads);
  if (config.num_query_heads % config.num_key_value_heads != 0) {
    detail::throw_config_error(
        kLayer, "num_key_value_heads",
        "a divisor of num_query_heads = " + std::to_string(config.num_query_heads),
        std::to_string(config.num_key_value_heads));
  }
  if (config.output_dim < 0) {
    detail::throw_config_error(kLayer, "output_dim", "0 or more",
                               std::to_string(config.output_dim));
  }
  if (config.rope) rope_frequencies(config.head_dim, *config.rope);  // checks
}

// One input is all three, two are query and value, which serves as key.
AttentionInputs named(std::span<const Value> in, const Mode& mode) {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 3);
  static constexpr std::string_view kNames[] = {"query", "value", "key"};
  for (std::size_t i = 0; i < in.size(); ++i) {
    nn::require_no_mask(kLayer, kNames[i], in[i]);
  }
  AttentionInputs inputs{.query = in[0].tensor, .value = in[in.size() > 1 ? 1 : 0].tensor};
  if (in.size() > 2) inputs.key = in[2].tensor;
  if (mode.arguments != nullptr) {
    const auto* arguments = dynamic_cast<const AttentionArguments*>(mode.arguments);
    if (arguments == nullptr) {
      detail::throw_config_error(kLayer, "mode.arguments", "AttentionArguments", "another type");
    }
    inputs.use_causal_mask = arguments->use_causal_mask;
    inputs.causal_offset = arguments->causal_offset;
  }
  return inputs;
}

Index width_of(std::string_view operand, const Shape& shape) {
  detail::require_shape(kLayer, operand, shape, {-1, -1, -1});
  if (shape.back() < 1) {
    detail::throw_shape_error(kLayer, operand, "a last axis of 1 or more", shape.to_string());
  }
  return shape.back();
}

}  // namespace

struct GroupQueryAttention::Weights {
  Projection query, key, value, output;
};

struct GroupQueryAttention::Heads {
  Tensor q, k, v;
};

GroupQueryAttention::GroupQueryAttention(const GroupQueryAttentionConfig& config)
    : Layer(config.name, config.dtype), config_(config) {
  check_config(config);
  if (config.rope) {
    rope_tables_ = std::make_shared<detail::RopeTables>(config.head_dim, *config.rope,
                                                        config.dtype.arithmetic());
  }
}

GroupQueryAttention::~GroupQueryAttention() = default;

void GroupQueryAttention::share_rope_tables(const GroupQueryAttention& other) {
  rope_tables_ = other.rope_tables_;
}

void GroupQueryAttention::build(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(kLayer, weights_ != nullptr);
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 3);
  const Index query = width_of("query", inputs[0]);
  const Index value = width_of("value", inputs[inputs.size() > 1 ? 1 : 0]);
  const Index key = inputs.size() > 2 ? width_of("key", inputs[2]) : value;
  const Index d = config_.head_dim;
  const Index hq = config_.num_query_heads;
  const Index hkv = config_.num_key_value_heads;
  const Index width = config_.output_dim > 0 ? config_.output_dim : query;
  const detail::ProjectionOptions options{.use_bias = config_.use_bias};
  weights_.reset(new Weights{Projection({query, hq, d}, 1, options, policy(), random),
                             Projection({key, hkv, d}, 1, options, policy(), random),
                             Projection({value, hkv, d}, 1, options, policy(), random),
                             Projection({hq, d, width}, 2, options, policy(), random)});
}

// q, k, v of the inputs, rotated from `first_position` on by tables that hold `capacity` positions:
// a cache's steps then never wait for a table to grow.
GroupQueryAttention::Heads GroupQueryAttention::project(Context& ctx, const AttentionInputs& in,
                                                        Index first_position,
                                                        Index capacity) const {
  nn::require_built(kLayer, weights_ != nullptr);
  const Weights& w = *weights_;
  const Tensor& key = in.key.has_value() ? in.key : in.value;
  detail::require_dense(kLayer, "query", in.query, {-1, -1, w.query.num_inputs()}, dtype());
  const Index batch = in.query.dim(0);
  detail::require_dense(kLayer, "value", in.value, {batch, -1, w.value.num_inputs()}, dtype());
  const Index length = in.value.dim(1);
  detail::require_dense(kLayer, "key", key, {batch, length, w.key.num_inputs()}, dtype());

  const Index d = config_.head_dim;
  Heads heads;
  heads.q = ctx.tensor({batch, in.query.dim(1), config_.num_query_heads, d}, dtype());
  heads.k = ctx.tensor({batch, length, config_.num_key_value_heads, d}, dtype());
  heads.v = ctx.tensor(heads.k.shape(), dtype());
  w.query.forward(ctx, in.query, ops::Epilogue::none, heads.q);
  w.key.forward(ctx, key, ops::Epilogue::none, heads.k);
  w.value.forward(ctx, in.value, ops::Epilogue::none, heads.v);
  if (rope_tables_) {
    const Index end = first_position + std::max(in.query.dim(1), length);
    const ops::RopeTable table = rope_tables_->covering(std::max(end, capacity));
    ops::rope(ctx, table, first_position, ops::Direction::forward, heads.q);
    ops::rope(ctx, table, first_position, ops::Direction::forward, heads.k);
  }
  return heads;
}

Tensor GroupQueryAttention::operator()(Context& ctx, const AttentionInputs& in,
                                       std::unique_ptr<Saved>* saved) const {
  Heads heads = project(ctx, in, 0, 0);
  const ops::AttentionOptions options{.causal = config_.causal || in.use_causal_mask,
                                      .causal_offset = in.causal_offset};
  Tensor out = ctx.tensor(heads.q.shape(), dtype());
  Tensor lse;
  if (saved != nullptr) {
    lse = ctx.tensor({out.dim(0), config_.num_query_heads, out.dim(1)}, dtype());
  }
  ops::attention_forward(ctx, heads.q, heads.k, heads.v, options, out, lse);
  Tensor y = ctx.tensor({out.dim(0), out.dim(1), weights_->output.num_outputs()}, dtype());
  weights_->output.forward(ctx, out, ops::Epilogue::none, y);
  if (saved != nullptr) {
    auto keep = std::make_unique<AttentionSaved>();
    keep->query = in.query;
    keep->value = in.value;
    keep->key = in.key.has_value() ? in.key : in.value;
    keep->q = std::move(heads.q);
    keep->k = std::move(heads.k);
    keep->v = std::move(heads.v);
    keep->out = std::move(out);
    keep->lse = std::move(lse);
    keep->options = options;
    *saved = std::move(keep);
  }
  return y;
}

Tensor GroupQueryAttention::apply_cached(Context& ctx, const Tensor& x, KvCache& cache,
                                         Index layer) const {
  const KvCacheConfig& fits = cache.config();
  detail::require_dtype(kLayer, "cache", cache.keys(layer), dtype());
  detail::require_shape(kLayer, "cache", cache.keys(layer),
                        {-1, config_.num_key_value_heads, -1, config_.head_dim, -1});
  detail::require_shape(kLayer, "query", x, {fits.batch, -1, -1});
  const Index at = cache.length();
  const Index length = at + x.dim(1);
  if (length > cache.capacity()) {
    detail::throw_shape_error(
        kLayer, "query",
        "at most " + std::to_string(cache.capacity() - at) + " positions, which the cache has left",
        std::to_string(x.dim(1)));
  }
  const Heads heads = project(ctx, {.query = x, .value = x}, at, cache.capacity());
  const ops::CacheSlice slice{cache.keys(layer), cache.values(layer)};
  ops::cache_store(ctx, heads.k, heads.v, slice, at);
  Tensor out = ctx.tensor(heads.q.shape(), dtype());
  ops::attention_cached(ctx, heads.q, slice, length, {.causal = true, .causal_offset = at}, out);
  Tensor y = ctx.tensor({x.dim(0), x.dim(1), weights_->output.num_outputs()}, dtype());
  weights_->output.forward(ctx, out, ops::Epilogue::none, y);
  return y;
}

std::vector<Value> GroupQueryAttention::forward(Context& ctx, std::span<const Value> in,
                                                const Mode& mode,
                                                std::unique_ptr<Saved>* saved) const {
  return {Value{(*this)(ctx, named(in, mode), saved), {}}};
}

void GroupQueryAttention::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                   std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<AttentionSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 3);
  if (!d_out[0].has_value()) return;
  const View d_query = d_in[0];
  const View d_value = d_in[d_in.size() > 1 ? 1 : 0];
  const View d_key = d_in.size() > 2 ? d_in[2] : d_value;

  // y = out W_o + b_o
  Tensor d_heads = ctx.tensor(kept.out.shape(), dtype());
  fill_zero(d_heads);
  weights_->output.backward(ctx, kept.out, d_out[0], d_heads, grads);
  // out = softmax(mask(scale q k^T)) v
  Tensor d_q = ctx.tensor(kept.q.shape(), dtype());
  Tensor d_k = ctx.tensor(kept.k.shape(), dtype());
  Tensor d_v = ctx.tensor(kept.v.shape(), dtype());
  ops::attention_backward(ctx, kept.q, kept.k, kept.v, kept.out, kept.lse, kept.options,
                          {.d_out = d_heads, .d_q = d_q, .d_k = d_k, .d_v = d_v});
  // q = rotated(query W_q + b_q), and so on
  if (rope_tables_) {
    const ops::RopeTable table = rope_tables_->covering(std::max(d_q.dim(1), d_k.dim(1)));
    ops::rope(ctx, table, 0, ops::Direction::backward, d_q);
    ops::rope(ctx, table, 0, ops::Direction::backward, d_k);
  }
  weights_->query.backward(ctx, kept.query, d_q, d_query, grads);
  weights_->key.backward(ctx, kept.key, d_k, d_key, grads);
  weights_->value.backward(ctx, kept.value, d_v, d_value, grads);
}

void GroupQueryAttention::append_parameters(const std::string& prefix, ParameterList& out) const {
  if (!weights_) return;
  weights_->query.append_parameters(prefix + "query/", out);
  weights_->key.append_parameters(prefix + "key/", out);
  weights_->value.append_parameters(prefix + "value/", out);
  weights_->output.append_parameters(prefix + "attention_output/", out);
}

}  // namespace grouphead
