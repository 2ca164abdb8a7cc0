// Attention between the projections of KerasHub's decoders, and their normalization.

#include <numeric>

#include "core/number_text.h"
#include "core/seed.h"
#include "models/hub/hub_layers.h"
#include "nn/attention/masks.h"
#include "nn/decoding.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "ops/arithmetic.h"
#include "ops/attention.h"
#include "ops/convert.h"
#include "ops/rms_norm.h"
#include "ops/rowwise.h"

namespace grouphead::models::hub {
namespace {

struct HeadsSaved final : Saved {
  Tensor q, k, v;   // rotated
  Tensor key_mask;  // bool, or absent
  AttentionOptions options;
  ops::RopeTable table;
  ops::GridAttention attention;
  Tensor out;
  Tensor statistics;
};

class HeadAttention final : public Layer {
 public:
  explicit HeadAttention(const HeadAttentionConfig& config)
      : Layer(config.name, config.dtype), config_(config) {
    if (config.rotary) check(name(), *config.rotary);
    if (config.window && *config.window < 1) {
      core::throw_config_error(name(), "sliding_window", "null or 1 or more",
                               std::to_string(*config.window));
    }
    if (config.soft_cap && !(*config.soft_cap > 0)) {
      core::throw_config_error(name(), "attention_logit_soft_cap", "null or a positive number",
                               core::number_text(*config.soft_cap));
    }
    if (!(config.dropout >= 0 && config.dropout <= 1)) {
      core::throw_config_error(name(), "dropout", "0 to 1", core::number_text(config.dropout));
    }
  }
  std::string_view class_name() const override { return "HeadAttention"; }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"query", "key", "value", "padding_mask"};
    return kNames;
  }

  bool can_decode(std::span<const Shape> /*inputs*/,
                  const CallArguments* /*arguments*/) const override {
    return true;
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    nn::require_count(name(), "number of inputs", in.size(), 3, 4);
    auto keep = std::make_unique<HeadsSaved>();
    keep->q = in[0].tensor;
    keep->k = in[1].tensor;
    keep->v = in[2].tensor;
    rotate(ctx, *keep, mode.first_position);
    if (mode.decoding != nullptr) return {step(ctx, *keep, in, mode)};
    if (in.size() > 3) {
      keep->key_mask = nn::bool_mask(ctx, name(), "padding_mask", in[3].tensor);
      if (keep->key_mask.has_value()) {
        core::require_dense(name(), "padding_mask", keep->key_mask,
                            {keep->k.dim(0), keep->k.dim(1)}, Dtype::boolean);
      }
    }
    set_options(mode, *keep);
    const Shape& q = keep->q.shape();
    keep->out = ctx.tensor({q[0], q[1], q[2], keep->v.dim(3)}, dtype());
    attend(ctx, *keep, saved != nullptr);
    std::vector<Value> made{Value{keep->out, {}}};
    if (saved != nullptr) *saved = std::move(keep);
    return made;
  }

  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    auto& kept = nn::saved_as<HeadsSaved>(name(), saved);
    nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
    if (!d_out[0].has_value()) return;
    Tensor d_q = ctx.tensor(kept.q.shape(), dtype());
    Tensor d_k = ctx.tensor(kept.k.shape(), dtype());
    Tensor d_v = ctx.tensor(kept.v.shape(), dtype());
    const AttentionGradients gradients{.d_out = d_out[0], .d_q = d_q, .d_k = d_k, .d_v = d_v};
    kept.attention.backward(ctx, kept.q, kept.k, kept.v, kept.options, kept.out, kept.statistics,
                            gradients);
    if (config_.rotary) {
      ops::rope(ctx, kept.table, 0, ops::Direction::backward, d_q);
      ops::rope(ctx, kept.table, 0, ops::Direction::backward, d_k);
    }
    const Tensor* parts[] = {&d_q, &d_k, &d_v};
    for (std::size_t i = 0; i < 3; ++i) {
      if (d_in[i].has_value()) ops::add(ctx, d_in[i], *parts[i], d_in[i]);
    }
  }
  void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override {
    nn::require_count(name(), "number of inputs", inputs.size(), 3, 4);
    if (config_.dropout > 0) seeds_ = std::make_unique<SeedGenerator>(core::draw_seed(random));
  }

  /// A Decoder's.
  Value step(Context& ctx, HeadsSaved& keep, std::span<const Value> in, const Mode& mode) const {
    if (in.size() > 3) nn::require_no_padding(name(), "padding_mask", in[3].tensor);
    if (!config_.causal) {
      core::throw_config_error(name(), "attention", "causal while a Decoder runs", "another");
    }
    set_options(mode, keep);
    KvCache& cache = mode.decoding->next_cache(ctx, {.num_key_value_heads = keep.k.dim(2),
                                                     .head_dim = keep.k.dim(3),
                                                     .dtype = dtype(),
                                                     .value_dim = keep.v.dim(3)});
    const Shape& q = keep.q.shape();
    Tensor out = ctx.tensor({q[0], q[1], q[2], keep.v.dim(3)}, dtype());
    decode(ctx, keep.q, keep.k, keep.v, cache, 0, keep.options, out);
    return {std::move(out), {}};
  }

  void rotate(Context& ctx, HeadsSaved& keep, Index first_position) const {
    if (!config_.rotary) return;
    std::vector<Index> positions(static_cast<std::size_t>(std::max(keep.q.dim(1), keep.k.dim(1))));
    std::iota(positions.begin(), positions.end(), first_position);
    keep.table = table_of(name(), *config_.rotary, positions, keep.q.dim(3), policy());
    for (Tensor* x : {&keep.q, &keep.k}) {
      *x = nn::copied(ctx, *x);
      ops::rope(ctx, keep.table, 0, ops::Direction::forward, *x);
      if (policy().compute() != dtype()) ops::convert_rounded(*x, policy().compute(), *x);
    }
  }

  void set_options(const Mode& mode, HeadsSaved& keep) const {
    AttentionOptions& options = keep.options;
    options.causal = config_.causal;
    options.softcap = config_.soft_cap;
    if (config_.window) {
      options.window_left = *config_.window - 1;
      options.window_right = *config_.window - 1;
    }
    options.key_mask = std::as_const(keep.key_mask).view();
    // The mean over no keys is nothing.
    options.masked_rows = keep.v.dim(1) == 0 ? MaskedRows::zeros : config_.masked_rows;
    if (!mode.training || config_.dropout == 0) return;
    options.dropout_rate = config_.dropout;
    if (config_.dropout == 1) return;
    options.draw = mode.random != nullptr ? RandomDraw{RandomAlgorithm::philox, mode.random->next()}
                                          : RandomDraw{RandomAlgorithm::threefry, seeds_->next()};
  }

  void attend(Context& ctx, HeadsSaved& keep, bool is_kept) const {
    const Shape& q = keep.q.shape();
    if (is_kept) keep.statistics = ctx.tensor({2, q[0], q[2], q[1]}, dtype());
    keep.attention.forward(ctx, policy().compute(), keep.q, keep.k, keep.v, keep.options, keep.out,
                           keep.statistics);
  }

  HeadAttentionConfig config_;
  std::unique_ptr<SeedGenerator> seeds_;  // null without dropout
};

struct NormSaved final : Saved {
  Tensor rows;    // [R, M]
  Tensor center;  // [R], zeros
  Tensor size;    // [R]
  Tensor gains;   // [M]
};

class ScaleNorm final : public Layer {
 public:
  explicit ScaleNorm(const ScaleNormConfig& config)
      : Layer(config.name, config.dtype), config_(config) {
    if (!(config.epsilon >= 0)) {
      core::throw_config_error(name(), "layer_norm_epsilon", "0 or more",
                               core::number_text(config.epsilon));
    }
  }
  std::string_view class_name() const override { return config_.class_name; }
  bool can_decode(std::span<const Shape> /*inputs*/,
                  const CallArguments* /*arguments*/) const override {
    return true;
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* saved) const override {
    nn::require_built(name(), scale_ != nullptr);
    nn::require_count(name(), "number of inputs", in.size(), 1, 1);
    const Index width = scale_->shape().size();
    nn::require_last_axis(name(), in[0].tensor, width, dtype());
    auto keep = std::make_unique<NormSaved>();
    const Index rows = in[0].tensor.size() / width;
    keep->rows = in[0].tensor.reshaped({rows, width});
    keep->center = ctx.tensor({rows}, dtype());
    keep->size = ctx.tensor({rows}, dtype());
    keep->gains = gains(ctx);
    Tensor y = ctx.tensor(in[0].tensor.shape(), dtype());
    ops::rms_norm_forward(ctx, keep->rows, keep->gains, ops::MeasuredAbout::zero, config_.epsilon,
                          y.view().reshaped({rows, width}), keep->center, keep->size);
    if (saved != nullptr) *saved = std::move(keep);
    return {Value{std::move(y), {}}};
  }
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override {
    const auto& kept = nn::saved_as<NormSaved>(name(), saved);
    nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
    nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
    if (!d_out[0].has_value()) return;
    const Shape& rows = kept.rows.shape();
    const View d_x = d_in[0].has_value() ? d_in[0].reshaped(rows) : View();
    ops::rms_norm_backward(ctx, kept.rows, kept.gains, kept.center, kept.size,
                           d_out[0].reshaped(rows), ops::Write::add, d_x, grads.of(*scale_));
  }
  void append_parameters(const std::string& prefix, ParameterList& out) override {
    if (scale_) out.push_back({prefix + "scale", scale_.get()});
  }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override {
    nn::require_unbuilt(name(), scale_ != nullptr);
    const Shape shape{nn::built_width(name(), inputs)};
    scale_ = std::make_unique<Parameter>("scale", shape, policy(), ParameterOptions{trainable()});
    nn::initialize(*scale_, config_.from_one ? initializers::zeros() : initializers::ones(),
                   fans_of(shape), random);
  }
  Tensor gains(Context& ctx) const {
    Tensor made = nn::copied(ctx, scale_->numbers());
    if (!config_.from_one) return made;
    ops::with_float_type(name(), "scale", made, [&](auto zero) {
      auto* gain = made.data<decltype(zero)>();
      for (Index i = 0; i < made.size(); ++i) gain[i] += 1;
    });
    return made;
  }

  ScaleNormConfig config_;
  std::unique_ptr<Parameter> scale_;
};

}  // namespace

std::shared_ptr<Layer> head_attention(const HeadAttentionConfig& config) {
  return std::make_shared<HeadAttention>(config);
}

std::shared_ptr<Layer> scale_norm(const ScaleNormConfig& config) {
  return std::make_shared<ScaleNorm>(config);
}

}  // namespace grouphead::models::hub
