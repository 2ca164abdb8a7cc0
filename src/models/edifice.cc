#include "core/number_text.h"
#include "models/transformer.h"
#include "models/transformer_config.h"
#include "nn/attention/config.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "ops/arithmetic.h"
#include "ops/pooling.h"

namespace grouphead::edifice {
namespace {

constexpr std::string_view kLayer = "edifice_gqa";
constexpr Index kCountedEmbedDim = 287;  // Edifice's default where it only counts
constexpr double kDefaultDropout = 0.1;
constexpr double kNormEpsilon = 1e-5;
constexpr std::string_view kOutputModes[] = {"last_timestep", "all", "mean_pool"};

struct GqaSaved final : Saved {
  std::unique_ptr<Saved> input_projection;
  std::unique_ptr<Saved> stack;
  Shape sequence;  // [B, T, H]
};

std::optional<RopeConfig> position_rule(const GqaOptions& options) {
  if (options.position) return options.position;
  if (options.yarn) {
    return RopeConfig::edifice_yarn(options.yarn_scale, options.yarn_original_max_position);
  }
  if (options.rope) return RopeConfig{};
  return {};
}

void check_options(const GqaOptions& options) {
  nn::require_float(kLayer, options.dtype);
  check_transformer_config(kLayer, stack_config(options));
  core::require_positive(kLayer, "window_size", options.window_size);
  core::require_positive(kLayer, "seq_len", options.seq_len.value_or(1));
  core::require_positive(kLayer, "yarn_original_max_position", options.yarn_original_max_position);
  if (!(options.yarn_scale >= 1)) {
    core::throw_config_error(kLayer, "yarn_scale", "1 or more",
                             core::number_text(options.yarn_scale));
  }
}

GqaOptions checked(const GqaOptions& options) {
  core::require_positive(kLayer, "embed_dim", options.embed_dim);
  check_options(options);
  return options;
}

OutputMode output_mode_from(const std::string& name) {
  std::string known;
  for (std::size_t i = 0; i < std::size(kOutputModes); ++i) {
    if (kOutputModes[i] == name) return static_cast<OutputMode>(i);
    known += (known.empty() ? "" : ", ") + std::string(kOutputModes[i]);
  }
  core::throw_config_error(kLayer, "output_mode", known, name);
}

template <class T>
ConfigValue or_null(const std::optional<T>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}

GqaOptions options_from(const ConfigValue& given) {
  nn::ConfigReader reader("EdificeGqa", given);
  GqaOptions options;
  options.name = reader.name(options.name);
  reader.trainable();
  options.embed_dim = reader.integer("embed_dim", options.embed_dim);
  options.hidden_size = reader.integer("hidden_size", options.hidden_size);
  options.num_heads = reader.integer("num_heads", options.num_heads);
  options.num_key_value_heads = reader.integer("num_key_value_heads", options.num_key_value_heads);
  options.num_layers = reader.integer("num_layers", options.num_layers);
  if (!reader.value("dropout").is_null()) options.dropout = reader.number("dropout", 0);
  options.rope = reader.boolean("rope", options.rope);
  options.window_size = reader.integer("window_size", options.window_size);
  if (!reader.value("seq_len").is_null()) options.seq_len = reader.integer("seq_len", 0);
  options.yarn = reader.boolean("yarn", options.yarn);
  options.yarn_scale = reader.number("yarn_scale", options.yarn_scale);
  options.yarn_original_max_position =
      reader.integer("yarn_original_max_position", options.yarn_original_max_position);
  options.output_mode = output_mode_from(reader.string("output_mode", kOutputModes[0]));
  options.final_norm = reader.boolean("final_norm", options.final_norm);
  options.position = nn::rope_from_config(reader.value("position"));
  options.edifice_gains = reader.boolean("edifice_gains", options.edifice_gains);
  options.dtype = dtype_from(kLayer, reader);
  options.seed = seed_from(reader);
  reader.finish();
  return options;
}

Index counted_embed_dim(const GqaOptions& options) {
  return options.embed_dim > 0 ? options.embed_dim : kCountedEmbedDim;
}

}  // namespace

TransformerConfig stack_config(const GqaOptions& options) {
  return {.hidden_size = options.hidden_size,
          .num_heads = options.num_heads,
          .num_key_value_heads = options.num_key_value_heads,
          .num_layers = options.num_layers,
          .dropout = options.dropout.value_or(kDefaultDropout),
          .inter_block_dropout = options.dropout.value_or(0.0),
          .norm_epsilon = kNormEpsilon,
          .final_norm = options.final_norm,
          .random_norm_gains = options.edifice_gains,
          .rope = position_rule(options),
          .dtype = options.dtype};
}

Gqa::Gqa(const GqaOptions& options)
    : Layer(options.name, options.dtype),
      options_(checked(options)),
      stack_(std::make_unique<TransformerStack>(stack_config(options))) {
  if (options.embed_dim != options.hidden_size) {
    input_projection_ = std::make_unique<Dense>(DenseConfig{
        .units = options.hidden_size, .name = "input_projection", .dtype = options.dtype});
  }
}

Gqa::~Gqa() = default;

ConfigValue Gqa::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("embed_dim", options_.embed_dim);
  config.set("hidden_size", options_.hidden_size);
  config.set("num_heads", options_.num_heads);
  config.set("num_key_value_heads", options_.num_key_value_heads);
  config.set("num_layers", options_.num_layers);
  config.set("dropout", or_null(options_.dropout));
  config.set("rope", options_.rope);
  config.set("window_size", options_.window_size);
  config.set("seq_len", or_null(options_.seq_len));
  config.set("yarn", options_.yarn);
  config.set("yarn_scale", options_.yarn_scale);
  config.set("yarn_original_max_position", options_.yarn_original_max_position);
  config.set("output_mode", kOutputModes[static_cast<std::size_t>(options_.output_mode)]);
  config.set("final_norm", options_.final_norm);
  config.set("position", nn::rope_config(options_.position));
  config.set("edifice_gains", options_.edifice_gains);
  config.set("seed", nn::seed_config(options_.seed));
  return config;
}

std::vector<Shape> Gqa::output_shapes(std::span<const Shape> inputs,
                                      const CallArguments* /*arguments*/) const {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  core::require_shape(kLayer, "input", inputs[0], {-1, -1, options_.embed_dim});
  if (options_.output_mode == OutputMode::all) {
    return {nn::with_last_axis(inputs[0], options_.hidden_size)};
  }
  return {Shape::partial({inputs[0][0], options_.hidden_size})};
}

void Gqa::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  core::require_shape(kLayer, "input", inputs[0], {-1, -1, options_.embed_dim});
  if (input_projection_) input_projection_->build(inputs, random);
  const Shape hidden = nn::with_last_axis(inputs[0], options_.hidden_size);
  stack_->build(std::span(&hidden, 1), random);
}

Tensor Gqa::run(Context& ctx, const Tensor& x, const Mode& mode,
                std::unique_ptr<Saved>* saved) const {
  core::require_dense(kLayer, "input", x, {-1, -1, options_.embed_dim}, dtype());
  std::unique_ptr<GqaSaved> keep;
  if (saved != nullptr) keep = std::make_unique<GqaSaved>();
  Tensor h = x;
  if (input_projection_) h = (*input_projection_)(ctx, x, keep ? &keep->input_projection : nullptr);
  const Shape sequence = h.shape();
  const bool is_last = options_.output_mode == OutputMode::last_timestep;
  h = stack_->run(ctx, h,
                  {.mode = mode,
                   .positions = is_last ? Positions::last : Positions::all,
                   .saved = keep ? &keep->stack : nullptr});
  if (keep) {
    keep->sequence = sequence;
    *saved = std::move(keep);
  }
  const Shape pooled{sequence[0], options_.hidden_size};
  if (is_last) return h.reshaped(pooled);
  if (options_.output_mode == OutputMode::all) return h;
  Tensor y = ctx.tensor(pooled, dtype());
  ops::mean_over_time_forward(ctx, h, y);
  return y;
}

void Gqa::build_for_call(std::span<const Shape> inputs) {
  RandomStream random(options_.seed);
  Layer::build(inputs, random);
}

Tensor Gqa::typed_call(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) const {
  return run(ctx, x.tensor(ctx), {}, saved);
}

std::vector<Value> Gqa::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  nn::require_no_mask(kLayer, "input", in[0]);
  return {Value{run(ctx, in[0].tensor, mode, saved), {}}};
}

void Gqa::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                   std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<GqaSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  Tensor d;
  if (options_.output_mode == OutputMode::mean_pool) {
    d = ctx.tensor(kept.sequence, dtype());
    ops::mean_over_time_backward(ctx, d_out[0], d);
  } else {
    d = nn::copied(ctx, d_out[0]);
    if (d.rank() == 2) d = d.reshaped({d.dim(0), 1, d.dim(1)});
  }
  d = stack_->run_backward(ctx, *kept.stack, std::move(d), grads);
  if (input_projection_) {
    const ConstView d_hidden = d;
    input_projection_->backward(ctx, *kept.input_projection, std::span(&d_hidden, 1), d_in, grads);
  } else if (d_in[0].has_value()) {
    ops::add(ctx, d_in[0], d, d_in[0]);
  }
}

void Gqa::append_parameters(const std::string& prefix, ParameterList& out) {
  if (input_projection_) input_projection_->append_parameters(prefix + "input_projection/", out);
  stack_->append_parameters(prefix, out);
}

KvCache Gqa::make_cache(Context& ctx, Index batch, Index capacity,
                        std::optional<Dtype> stored) const {
  return {ctx, cache_config(stack_config(options_), batch, capacity, stored)};
}

Tensor Gqa::step(Context& ctx, const Tensor& x, KvCache& cache) const {
  core::require_dense(kLayer, "input", x, {-1, -1, options_.embed_dim}, dtype());
  return stack_->run(ctx, input_projection_ ? (*input_projection_)(ctx, x) : x, {.cache = &cache});
}

std::vector<Tensor> Gqa::attention_scores(Context& ctx, const Tensor& x) const {
  core::require_dense(kLayer, "input", x, {-1, -1, options_.embed_dim}, dtype());
  std::vector<Tensor> scores;
  stack_->run(ctx, input_projection_ ? (*input_projection_)(ctx, x) : x, {.scores = &scores});
  return scores;
}

Parameter* Gqa::find(std::string_view name) {
  for (const NamedParameter& entry : parameters()) {
    if (edifice_name(entry.path) == name) return entry.parameter;
  }
  return nullptr;
}

std::unique_ptr<Gqa> build(const GqaOptions& options) {
  auto model = std::make_unique<Gqa>(options);
  RandomStream random(options.seed);
  const Shape x{1, options.seq_len.value_or(options.window_size), options.embed_dim};
  model->build(std::span(&x, 1), random);
  return model;
}

std::unique_ptr<GroupQueryAttention> build_gqa_attention(const GqaOptions& options,
                                                         const std::string& name) {
  check_options(options);
  auto layer = std::make_unique<GroupQueryAttention>(
      GroupQueryAttentionConfig{.head_dim = options.hidden_size / options.num_heads,
                                .num_query_heads = options.num_heads,
                                .num_key_value_heads = options.num_key_value_heads,
                                .rope = position_rule(options),
                                .causal = true,
                                .output_dim = options.hidden_size,
                                .name = name,
                                .dtype = options.dtype});
  RandomStream random(options.seed);
  const Shape x{1, 1, options.embed_dim > 0 ? options.embed_dim : options.hidden_size};
  layer->build(std::span(&x, 1), random);
  return layer;
}

std::string edifice_name(std::string_view path) {
  static constexpr std::pair<std::string_view, std::string_view> kProjections[] = {
      {"query", "q_proj"},
      {"key", "k_proj"},
      {"value", "v_proj"},
      {"attention_output", "out_proj"}};
  std::string name;
  while (true) {
    const std::size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (slash == std::string_view::npos) return name.append(name.empty() ? "" : ".").append(part);
    for (const auto& [ours, theirs] : kProjections) {
      if (part == ours) part = theirs;
    }
    name.append(name.empty() ? "" : "_").append(part);
    path.remove_prefix(slash + 1);
  }
}

Index output_size(const GqaOptions& options) noexcept { return options.hidden_size; }

Index param_count(const GqaOptions& options) {
  check_options(options);
  const Index e = counted_embed_dim(options);
  const Index h = options.hidden_size;
  const Index head_dim = h / options.num_heads;
  const Index q = options.num_heads * head_dim;
  const Index kv = options.num_key_value_heads * head_dim;
  const Index block = h * q + 2 * h * kv + q * h + 8 * h * h;
  return (e != h ? e * h : 0) + options.num_layers * block;
}

Index param_count_exact(const GqaOptions& options) {
  check_options(options);
  const Index h = options.hidden_size;
  const Index head_dim = h / options.num_heads;
  const Index q = options.num_heads * head_dim;
  const Index kv = options.num_key_value_heads * head_dim;
  const Index norms = 4 * h;
  const Index biases = q + 2 * kv + h + 5 * h;  // q, k, v, out; up and down
  return param_count(options) + (counted_embed_dim(options) != h ? h : 0) +
         options.num_layers * (biases + norms) + (options.final_norm ? 2 * h : 0);
}

GqaOptions recommended_defaults() { return {.dropout = kDefaultDropout}; }

}  // namespace grouphead::edifice

std::shared_ptr<grouphead::Layer> grouphead::nn::make_edifice_gqa(const ConfigValue& given) {
  return with_trainable(std::make_shared<edifice::Gqa>(edifice::options_from(given)), given);
}
