#include "saved/huggingface/weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <type_traits>

#include "core/check.h"
#include "ops/convert.h"

namespace grouphead::saved {
namespace {

/// Makes the rules, parameter by parameter.
class Rules {
 public:
  Rules(const TransformerModelConfig& config, const WeightNames& names,
        const ConstParameterList& parameters)
      : config_(config), names_(names) {
    for (const NamedConstParameter& one : parameters)
      shapes_.emplace(one.path, one.parameter->shape());
  }

  std::vector<WeightRule> make() {
    const std::string_view prefix = names_.prefix;
    table(join(prefix, names_.tokens), "embeddings/tokens");
    table(join(prefix, names_.positions), "embeddings/positions");
    table(join(prefix, names_.token_types), "embeddings/token_types");
    linear(join(prefix, names_.embedding_projection), "embeddings/projection/");
    norm(join(prefix, names_.embedding_norm), "embeddings/norm/");
    for (Index i = 0; i < config_.num_layers; ++i) {
      const std::string number = std::to_string(i);
      layer(join(prefix, names_.layers) + number + ".", "layers/" + number + "/");
    }
    norm(join(prefix, names_.final_norm), "final_norm/");
    linear(join(prefix, names_.head_input), "head_input/");
    linear(std::string(names_.head), "head/");
    for (const auto& [path, shape] : shapes_) {
      if (!done_.contains(path)) throw IoError("[pretrained] " + path + ": no name in this family");
    }
    return std::move(rules_);
  }

 private:
  // Empty without a name.
  static std::string join(std::string_view prefix, std::string_view name) {
    return name.empty() ? std::string() : std::string(prefix).append(name);
  }
  bool has(const std::string& path) const { return shapes_.contains(path); }
  Index outputs_of(const std::string& path, int inputs) const {
    const Shape& shape = shapes_.at(path);
    Index outputs = 1;
    for (int axis = inputs; axis < shape.rank(); ++axis) outputs *= shape[axis];
    return outputs;
  }

  void add(WeightRule rule) {
    if (rule.name.empty() || !done_.insert(rule.path).second) return;
    rules_.push_back(std::move(rule));
  }

  void table(const std::string& name, const std::string& path) {
    if (!has(path) || name.empty()) return;
    add({.name = name + ".weight", .path = path, .shape = shapes_.at(path)});
  }

  /// `heads`: with gains of their own; 0: one vector of gains.
  void norm(const std::string& name, const std::string& path, Index heads = 0) {
    if (name.empty()) return;
    if (has(path + "gamma")) {
      const Shape& gains = shapes_.at(path + "gamma");
      const Shape shape = heads > 0 ? Shape{heads, gains.size() / heads} : gains;
      add({.name = name + ".weight", .path = path + "gamma", .shape = shape});
    }
    if (has(path + "beta")) {
      add({.name = name + ".bias", .path = path + "beta", .shape = shapes_.at(path + "beta")});
    }
  }

  /// Kernel and bias of one layer alone in their tensors. Of an output projection the first two
  /// axes are contracted.
  void linear(const std::string& name, const std::string& path, int inputs = 1) {
    if (name.empty() || !has(path + "kernel")) return;
    part(name, path, outputs_of(path + "kernel", inputs), {}, inputs);
  }

  /// The same as a part of tensors with `row` outputs.
  void part(const std::string& name, const std::string& path, Index row,
            const std::optional<Places>& places, int inputs = 1) {
    const std::string kernel = path + "kernel";
    const Index outputs = outputs_of(kernel, inputs);
    const Index depth = shapes_.at(kernel).size() / outputs;
    const bool by_output = !names_.kernels_by_input;
    add({.name = name + ".weight",
         .path = kernel,
         .shape = by_output ? Shape{row, depth} : Shape{depth, row},
         .outputs = outputs,
         .by_output = by_output,
         .row = row,
         .places = places});
    if (!has(path + "bias")) return;
    add({.name = name + ".bias",
         .path = path + "bias",
         .shape = Shape{row},
         .outputs = outputs,
         .row = row,
         .places = places});
  }

  /// Key/value heads of the file.
  Index stored_heads() const {
    return names_.stored_key_value_heads > 0 ? names_.stored_key_value_heads
                                             : config_.attention.num_key_value_heads;
  }

  /// Key or value heads whose first lies at `first`, and the next of the file `distance` behind it.
  Places head_places(Index first, Index distance) const {
    const Index copies = stored_heads() / config_.attention.num_key_value_heads;
    return {first, config_.attention.head_dim, copies * distance, copies, distance};
  }

  void query_key_value(const std::string& name, const std::string& path) {
    const SelfAttentionConfig& a = config_.attention;
    const Index row = (a.num_heads + 2 * stored_heads()) * a.head_dim;
    const Index group = a.num_heads / stored_heads() * a.head_dim;
    if (names_.layout == QkvLayout::heads) {
      const Index stride = group + 2 * a.head_dim;
      part(name, path + "query/", row, Places{0, group, stride});
      part(name, path + "key/", row, head_places(group, stride));
      part(name, path + "value/", row, head_places(group + a.head_dim, stride));
      return;
    }
    const Index queries = a.num_heads * a.head_dim;
    const Index keys = stored_heads() * a.head_dim;
    part(name, path + "query/", row, Places{0, queries, queries});
    part(name, path + "key/", row, head_places(queries, a.head_dim));
    part(name, path + "value/", row, head_places(queries + keys, a.head_dim));
  }

  /// Keys or values in weights of their own.
  void heads(const std::string& name, const std::string& path) {
    const Index width = config_.attention.head_dim;
    if (has(path + "kernel")) part(name, path, stored_heads() * width, head_places(0, width));
  }

  void attention(const std::string& at, const std::string& path) {
    if (names_.layout == QkvLayout::separate) {
      linear(join(at, names_.query), path + "query/");
      heads(join(at, names_.key), path + "key/");
      heads(join(at, names_.value), path + "value/");
    } else {
      query_key_value(join(at, names_.query_key_value), path);
    }
    linear(join(at, names_.attention_output), path + "attention_output/", 2);
    const SelfAttentionConfig& a = config_.attention;
    const bool are_own = a.query_key_norm == QueryKeyNorm::own_gains;
    norm(join(at, names_.query_norm), path + "query_norm/", are_own ? a.num_heads : 0);
    norm(join(at, names_.key_norm), path + "key_norm/", are_own ? a.num_key_value_heads : 0);
    if (has(path + "sinks")) {
      add({.name = join(at, names_.sinks),
           .path = path + "sinks",
           .shape = shapes_.at(path + "sinks")});
    }
  }

  void feed_forward(const std::string& at, const std::string& path) {
    const Index width = config_.feed_forward.width;
    if (!names_.gate_up.empty()) {
      part(join(at, names_.gate_up), path + "gate/", 2 * width, Places{0, width, width});
      part(join(at, names_.gate_up), path + "up/", 2 * width, Places{width, width, width});
    } else {
      linear(join(at, names_.gate), path + "gate/");
      linear(join(at, names_.up), path + "up/");
    }
    linear(join(at, names_.down), path + "down/");
  }

  /// A kernel or bias of one expert in the tensor of all.
  void expert_part(const std::string& name, const std::string& path, Index expert, Index row,
                   const Places& places) {
    const Index experts = config_.feed_forward.num_experts;
    for (const bool is_bias : {false, true}) {
      const std::string full = path + (is_bias ? "bias" : "kernel");
      if (!has(full)) continue;
      const Index outputs = outputs_of(full, is_bias ? 0 : 1);
      const Index depth = shapes_.at(full).size() / outputs;
      const bool by_output = names_.experts_by_output && !is_bias;
      const Shape kernels = by_output ? Shape{experts, row, depth} : Shape{experts, depth, row};
      add({.name = name + (is_bias ? "_bias" : ""),
           .path = full,
           .shape = is_bias ? Shape{experts, row} : kernels,
           .outputs = outputs,
           .by_output = by_output,
           .begin = expert * depth * row,
           .row = row,
           .places = places});
    }
  }

  void experts(const std::string& at, const std::string& path) {
    const FeedForwardConfig& f = config_.feed_forward;
    const Index hidden = config_.hidden_size;
    const bool is_woven = !names_.experts_by_output;  // gates and ups in turn
    const Places gates = is_woven ? Places{0, 1, 2} : Places{0, f.width, f.width};
    const Places ups = is_woven ? Places{1, 1, 2} : Places{f.width, f.width, f.width};
    linear(join(at, names_.router), path + "router/");
    for (Index i = 0; i < f.num_experts; ++i) {
      const std::string number = std::to_string(i);
      const std::string own = path + "experts/" + number + "/";
      if (!names_.experts.empty()) {
        feed_forward(join(at, names_.experts) + number + ".", own);
        continue;
      }
      const std::string all = join(at, names_.all_experts);
      expert_part(all + "gate_up_proj", own + "gate/", i, 2 * f.width, gates);
      expert_part(all + "gate_up_proj", own + "up/", i, 2 * f.width, ups);
      expert_part(all + "down_proj", own + "down/", i, hidden, {0, hidden, hidden});
    }
  }

  void layer(const std::string& at, const std::string& path) {
    norm(join(at, names_.attention_norm), path + "attention_norm/");
    attention(at, path + "attention/");
    norm(join(at, names_.attention_output_norm), path + "attention_output_norm/");
    norm(join(at, names_.feed_forward_norm), path + "feed_forward_norm/");
    if (config_.feed_forward.num_experts > 0) {
      experts(at, path + "feed_forward/");
    } else {
      feed_forward(at, path + "feed_forward/");
    }
    norm(join(at, names_.feed_forward_output_norm), path + "feed_forward_output_norm/");
  }

  const TransformerModelConfig& config_;
  const WeightNames& names_;
  std::map<std::string, Shape> shapes_;
  std::set<std::string> done_;
  std::vector<WeightRule> rules_;
};

template <class T>
float widened(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, double>) {
    return static_cast<float>(value);
  } else {
    return to_float(value);
  }
}

/// How far behind an element its next copy lies in the tensor; `inputs`: K.
Index copy_distance(const WeightRule& rule, Index inputs) {
  const Index distance = rule.places ? rule.places->distance : 0;
  return rule.by_output ? distance * inputs : distance;
}

Index inputs_of(const WeightRule& rule, Index count) {
  return rule.outputs == 0 ? 1 : count / rule.outputs;
}

/// visit(place in the tensor, place in the parameter) for every element of the parameter; of copies
/// the first.
template <class Visit>
void for_each_element(const WeightRule& rule, Index count, const Visit& visit) {
  const Index inputs = inputs_of(rule, count);
  const Index outputs = rule.outputs == 0 ? count : rule.outputs;
  const Index row = rule.outputs == 0 ? count : rule.row;
  // In blocks, so that a transpose reads and writes whole lines of the cache.
  constexpr Index kBlock = 32;
  for (Index first = 0; first < outputs; first += kBlock) {
    const Index last = std::min(outputs, first + kBlock);
    for (Index k = 0; k < inputs; ++k) {
      for (Index n = first; n < last; ++n) {
        const Index place = rule.places ? rule.places->of(n) : n;
        visit(rule.begin + (rule.by_output ? place * inputs + k : k * row + place),
              k * outputs + n);
      }
    }
  }
}

template <class From, class To>
void take(const WeightRule& rule, const From* from, Index count, To* to) {
  for_each_element(rule, count,
                   [&](Index at, Index n) { to[n] = static_cast<To>(widened(from[at])); });
}

template <class To>
void take_as(const WeightRule& rule, ConstView tensor, Index count, To* to) {
  switch (tensor.dtype()) {
    case Dtype::f32:
      return take(rule, tensor.data<float>(), count, to);
    case Dtype::f64:
      return take(rule, tensor.data<double>(), count, to);
    case Dtype::bf16:
      return take(rule, tensor.data<Bf16>(), count, to);
    default:
      return take(rule, tensor.data<F16>(), count, to);
  }
}

}  // namespace

std::vector<WeightRule> weight_rules(const TransformerModelConfig& config, const WeightNames& names,
                                     const ConstParameterList& parameters) {
  return Rules(config, names, parameters).make();
}

std::optional<ConstView> shared_weight(const WeightRule& rule, ConstView tensor,
                                       const Shape& parameter) {
  const Index count = parameter.size();
  if (count == 0) return {};
  if (rule.outputs == 0) {
    const Index rows = parameter.rank() > 1 ? parameter[0] : 1;
    return tensor.reshaped({rows, count / rows});
  }
  const Index inputs = inputs_of(rule, count);
  const Index first = rule.places ? rule.places->first : 0;
  const bool is_one_run =
      !rule.places || rule.places->run >= rule.outputs || rule.places->run == rule.places->stride;
  if (!is_one_run) return {};
  const Strides strides =
      rule.by_output ? Strides{1, inputs} : Strides{inputs == 1 ? rule.outputs : rule.row, 1};
  const Index begin = rule.begin + (rule.by_output ? first * inputs : first);
  return ConstView(static_cast<const std::byte*>(tensor.raw()) + begin * size_of(tensor.dtype()),
                   tensor.dtype(), {inputs, rule.outputs}, strides);
}

void take_weight(const WeightRule& rule, ConstView tensor, View parameter) {
  if (rule.outputs == 0) {
    return ops::convert_rounded(tensor.reshaped(parameter.shape()), parameter.dtype(), parameter);
  }
  if (parameter.dtype() == Dtype::f64) {
    take_as(rule, tensor, parameter.size(), parameter.data<double>());
  } else {
    take_as(rule, tensor, parameter.size(), parameter.data<float>());
  }
}

bool are_copies_alike(const WeightRule& rule, ConstView tensor) {
  if (!rule.places || rule.places->copies == 1) return true;
  const Index inputs = tensor.size() / rule.row;
  const Index distance = copy_distance(rule, inputs) * size_of(tensor.dtype());
  const auto* bytes = static_cast<const std::byte*>(tensor.raw());
  bool alike = true;
  for_each_element(rule, inputs * rule.outputs, [&](Index at, Index /*n*/) {
    const std::byte* first = bytes + at * size_of(tensor.dtype());
    for (Index i = 1; i < rule.places->copies; ++i) {
      alike = alike && std::memcmp(first, first + i * distance,
                                   static_cast<std::size_t>(size_of(tensor.dtype()))) == 0;
    }
  });
  return alike;
}

void put_weight(const WeightRule& rule, ConstView parameter, View tensor) {
  const Index copies = rule.places ? rule.places->copies : 1;
  const Index distance = copy_distance(rule, inputs_of(rule, parameter.size()));
  const auto put = [&](const auto* from, auto* to) {
    for_each_element(rule, parameter.size(), [&](Index at, Index n) {
      for (Index i = 0; i < copies; ++i) to[at + i * distance] = from[n];
    });
  };
  if (parameter.dtype() == Dtype::f64) {
    put(parameter.data<double>(), tensor.data<double>());
  } else {
    put(parameter.data<float>(), tensor.data<float>());
  }
}

}  // namespace grouphead::saved
