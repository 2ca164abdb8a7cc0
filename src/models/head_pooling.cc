#include "models/head_pooling.h"

#include <array>

#include "core/check.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

using core::throw_config_error;

constexpr std::string_view kOperation = "convert_heads";
constexpr std::array<std::string_view, 3> kNames = {"mean", "first", "random"};

const MultiHeadAttention* as_multi_head(const Layer& layer) {
  return dynamic_cast<const MultiHeadAttention*>(&layer);
}

const GroupQueryAttention* as_grouped(const Layer& layer) {
  return dynamic_cast<const GroupQueryAttention*>(&layer);
}

ConstView parameter_of(const Layer& layer, std::string_view path) {
  for (const NamedConstParameter& entry : layer.parameters()) {
    if (entry.path == path) return entry.parameter->value();
  }
  return {};
}

Index width_of(const Layer& layer, std::string_view kernel) {
  return parameter_of(layer, kernel).dim(0);
}

Tensor as_f64(ConstView view) {
  Tensor numbers(view.shape(), Dtype::f64);
  ops::convert_rounded(view, Dtype::f64, numbers);
  return numbers;
}

// [.., H, D] -> [.., H / r, D]: means in double, rounded once.
void pool_heads(ConstView from, HeadPooling pooling, View to) {
  const int axis = from.rank() - 2;
  const Index heads = to.dim(axis);
  const Index group = from.dim(axis) / heads;
  const Index width = from.dim(axis + 1);
  const Index count = pooling == HeadPooling::first ? 1 : group;
  const Tensor numbers = as_f64(from);
  Tensor pooled = Tensor::zeros(to.shape(), Dtype::f64);
  const Index rows = pooled.size() / width;  // of all leading axes and heads
  for (Index row = 0; row < rows; ++row) {
    double* out = pooled.data<double>() + row * width;
    for (Index i = 0; i < count; ++i) {
      const double* in = numbers.data<double>() + (row * group + i) * width;
      for (Index d = 0; d < width; ++d) out[d] += in[d] / static_cast<double>(count);
    }
  }
  ops::convert_rounded(pooled, to.dtype(), to);
}

GroupQueryAttentionConfig grouped_config(const MultiHeadAttention& layer) {
  const MultiHeadAttentionConfig& from = layer.config();
  const Index width = width_of(layer, "query/kernel");
  const Index output = parameter_of(layer, "attention_output/kernel").shape().back();
  return {.head_dim = from.key_dim,
          .num_query_heads = from.num_heads,
          .num_key_value_heads = from.num_heads,
          .dropout = from.dropout,
          .use_bias = from.use_bias,
          .sliding_window = from.sliding_window,
          .flash_attention = from.flash_attention,
          .kernel_initializer = from.kernel_initializer,
          .bias_initializer = from.bias_initializer,
          .kernel_regularizer = from.kernel_regularizer,
          .bias_regularizer = from.bias_regularizer,
          .activity_regularizer = from.activity_regularizer,
          .kernel_constraint = from.kernel_constraint,
          .bias_constraint = from.bias_constraint,
          .use_gate = from.use_gate,
          .seed = from.seed,
          .output_dim = output == width ? 0 : output,
          .softcap = from.softcap,
          .alibi_slopes = from.alibi_slopes,
          .sinks = from.sinks,
          .masked_rows = from.masked_rows,
          .name = layer.name(),
          .dtype = from.dtype};
}

std::string multi_head_problem(const MultiHeadAttention& layer) {
  if (layer.value_dim() != layer.key_dim()) {
    return "value_dim " + std::to_string(layer.value_dim()) + " is not key_dim " +
           std::to_string(layer.key_dim());
  }
  if (layer.attention_axes() != std::vector<Index>{1}) return "attention axes other than 1";
  if (layer.output_shape().rank() > 1) return "an output_shape of several axes";
  return {};
}

Index key_value_heads(const Layer& layer) {
  if (const auto* multi_head = as_multi_head(layer)) return multi_head->num_heads();
  return as_grouped(layer)->config().num_key_value_heads;
}

}  // namespace

HeadPooling head_pooling_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<HeadPooling>(i);
  }
  throw_config_error(kOperation, "pooling", "one of mean, first, random", name);
}

bool has_heads(const Layer& layer) {
  return as_multi_head(layer) != nullptr || as_grouped(layer) != nullptr;
}

std::string conversion_problem(const Layer& attention, Index num_key_value_heads) {
  if (!has_heads(attention)) return "neither MultiHeadAttention nor GroupQueryAttention";
  if (!attention.is_built()) return "not built";
  const Index heads = key_value_heads(attention);
  if (num_key_value_heads < 1 || heads % num_key_value_heads != 0) {
    return std::to_string(heads) + " key/value heads";
  }
  const auto* multi_head = as_multi_head(attention);
  return multi_head != nullptr ? multi_head_problem(*multi_head) : "";
}

GroupQueryAttentionConfig converted_config(const Layer& attention, Index num_key_value_heads) {
  const auto* multi_head = as_multi_head(attention);
  GroupQueryAttentionConfig config =
      multi_head != nullptr ? grouped_config(*multi_head) : as_grouped(attention)->config();
  config.num_key_value_heads = num_key_value_heads;
  config.name = attention.name();  // a model may have renamed it
  return config;
}

void pool_parameters(const ConstParameterList& from, HeadPooling pooling, const ParameterList& to,
                     Index head_dim) {
  const auto heads_of = [&](auto view) {
    return view.shape().rank() > 1 ? view : view.reshaped({view.size() / head_dim, head_dim});
  };
  const bool is_random = pooling == HeadPooling::random;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const ConstView before = from[i].parameter->value();
    if (before.shape() == to[i].parameter->shape()) {
      copy(before, to[i].parameter->edit());
    } else if (!is_random) {
      pool_heads(heads_of(before), pooling, heads_of(View(to[i].parameter->edit())));
    }
  }
}

std::shared_ptr<GroupQueryAttention> convert_heads(const Layer& attention,
                                                   const HeadConversion& conversion) {
  const std::string problem = conversion_problem(attention, conversion.num_key_value_heads);
  if (!problem.empty()) {
    throw_config_error(kOperation, attention.name(),
                       "a layer that can have " + std::to_string(conversion.num_key_value_heads) +
                           " key/value heads",
                       problem);
  }
  const auto layer = std::make_shared<GroupQueryAttention>(
      converted_config(attention, conversion.num_key_value_heads));
  layer->set_trainable(attention.trainable());
  const auto input = [&](std::string_view kernel) {
    return Shape::partial({-1, -1, width_of(attention, kernel)});
  };
  const std::array<Shape, 3> inputs = {input("query/kernel"), input("value/kernel"),
                                       input("key/kernel")};
  RandomStream random(conversion.seed);
  layer->build(inputs, random);
  pool_parameters(attention.parameters(), conversion.pooling, layer->parameters());
  return layer;
}

}  // namespace grouphead
