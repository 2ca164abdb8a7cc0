// What a conversion costs and saves.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "core/check.h"
#include "core/number_text.h"
#include "graph/graph.h"
#include "graph/run.h"
#include "models/head_pooling.h"
#include "nn/attention/operands.h"
#include "ops/convert.h"

namespace grouphead {
namespace {

using core::throw_config_error;

constexpr std::string_view kOperation = "compare_heads";

/// `text` at the end of a column.
std::string right(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

/// |got - want| / |want| over any number of tensors.
class RelativeError {
 public:
  void add(const Tensor& got, const Tensor& want) {
    if (!ops::is_floating(want.dtype())) return;
    const Tensor a = numbers(got);
    const Tensor b = numbers(want);
    core::require_shape(kOperation, "output", a.shape(),
                        std::span(b.shape().begin(), b.shape().end()));
    for (Index i = 0; i < a.size(); ++i) {
      const double expected = b.data<double>()[i];
      const double difference = a.data<double>()[i] - expected;
      differences_ += difference * difference;
      squares_ += expected * expected;
    }
  }
  double value() const { return differences_ == 0 ? 0 : std::sqrt(differences_ / squares_); }

 private:
  static Tensor numbers(const Tensor& tensor) {
    Tensor converted(tensor.shape(), Dtype::f64);
    ops::convert_rounded(tensor, Dtype::f64, converted);
    return converted;
  }

  double differences_ = 0;
  double squares_ = 0;
};

struct Heads {
  Index num_query, num_key_value, key_dim, value_dim;
};

Heads heads_of(const Layer& layer) {
  if (const auto* multi_head = dynamic_cast<const MultiHeadAttention*>(&layer)) {
    return {multi_head->num_heads(), multi_head->num_heads(), multi_head->key_dim(),
            multi_head->value_dim()};
  }
  const auto& config = dynamic_cast<const GroupQueryAttention&>(layer).config();
  return {config.num_query_heads, config.num_key_value_heads, config.head_dim, config.head_dim};
}

Index cache_bytes_of(const Layer& layer) {
  const Heads heads = heads_of(layer);
  return heads.num_key_value * (heads.key_dim + heads.value_dim) *
         size_of(layer.policy().compute());
}

ConvertedLayer converted_layer(std::string path, const Layer& before, const Layer& after) {
  return {.path = std::move(path),
          .num_query_heads = heads_of(before).num_query,
          .num_key_value_heads_before = heads_of(before).num_key_value,
          .num_key_value_heads = heads_of(after).num_key_value,
          .cache_bytes_before = cache_bytes_of(before),
          .cache_bytes = cache_bytes_of(after)};
}

/// A layer of both models.
struct Pair {
  std::string path;
  std::shared_ptr<Layer> before, after;
  RelativeError error{};
};

bool is_converted(const Layer& before, const Layer& after) {
  return before.class_name() != after.class_name() ||
         heads_of(before).num_key_value != heads_of(after).num_key_value;
}

void find_pairs(const Model& before, const Model& after, const std::string& prefix,
                std::vector<Pair>& pairs) {
  for (const auto& layer : before.layers()) {
    const std::shared_ptr<Layer> other = after.get_layer(layer->name());
    const auto* inner = dynamic_cast<const Model*>(layer.get());
    const auto* other_inner = dynamic_cast<const Model*>(other.get());
    const bool is_alike =
        (inner == nullptr) == (other_inner == nullptr) && has_heads(*layer) == has_heads(*other);
    if (!is_alike) {
      throw_config_error(kOperation, prefix + layer->name(), layer->class_name(),
                         other->class_name());
    }
    if (inner != nullptr) {
      find_pairs(*inner, *other_inner, prefix + layer->name() + "/", pairs);
    } else if (has_heads(*layer) && is_converted(*layer, *other)) {
      pairs.push_back({prefix + layer->name(), layer, other});
    }
  }
}

void collect_vocabularies(const Model& model, Index& smallest) {
  for (const auto& layer : model.layers()) {
    if (const auto* inner = dynamic_cast<const Model*>(layer.get())) {
      collect_vocabularies(*inner, smallest);
    } else if (const auto* embedding = dynamic_cast<const Embedding*>(layer.get())) {
      smallest = std::min(smallest, embedding->get_config()["input_dim"].as_integer("input_dim"));
    }
  }
}

/// That a tensor's numbers are looked up in an Embedding.
struct Lookup {
  Index vocabulary = 0;   // 0: they are not
  bool is_direct = true;  // no operation changes them before

  void merge(const Lookup& other, bool is_changed) {
    if (other.vocabulary == 0) return;
    is_direct = is_direct && other.is_direct && !is_changed;
    vocabulary = vocabulary == 0 ? other.vocabulary : std::min(vocabulary, other.vocabulary);
  }
};

/// What becomes of each model's inputs. A model that is called often is looked at once.
class Lookups {
 public:
  const std::vector<Lookup>& of(const Model& model) {
    if (const auto found = known_.find(&model); found != known_.end()) return found->second;
    const graph::Graph& graph = graph::graph_of(model);
    std::vector<Lookup> places(static_cast<std::size_t>(graph.num_places()));
    for (auto step = graph.steps().rbegin(); step != graph.steps().rend(); ++step) {
      look_at(*step, places);
    }
    places.resize(graph.inputs().size());
    return known_[&model] = std::move(places);
  }

 private:
  void look_at(const graph::Step& step, std::vector<Lookup>& places) {
    constexpr std::string_view kSameNumbers[] = {"Concatenate", "Flatten", "Permute", "Reshape"};
    const Layer& layer = step.layer();
    const bool is_operation = graph::is_operation(layer);
    const bool keeps = std::find(std::begin(kSameNumbers), std::end(kSameNumbers),
                                 layer.class_name()) != std::end(kSameNumbers);
    Lookup of_output;
    for (std::size_t i = 0; i < step.num_outputs(); ++i) {
      of_output.merge(places[static_cast<std::size_t>(step.first_output) + i], is_operation);
    }
    for (std::size_t i = 0; i < step.operands.size(); ++i) {
      if (step.operands[i] == graph::kNoPlace) continue;
      Lookup& operand = places[static_cast<std::size_t>(step.operands[i])];
      if (const auto* embedding = dynamic_cast<const Embedding*>(&layer)) {
        operand.merge({embedding->get_config()["input_dim"].as_integer("input_dim")}, false);
      } else if (step.model != nullptr) {
        operand.merge(of(*step.model)[i], false);
      } else if (is_operation || keeps) {
        operand.merge(of_output, false);
      }
    }
  }

  std::map<const Model*, std::vector<Lookup>> known_;
};

/// A token at a place. Where operations change it first (`ids + 1`) it is from the middle of the
/// vocabulary.
Index random_token(const Lookup& lookup, RandomKey key, Index place) {
  const auto word = static_cast<Index>(threefry2x32(key, static_cast<std::uint64_t>(place)));
  const Index size = lookup.vocabulary;
  return lookup.is_direct ? word % size : size / 4 + word % std::max<Index>(1, size / 2);
}

void fill_random(View input, const Lookup& lookup, Index vocabulary, RandomKey key) {
  const Dtype dtype = input.dtype();
  if (ops::is_floating(dtype) && lookup.vocabulary > 0) {
    Tensor tokens(input.shape(), Dtype::f64);
    for (Index i = 0; i < input.size(); ++i) {
      tokens.data<double>()[i] = static_cast<double>(random_token(lookup, key, i));
    }
    return ops::convert_rounded(tokens, dtype, input);
  }
  if (ops::is_floating(dtype)) {
    const Tensor values = random_normal(input.shape(), key.seed + key.draw);
    ops::convert_rounded(values, dtype, input);
    return;
  }
  const Index limit = dtype == Dtype::u8 ? std::min<Index>(256, vocabulary) : vocabulary;
  const auto width = static_cast<std::size_t>(size_of(dtype));
  for (Index i = 0; i < input.size(); ++i) {
    Lookup range = lookup;
    if (range.vocabulary == 0 || limit < range.vocabulary) range = {limit, lookup.is_direct};
    const Index value = dtype == Dtype::boolean ? 1 : random_token(range, key, i);
    auto* element = static_cast<std::byte*>(input.raw()) + static_cast<std::size_t>(i) * width;
    std::memcpy(element, &value, width);  // little-endian: the low bytes
  }
}

}  // namespace

Index ConversionReport::cache_bytes_before() const noexcept {
  Index bytes = 0;
  for (const ConvertedLayer& layer : layers) bytes += layer.cache_bytes_before;
  return bytes;
}

Index ConversionReport::cache_bytes() const noexcept {
  Index bytes = 0;
  for (const ConvertedLayer& layer : layers) bytes += layer.cache_bytes;
  return bytes;
}

std::string ConversionReport::to_string() const {
  std::string text;
  const auto add = [&](const std::string& name, const std::string& heads, double error,
                       Index before, Index after) {
    const std::string line = right(heads, 14) + " " + right(core::general_text(error, 3), 14) +
                             "   " + right(std::to_string(before), 9) + " -> " +
                             std::to_string(after) + "\n";
    text += name + std::string(name.size() < 32 ? 32 - name.size() : 1, ' ') + line;
  };
  text += "layer                           key/value heads  output error   cache bytes per token\n";
  for (const ConvertedLayer& layer : layers) {
    add(layer.path,
        std::to_string(layer.num_key_value_heads_before) + " -> " +
            std::to_string(layer.num_key_value_heads),
        layer.error, layer.cache_bytes_before, layer.cache_bytes);
  }
  add("whole model", "", output_error, cache_bytes_before(), cache_bytes());
  return text;
}

ConversionReport compare_heads(Context& ctx, const Model& before, const Model& after,
                               const std::vector<Tensor>& inputs) {
  std::vector<Pair> pairs;
  find_pairs(before, after, "", pairs);
  const graph::CallObserver observer = [&](const graph::Step& call, std::span<const Value> in,
                                           std::span<const Value> out) {
    for (Pair& pair : pairs) {
      if (pair.before.get() != &call.layer()) continue;
      std::vector<Value> operands(in.begin(), in.end());
      // MultiHeadAttention takes no notice of an explicit mask of the query.
      const bool is_grouped = pair.before->class_name() == pair.after->class_name();
      if (!is_grouped && operands.size() > nn::kQueryMask) operands[nn::kQueryMask] = {};
      const Mode mode{.arguments = call.node->arguments.get()};
      pair.error.add(pair.after->call(ctx, operands, mode, nullptr)[0].tensor, out[0].tensor);
      return;
    }
  };
  std::vector<Value> values;
  for (const Tensor& input : inputs) values.push_back({input, {}});
  const std::vector<Value> want = graph::run_forward(ctx, before.name(), graph::graph_of(before),
                                                     values, {.observer = &observer}, nullptr);
  const std::vector<Tensor> got = after(ctx, inputs);
  RelativeError whole;
  for (std::size_t i = 0; i < want.size(); ++i) whole.add(got.at(i), want[i].tensor);
  ConversionReport report{.output_error = whole.value()};
  for (const Pair& pair : pairs) {
    report.layers.push_back(converted_layer(pair.path, *pair.before, *pair.after));
    report.layers.back().error = pair.error.value();
  }
  return report;
}

ConversionReport compare_heads(Context& ctx, const LanguageModel& before,
                               const LanguageModel& after, const Tensor& tokens) {
  const std::vector<Tensor> inputs = before.attended(ctx, tokens);
  ConversionReport report;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const GroupQueryAttention& old_layer = before.attention(static_cast<Index>(i));
    const GroupQueryAttention& new_layer = after.attention(static_cast<Index>(i));
    const AttentionInputs in{.query = inputs[i], .value = inputs[i]};
    RelativeError error;
    error.add(new_layer(ctx, in), old_layer(ctx, in));
    report.layers.push_back(
        converted_layer("gqa_block_" + std::to_string(i + 1) + "/attn", old_layer, new_layer));
    report.layers.back().error = error.value();
  }
  const Value in{tokens, {}};
  RelativeError whole;
  whole.add(after.forward(ctx, std::span(&in, 1), {}, nullptr)[0].tensor,
            before.forward(ctx, std::span(&in, 1), {}, nullptr)[0].tensor);
  report.output_error = whole.value();
  return report;
}

ConversionReport compare_heads(Context& ctx, const TransformerModel& before,
                               const TransformerModel& after, const Tensor& tokens) {
  const std::vector<Tensor> inputs = before.attended(ctx, {.tokens = tokens});
  const SelfAttentionConfig& heads = before.config().attention;
  const Index bytes = 2 * heads.head_dim * size_of(before.dtype());
  ConversionReport report;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto layer = static_cast<Index>(i);
    RelativeError error;
    error.add(after.attend(ctx, layer, inputs[i]), before.attend(ctx, layer, inputs[i]));
    const Index wanted = after.config().attention.num_key_value_heads;
    report.layers.push_back({.path = "layers/" + std::to_string(i) + "/attention",
                             .num_query_heads = heads.num_heads,
                             .num_key_value_heads_before = heads.num_key_value_heads,
                             .num_key_value_heads = wanted,
                             .error = error.value(),
                             .cache_bytes_before = heads.num_key_value_heads * bytes,
                             .cache_bytes = wanted * bytes});
  }
  RelativeError whole;
  whole.add(after(ctx, {.tokens = tokens}), before(ctx, {.tokens = tokens}));
  report.output_error = whole.value();
  return report;
}

std::vector<Tensor> random_inputs(const Model& model, std::uint64_t seed) {
  Index vocabulary = 1 << 16;
  collect_vocabularies(model, vocabulary);
  Lookups lookups;
  const std::vector<Lookup>& of_inputs = lookups.of(model);
  std::vector<Tensor> inputs;
  for (const Symbol& symbol : model.inputs()) {
    std::vector<Index> dims(symbol.shape().begin(), symbol.shape().end());
    for (std::size_t axis = 0; axis < dims.size(); ++axis) {
      if (dims[axis] < 0) dims[axis] = axis == 0 ? 2 : 16;
    }
    Tensor input(Shape(dims), symbol.dtype());
    fill_random(input, of_inputs[inputs.size()], vocabulary, {seed, inputs.size()});
    inputs.push_back(std::move(input));
  }
  return inputs;
}

}  // namespace grouphead
