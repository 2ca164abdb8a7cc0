#include "models/transformer_block.h"

#include "ops/arithmetic.h"
#include "ops/broadcasting.h"

namespace grouphead {
namespace {

Index feed_forward_width(const TransformerConfig& config) {
  return config.feed_forward > 0 ? config.feed_forward : 4 * config.hidden_size;
}

Index shares_of(const Communicator* job) { return job != nullptr ? job->size() : 1; }

Communicator* job_of(const models::TensorParts* parts) {
  return parts != nullptr ? parts->job.get() : nullptr;
}

GroupQueryAttentionConfig attention_config(const TransformerConfig& config, Index shares) {
  return {.head_dim = config.hidden_size / config.num_heads,
          .num_query_heads = config.num_heads / shares,
          .num_key_value_heads = config.num_key_value_heads / shares,
          .rope = config.rope,
          .causal = true,
          .name = "attn",
          .dtype = config.dtype};
}

LayerNormalizationConfig norm_config(const TransformerConfig& config, const char* name) {
  return {.epsilon = config.norm_epsilon,
          .random_gains = config.random_norm_gains,
          .name = name,
          .dtype = config.dtype};
}

// x <- dropout(x), where it acts.
std::optional<RandomDraw> drop(Context& ctx, const Dropout& dropout, const Mode& mode, Tensor& x) {
  const std::optional<RandomDraw> drawn = dropout.draw(mode);
  if (drawn) dropout.apply(ctx, *drawn, x, x);
  return drawn;
}

// The gradient for dropout's input: `d` itself where dropout was the identity.
Tensor dropped(Context& ctx, const Dropout& dropout, const std::optional<RandomDraw>& drawn,
               const Tensor& d) {
  if (!drawn) return d;
  Tensor out = ctx.tensor(d.shape(), d.dtype());
  dropout.apply(ctx, *drawn, d, out);
  return out;
}

// Adds to `d_x` the gradient of a layer of one input and one output, and frees what it kept.
void add_gradient(Context& ctx, const Layer& layer, std::unique_ptr<Saved>& saved, ConstView d_y,
                  View d_x, Grads& grads) {
  layer.backward(ctx, *saved, std::span(&d_y, 1), std::span(&d_x, 1), grads);
  saved.reset();
}

const Parameter* bias_of(Layer& layer, std::string_view path) {
  ParameterList parameters;
  layer.append_parameters({}, parameters);
  for (const NamedParameter& named : parameters) {
    if (named.path == path) return named.parameter;
  }
  return nullptr;
}

}  // namespace

TransformerBlock::TransformerBlock(const TransformerConfig& config, const std::string& name)
    : config_(config),
      name_(name),
      width_(config.hidden_size),
      parts_(models::TensorScope::current()),
      tensor_job_(job_of(parts_)),
      attn_norm_(norm_config(config, "attn_norm")),
      attn_(attention_config(config, shares_of(tensor_job_))),
      ffn_norm_(norm_config(config, "ffn_norm")),
      ffn_up_({.units = feed_forward_width(config) / shares_of(tensor_job_),
               .activation = Activation::gelu,
               .name = "ffn_up",
               .dtype = config.dtype}),
      ffn_down_({.units = config.hidden_size, .name = "ffn_down", .dtype = config.dtype}),
      dropout_({.rate = config.dropout, .dtype = config.dtype}) {}

// A part draws nothing of its own: it is cut out of a whole block, which is there meanwhile.
void TransformerBlock::build(RandomStream& random) {
  if (parts_ == nullptr) return build_layers(random);
  const models::TensorScope whole_tensors(nullptr);
  TransformerBlock whole(config_, name_);
  whole.build(random);
  RandomStream unused(0);
  build_layers(unused);
  ParameterList from, to;
  whole.append_parameters({}, from);
  append_parameters({}, to);
  models::take_parts(*parts_, from, to);
}

void TransformerBlock::build_layers(RandomStream& random) {
  const Shape x{1, 1, width_};
  const Shape hidden{1, 1, ffn_up_.config().units};
  attn_norm_.build(std::span(&x, 1), random);
  attn_.build(std::span(&x, 1), random);
  ffn_norm_.build(std::span(&x, 1), random);
  ffn_up_.build(std::span(&x, 1), random);
  ffn_down_.build(std::span(&hidden, 1), random);
  attn_bias_ = bias_of(attn_, "attention_output/bias");
  ffn_bias_ = bias_of(ffn_down_, "bias");
}

void TransformerBlock::append_parameters(const std::string& prefix, ParameterList& out) {
  for (Layer* layer :
       std::initializer_list<Layer*>{&attn_norm_, &attn_, &ffn_norm_, &ffn_up_, &ffn_down_}) {
    layer->append_parameters(prefix + name_ + "/" + layer->name() + "/", out);
  }
}

// [B, T, M] -> [B, 1, M]
Tensor TransformerBlock::last_position(Context& ctx, const Tensor& x) const {
  const Index length = x.dim(1);
  if (length == 1) return x;
  Tensor last = ctx.tensor({x.dim(0), 1, width_}, x.dtype());
  copy(x.view().slice(1, length - 1, length), last);
  return last;
}

Tensor TransformerBlock::attend(Context& ctx, const Tensor& x, const StackCall& call, Index layer,
                                std::unique_ptr<Saved>* saved) const {
  if (!call.rows.empty()) return attn_.apply_packed(ctx, x, *call.cache, layer, call.rows);
  if (call.cache != nullptr) return attn_.apply_cached(ctx, x, *call.cache, layer);
  const AttentionInputs inputs{.query = x, .value = x};
  if (call.scores == nullptr) return attn_(ctx, inputs, saved);
  AttentionOutput both = attn_.with_scores(ctx, inputs, saved);
  call.scores->push_back(std::move(both.scores));
  return std::move(both.output);
}

// y of all parts, each of which has added the whole bias.
void TransformerBlock::add_parts(Context& ctx, const Parameter& bias, Tensor& y) const {
  if (tensor_job_ == nullptr) return;
  tensor_job_->all_reduce(y);
  Tensor surplus = ctx.tensor(bias.shape(), y.dtype());
  ops::scale(ctx, bias.value(), static_cast<double>(1 - tensor_job_->size()), surplus);
  ops::binary_forward(ctx, ops::Binary::add, y, surplus, y);
}

Tensor TransformerBlock::run(Context& ctx, const Tensor& x, const StackCall& call, Index layer,
                             BlockSaved* saved) const {
  BlockSaved unused;
  BlockSaved& keep = saved != nullptr ? *saved : unused;
  const auto kept = [saved](std::unique_ptr<Saved>& one) {
    return saved != nullptr ? &one : nullptr;
  };
  keep.length = x.dim(1);

  Tensor n = attn_norm_(ctx, x, kept(keep.attn_norm));
  if (call.attended != nullptr) call.attended->push_back(n);
  Tensor y = attend(ctx, n, call, layer, kept(keep.attn));
  Tensor residual = x;
  if (call.positions == Positions::last) {
    y = last_position(ctx, y);
    residual = last_position(ctx, x);
  }
  add_parts(ctx, *attn_bias_, y);
  keep.attn_dropout = drop(ctx, dropout_, call.mode, y);
  ops::add(ctx, residual, y, y);

  n = ffn_norm_(ctx, y, kept(keep.ffn_norm));
  n = ffn_up_(ctx, n, kept(keep.ffn_up));
  Tensor out = ffn_down_(ctx, n, kept(keep.ffn_down));
  add_parts(ctx, *ffn_bias_, out);
  keep.ffn_dropout = drop(ctx, dropout_, call.mode, out);
  ops::add(ctx, y, out, out);
  return out;
}

// Each step quotes its forward line; d starts as the gradient of `out`.
void TransformerBlock::backward(Context& ctx, BlockSaved& saved, Tensor& d, Grads& grads) const {
  {  // out = y + dropout(down(gelu(up(LN(y))))): d becomes that of y
    Tensor d_up = ctx.tensor({d.dim(0), d.dim(1), ffn_up_.config().units}, d.dtype());
    const Tensor d_down = dropped(ctx, dropout_, saved.ffn_dropout, d);
    ffn_down_.backward_to(ctx, *saved.ffn_down, d_down, d_up, grads);
    saved.ffn_down.reset();
    Tensor d_n = ctx.tensor(d.shape(), d.dtype());
    ffn_up_.backward_to(ctx, *saved.ffn_up, d_up, d_n, grads);
    saved.ffn_up.reset();
    if (tensor_job_ != nullptr) tensor_job_->all_reduce(d_n);
    add_gradient(ctx, ffn_norm_, saved.ffn_norm, d_n, d, grads);
  }
  // y = x + dropout(GQA(LN(x))), of the last position only where the others were not wanted
  Tensor d_attn = dropped(ctx, dropout_, saved.attn_dropout, d);
  if (d.dim(1) != saved.length) {
    const auto spread = [&](const Tensor& last) {
      Tensor all = ctx.zeros({last.dim(0), saved.length, width_}, last.dtype());
      copy(last, all.view().slice(1, saved.length - 1, saved.length));
      return all;
    };
    d_attn = spread(d_attn);
    d = spread(d);
  }
  Tensor d_n = ctx.zeros(d.shape(), d.dtype());
  add_gradient(ctx, attn_, saved.attn, d_attn, d_n, grads);
  if (tensor_job_ != nullptr) tensor_job_->all_reduce(d_n);
  add_gradient(ctx, attn_norm_, saved.attn_norm, d_n, d, grads);
}

}  // namespace grouphead
