#include "core/check.h"
#include "grouphead/layers/preprocessing.h"
#include "nn/base_config.h"
#include "nn/categories.h"
#include "nn/layer_checks.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "ops/convert.h"
#include "ops/encoding.h"

namespace grouphead {
namespace {

struct EncodingSaved final : Saved {
  Tensor ids;  // [O, N, I]
};

constexpr std::string_view kModes[] = {"one_hot", "multi_hot", "count"};

}  // namespace

CategoryEncoding::CategoryEncoding(const CategoryEncodingConfig& config)
    : Layer(config.name, config.dtype), config_(config) {
  core::require_positive(name(), "num_tokens", config.num_tokens);
}

ConfigValue CategoryEncoding::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("num_tokens", config_.num_tokens);
  config.set("output_mode", kModes[static_cast<std::size_t>(config_.output_mode)]);
  return config;
}

std::span<const std::string_view> CategoryEncoding::input_names() const {
  static constexpr std::string_view kNames[] = {"inputs", "count_weights"};
  return kNames;
}

std::vector<Shape> CategoryEncoding::output_shapes(std::span<const Shape> inputs,
                                                   const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 2);
  if (inputs.size() > 1 && config_.output_mode != EncodingMode::count) {
    core::throw_shape_error(name(), "count_weights", "none where nothing is counted",
                            inputs[1].to_string());
  }
  return {nn::encoded_shape(name(), inputs[0], config_.num_tokens,
                            config_.output_mode == EncodingMode::one_hot)};
}

void CategoryEncoding::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> CategoryEncoding::forward(Context& ctx, std::span<const Value> in,
                                             const Mode& /*mode*/,
                                             std::unique_ptr<Saved>* saved) const {
  std::vector<Shape> shapes;
  for (const Value& value : in) shapes.push_back(value.tensor.shape());
  const Shape shape = output_shapes(shapes, nullptr)[0];
  const bool has_weights = in.size() > 1 && in[1].tensor.has_value();
  if (has_weights && shapes[1] != shapes[0]) {
    core::throw_shape_error(name(), "count_weights", shapes[0].to_string(), shapes[1].to_string());
  }
  const bool is_exact = config_.output_mode != EncodingMode::multi_hot;
  Tensor ids = in[0].tensor;
  if (is_exact && ops::is_floating(ids.dtype())) {
    const Tensor numbers = nn::as_type(ctx, ids, Dtype::f64);
    ids = ctx.tensor(numbers.shape(), Dtype::i64);
    ops::whole_numbers(ctx, numbers, ids);
  } else {
    ids = nn::as_type(ctx, ids, Dtype::i64);
  }
  Tensor weights;
  if (has_weights) {
    weights = nn::as_type(ctx, in[1].tensor, dtype()).reshaped(nn::category_axes(shapes[1]));
  }
  Tensor y = ctx.tensor(shape, dtype());
  if (config_.output_mode == EncodingMode::one_hot) {
    ops::one_hot(ctx, ids, y);
  } else {
    ids = ids.reshaped(nn::category_axes(ids.shape()));
    ops::many_hot(ctx, ids, std::as_const(weights).view(),
                  config_.output_mode == EncodingMode::count, y);
  }
  if (saved != nullptr) {
    auto keep = std::make_unique<EncodingSaved>();
    keep->ids = ids;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), {}}};
}

void CategoryEncoding::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                std::span<View> d_in, Grads& /*grads*/) const {
  const auto& kept = nn::saved_as<EncodingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 2);
  if (!d_out[0].has_value() || d_in.size() < 2 || !d_in[1].has_value()) return;
  ops::many_hot_backward(ctx, kept.ids, d_out[0], d_in[1].reshaped(kept.ids.shape()));
}

void CategoryEncoding::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_category_encoding(const ConfigValue& given) {
  ConfigReader reader("CategoryEncoding", given);
  CategoryEncodingConfig config;
  config.name = reader.name(config.name);
  config.dtype = reader.dtype();
  reader.trainable();
  config.num_tokens = reader.integer("num_tokens", 0);
  const std::string mode = reader.string("output_mode", "multi_hot");
  bool is_known = mode == "binary";  // an old name of multi_hot
  for (std::size_t i = 0; i < std::size(kModes); ++i) {
    if (kModes[i] != mode) continue;
    config.output_mode = static_cast<EncodingMode>(i);
    is_known = true;
  }
  if (!is_known) {
    core::throw_config_error(config.name, "output_mode", "one_hot, multi_hot or count", mode);
  }
  if (reader.boolean("sparse", false)) {
    core::throw_config_error(config.name, "sparse", "false: outputs are dense", "true");
  }
  reader.finish();
  return with_trainable(std::make_shared<CategoryEncoding>(config), given);
}

}  // namespace grouphead
