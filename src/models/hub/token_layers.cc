// keras_hub.layers.TokenAndPositionEmbedding and MaskedLMHead: tokens into a model and out of it.

#include "grouphead/layers/serialization.h"
#include "models/hub/hub_layers.h"
#include "models/hub/parts.h"
#include "models/hub/positions.h"
#include "models/transformer.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/linear.h"
#include "ops/strided.h"

namespace grouphead::models::hub {
namespace {

/// The sum of a token's and a position's row. Source: keras_hub.layers.TokenAndPositionEmbedding.
class TokenAndPositionEmbedding final : public graph::Composite {
 public:
  explicit TokenAndPositionEmbedding(const TokenAndPositionConfig& config)
      : Composite(config.name, config.dtype, config.activity_regularizer), config_(config) {
    require_size(name(), "vocabulary_size", config.vocabulary_size);
    require_size(name(), "sequence_length", config.sequence_length);
    require_size(name(), "embedding_dim", config.embedding_dim);
    tokens_ =
        reversible_embedding({.tokens = {.input_dim = config.vocabulary_size,
                                         .output_dim = config.embedding_dim,
                                         .embeddings_initializer = config.embeddings_initializer,
                                         .mask_zero = config.mask_zero,
                                         .name = "token_embedding",
                                         .dtype = policy()},
                              .tie_weights = config.tie_weights});
  }
  const std::shared_ptr<Layer>& tokens() const noexcept { return tokens_; }

  std::string_view class_name() const override { return "TokenAndPositionEmbedding"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.token_and_position_embedding";
  }
  ConfigValue get_config() const override {
    ConfigValue config = Layer::get_config();
    config.set("vocabulary_size", config_.vocabulary_size);
    config.set("sequence_length", config_.sequence_length);
    config.set("embedding_dim", config_.embedding_dim);
    config.set("embeddings_initializer", config_.embeddings_initializer.config());
    config.set("tie_weights", config_.tie_weights);
    config.set("mask_zero", config_.mask_zero);
    return config;
  }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"inputs", "positions"};
    return kNames;
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    return {nn::with_appended_axis(inputs[0], config_.embedding_dim)};
  }
  // Its mask is made of the tokens.
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    std::vector<Value> out = Composite::forward(ctx, in, mode, saved);
    if (config_.mask_zero) {
      Tensor mask = ctx.tensor(in[0].tensor.shape(), Dtype::boolean);
      ops::cast(ctx, in[0].tensor, mask);
      out[0].mask = std::move(mask);
    }
    return out;
  }

 protected:
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }

 private:
  std::span<const std::string_view> keyword_names() const override {
    static constexpr std::string_view kKeywords[] = {"start_index"};
    return kKeywords;
  }
  bool passes_mask() const override { return false; }
  std::vector<SubLayer> make_parts(std::span<const Shape> /*inputs*/) override {
    ConfigValue positions;
    positions.set("name", "position_embedding");
    positions.set("dtype", policy().name());
    positions.set("sequence_length", config_.sequence_length);
    positions.set("initializer", config_.embeddings_initializer.config());
    return {{"token_embedding", tokens_},
            {"position_embedding", nn::make_position_embedding(positions)}};
  }
  std::vector<Symbol> connect_parts(const Call& call) const override {
    const Symbol embedded = connect(part("token_embedding"), call.operands[0]);
    const ConfigValue& start = call.keywords["start_index"];
    const Symbol positions =
        connect(part("position_embedding"), {embedded, call[1]},
                {{"start_index", start.is_null() ? ConfigValue(Index{0}) : start}});
    return {sum(embedded, positions, "sum", policy())};
  }

  TokenAndPositionConfig config_;
  std::shared_ptr<Layer> tokens_;
};

struct GatherSaved final : Saved {
  Tensor rows;
};

/// Rows of x [B, T, M] at positions [B, P]: [B, P, M]. Negative positions count from the end.
class GatherPositions final : public Layer {
 public:
  explicit GatherPositions(const DtypePolicy& policy) : Layer("gather_positions", policy) {}
  std::string_view class_name() const override { return "GatherPositions"; }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"x", "positions"};
    return kNames;
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    return {nn::with_appended_axis(inputs[1], inputs[0].back())};
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* saved) const override {
    const Tensor& x = in[0].tensor;
    core::require_shape(name(), "mask_positions", in[1].tensor.shape(), {x.dim(0), -1});
    auto keep = std::make_unique<GatherSaved>();
    keep->rows = rows(ctx, in[1].tensor, x.dim(1));
    Tensor y = ctx.tensor(nn::with_appended_axis(in[1].tensor.shape(), x.dim(2)), dtype());
    for (Index i = 0; i < keep->rows.size(); ++i) {
      const Index row = keep->rows.data<std::int64_t>()[i];
      copy(flat(x.view()).slice(0, row, row + 1), flat(y.view()).slice(0, i, i + 1));
    }
    if (saved != nullptr) *saved = std::move(keep);
    return {Value{std::move(y), {}}};
  }
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& /*grads*/) const override {
    const auto& kept = nn::saved_as<GatherSaved>(name(), saved);
    if (!d_out[0].has_value() || !d_in[0].has_value()) return;
    for (Index i = 0; i < kept.rows.size(); ++i) {
      const Index row = kept.rows.data<std::int64_t>()[i];
      const View target = flat(d_in[0]).slice(0, row, row + 1);
      ops::add(ctx, target, flat(d_out[0]).slice(0, i, i + 1), target);
    }
  }
  void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}

 private:
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {}
  template <class V>
  static V flat(const V& x) {
    return x.reshaped({x.dim(0) * x.dim(1), x.dim(2)});
  }
  Tensor rows(Context& ctx, const Tensor& positions, Index length) const {
    Tensor numbers = ctx.tensor(positions.shape(), Dtype::i64);
    ops::cast(ctx, positions, numbers);
    for (Index i = 0; i < numbers.size(); ++i) {
      std::int64_t& place = numbers.data<std::int64_t>()[i];
      if (place < -length || place >= length) {
        core::throw_shape_error(name(), "mask_positions",
                                "positions below " + std::to_string(length), std::to_string(place));
      }
      place += (place < 0 ? length : 0) + i / positions.dim(1) * length;
    }
    return numbers;
  }
};

struct OutputSaved final : Saved {
  Tensor x;
  Tensor pre_activation;
};

/// activation(x [kernel] + bias). Its variables are MaskedLMHead's own.
class OutputBias final : public Layer {
 public:
  OutputBias(const MaskedLmHeadConfig& config, Index width)
      : Layer("output", config.dtype), config_(config), width_(width) {}
  std::string_view class_name() const override { return "OutputBias"; }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    return {nn::with_last_axis(inputs[0], config_.vocabulary_size)};
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* saved) const override {
    const Tensor& x = in[0].tensor;
    Tensor y = ctx.tensor(nn::with_last_axis(x.shape(), config_.vocabulary_size), dtype());
    if (kernel_) {
      ops::linear_forward(ctx, x, kernel_->numbers(), kernel_->packed(), {}, ops::Epilogue::none,
                          y);
      ops::convert_rounded(y, policy().compute(), y);
      ops::binary_forward(ctx, ops::Binary::add, y, bias_->numbers(), y);
    } else {
      ops::binary_forward(ctx, ops::Binary::add, x, bias_->numbers(), y);
    }
    if (saved != nullptr) {
      auto keep = std::make_unique<OutputSaved>();
      keep->x = x;
      if (config_.activation.kind != Activation::linear) keep->pre_activation = nn::copied(ctx, y);
      *saved = std::move(keep);
    }
    if (config_.activation.kind != Activation::linear) {
      ops::activation_forward(ctx, config_.activation.kind, y, y);
    }
    return {Value{std::move(y), {}}};
  }
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override {
    const auto& kept = nn::saved_as<OutputSaved>(name(), saved);
    if (!d_out[0].has_value()) return;
    Tensor d_pre = nn::copied(ctx, d_out[0]);
    if (kept.pre_activation.has_value()) {
      ops::activation_backward(ctx, config_.activation.kind, kept.pre_activation, d_out[0], d_pre);
    }
    const View d_kernel = kernel_ ? grads.of(*kernel_) : View();
    ops::linear_backward_weights(ctx, kept.x, d_pre, d_kernel, grads.of(*bias_));
    if (!d_in[0].has_value()) return;
    if (kernel_) {
      ops::linear_backward_input(ctx, d_pre, kernel_->numbers(), kernel_->packed(), ops::Write::add,
                                 d_in[0]);
    } else {
      ops::add(ctx, d_in[0], d_pre, d_in[0]);
    }
  }
  void append_parameters(const std::string& prefix, ParameterList& out) override {
    if (kernel_) out.push_back({prefix + "output_kernel", kernel_.get()});
    if (bias_) out.push_back({prefix + "output_bias", bias_.get()});
  }

 protected:
  Tensor leaving(Context& ctx, Tensor tensor) const override {
    if (config_.has_stored_logits && tensor.dtype() == policy().variable()) return tensor;
    return Layer::leaving(ctx, std::move(tensor));
  }

 private:
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& random) override {
    // In a task KerasHub does not cast these two.
    const DtypePolicy own = config_.has_stored_logits ? DtypePolicy(policy().variable()) : policy();
    const auto make = [&](const char* variable, const Shape& shape, const Initializer& start) {
      auto made = std::make_unique<Parameter>(variable, shape, own, ParameterOptions{trainable()});
      nn::initialize(*made, start, fans_of(shape), random);
      return made;
    };
    if (!config_.token_embedding) {
      kernel_ =
          make("output_kernel", {width_, config_.vocabulary_size}, config_.kernel_initializer);
    }
    bias_ = make("output_bias", {config_.vocabulary_size}, config_.bias_initializer);
  }

  MaskedLmHeadConfig config_;
  Index width_;
  std::unique_ptr<Parameter> kernel_;
  std::unique_ptr<Parameter> bias_;
};

/// Source: keras_hub.layers.MaskedLMHead.
class MaskedLmHead final : public graph::Composite {
 public:
  explicit MaskedLmHead(const MaskedLmHeadConfig& config)
      : Composite(config.name, config.dtype, config.activity_regularizer), config_(config) {
    require_size(name(), "vocabulary_size", config.vocabulary_size);
  }
  std::string_view class_name() const override { return "MaskedLMHead"; }
  std::shared_ptr<Layer> shared_layer() const override { return config_.token_embedding; }
  std::string_view shared_key() const override { return "token_embedding"; }
  void set_shared_layer(std::shared_ptr<Layer> layer) override {
    config_.token_embedding = std::move(layer);
  }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.masked_lm_head";
  }
  ConfigValue get_config() const override {
    ConfigValue config = Layer::get_config();
    config.set("vocabulary_size", config_.vocabulary_size);
    config.set("token_embedding",
               config_.token_embedding ? layer_to_config(*config_.token_embedding) : ConfigValue());
    config.set("intermediate_activation", config_.intermediate_activation.config);
    config.set("activation", config_.activation.config.is_null() ? ConfigValue("linear")
                                                                 : config_.activation.config);
    config.set("layer_norm_epsilon", config_.layer_norm_epsilon);
    config.set("kernel_initializer", config_.kernel_initializer.config());
    config.set("bias_initializer", config_.bias_initializer.config());
    return config;
  }
  std::span<const std::string_view> input_names() const override {
    static constexpr std::string_view kNames[] = {"inputs", "mask_positions"};
    return kNames;
  }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    nn::require_count(name(), "number of inputs", inputs.size(), 2, 2);
    core::require_shape(name(), "inputs", inputs[0], {-1, -1, -1});
    core::require_shape(name(), "mask_positions", inputs[1], {-1, -1});
    return {nn::with_appended_axis(inputs[1], config_.vocabulary_size)};
  }

 protected:
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }
  // In the type that the last part gives.
  Tensor leaving(Context& /*ctx*/, Tensor tensor) const override { return tensor; }

 private:
  bool passes_mask() const override { return false; }
  std::vector<SubLayer> make_parts(std::span<const Shape> inputs) override {
    output_shapes(inputs, nullptr);
    const Index given = nn::built_width(name(), inputs.first(1));
    const Index width = config_.token_embedding ? config_.embedding_dim : given;
    std::vector<SubLayer> parts{{"", std::make_shared<OutputBias>(config_, width)}};
    if (config_.token_embedding) parts.push_back({"token_embedding", config_.token_embedding});
    parts.push_back({"_intermediate_dense", std::make_shared<Dense>(DenseConfig{
                                                .units = width,
                                                .activation = config_.intermediate_activation.kind,
                                                .kernel_initializer = config_.kernel_initializer,
                                                .bias_initializer = config_.bias_initializer,
                                                .name = "intermediate_dense",
                                                .dtype = policy()})});
    parts.push_back(
        {"_intermediate_layer_norm", std::make_shared<LayerNormalization>(LayerNormalizationConfig{
                                         .epsilon = config_.layer_norm_epsilon,
                                         .name = "intermediate_layer_norm",
                                         .dtype = policy()})});
    return parts;
  }
  std::vector<Symbol> connect_parts(const Call& call) const override {
    Symbol h = connect(std::make_shared<GatherPositions>(policy()),
                       {call.operands.at(0), call.operands.at(1)});
    h = connect(part("intermediate_dense"), h);
    h = connect(part("intermediate_layer_norm"), h);
    if (config_.token_embedding) {
      h = connect(config_.token_embedding, h, {{"reverse", ConfigValue(true)}});
    }
    return {connect(part("output"), h)};
  }

  MaskedLmHeadConfig config_;
};

}  // namespace

std::shared_ptr<Layer> token_and_position_embedding(const TokenAndPositionConfig& config,
                                                    std::shared_ptr<Layer>* tokens) {
  auto made = std::make_shared<TokenAndPositionEmbedding>(config);
  if (tokens != nullptr) *tokens = made->tokens();
  return made;
}

std::shared_ptr<Layer> masked_lm_head(const MaskedLmHeadConfig& config) {
  return std::make_shared<MaskedLmHead>(config);
}

}  // namespace grouphead::models::hub

namespace grouphead {

std::shared_ptr<Layer> nn::make_token_and_position_embedding(const ConfigValue& given) {
  nn::ConfigReader reader("TokenAndPositionEmbedding", given);
  models::hub::TokenAndPositionConfig config;
  nn::read_base(reader, config);
  config.vocabulary_size = reader.integer("vocabulary_size", 0);
  config.sequence_length = reader.integer("sequence_length", 0);
  config.embedding_dim = reader.integer("embedding_dim", 0);
  config.tie_weights = reader.boolean("tie_weights", true);
  config.embeddings_initializer =
      reader.choice("embeddings_initializer", config.embeddings_initializer);
  config.mask_zero = reader.boolean("mask_zero", false);
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::TokenAndPositionEmbedding>(config),
                            given);
}

std::shared_ptr<Layer> nn::make_masked_lm_head(const ConfigValue& given) {
  nn::ConfigReader reader("MaskedLMHead", given);
  models::hub::MaskedLmHeadConfig config;
  nn::read_base(reader, config);
  if (!reader.value("vocabulary_size").is_null()) {
    config.vocabulary_size = reader.integer("vocabulary_size", 0);
  }
  if (const ConfigValue& tokens = reader.value("token_embedding"); !tokens.is_null()) {
    config.token_embedding = layer_from_config(tokens);
    if (config.token_embedding->class_name() != "ReversibleEmbedding") {
      core::throw_config_error("masked_lm_head", "token_embedding", "a ReversibleEmbedding",
                               config.token_embedding->class_name());
    }
    config.embedding_dim = tokens["config"]["output_dim"].as_integer("output_dim");
    config.vocabulary_size = tokens["config"]["input_dim"].as_integer("input_dim");
  }
  config.intermediate_activation =
      activation_from(reader, "intermediate_activation", config.intermediate_activation);
  config.activation = activation_from(reader, "activation", config.activation);
  config.layer_norm_epsilon = reader.number("layer_norm_epsilon", config.layer_norm_epsilon);
  config.kernel_initializer = reader.choice("kernel_initializer", config.kernel_initializer);
  config.bias_initializer = reader.choice("bias_initializer", config.bias_initializer);
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::MaskedLmHead>(config), given);
}

}  // namespace grouphead
