#include "saved/keras_objects.h"

#include <algorithm>
#include <map>
#include <set>

#include "graph/names.h"
#include "grouphead/layers/recurrent.h"
#include "grouphead/layers/sub_layers.h"
#include "grouphead/models/model.h"

namespace grouphead::saved {
namespace {

/// The attribute of a sub-layer in Keras's class, by its name in parameter paths.
struct Attribute {
  std::string_view class_name;
  std::string_view sub_layer;
  std::string_view attribute;
};
constexpr std::string_view kGrouped = "GroupQueryAttention";
constexpr std::string_view kMultiHead = "MultiHeadAttention";
constexpr Attribute kAttributes[] = {
    {kGrouped, "query", "_query_dense"},
    {kGrouped, "key", "_key_dense"},
    {kGrouped, "gate", "_gate_dense"},
    {kGrouped, "value", "_value_dense"},
    {kGrouped, "attention_output", "_output_dense"},
    {kMultiHead, "query", "query_dense"},
    {kMultiHead, "key", "key_dense"},
    {kMultiHead, "gate", "_gate_dense"},
    {kMultiHead, "value", "value_dense"},
    {kMultiHead, "attention_output", "output_dense"},
};

constexpr std::string_view kCached = "CachedMultiHeadAttention";  // KerasHub's kind of the second

bool is_attention(const Layer& layer) {
  const std::string_view name = layer.class_name();
  return name == kGrouped || name == kMultiHead || name == kCached;
}

std::string attribute_of(const Layer& layer, const std::string& sub_layer) {
  if (const auto* recurrent = dynamic_cast<const Recurrent*>(&layer)) {
    return recurrent->attribute_of(sub_layer);
  }
  const std::string_view class_name =
      layer.class_name() == kCached ? kMultiHead : layer.class_name();
  for (const Attribute& known : kAttributes) {
    if (known.class_name == class_name && known.sub_layer == sub_layer) {
      return std::string(known.attribute);
    }
  }
  return sub_layer;
}

// Private attributes come last.
bool comes_first(const KerasObject& a, const KerasObject& b) {
  const auto key = [](const KerasObject& object) {
    std::string last = object.path.substr(object.path.rfind('/') + 1);
    return std::pair(last.starts_with('_'), last);
  };
  return key(a) < key(b);
}

class Walk {
 public:
  void add(const Layer& layer, const std::string& path) {
    if (!visited_.insert(&layer).second) return;
    if (const auto* model = dynamic_cast<const Model*>(&layer)) {
      objects.push_back({.path = path, .name = layer.name(), .layer = &layer});
      return add_children(*model, path.empty() ? "layers" : path + "/layers");
    }
    if (const auto* composed = dynamic_cast<const HasSubLayers*>(&layer)) {
      return add_composed(layer, composed->sub_layers(), path);
    }
    add_layer(layer, path);
  }

  std::vector<KerasObject> objects;

 private:
  void add_children(const Model& model, const std::string& place) {
    std::map<std::string, int> counts;
    for (const std::shared_ptr<Layer>& layer : model.layers()) {
      std::string name = graph::default_name(layer->class_name());
      if (const int count = counts[name]++; count > 0)
        name.append("_").append(std::to_string(count));
      add(*layer, place + "/" + name);
    }
  }

  /// A layer of layers: its own variables are those that none of these has.
  void add_composed(const Layer& layer, const std::vector<SubLayer>& parts,
                    const std::string& path) {
    std::set<const Parameter*> inner;
    for (const SubLayer& part : parts) {
      for (const auto& [name, parameter] : part.layer->parameters()) inner.insert(parameter);
    }
    KerasObject own{.path = path, .name = layer.name(), .layer = &layer};
    for (const auto& [name, parameter] : const_cast<Layer&>(layer).parameters()) {
      if (!inner.contains(parameter)) own.variables.push_back(parameter);
    }
    objects.push_back(std::move(own));
    for (const SubLayer& part : parts) {
      const std::size_t first = objects.size();
      add(*part.layer, std::string(path).append("/").append(part.attribute));
      const bool is_called = layer.class_name() == "TimeDistributed" && first < objects.size();
      if (is_called) objects[first].is_called_inside = true;
    }
  }

  /// Its own variables, then those of its sub-layers under their attributes.
  void add_layer(const Layer& layer, const std::string& path) {
    // What only writes a file changes none of them, and load_weights() is given a layer to change.
    const ParameterList parameters = const_cast<Layer&>(layer).parameters();
    KerasObject own{.path = path, .name = layer.name(), .layer = &layer};
    std::map<std::string, KerasObject> inner;
    if (const auto* takes = dynamic_cast<const HasLora*>(&layer)) own.lora = takes->low_rank();
    for (const auto& [name, parameter] : parameters) {
      if (own.lora != nullptr && own.lora->has_factor(*parameter)) continue;
      const std::size_t slash = name.rfind('/');
      if (slash == std::string::npos) {
        own.variables.push_back(parameter);
        continue;
      }
      const std::string sub_layer = name.substr(0, slash);
      KerasObject& object = inner[sub_layer];
      const std::string attribute = attribute_of(layer, sub_layer);
      object.path = std::string(path).append("/").append(attribute);
      // Before Keras had public names for these, the private ones came first.
      if (attribute != sub_layer && attribute[0] != '_') {
        object.other_path = std::string(path).append("/_").append(attribute);
      }
      object.name = sub_layer.substr(sub_layer.rfind('/') + 1);
      object.layer = &layer;
      object.variables.push_back(parameter);
    }
    if (is_attention(layer)) {
      add_inner_without_variables(layer, path, inner);
    }
    objects.push_back(std::move(own));
    const auto first = static_cast<std::ptrdiff_t>(objects.size());
    for (auto& [name, object] : inner) objects.push_back(std::move(object));
    std::sort(objects.begin() + first, objects.end(), comes_first);
  }

  static void add_inner_without_variables(const Layer& layer, const std::string& path,
                                          std::map<std::string, KerasObject>& inner) {
    inner["softmax"] = {.path = path + "/_softmax", .name = "softmax", .layer = &layer};
    if (layer.get_config()["dropout"].as_number("dropout") > 0) {
      inner["dropout"] = {.path = path + "/_dropout_layer", .name = "dropout", .layer = &layer};
    }
  }

  std::set<const Layer*> visited_;
};

}  // namespace

std::vector<KerasObject> keras_objects(const Layer& model) {
  Walk walk;
  walk.add(model, "");
  return std::move(walk.objects);
}

}  // namespace grouphead::saved
