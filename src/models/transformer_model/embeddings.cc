#include "models/transformer_model/embeddings.h"

#include <algorithm>

#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"
#include "ops/embedding.h"

namespace grouphead::models {
namespace {

constexpr std::string_view kLayer = "embeddings";

std::unique_ptr<Parameter> table(const char* name, Index rows, Index width,
                                 const DtypePolicy& policy, RandomStream& random) {
  auto made = std::make_unique<Parameter>(name, Shape{rows, width}, policy);
  nn::initialize(*made, initializers::random_normal(0, 0.02), Fans{rows, width}, random);
  return made;
}

// The table [V, E] as lookups read it: row behind row.
ConstView rows_in(const Parameter& table) {
  const ConstView matrix = nn::matrix_of(table, table.shape());
  return matrix.is_contiguous() ? matrix : table.numbers();
}

bool is_real(const TransformerInputs& inputs, std::optional<std::int32_t> padding, Index at) {
  if (inputs.mask.has_value() && !inputs.mask.data<bool>()[at]) return false;
  return !padding || inputs.tokens.data<std::int32_t>()[at] != *padding;
}

}  // namespace

nn::RowNormSettings norm_settings(const NormConfig& config, Index width) {
  return {.kind = config.kind == NormKind::rms ? nn::RowNormKind::rms : nn::RowNormKind::layer,
          .epsilon = config.epsilon,
          .gains_from_one = config.gains_from_one,
          .use_bias = config.use_bias,
          .width = width};
}

struct Embeddings::SavedState final : Saved {
  TransformerInputs inputs;
  Tensor positions;
  Tensor narrow;  // scaled rows of tokens, where they are projected
  std::unique_ptr<Saved> norm;
  std::optional<RandomDraw> drawn;
};

Embeddings::Embeddings(const TransformerModelConfig& config, RandomStream& random)
    : config_(config), dropout_({.rate = config.embedding_dropout, .dtype = config.dtype}) {
  const Index hidden = config.hidden_size;
  const Index width = config.embedding_size > 0 ? config.embedding_size : hidden;
  tokens_ = table("tokens", config.vocab_size, width, config.dtype, random);
  if (config.max_positions > 0) {
    positions_ = table("positions", config.max_positions, hidden, config.dtype, random);
  }
  if (config.token_types > 0) {
    types_ = table("token_types", config.token_types, hidden, config.dtype, random);
  }
  if (width != hidden) {
    nn::ProjectionOptions options;
    options.use_bias = false;
    projection_ =
        std::make_unique<nn::Projection>(Shape{width, hidden}, 1, options, config.dtype, random);
  }
  if (config.embedding_norm) {
    norm_ = std::make_unique<nn::RowNorm>(norm_settings(config.norm, hidden),
                                          DtypePolicy(config.dtype.variable()), true);
  }
}

void Embeddings::append_parameters(const std::string& prefix, ParameterList& out) {
  for (Parameter* one : {tokens_.get(), positions_.get(), types_.get()}) {
    if (one != nullptr) out.push_back({prefix + one->name(), one});
  }
  if (projection_) projection_->append_parameters(prefix + "projection/", out);
  if (norm_) norm_->append_parameters(prefix + "norm/", out);
}

Tensor Embeddings::rows_of(Context& ctx, const Parameter& table, const Tensor& numbers) const {
  Tensor y = ctx.tensor({numbers.dim(0), numbers.dim(1), table.shape()[1]}, table.gradient_dtype());
  ops::embedding_forward(ctx, numbers, rows_in(table), y);
  return y;
}

// Of tokens [begin, end) of one text, `first` of which come before.
void Embeddings::number(const TransformerInputs& inputs, Index begin, Index end, Index first,
                        Tensor& numbers) const {
  Index next = first + config_.position_offset;
  for (Index at = begin; at < end; ++at) {
    const bool real = is_real(inputs, config_.padding_token, at);
    if (real && next >= config_.max_positions) {
      core::throw_shape_error(
          kLayer, "tokens",
          std::to_string(config_.max_positions - config_.position_offset) + " positions or fewer",
          std::to_string(first + end - begin));
    }
    numbers.data<std::int32_t>()[at] =
        static_cast<std::int32_t>(real ? next : std::max(next - 1, config_.position_offset));
    if (real) ++next;
  }
}

// The rows of the table of positions: each token's number among the real ones of its text.
Tensor Embeddings::positions(Context& ctx, const TransformerInputs& inputs, const KvCache* cache,
                             std::span<const SequenceRows> rows) const {
  const Tensor& tokens = inputs.tokens;
  Tensor numbers = ctx.tensor(tokens.shape(), Dtype::i32);
  const auto before = [&](Index sequence) {
    return cache != nullptr ? cache->length(sequence) : 0;
  };
  const Index length = tokens.dim(1);
  for (Index b = 0; b < tokens.dim(0) && rows.empty(); ++b) {
    number(inputs, b * length, (b + 1) * length, before(b), numbers);
  }
  Index begin = 0;
  for (const SequenceRows& of : rows) {
    number(inputs, begin, begin + of.count, before(of.sequence), numbers);
    begin += of.count;
  }
  return numbers;
}

Tensor Embeddings::forward(Context& ctx, const TransformerInputs& inputs, const KvCache* cache,
                           std::span<const SequenceRows> rows, const Mode& mode,
                           std::unique_ptr<Saved>* saved) const {
  auto keep = std::make_unique<SavedState>();
  Tensor x = rows_of(ctx, *tokens_, inputs.tokens);
  if (config_.embedding_scale != 1) ops::scale(ctx, x, config_.embedding_scale, x);
  if (projection_) {
    ops::round_to(ctx, config_.dtype.compute(), x);
    keep->narrow = x;
    x = ctx.tensor(nn::with_last_axis(x.shape(), config_.hidden_size), x.dtype());
    projection_->forward(ctx, keep->narrow, ops::Epilogue::none, x);
  }
  keep->inputs = inputs;
  if (types_) {
    if (!inputs.token_types.has_value()) {
      keep->inputs.token_types = ctx.zeros(inputs.tokens.shape(), Dtype::i32);
    }
    ops::add(ctx, x, rows_of(ctx, *types_, keep->inputs.token_types), x);
  }
  if (positions_) {
    keep->positions = positions(ctx, inputs, cache, rows);
    ops::add(ctx, x, rows_of(ctx, *positions_, keep->positions), x);
  }
  if (norm_) x = norm_->forward(ctx, x, saved != nullptr ? &keep->norm : nullptr);
  keep->drawn = dropout_.draw(mode);
  if (keep->drawn) dropout_.apply(ctx, *keep->drawn, x, x);
  ops::round_to(ctx, config_.dtype.compute(), x);
  if (saved != nullptr) *saved = std::move(keep);
  return x;
}

void Embeddings::add_rows_gradient(Context& ctx, const Parameter& table, const Tensor& numbers,
                                   ConstView d, Grads& grads) const {
  const View d_table = grads.of(table);
  if (d_table.has_value()) ops::embedding_backward(ctx, numbers, d, d_table);
}

void Embeddings::backward(Context& ctx, Saved& saved, Tensor d, Grads& grads) const {
  auto& kept = nn::saved_as<SavedState>(kLayer, saved);
  if (kept.drawn) dropout_.apply(ctx, *kept.drawn, d, d);
  if (norm_) norm_->backward(ctx, *kept.norm, d, ops::Write::overwrite, d, grads);
  if (positions_) add_rows_gradient(ctx, *positions_, kept.positions, d, grads);
  if (types_) add_rows_gradient(ctx, *types_, kept.inputs.token_types, d, grads);
  if (projection_) {
    Tensor d_narrow = ctx.tensor(kept.narrow.shape(), d.dtype());
    projection_->backward(ctx, kept.narrow, d, ops::Write::overwrite, d_narrow, grads);
    d = std::move(d_narrow);
  }
  if (config_.embedding_scale != 1) ops::scale(ctx, d, config_.embedding_scale, d);
  add_rows_gradient(ctx, *tokens_, kept.inputs.tokens, d, grads);
}

// The table [V, E] is the kernel of a product whose backward goes from [..., E] to [..., V].
Tensor Embeddings::logits(Context& ctx, const Tensor& x) const {
  Tensor y = ctx.tensor(nn::with_last_axis(x.shape(), config_.vocab_size), x.dtype());
  ops::linear_backward_input(ctx, x, nn::matrix_of(*tokens_, tokens_->shape()), tokens_->packed(),
                             ops::Write::overwrite, y, config_.dtype.compute());
  return y;
}

Tensor Embeddings::logits_backward(Context& ctx, const Tensor& x, View d_logits,
                                   Grads& grads) const {
  ops::require_whole_weights(tokens_->packed());
  const Index width = x.shape().back();
  const Index count = x.size() / width;
  const Dtype grid = config_.dtype.compute();
  ops::round_to(ctx, grid, d_logits);
  const ConstView d_rows = d_logits.reshaped({count, config_.vocab_size});
  const View d_table = grads.of(*tokens_);
  if (d_table.has_value()) {
    ops::linear_backward_weights(ctx, d_rows, x.view().reshaped({count, width}), d_table, {}, grid);
  }
  Tensor d_x = ctx.tensor(x.shape(), x.dtype());
  ops::linear_forward(ctx, d_rows, nn::matrix_of(*tokens_, tokens_->shape()), tokens_->packed(), {},
                      ops::Epilogue::none, d_x.view().reshaped({count, width}), grid);
  return d_x;
}

}  // namespace grouphead::models
