#include "nn/attention/core.h"

#include "core/seed.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/parallel/ring_attention.h"
#include "nn/attention/saved_state.h"
#include "nn/layer_checks.h"
#include "nn/quantization_plan.h"
#include "nn/sequence_scope.h"
#include "ops/activation.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/rope.h"

namespace grouphead::nn {

AttentionOptions AttentionCall::options() const {
  const std::optional<Index> side = window ? std::optional(*window - 1) : std::nullopt;
  return {.causal = causal,
          .causal_offset = causal_offset,
          .window_left = side,
          .window_right = side,
          .mask = attention_mask,
          .key_mask = key_mask,
          .query_mask = query_mask,
          .bias = attention_bias,
          // The mean over no keys is nothing.
          .masked_rows = value.shape()[1] == 0 ? MaskedRows::zeros : masked_rows};
}

AttentionCore::AttentionCore(const AttentionSettings& settings) : settings_(settings) {
  if (settings.rope) {
    rope_tables_ = std::make_shared<RopeTables>(settings.key_dim, *settings.rope, dtype());
  }
  if (!settings.alibi_slopes.empty()) {
    slopes_ = cast(
        Tensor::from({settings.num_query_heads}, std::span<const double>(settings.alibi_slopes)),
        dtype());
  }
}

AttentionCore::~AttentionCore() = default;

// What the layer's configuration does to every call's logits.
void AttentionCore::set_logit_options(AttentionOptions& options) const {
  options.scale = settings_.scale;
  options.softcap = settings_.softcap;
  if (slopes_.has_value()) options.alibi_slopes = slopes_;
  if (!sinks_) return;
  options.sinks = sinks_->numbers();
  options.masked_rows = MaskedRows::zeros;
}

void AttentionCore::build(const AttentionWidths& widths, bool trainable, RandomStream& random) {
  settings_.projections.trainable = trainable;
  const AttentionSettings& s = settings_;
  const bool all = s.projections.use_bias;
  const ProjectionBiases biases = s.biases.value_or(ProjectionBiases{all, all, all, all});
  const auto make = [&](const Shape& kernel, int contracted, bool use_bias) {
    ProjectionOptions options = s.projections;
    options.use_bias = use_bias;
    return std::make_unique<Projection>(kernel, contracted, options, s.policy, random);
  };
  query_ = make({widths.query, s.num_query_heads, s.key_dim}, 1, biases.query);
  key_ = make({widths.key, s.num_key_value_heads, s.key_dim}, 1, biases.key);
  if (s.use_gate) gate_ = make({widths.query, s.num_query_heads, s.value_dim}, 1, biases.query);
  value_ = make({widths.value, s.num_key_value_heads, s.value_dim}, 1, biases.value);
  std::vector<Index> kernel{s.num_query_heads, s.value_dim};
  kernel.insert(kernel.end(), widths.output.begin(), widths.output.end());
  output_ = make(Shape(kernel), 2, biases.output);
  if (s.head_norm) {
    query_norm_ = make_head_norm(s.num_query_heads, trainable);
    key_norm_ = make_head_norm(s.num_key_value_heads, trainable);
  }
  if (s.sinks) {
    sinks_ = std::make_unique<Parameter>("sinks", Shape{s.num_query_heads}, s.policy,
                                         ParameterOptions{.trainable = trainable});
    fill_zero(sinks_->edit());
  }
  if (s.dropout > 0) {
    seeds_ = std::make_unique<SeedGenerator>(s.seed ? *s.seed : core::draw_seed(random));
  }
}

std::unique_ptr<RowNorm> AttentionCore::make_head_norm(Index num_heads, bool trainable) const {
  RowNormSettings norm = settings_.head_norm->norm;
  const bool is_joint = settings_.head_norm->scope == HeadNormScope::all_heads;
  norm.width = is_joint ? num_heads * settings_.key_dim : settings_.key_dim;
  norm.groups = settings_.head_norm->scope == HeadNormScope::own_gains ? num_heads : 1;
  return std::make_unique<RowNorm>(norm, settings_.policy, trainable);
}

void AttentionCore::append_parameters(const std::string& prefix, ParameterList& out) {
  if (!is_built()) return;
  query_->append_parameters(prefix + "query/", out);
  key_->append_parameters(prefix + "key/", out);
  if (gate_) gate_->append_parameters(prefix + "gate/", out);
  value_->append_parameters(prefix + "value/", out);
  output_->append_parameters(prefix + "attention_output/", out);
  if (sinks_) out.push_back({prefix + sinks_->name(), sinks_.get()});
  if (query_norm_) query_norm_->append_parameters(prefix + "query_norm/", out);
  if (key_norm_) key_norm_->append_parameters(prefix + "key_norm/", out);
}

void AttentionCore::plan_quantization(const Quantization& how, int input_rank,
                                      QuantizationPlan& plan) {
  for (const auto* projection : {&query_, &key_, &gate_, &value_, &output_}) {
    if (*projection) (*projection)->plan_quantization(how, settings_.policy, input_rank - 1, plan);
  }
  plan.assign(quantization_, std::optional(how));
}

void AttentionCore::require_fit(const AttentionCall& call) const {
  const std::string_view layer = settings_.layer;
  nn::require_built(layer, is_built());
  const auto require = [&](std::string_view operand, const LayerInput& x, const Projection& reads,
                           Index batch, Index length) {
    core::require_shape(layer, operand, x.view(), {batch, length, reads.num_inputs()});
    core::require_dtype(layer, operand, x.view(), dtype());
  };
  require("query", call.query, *query_, -1, -1);
  const Index batch = call.query.shape()[0];
  require("value", call.value, *value_, batch, -1);
  require("key", call.key, *key_, batch, call.value.shape()[1]);
}

void AttentionCore::round(Context& ctx, View x) const {
  ops::round_to(ctx, settings_.policy.compute(), x);
}

Tensor AttentionCore::projected(Context& ctx, const Projection& projection, ConstView x,
                                const Shape& shape) const {
  Tensor y = ctx.tensor(shape, dtype());
  projection.forward(ctx, x, ops::Epilogue::none, y);
  round(ctx, y);
  return y;
}

AttentionCore::Heads AttentionCore::project(Context& ctx, ConstView query, ConstView key,
                                            ConstView value) const {
  const AttentionSettings& s = settings_;
  const Index batch = query.dim(0);
  const Index keys = key.dim(1);
  Heads heads;
  heads.q = projected(ctx, *query_, query, {batch, query.dim(1), s.num_query_heads, s.key_dim});
  heads.k = projected(ctx, *key_, key, {batch, keys, s.num_key_value_heads, s.key_dim});
  heads.v = projected(ctx, *value_, value, {batch, keys, s.num_key_value_heads, s.value_dim});
  project_gate(ctx, query, heads);
  return heads;
}

void AttentionCore::project_gate(Context& ctx, ConstView query, Heads& heads) const {
  if (!gate_) return;
  const Shape shape{query.dim(0), query.dim(1), settings_.num_query_heads, settings_.value_dim};
  heads.gate_argument = projected(ctx, *gate_, query, shape);
  heads.gate = ctx.tensor(shape, dtype());
  ops::activation_forward(ctx, Activation::sigmoid, heads.gate_argument, heads.gate);
  round(ctx, heads.gate);
}

// x of one of the two norms, where there are norms.
void AttentionCore::normalise(Context& ctx, const RowNorm* norm, std::unique_ptr<Saved>* saved,
                              Tensor& x) const {
  if (norm == nullptr) return;
  x = norm->forward(ctx, x, saved);
  round(ctx, x);
}

void AttentionCore::normalise(Context& ctx, Heads& heads, SavedState* keep) const {
  normalise(ctx, query_norm_.get(), keep != nullptr ? &keep->query_norm : nullptr, heads.q);
  normalise(ctx, key_norm_.get(), keep != nullptr ? &keep->key_norm : nullptr, heads.k);
}

// Those of `length` positions from 0 on, or of the ones that this process has of a sequence.
ops::RopeTable AttentionCore::rotations(Index length, const Communicator* sequence) const {
  if (sequence == nullptr) return rope_tables_->covering(length, length);
  const Index whole = length * sequence->size();
  return rope_tables_->of_share(ring_share(whole, sequence->rank(), sequence->size()), whole);
}

void AttentionCore::rotate(Context& ctx, Heads& heads, const Communicator* sequence) const {
  if (!rope_tables_) return;
  const ops::RopeTable table = rotations(std::max(heads.q.dim(1), heads.k.dim(1)), sequence);
  for (Tensor* x : {&heads.q, &heads.k}) {
    ops::rope(ctx, table, 0, ops::Direction::forward, *x);
    round(ctx, *x);
  }
}

// What the output projection reads.
Tensor AttentionCore::gated(Context& ctx, const Tensor& out, const Tensor& gate) const {
  const bool is_exact = settings_.policy.compute() == dtype();
  if (is_exact && !gate.has_value()) return out;
  Tensor result = nn::copied(ctx, out);
  round(ctx, result);
  if (gate.has_value()) {
    ops::binary_forward(ctx, ops::Binary::multiply, result, gate, result);
    round(ctx, result);
  }
  return result;
}

std::optional<RandomDraw> AttentionCore::draw(const Mode& mode) const {
  if (!mode.training || settings_.dropout == 0) return {};
  if (settings_.dropout == 1) return RandomDraw{};  // needs no numbers, and Keras takes none
  if (mode.random != nullptr) return RandomDraw{RandomAlgorithm::philox, mode.random->next()};
  return RandomDraw{RandomAlgorithm::threefry, seeds_->next()};
}

// keep.out, and keep.statistics where they are there.
void AttentionCore::attend(Context& ctx, SavedState& keep) const {
  const auto& [q, k, v, gate_argument, gate] = keep.heads;
  if (keep.sequence == nullptr) {
    return keep.attention.forward(ctx, settings_.policy.compute(), q, k, v, keep.options, keep.out,
                                  keep.statistics);
  }
  if (settings_.policy.compute() != dtype() || keep.call.return_scores) {
    core::throw_config_error(settings_.layer, "a sequence that several processes have",
                             "attention in f32 or f64 without scores", "another");
  }
  // A ring takes no masks, and without them each query sees its own key.
  keep.options.masked_rows = MaskedRows::zeros;
  ring_attention(ctx, *keep.sequence, q, k, v, keep.options, keep.out,
                 {.statistics = keep.statistics});
}

AttentionOutput AttentionCore::forward(Context& ctx, AttentionCall call, const Mode& mode,
                                       std::unique_ptr<Saved>* saved) const {
  SavedState keep;
  keep.heads = project(ctx, call.query.view(), call.key.view(), call.value.view());
  normalise(ctx, keep.heads, saved != nullptr ? &keep : nullptr);
  keep.is_penalised = settings_.activity_regularizer && mode.losses != nullptr;
  if (keep.is_penalised && rope_tables_) {
    keep.plain_q = nn::copied(ctx, keep.heads.q);
    keep.plain_k = nn::copied(ctx, keep.heads.k);
  }
  keep.sequence = SequenceScope::current();
  rotate(ctx, keep.heads, keep.sequence);

  keep.call = std::move(call);
  keep.options = keep.call.options();
  set_logit_options(keep.options);
  if (const std::optional<RandomDraw> drawn = draw(mode)) {
    keep.options.dropout_rate = settings_.dropout;
    keep.options.draw = *drawn;
  }
  const auto& [q, k, v, gate_argument, gate] = keep.heads;
  keep.out = ctx.tensor({q.dim(0), q.dim(1), q.dim(2), v.dim(3)}, dtype());
  if (saved != nullptr || keep.call.return_scores) {
    keep.statistics = ctx.tensor({2, q.dim(0), q.dim(2), q.dim(1)}, dtype());
  }
  attend(ctx, keep);
  AttentionOutput result;
  if (keep.call.return_scores) {
    result.scores = ctx.tensor({q.dim(0), q.dim(2), q.dim(1), k.dim(1)}, dtype());
    grouphead::attention_scores(ctx, q, k, keep.options, keep.statistics, result.scores);
  }
  keep.gated = gated(ctx, keep.out, gate);
  result.output =
      projected(ctx, *output_, keep.gated, {q.dim(0), q.dim(1), output_->num_outputs()});
  if (keep.is_penalised) add_penalties(ctx, keep, result.output, *mode.losses);
  if (saved != nullptr) {
    if (keep.is_penalised) keep.y = result.output;
    *saved = std::make_unique<SavedState>(std::move(keep));
  }
  return result;
}

void AttentionCore::add_penalties(Context& ctx, const SavedState& kept, const Tensor& y,
                                  LossSink& losses) const {
  const auto& [q, k, v, gate_argument, gate] = kept.heads;
  const bool is_rotated = kept.plain_q.has_value();
  for (const Tensor* x :
       {is_rotated ? &kept.plain_q : &q, is_rotated ? &kept.plain_k : &k, &gate, &v, &y}) {
    if (!x->has_value()) continue;
    losses.add(settings_.activity_regularizer->value(ctx, *x) * kept.penalty_scale());
  }
}

}  // namespace grouphead::nn
