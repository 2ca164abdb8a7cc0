// What Attention and AdditiveAttention share.

#include "ops/scored_attention.h"

#include <cmath>

#include "core/number_text.h"
#include "core/seed.h"
#include "grouphead/layers/attention.h"
#include "grouphead/layers/initializers.h"
#include "nn/layer_checks.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/attention.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

// Operands in order; the last three may be absent.
enum Operand : std::size_t { kQuery, kValue, kKey, kQueryMask, kValueMask, kOperands };

constexpr std::string_view kNames[] = {"query", "value", "key", "query_mask", "value_mask"};

const ScoredAttentionArguments& given(const CallArguments* arguments, std::string_view layer) {
  static const ScoredAttentionArguments kNone;
  if (arguments == nullptr) return kNone;
  const auto* own = dynamic_cast<const ScoredAttentionArguments*>(arguments);
  if (own == nullptr) {
    core::throw_config_error(layer, "arguments", "this layer's arguments", "another layer's");
  }
  return *own;
}

// Shapes of the operands, [] where absent; unknown axes fit any size.
struct Shapes {
  Shape query, value, key;
};

bool agree(Index a, Index b) noexcept { return a == b || a < 0 || b < 0; }

Shapes checked_shapes(std::string_view layer, std::span<const Shape> inputs) {
  nn::require_count(layer, "number of inputs", inputs.size(), 2, kOperands);
  const Shape& query = inputs[kQuery];
  const Shape& value = inputs[kValue];
  const bool has_key = inputs.size() > kKey && inputs[kKey].rank() > 0;
  const Shape& key = has_key ? inputs[kKey] : value;
  const int rank = query.rank();
  if (rank < 2) core::throw_shape_error(layer, "query", "[..., T, D]", query.to_string());
  bool fits = value.rank() == rank;
  for (int i = 0; fits && i < rank - 2; ++i) fits = agree(value[i], query[i]);
  if (!fits) {
    core::throw_shape_error(layer, "value",
                            "the axes of query " + query.to_string() + " before the last two",
                            value.to_string());
  }
  fits = key.rank() == rank && agree(key.back(), query.back());
  for (int i = 0; fits && i < rank - 1; ++i) fits = agree(key[i], value[i]);
  if (!fits) {
    core::throw_shape_error(layer, has_key ? "key" : "value",
                            "the leading axes of value " + value.to_string() +
                                " and the last one of query " + query.to_string(),
                            key.to_string());
  }
  return {query, value, key};
}

Shape as_rank_3(const Shape& shape) {
  const int rank = shape.rank();
  Index batch = 1;
  for (int i = 0; i < rank - 2; ++i) batch *= shape[i];
  return {batch, shape[rank - 2], shape[rank - 1]};
}

// [B, T, D] as the one head of attention's kernels.
ConstView one_head(const ConstView& x) { return x.reshaped({x.dim(0), x.dim(1), 1, x.dim(2)}); }
View one_head(const View& x) { return x.reshaped({x.dim(0), x.dim(1), 1, x.dim(2)}); }
ConstView one_head(const Tensor& x) { return one_head(x.view()); }
View one_head(Tensor& x) { return one_head(x.view()); }

// A mask of `positions` ([..., T], or [B, T] for all the axes between) as bool, in its full shape.
Tensor full_mask(Context& ctx, std::string_view layer, std::string_view operand, const Tensor& mask,
                 const Shape& positions) {
  if (!mask.has_value()) return {};
  const int rank = positions.rank();
  const Shape wide = {rank > 0 ? positions[0] : 1, rank > 0 ? positions.back() : 1};
  if (mask.shape() != positions && mask.shape() != wide) {
    core::throw_shape_error(layer, operand, positions.to_string(), mask.shape().to_string());
  }
  if (mask.shape() == positions && mask.dtype() == Dtype::boolean) return mask;
  Strides strides{};
  if (mask.shape() == positions) {
    strides = mask.view().strides();
  } else {
    strides[0] = wide[1];
    strides[static_cast<std::size_t>(rank - 1)] = 1;
  }
  Tensor full = ctx.tensor(positions, Dtype::boolean);
  ops::cast(ctx, ConstView(mask.view().raw(), mask.dtype(), positions, strides), full);
  return full;
}

// x [..., T, D] with zeros where the mask [..., T] is false.
void zero_masked_rows(const Tensor& mask, View x) {
  if (!mask.has_value() || x.size() == 0) return;
  const bool* real = mask.data<bool>();
  const Index width = x.shape().back();
  const View rows = x.reshaped({mask.size(), width});
  for (Index row = 0; row < mask.size(); ++row) {
    if (!real[row]) fill_zero(rows.slice(0, row, row + 1));
  }
}

double number_of(const Parameter& scalar) {
  const ConstView numbers = scalar.numbers();
  return numbers.dtype() == Dtype::f64 ? *numbers.data<double>()
                                       : static_cast<double>(*numbers.data<float>());
}

void fill_ones(View x) {
  RandomStream unused(0);
  initializers::ones()->fill(x, {}, unused);
}

void add_number(double number, View scalar) {
  if (!scalar.has_value()) return;
  if (scalar.dtype() == Dtype::f64) {
    *scalar.data<double>() += number;
  } else {
    *scalar.data<float>() += static_cast<float>(number);
  }
}

}  // namespace

// One call, its operands with all leading axes as one.
struct detail::ScoredAttention::Call {
  Tensor query, key, value;        // [B, T, D], [B, S, D], [B, S, Dv]
  Tensor query_mask, value_mask;   // bool [B, T], [B, S] or absent
  std::optional<Tensor> own_mask;  // query's mask as it came, for the output
  bool has_key = false;
  Shape output, scores;
  ScoredAttentionArguments arguments;
  std::optional<RandomDraw> draw;
};

struct detail::ScoredAttention::SavedState final : Saved {
  Call call;
  Tensor query, key;                    // scaled
  Tensor weights;                       // of the tangents
  Tensor out, scores;                   // scores: where returned
  Tensor statistics;                    // of the kernels for dot products
  Tensor max, inverse;                  // of the softmax's rows
  ops::ScoredAttentionOptions options;  // views of the tensors above
};

// Products of queries and keys go to attention's kernels, as one head, which leave out the queries
// that see no key. All other logits are made here, and those of a call that returns scores: it has
// a T x S buffer anyway, and gets probabilities whose sums and gradients are good to the last bits.

bool detail::ScoredAttention::is_fused(const SavedState& kept) {
  return kept.options.rule == ops::ScoreRule::dot && !kept.scores.has_value();
}

AttentionOptions detail::ScoredAttention::kernel_options(const SavedState& kept) {
  const ops::ScoredAttentionOptions& own = kept.options;
  return {.scale = 1,
          .causal = own.causal,
          .key_mask = own.key_mask,
          .masked_rows = MaskedRows::zeros,
          .dropout_rate = own.dropout_rate,
          .draw = own.draw};
}

void detail::ScoredAttention::attend(Context& ctx, SavedState& kept) const {
  const Call& call = kept.call;
  const Index B = call.query.dim(0);
  const Index T = call.query.dim(1);
  if (is_fused(kept)) {
    kept.statistics = ctx.tensor({2, B, 1, T}, dtype());
    grouphead::attention(ctx, one_head(std::as_const(kept.query)),
                         one_head(std::as_const(kept.key)), one_head(call.value),
                         kernel_options(kept), one_head(kept.out), {.statistics = kept.statistics});
    if (!ops::has_fully_masked_rows(kept.options, B, T, call.key.dim(1))) return;
    kept.options.rows = ops::ScoredRows::fully_masked;
  }
  kept.max = ctx.tensor({B, T}, dtype());
  kept.inverse = ctx.tensor({B, T}, dtype());
  ops::scored_attention_forward(ctx, kept.query, kept.key, call.value, kept.options, kept.out,
                                kept.max, kept.inverse, kept.scores);
}

void detail::ScoredAttention::attend_backward(Context& ctx, const SavedState& kept,
                                              const ops::ScoredGradients& gradients) {
  const Tensor& value = kept.call.value;
  if (is_fused(kept)) {
    grouphead::attention_backward(ctx, one_head(kept.query), one_head(kept.key), one_head(value),
                                  kernel_options(kept), one_head(kept.out), kept.statistics,
                                  {.d_out = one_head(gradients.d_out),
                                   .d_q = one_head(gradients.d_q),
                                   .d_k = one_head(gradients.d_k),
                                   .d_v = one_head(gradients.d_v)});
    if (kept.options.rows != ops::ScoredRows::fully_masked) return;
  }
  ops::scored_attention_backward(ctx, kept.query, kept.key, value, kept.out, kept.max, kept.inverse,
                                 kept.scores, kept.options, gradients);
}

detail::ScoredAttention::ScoredAttention(std::string name, const DtypePolicy& policy,
                                         Regularizer activity_regularizer, const Options& options)
    : Layer(std::move(name), policy, std::move(activity_regularizer)), options_(options) {
  if (!(options.dropout >= 0 && options.dropout <= 1)) {
    core::throw_config_error(this->name(), "dropout", "0 <= dropout <= 1",
                             core::number_text(options.dropout));
  }
  core::require_seed(options.seed);
  if (options.dropout > 0 && options.seed) {
    seeds_ = std::make_unique<SeedGenerator>(*options.seed);
  }
}

detail::ScoredAttention::~ScoredAttention() = default;

std::span<const std::string_view> detail::ScoredAttention::input_names() const { return kNames; }

std::unique_ptr<CallArguments> detail::ScoredAttention::arguments_from_config(
    const ConfigValue& keywords) const {
  auto arguments = std::make_unique<ScoredAttentionArguments>();
  if (keywords.is_null()) return arguments;
  for (const auto& [key, value] : keywords.as_object("keywords")) {
    if (key == "use_causal_mask") {
      arguments->use_causal_mask = value.as_bool(key);
    } else if (key == "return_attention_scores") {
      arguments->return_attention_scores = value.as_bool(key);
    } else {
      core::throw_config_error(name(), "call", "use_causal_mask or return_attention_scores", key);
    }
  }
  return arguments;
}

ConfigValue detail::ScoredAttention::arguments_config(const CallArguments* arguments) const {
  const ScoredAttentionArguments& own = given(arguments, name());
  ConfigValue keywords = ConfigValue::Object{};
  if (own.return_attention_scores) keywords.set("return_attention_scores", true);
  if (own.use_causal_mask) keywords.set("use_causal_mask", true);
  return keywords;
}

std::vector<Shape> detail::ScoredAttention::output_shapes(std::span<const Shape> inputs,
                                                          const CallArguments* arguments) const {
  const Shapes shapes = checked_shapes(name(), inputs);
  std::vector<Shape> out = {nn::with_last_axis(shapes.query, shapes.value.back())};
  if (given(arguments, name()).return_attention_scores) {
    out.push_back(nn::with_last_axis(shapes.query, shapes.key[shapes.key.rank() - 2]));
  }
  return out;
}

Index detail::ScoredAttention::start_build(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_unbuilt(name(), is_built());
  const Shapes shapes = checked_shapes(name(), inputs);
  if (options_.dropout > 0 && !seeds_) {
    seeds_ = std::make_unique<SeedGenerator>(core::draw_seed(random));
  }
  return shapes.query.back();
}

std::unique_ptr<Parameter> detail::ScoredAttention::one(std::string parameter) const {
  auto made = std::make_unique<Parameter>(std::move(parameter), Shape{}, policy(),
                                          ParameterOptions{.trainable = trainable()});
  fill_ones(made->edit());
  return made;
}

std::optional<RandomDraw> detail::ScoredAttention::draw(const Mode& mode) const {
  if (!mode.training || options_.dropout == 0) return {};
  if (mode.random != nullptr) return RandomDraw{RandomAlgorithm::philox, mode.random->next()};
  nn::require_built(name(), seeds_ != nullptr);
  return RandomDraw{RandomAlgorithm::threefry, seeds_->next()};
}

detail::ScoredAttention::Call detail::ScoredAttention::checked(
    Context& ctx, std::span<const Value> in, const CallArguments* arguments) const {
  nn::require_count(name(), "number of inputs", in.size(), 2, kOperands);
  std::vector<Shape> input_shapes;
  for (const Value& value : in) {
    input_shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape{});
  }
  const Shapes shapes = checked_shapes(name(), input_shapes);
  const Tensor absent;
  const auto tensor = [&](std::size_t i) -> const Tensor& {
    return i < in.size() ? in[i].tensor : absent;
  };
  Call call;
  call.has_key = tensor(kKey).has_value();
  const Tensor& key = call.has_key ? tensor(kKey) : tensor(kValue);
  core::require_dtype(name(), "query", tensor(kQuery), dtype());
  core::require_dtype(name(), "value", tensor(kValue), dtype());
  core::require_dtype(name(), "key", key, dtype());
  call.query = tensor(kQuery).reshaped(as_rank_3(shapes.query));
  call.value = tensor(kValue).reshaped(as_rank_3(shapes.value));
  call.key = key.reshaped(as_rank_3(shapes.key));
  call.arguments = given(arguments, name());
  call.output = nn::with_last_axis(shapes.query, shapes.value.back());
  call.scores = nn::with_last_axis(shapes.query, shapes.key[shapes.key.rank() - 2]);

  // Masks that are given stand for both: Keras has one argument for them.
  Tensor query_mask = tensor(kQueryMask);
  Tensor value_mask = tensor(kValueMask);
  if (!query_mask.has_value() && !value_mask.has_value()) {
    query_mask = in[kQuery].mask.value_or(Tensor());
    value_mask = in[kValue].mask.value_or(Tensor());
  }
  if (query_mask.has_value()) call.own_mask = query_mask;
  call.query_mask =
      full_mask(ctx, name(), "query_mask", query_mask, nn::without_last_axis(shapes.query));
  call.value_mask =
      full_mask(ctx, name(), "value_mask", value_mask, nn::without_last_axis(shapes.value));
  return call;
}

Tensor detail::ScoredAttention::scaled(Context& ctx, const Tensor& x) const {
  if (!scale_) return x;
  Tensor y = ctx.tensor(x.shape(), dtype());
  ops::scale(ctx, x, number_of(*scale_), y);
  return y;
}

Tensor detail::ScoredAttention::tangent_weights(Context& ctx, Index width) const {
  Tensor weights = ctx.tensor({width}, dtype());
  if (weights_) {
    copy(ops::broadcast_to(name(), weights_->numbers(), weights.shape()), weights);
  } else {
    fill_ones(weights);
  }
  return weights;
}

std::vector<Value> detail::ScoredAttention::forward(Context& ctx, std::span<const Value> in,
                                                    const Mode& mode,
                                                    std::unique_ptr<Saved>* saved) const {
  nn::require_built(name(), is_built() || !has_parameters());
  auto keep = std::make_unique<SavedState>();
  keep->call = checked(ctx, in, mode.arguments);
  Call& call = keep->call;
  call.draw = draw(mode);
  keep->query = scaled(ctx, call.query);
  keep->key = is_dot() ? call.key : scaled(ctx, call.key);
  const Index B = call.query.dim(0);
  const Index T = call.query.dim(1);
  const Index S = call.key.dim(1);
  ops::ScoredAttentionOptions& options = keep->options;
  if (!is_dot()) {
    options.rule = ops::ScoreRule::additive;
    keep->weights = tangent_weights(ctx, call.query.dim(2));
    options.weights = keep->weights;
  }
  options.causal = call.arguments.use_causal_mask;
  if (call.value_mask.has_value()) options.key_mask = call.value_mask.view().reshaped({B, S});
  options.grid = policy().compute();
  if (call.draw) {
    options.dropout_rate = options_.dropout;
    options.draw = *call.draw;
  }
  keep->out = ctx.tensor({B, T, call.value.dim(2)}, dtype());
  if (call.arguments.return_attention_scores) keep->scores = ctx.tensor({B, T, S}, dtype());
  attend(ctx, *keep);
  zero_masked_rows(call.query_mask, keep->out);

  std::vector<Value> outputs = {{keep->out.reshaped(call.output), call.own_mask}};
  if (keep->scores.has_value()) outputs.push_back({keep->scores.reshaped(call.scores), {}});
  if (saved != nullptr) *saved = std::move(keep);
  return outputs;
}

void detail::ScoredAttention::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                       std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>(name(), saved);
  const Call& call = kept.call;
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 2);
  nn::require_count(name(), "number of input gradients", d_in.size(), 2, kOperands);
  const bool has_d_scores = d_out.size() > 1 && d_out[1].has_value();
  if (!d_out[0].has_value() && !has_d_scores) return;

  Tensor d_rows = ctx.zeros(kept.out.shape(), dtype());
  if (d_out[0].has_value()) copy(d_out[0].reshaped(kept.out.shape()), d_rows);
  zero_masked_rows(call.query_mask, d_rows);
  Tensor d_query = ctx.zeros(call.query.shape(), dtype());
  Tensor d_key = ctx.zeros(call.key.shape(), dtype());
  Tensor d_value = ctx.zeros(call.value.shape(), dtype());
  Tensor d_weights;
  if (weights_) d_weights = ctx.zeros(kept.weights.shape(), dtype());
  ops::ScoredGradients gradients{
      .d_out = d_rows, .d_q = d_query, .d_k = d_key, .d_v = d_value, .d_weights = d_weights};
  if (has_d_scores) gradients.d_scores = d_out[1].reshaped(kept.scores.shape());
  attend_backward(ctx, kept, gradients);
  if (weights_) {
    const View sum = grads.of(*weights_);
    if (sum.has_value()) ops::sum_to(ctx, d_weights, 1, ops::Write::add, sum);
  }
  if (scale_) {
    double d_scale = ops::inner_product(ctx, call.query, d_query);
    ops::scale(ctx, d_query, number_of(*scale_), d_query);
    if (!is_dot()) {
      d_scale += ops::inner_product(ctx, call.key, d_key);
      ops::scale(ctx, d_key, number_of(*scale_), d_key);
    }
    add_number(d_scale, grads.of(*scale_));
  }
  const auto add = [&](const Tensor& gradient, std::size_t operand) {
    if (operand < d_in.size() && d_in[operand].has_value()) {
      ops::add(ctx, d_in[operand], gradient, d_in[operand]);
    }
  };
  add(d_query, kQuery);
  add(d_value, kValue);
  add(d_key, call.has_key ? kKey : kValue);
}

void detail::ScoredAttention::append_parameters(const std::string& prefix, ParameterList& out) {
  if (scale_) out.push_back({prefix + scale_->name(), scale_.get()});
  if (weights_) out.push_back({prefix + weights_->name(), weights_.get()});
}

}  // namespace grouphead
