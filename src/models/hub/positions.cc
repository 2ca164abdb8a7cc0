#include "models/hub/positions.h"

#include <cmath>

#include "core/number_text.h"
#include "grouphead/layers/initializers.h"
#include "models/transformer.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"
#include "ops/embedding.h"
#include "ops/strided.h"

namespace grouphead::models::hub {
namespace {

constexpr std::string_view kStartIndex = "start_index";

// [.., T, M]: what stands before the last two axes. Positions [B, T] meet the axis before T.
struct Rows {
  explicit Rows(std::string_view layer, const Shape& x) {
    if (x.rank() < 2) core::throw_shape_error(layer, "inputs", "[..., T, M]", x.to_string());
    width = x.back();
    length = x[x.rank() - 2];
    batches = x.rank() > 2 ? x[x.rank() - 3] : 1;
    count = width == 0 ? 0 : x.size() / width;
  }
  Index width, length, batches, count;
};

}  // namespace

ConfigValue number_config(double number) {
  const auto whole = static_cast<Index>(std::clamp(number, -1e15, 1e15));
  return static_cast<double>(whole) == number ? ConfigValue(whole) : ConfigValue(number);
}

std::span<const std::string_view> PositionLayer::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs", "positions"};
  return kNames;
}

std::unique_ptr<CallArguments> PositionLayer::arguments_from_config(
    const ConfigValue& keywords) const {
  auto arguments = std::make_unique<PositionArguments>();
  if (keywords.is_null()) return arguments;
  nn::ConfigReader reader(name(), keywords);
  arguments->start_index = reader.integer(kStartIndex, 0);
  reader.finish();
  return arguments;
}

ConfigValue PositionLayer::arguments_config(const CallArguments* arguments) const {
  ConfigValue config = ConfigValue::Object{};
  if (start_index(arguments) != 0) config.set(kStartIndex, start_index(arguments));
  return config;
}

// Positions as an operand would have to be those of the whole text.
bool PositionLayer::can_decode(std::span<const Shape> inputs,
                               const CallArguments* /*arguments*/) const {
  return inputs[0].rank() == 3 && (inputs.size() < 2 || inputs[1].rank() == 0);
}

Index PositionLayer::start_index(const CallArguments* arguments) noexcept {
  const auto* own = dynamic_cast<const PositionArguments*>(arguments);
  return own == nullptr ? 0 : own->start_index;
}

PositionLayer::Numbers PositionLayer::numbers(std::span<const Value> in, Index batches,
                                              Index length, const Mode& mode) const {
  Numbers made{.length = length};
  if (in.size() < 2 || !in[1].tensor.has_value()) {
    const Index start = mode.first_position + start_index(mode.arguments);
    for (Index t = 0; t < length; ++t) made.values.push_back(start + t);
    return made;
  }
  const Tensor& given = in[1].tensor;
  const bool is_table = given.rank() == 2;
  const bool fits = (given.rank() == 1 || is_table) && given.shape().back() == length &&
                    (!is_table || given.dim(0) == 1 || given.dim(0) == batches);
  if (!fits || given.dtype() == Dtype::boolean || size_of(given.dtype()) < 4 ||
      given.dtype() == Dtype::f32 || given.dtype() == Dtype::f64) {
    core::throw_shape_error(
        name(), "positions",
        "integers [" + std::to_string(length) + "] or [" + std::to_string(batches) + ", " +
            std::to_string(length) + "]",
        std::string(grouphead::name_of(given.dtype())) + given.shape().to_string());
  }
  made.batches = is_table ? given.dim(0) : 1;
  for (Index i = 0; i < given.size(); ++i) {
    made.values.push_back(given.dtype() == Dtype::i64 ? given.data<std::int64_t>()[i]
                                                      : given.data<std::int32_t>()[i]);
  }
  return made;
}

namespace {

struct PositionSaved final : Saved {
  Tensor rows;  // of the table, i32
};

struct PositionEmbeddingConfig {
  Index sequence_length = 0;
  Initializer initializer = initializers::glorot_uniform();
  std::string name = "position_embedding";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// A learned table: row t of [.., T, M] is row start_index + t of the table [L, M].
/// Source: keras_hub.layers.PositionEmbedding.
class PositionEmbedding final : public PositionLayer {
 public:
  explicit PositionEmbedding(const PositionEmbeddingConfig& config)
      : PositionLayer(config.name, config.dtype, config.activity_regularizer), config_(config) {
    require_size(name(), "sequence_length", config.sequence_length);
  }
  std::string_view class_name() const override { return "PositionEmbedding"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.position_embedding";
  }
  ConfigValue get_config() const override {
    ConfigValue config = Layer::get_config();
    config.set("sequence_length", config_.sequence_length);
    config.set("initializer", config_.initializer.config());
    return config;
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    nn::require_built(name(), table_ != nullptr);
    nn::require_count(name(), "number of inputs", in.size(), 1, 2);
    const Shape& shape = in[0].tensor.shape();
    nn::require_last_axis(name(), shape, table_->shape().back());
    const Rows rows(name(), shape);
    const Tensor places = table_rows(ctx, rows, in, mode);
    Tensor y = ctx.tensor(shape, dtype());
    ops::embedding_forward(ctx, places, table_->numbers(),
                           y.view().reshaped({rows.count, rows.width}));
    if (saved != nullptr) {
      auto keep = std::make_unique<PositionSaved>();
      keep->rows = places;
      *saved = std::move(keep);
    }
    return {Value{std::move(y), {}}};
  }

  // Nothing comes back to the inputs, whose shape alone counts.
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                std::span<View> /*d_in*/, Grads& grads) const override {
    auto& kept = nn::saved_as<PositionSaved>(name(), saved);
    nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
    const View d_table = grads.of(*table_);
    if (!d_out[0].has_value() || !d_table.has_value()) return;
    ops::embedding_backward(ctx, kept.rows,
                            d_out[0].reshaped({kept.rows.size(), table_->shape().back()}), d_table);
  }

  void append_parameters(const std::string& prefix, ParameterList& out) override {
    if (table_) out.push_back({prefix + "embeddings", table_.get()});
  }

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override {
    nn::require_unbuilt(name(), table_ != nullptr);
    nn::require_count(name(), "number of inputs", inputs.size(), 1, 2);
    const Index width = nn::built_width(name(), inputs.first(1));
    table_ = std::make_unique<Parameter>("embeddings", Shape{config_.sequence_length, width},
                                         policy(), ParameterOptions{trainable()});
    nn::initialize(*table_, config_.initializer, fans_of(table_->shape()), random);
  }

  // Without positions Keras takes a slice, which it moves to where it fits.
  Tensor table_rows(Context& ctx, const Rows& rows, std::span<const Value> in,
                    const Mode& mode) const {
    const Index limit = config_.sequence_length;
    Numbers all = numbers(in, rows.batches, rows.length, mode);
    const bool is_slice = in.size() < 2 || !in[1].tensor.has_value();
    const Index end = mode.first_position + rows.length;
    if (is_slice && end > limit) {
      core::throw_shape_error(name(), "inputs", "at most " + std::to_string(limit) + " positions",
                              std::to_string(end));
    }
    Index shift = 0;
    if (is_slice && rows.length > 0) {
      const Index start = all.values[0] < 0 ? all.values[0] + limit : all.values[0];
      shift = std::clamp<Index>(start, 0, limit - rows.length) - all.values[0];
    }
    Tensor places = ctx.tensor({rows.count}, Dtype::i32);
    const auto period = static_cast<Index>(all.values.size());
    for (Index i = 0; i < rows.count; ++i) {
      const Index place = all.values[static_cast<std::size_t>(i % period)] + shift;
      places.data<std::int32_t>()[i] =
          static_cast<std::int32_t>(place < 0 || place >= limit ? -1 : place);
    }
    return places;
  }

  PositionEmbeddingConfig config_;
  std::unique_ptr<Parameter> table_;
};

struct SineConfig {
  double max_wavelength = 10000;
  std::string name = "sine_position_encoding";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Sines in the even and cosines in the odd features.
/// Source: keras_hub.layers.SinePositionEncoding.
class SinePositionEncoding final : public PositionLayer {
 public:
  explicit SinePositionEncoding(const SineConfig& config)
      : PositionLayer(config.name, config.dtype, config.activity_regularizer), config_(config) {
    if (!(config.max_wavelength > 0) || !std::isfinite(config.max_wavelength)) {
      core::throw_config_error(name(), "max_wavelength", "a positive number",
                               core::number_text(config.max_wavelength));
    }
  }
  std::string_view class_name() const override { return "SinePositionEncoding"; }
  std::string_view module() const override {
    return "keras_hub.src.layers.modeling.sine_position_encoding";
  }
  ConfigValue get_config() const override {
    ConfigValue config = Layer::get_config();
    config.set("max_wavelength", number_config(config_.max_wavelength));
    return config;
  }

  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override {
    nn::require_count(name(), "number of inputs", in.size(), 1, 2);
    const Rows rows(name(), in[0].tensor.shape());
    const Numbers all = numbers(in, rows.batches, rows.length, mode);
    Tensor table = ctx.tensor({all.batches, all.length, rows.width}, dtype());
    if (dtype() == Dtype::f64) {
      fill<double>(ctx, all, rows.width, table);
    } else {
      fill<float>(ctx, all, rows.width, table);
    }
    Tensor y = ctx.tensor(in[0].tensor.shape(), dtype());
    ops::copy_elements(ctx, ops::broadcast_to(name(), table, aligned(y.shape())),
                       y.view().reshaped(aligned(y.shape())));
    if (saved != nullptr) *saved = std::make_unique<PositionSaved>();
    return {Value{std::move(y), {}}};
  }

  void backward(Context& /*ctx*/, Saved& /*saved*/, std::span<const ConstView> /*d_out*/,
                std::span<View> /*d_in*/, Grads& /*grads*/) const override {}
  void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}

 private:
  // At least [B, T, M].
  static Shape aligned(const Shape& x) { return x.rank() == 2 ? Shape{1, x[0], x[1]} : x; }
  void create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) override {
    nn::require_count(name(), "number of inputs", inputs.size(), 1, 2);
  }

  // In the steps and the type in which Keras computes; `round` is to its type.
  template <class F>
  void fill(Context& ctx, const Numbers& all, Index width, Tensor& table) const {
    const Dtype grid = policy().compute();
    const auto round = [grid](F x) -> F {
      if (grid == Dtype::bf16) return static_cast<F>(to_float(to_bf16(static_cast<float>(x))));
      if (grid == Dtype::f16) return static_cast<F>(to_float(to_f16(static_cast<float>(x))));
      return x;
    };
    std::vector<F> scales(static_cast<std::size_t>(width));
    const F lowest = round(static_cast<F>(1 / config_.max_wavelength));
    for (Index j = 0; j < width; ++j) {
      const F share = round(round(static_cast<F>(2 * (j / 2))) / round(static_cast<F>(width)));
      scales[static_cast<std::size_t>(j)] = round(std::pow(lowest, share));
    }
    F* out = table.data<F>();
    const auto rows = static_cast<Index>(all.values.size());
    ops::for_blocks(
        ctx, rows, std::max<Index>(1, ops::kBlockElements / std::max<Index>(1, width)),
        [&](Index begin, Index end) {
          for (Index row = begin; row < end; ++row) {
            const F at = round(static_cast<F>(all.values[static_cast<std::size_t>(row)]));
            for (Index j = 0; j < width; ++j) {
              const F angle = round(at * scales[static_cast<std::size_t>(j)]);
              out[row * width + j] = round(j % 2 == 0 ? std::sin(angle) : std::cos(angle));
            }
          }
        });
  }

  SineConfig config_;
};

}  // namespace

}  // namespace grouphead::models::hub

namespace grouphead {

std::shared_ptr<Layer> nn::make_position_embedding(const ConfigValue& given) {
  nn::ConfigReader reader("PositionEmbedding", given);
  models::hub::PositionEmbeddingConfig config;
  nn::read_base(reader, config);
  config.sequence_length = reader.integer("sequence_length", 0);
  config.initializer = reader.choice("initializer", config.initializer);
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::PositionEmbedding>(config), given);
}

std::shared_ptr<Layer> nn::make_sine_position_encoding(const ConfigValue& given) {
  nn::ConfigReader reader("SinePositionEncoding", given);
  models::hub::SineConfig config;
  nn::read_base(reader, config);
  config.max_wavelength = reader.number("max_wavelength", config.max_wavelength);
  reader.finish();
  return nn::with_trainable(std::make_shared<models::hub::SinePositionEncoding>(config), given);
}

}  // namespace grouphead
