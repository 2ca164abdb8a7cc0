#include "nn/attention/layer_call.h"

#include "nn/config_reader.h"
#include "nn/decoding.h"
#include "nn/layer_checks.h"
#include "ops/arithmetic.h"
#include "ops/convert.h"

namespace grouphead {
namespace nn {
namespace {

struct LayerSaved final : Saved {
  LayerSaved(const AttentionAxes& used_axes, AttentionShapes used_shapes)
      : axes(used_axes), shapes(std::move(used_shapes)) {}
  std::unique_ptr<Saved> core;
  AttentionAxes axes;
  AttentionShapes shapes;       // of query, value and key
  bool value_is_query = false;  // no value was given
  bool key_is_value = false;    // no key was given
  Shape bias;                   // folded; rank 0 without one
  Index num_heads = 0;
  Index width = 0;  // E: elements of an output row
};

// Where the core adds an input's gradient: the view itself, or a copy in the axes' order.
class FoldedGradient {
 public:
  FoldedGradient(Context& ctx, const AttentionAxes& axes, View d_x, const Shape& x)
      : axes_(axes), d_x_(d_x), shape_(x) {
    if (!d_x.has_value()) return;
    if (axes.is_in_place()) {
      folded_ = d_x.reshaped(axes.folded(x));
    } else {
      copy_ = ctx.zeros(axes.folded(x), d_x.dtype());
      folded_ = copy_;
    }
  }
  View view() const noexcept { return folded_; }
  /// Adds the copy.
  void add(Context& ctx) const {
    if (!copy_.has_value()) return;
    const Tensor unfolded = axes_.unfold(ctx, copy_, shape_);
    ops::add(ctx, d_x_, unfolded, d_x_);
  }

 private:
  const AttentionAxes& axes_;
  View d_x_;
  Shape shape_;
  Tensor copy_;
  View folded_;
};

struct FoldedCotangents {
  Tensor copy;
  ConstView output;  // [B', T, E]
  ConstView scores;  // [B', H, T, S]
};

FoldedCotangents folded_cotangents(Context& ctx, const LayerSaved& kept,
                                   std::span<const ConstView> d_out) {
  const Shape query = kept.axes.folded(kept.shapes[kQuery]);
  const Shape value = kept.axes.folded(kept.shapes[kValue]);
  FoldedCotangents folded;
  if (d_out[0].has_value()) {
    const Shape rows = nn::with_last_axis(kept.shapes[kQuery], kept.width);
    if (kept.axes.is_in_place()) {
      folded.output = d_out[0].reshaped(nn::with_last_axis(query, kept.width));
    } else {
      folded.copy = kept.axes.fold_copy(ctx, d_out[0].reshaped(rows));
      folded.output = folded.copy;
    }
  }
  if (d_out.size() > 1 && d_out[1].has_value()) {
    folded.scores = d_out[1].reshaped({query[0], kept.num_heads, query[1], value[1]});
  }
  return folded;
}

AttentionArguments arguments_of(std::string_view layer, const CallArguments* arguments) {
  if (arguments == nullptr) return {};
  const auto* own = dynamic_cast<const AttentionArguments*>(arguments);
  if (own == nullptr) {
    core::throw_config_error(layer, "mode.arguments", "AttentionArguments", "another type");
  }
  return *own;
}

/// A Decoder's step: causal self-attention over what its cache holds and the new positions.
Value attention_step(Context& ctx, const AttentionCore& core, const AttentionRules& rules,
                     const AttentionAxes& axes, const AttentionOperands& in, const Mode& mode) {
  const auto require = [&](bool holds, std::string_view operand, std::string_view expected,
                           std::string_view got) {
    if (!holds) core::throw_config_error(rules.layer, operand, expected, got);
  };
  const AttentionArguments arguments = arguments_of(rules.layer, mode.arguments);
  require(rules.causal || (arguments.use_causal_mask && arguments.causal_offset == 0),
          "use_causal_mask", "true while a Decoder runs", "false, or an offset");
  require(!arguments.return_attention_scores, "return_attention_scores",
          "false while a Decoder runs", "true");
  require(axes.is_axis_1() && axes.rank() == 3, "attention axes",
          "axis 1 of [B, T, M] while a Decoder runs", "others");
  const Tensor query = in[kQuery].input.tensor(ctx);
  for (const AttentionOperand other : {kValue, kKey}) {
    require(!in.has(other) || in[other].input.view().raw() == in[kQuery].input.view().raw(),
            kAttentionOperandNames[other], "the query itself while a Decoder runs",
            "another tensor");
  }
  for (const AttentionOperand mask : {kQueryMask, kValueMask, kKeyMask}) {
    require_no_padding(rules.layer, kAttentionOperandNames[mask], in[mask].input.tensor(ctx));
  }
  for (const AttentionOperand mask : {kAttentionMask, kAttentionBias}) {
    require(!in.has(mask), kAttentionOperandNames[mask], "none while a Decoder runs", "one");
  }
  if (in[kQuery].mask) require_no_padding(rules.layer, "mask", *in[kQuery].mask);
  KvCache& cache = core.next_cache(ctx, *mode.decoding);
  Tensor y = core.forward_cached(ctx, query, cache, 0, rules.window, {});
  if (rules.output_shape.rank() > 1) {
    std::vector<Index> dims{query.dim(0), query.dim(1)};
    dims.insert(dims.end(), rules.output_shape.begin(), rules.output_shape.end());
    y = y.reshaped(Shape(dims));
  }
  return {std::move(y), in[kQuery].mask};
}

}  // namespace

std::unique_ptr<CallArguments> attention_arguments(std::string_view layer,
                                                   const ConfigValue& keywords) {
  if (keywords.is_null()) return nullptr;
  nn::ConfigReader reader(layer, keywords);
  auto arguments = std::make_unique<AttentionArguments>();
  arguments->use_causal_mask = reader.boolean("use_causal_mask", false);
  arguments->return_attention_scores = reader.boolean("return_attention_scores", false);
  arguments->causal_offset = reader.integer("causal_offset", 0);
  reader.finish();
  return arguments;
}

ConfigValue attention_arguments_config(const CallArguments* arguments) {
  ConfigValue config = ConfigValue::Object{};
  const auto* own = dynamic_cast<const AttentionArguments*>(arguments);
  if (own == nullptr) return config;
  if (own->return_attention_scores) config.set("return_attention_scores", true);
  if (own->use_causal_mask) config.set("use_causal_mask", true);
  if (own->causal_offset != 0) config.set("causal_offset", own->causal_offset);
  return config;
}

AttentionWidths attention_widths(const AttentionRules& rules, const AttentionShapes& shapes) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].rank() == 0 || shapes[i].back() < 1) {
      core::throw_shape_error(rules.layer, kAttentionOperandNames[i], "a last axis of 1 or more",
                              shapes[i].to_string());
    }
  }
  const Shape own{shapes[kQuery].back()};
  return {.query = shapes[kQuery].back(),
          .key = shapes[kKey].back(),
          .value = shapes[kValue].back(),
          .output = rules.output_shape.rank() == 0 ? own : rules.output_shape};
}

std::vector<Shape> attention_output_shapes(const AttentionRules& rules, const AttentionAxes& axes,
                                           const AttentionShapes& shapes,
                                           const CallArguments* arguments) {
  require_shapes(rules, axes, shapes);
  const auto& [query, value, key] = shapes;
  std::vector<Index> dims(query.begin(), query.end() - 1);
  if (rules.output_shape.rank() == 0) {
    dims.push_back(query.back());
  } else {
    dims.insert(dims.end(), rules.output_shape.begin(), rules.output_shape.end());
  }
  std::vector<Shape> shapes_out{Shape::partial(dims)};
  if (arguments_of(rules.layer, arguments).return_attention_scores) {
    shapes_out.push_back(axes.scores(query, rules.num_heads, value));
  }
  return shapes_out;
}

std::vector<Value> attention_forward(Context& ctx, const AttentionCore& core,
                                     const AttentionRules& rules, const AttentionAxes& axes,
                                     const AttentionOperands& in, const Mode& mode,
                                     std::unique_ptr<Saved>* saved) {
  const AttentionShapes shapes = attention_shapes(in);
  if (mode.decoding != nullptr) return {attention_step(ctx, core, rules, axes, in, mode)};
  const std::vector<Shape> shapes_out =
      attention_output_shapes(rules, axes, shapes, mode.arguments);
  const AttentionArguments arguments = arguments_of(rules.layer, mode.arguments);
  if (rules.flash_attention && arguments.return_attention_scores) {
    core::throw_config_error(rules.layer, "return_attention_scores", "false with flash_attention",
                             "true");
  }
  AttentionCall call = attention_call(ctx, rules, axes, in, shapes, arguments, saved != nullptr);
  core.require_fit(call);
  std::unique_ptr<LayerSaved> keep;
  if (saved != nullptr) {
    keep = std::make_unique<LayerSaved>(axes, shapes);
    keep->value_is_query = !in.has(kValue);
    keep->key_is_value = !in.has(kKey);
    if (call.attention_bias.has_value()) keep->bias = call.attention_bias.shape();
    keep->num_heads = rules.num_heads;
  }
  const AttentionOutput result =
      core.forward(ctx, std::move(call), mode, keep ? &keep->core : nullptr);
  if (keep) keep->width = result.output.dim(2);
  if (saved != nullptr) *saved = std::move(keep);
  const Tensor y = axes.unfold(ctx, result.output, shapes[kQuery]);
  std::vector<Value> out{Value{y.reshaped(shapes_out[0]), in[kQuery].mask}};
  if (result.scores.has_value()) out.push_back({result.scores.reshaped(shapes_out[1]), {}});
  return out;
}

void attention_backward(Context& ctx, const AttentionCore& core, std::string_view layer,
                        Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                        Grads& grads) {
  auto& kept = nn::saved_as<LayerSaved>(layer, saved);
  nn::require_count(layer, "number of output gradients", d_out.size(), 1, 2);
  nn::require_count(layer, "number of input gradients", d_in.size(), 1, kNumOperands);
  // A view for several operands gets the sum of their gradients.
  const View d_query = d_in[kQuery];
  const View d_value = d_in.size() <= kValue || kept.value_is_query ? d_query : d_in[kValue];
  const View d_key = d_in.size() <= kKey || kept.key_is_value ? d_value : d_in[kKey];
  FoldedGradient query(ctx, kept.axes, d_query, kept.shapes[kQuery]);
  FoldedGradient value(ctx, kept.axes, d_value, kept.shapes[kValue]);
  FoldedGradient key(ctx, kept.axes, d_key, kept.shapes[kKey]);
  View d_bias;
  if (d_in.size() > kAttentionBias && kept.bias.rank() > 0 && d_in[kAttentionBias].has_value()) {
    d_bias = d_in[kAttentionBias].reshaped(kept.bias);
  }
  const FoldedCotangents d = folded_cotangents(ctx, kept, d_out);
  core.backward(
      ctx, *kept.core, d.output, d.scores,
      {.d_query = query.view(), .d_key = key.view(), .d_value = value.view(), .d_bias = d_bias},
      grads);
  query.add(ctx);
  key.add(ctx);
  value.add(ctx);
}

}  // namespace nn

std::vector<Value> detail::AttentionLayer::forward(Context& ctx, std::span<const Value> in,
                                                   const Mode& mode,
                                                   std::unique_ptr<Saved>* saved) const {
  return run(ctx, nn::attention_operands(in), mode, saved);
}

AttentionOutput detail::AttentionLayer::called(Context& ctx, const AttentionInputs& in,
                                               bool return_scores, Mode mode,
                                               std::unique_ptr<Saved>* saved) const {
  AttentionArguments arguments;
  arguments.use_causal_mask = in.use_causal_mask;
  arguments.return_attention_scores = return_scores;
  arguments.causal_offset = in.causal_offset;
  mode.arguments = &arguments;
  const std::array<const LayerInput*, nn::kNumOperands> inputs = {
      &in.query,    &in.value,          &in.key,           &in.query_mask, &in.value_mask,
      &in.key_mask, &in.attention_mask, &in.attention_bias};
  std::vector<Value> out;
  if (policy().compute() != dtype()) {
    std::array<Value, nn::kNumOperands> values;
    for (std::size_t i = 0; i < values.size(); ++i) values[i].tensor = inputs[i]->tensor(ctx);
    out = call(ctx, values, mode, saved);
  } else {
    nn::AttentionOperands operands;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const LayerInput& x = *inputs[i];
      // Without a policy's casts, floating inputs of another type are converted, as call() does.
      const bool is_other = x.has_value() && ops::is_floating(x.dtype()) && x.dtype() != dtype();
      operands.given[i].input = is_other ? LayerInput(widened(ctx, x.tensor(ctx))) : x;
    }
    out = run(ctx, operands, mode, saved);
  }
  return {out[0].tensor, out.size() > 1 ? out[1].tensor : Tensor()};
}

void detail::AttentionLayer::build_for(const AttentionInputs& in) {
  const auto shape = [](const LayerInput& x) { return x.has_value() ? x.shape() : Shape(); };
  build_once({shape(in.query), shape(in.value), shape(in.key)});
}

Tensor detail::AttentionLayer::operator()(Context& ctx, const AttentionInputs& in,
                                          std::unique_ptr<Saved>* saved, const Mode& mode) {
  build_for(in);
  return std::as_const(*this)(ctx, in, saved, mode);
}

Tensor detail::AttentionLayer::operator()(Context& ctx, const AttentionInputs& in,
                                          std::unique_ptr<Saved>* saved, const Mode& mode) const {
  return called(ctx, in, false, mode, saved).output;
}

AttentionOutput detail::AttentionLayer::with_scores(Context& ctx, const AttentionInputs& in,
                                                    std::unique_ptr<Saved>* saved,
                                                    const Mode& mode) {
  build_for(in);
  return std::as_const(*this).with_scores(ctx, in, saved, mode);
}

AttentionOutput detail::AttentionLayer::with_scores(Context& ctx, const AttentionInputs& in,
                                                    std::unique_ptr<Saved>* saved,
                                                    const Mode& mode) const {
  return called(ctx, in, true, mode, saved);
}

Tensor detail::AttentionLayer::typed_call(Context& ctx, const LayerInput& x,
                                          std::unique_ptr<Saved>* saved) const {
  return called(ctx, {.query = x}, false, {}, saved).output;
}

}  // namespace grouphead
